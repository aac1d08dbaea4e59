"""blitz/explained/tape.py: values, gradients of every order, and what is refused."""

import numpy as np
import pytest

from blitz.explained.tape import Variable, grad

A = [[0.5, -1.5, 2.0], [1.25, 3.0, -0.75]]
B = [[2.0, 0.25], [-1.0, 1.5], [0.5, -3.0]]


def numbers(variables):
    """Return what is in each Variable as nested lists, None as it is."""
    return [variable and variable.value.tolist() for variable in variables]


def slopes(function, *arrays, step=1e-6):
    """Return the central differences of the scalar `function` for each value of each array."""
    arrays = [np.array(array, dtype=np.float64) for array in arrays]
    found = [np.zeros_like(array) for array in arrays]
    for array, slope in zip(arrays, found, strict=True):
        for index in np.ndindex(array.shape):
            middle, ends = array[index], []
            for array[index] in (middle + step, middle - step):
                ends.append(float(function(*map(Variable, arrays)).value))
            array[index] = middle
            slope[index] = (ends[0] - ends[1]) / (2 * step)
    return found


# Each weighs its values by others (B, A), so that a gradient in the wrong place cannot hide.
EXPRESSIONS = {
    "a + b": lambda a, b: ((a + b.T) * A).sum(),
    "a - b": lambda a, b: ((a - b.T) * A).sum(),
    "a * b": lambda a, b: (a * b.T * A).sum(),
    "a @ b": lambda a, b: (a @ b * B[:2]).sum(),
    "a.T": lambda a, b: (a.T * b * B).sum(),
    "a.expand": lambda a, b: (a.expand((4, 2, 3)) * np.arange(24).reshape(4, 2, 3) * b.T).sum(),
    "b.expand": lambda a, b: (b.T.sum_to_size((2, 1)).expand((2, 3)) * a).sum(),
    "a.sum_to_size": lambda a, b: (a.sum_to_size((1, 3)) * b.T).sum(),
    "a.sum_to_size, an axis less": lambda a, b: (a.sum_to_size((3,)) * a * b.T).sum(),
    "a.sum": lambda a, b: a.sum() * b.sum() * b.sum(),
    "a**2": lambda a, b: (a**2 * b.T).sum(),
    "a**3": lambda a, b: (a**3 * b.T).sum(),
    "a**-1": lambda a, b: (a**-1 * b.T).sum(),
    "(a * a)**0.5": lambda a, b: ((a * a) ** 0.5 * b.T).sum(),
    "a**1": lambda a, b: (a**1 * b.T).sum(),
    "a**0": lambda a, b: (a**0 * b.T + a).sum(),
    "a.relu": lambda a, b: (a.relu() * b.T).sum(),
    "a.exp": lambda a, b: (a.exp() * b.T).sum(),
    "a.log": lambda a, b: ((a * a).log() * b.T).sum(),
    "a number": lambda a, b: (3 * (2 - a) - 4 + (5 + b.T * -1)).sum() * b.sum(),
    "an array": lambda a, b: (np.array(A) * (np.array(A) - a) * b.T).sum(),
    "broadcasting": lambda a, b: ((a + b.sum_to_size((1, 2)).T) * b.sum_to_size((1, 1)) * a).sum(),
    "shared": lambda a, b: (lambda c: (c * c * a + c.exp() * 0.01).sum() + c.sum() * a.sum())(a * b.T),
}
each_expression = pytest.mark.parametrize("expression", EXPRESSIONS.values(), ids=EXPRESSIONS)


class TestFirstOrder:
    """What grad returns for each operation."""

    @each_expression
    def test_gradient_is_the_slope_of_the_values(self, expression):
        """Central differences of the values agree with the gradient, for every input."""
        a, b = Variable(A), Variable(B)

        found = grad(expression(a, b), [a, b])

        for gradient, slope in zip(found, slopes(expression, A, B), strict=True):
            assert gradient.value == pytest.approx(slope, rel=1e-7, abs=1e-7)

    def test_slope_of_relu_at_zero_is_zero(self):
        """At its corner, relu takes the slope of the side where it is flat."""
        x = Variable([-2, 0, 3])

        y = x.relu()

        assert y.value.tolist() == [0, 0, 3]
        assert numbers(grad(y, [x], [10, 20, 30])) == [[0, 0, 30]]

    def test_relu_of_infinities_is_zero_and_infinity(self):
        """No product with a mask makes nan of an infinity."""
        assert Variable([-np.inf, np.inf]).relu().value.tolist() == [0, np.inf]

    def test_powers_zero_and_one_have_slopes_at_zero(self):
        """x**0 and x**1 have the slopes 0 and 1 at 0 too, without a warning of NumPy's."""
        x = Variable([0, 2])

        assert numbers(grad(x**0, [x], [1, 1])) == [[0, 0]]
        assert numbers(grad(x**1, [x], [1, 1])) == [[1, 1]]

    def test_every_use_contributes(self):
        """A Variable used three times, in two operations, has the sum of three gradients."""
        x = Variable(5)

        assert numbers(grad(x * x + x, [x])) == [11]

    def test_a_later_use_is_counted_before_an_earlier_result_hands_on(self):
        """A result used right away and once more much later hands both on to its own input."""
        x = Variable(2)
        early = x * 3
        late = early * 1 * 1 * 1 + early

        assert numbers(grad(late, [x, early])) == [6, 2]

    def test_output_and_results_on_the_way_are_inputs_too(self):
        """The gradient with respect to the output itself is the vector, 1 if none is given."""
        x = Variable([2])
        y = x**3

        assert numbers(grad(y, [y, x, y])) == [[1], [12], [1]]

    def test_vector_weighs_the_values_of_the_output(self):
        """The vector multiplies the Jacobian from the left, and may be a Variable."""
        matrix = [[1, 2], [3, 4], [5, 6]]
        x = Variable([[1], [1]])
        vector = Variable([[1], [10], [100]])

        assert numbers(grad(Variable(matrix) @ x, [x], vector)) == [[[531], [642]]]

    def test_an_input_that_was_not_used_gets_none_if_allowed(self):
        """Unused are a Variable of its own, and one made from the same input without being used itself."""
        x, other = Variable(1), Variable(1)

        assert numbers(grad(x * 2, [other, x, x * 2], allow_unused=True)) == [None, 2, None]


class TestHigherOrders:
    """Gradients are Variables with a history."""

    @each_expression
    def test_second_order_is_the_slope_of_the_first(self, expression):
        """Central differences of the squared norm of the gradients agree with its gradient."""

        def squared_norm(a, b):
            da, db = grad(expression(a, b) + (a**3).sum() + (b**3).sum(), [a, b])
            return (da**2).sum() + (db**2).sum()

        a, b = Variable(A), Variable(B)

        found = grad(squared_norm(a, b), [a, b])

        for gradient, slope in zip(found, slopes(squared_norm, A, B, step=1e-5), strict=True):
            assert gradient.value == pytest.approx(slope, rel=1e-6, abs=1e-6)

    def test_fourth_order_of_a_fourth_power_is_24(self):
        """x**4 has the derivatives 4x³, 12x², 24x, 24, 0, at 0 as well."""
        x = Variable([0, 2])
        derivatives = [x**4]

        for _ in range(5):
            derivatives += grad(derivatives[-1], [x], [1, 1])

        expected = [[0, 16], [0, 32], [0, 48], [0, 48], [24, 24], [0, 0]]
        assert numbers(derivatives) == expected

    def test_exp_is_its_own_derivative_of_every_order(self):
        """The third derivative of exp is exp."""
        x = y = Variable(1)
        y = x.exp()

        for _ in range(3):
            (y,) = grad(y, [x])

        assert float(y.value) == pytest.approx(np.e, rel=1e-15)

    def test_slope_of_a_linear_function_no_longer_depends_on_its_input(self):
        """The gradient of 3x was not computed from x, and neither was the slope of relu."""
        x = Variable(2)

        assert numbers(grad(*grad(3 * x, [x]), [x], allow_unused=True)) == [None]
        assert numbers(grad(*grad(x.relu(), [x]), [x], allow_unused=True)) == [None]

    def test_gradient_depends_on_its_vector(self):
        """A vector given as a Variable is an input of the gradient; the Jacobian comes back transposed."""
        x, vector = Variable([2, 3]), Variable([1, 1])
        (gradient,) = grad(x**2, [x], vector)

        assert numbers(grad(gradient, [vector], [10, 100])) == [[40, 600]]

    def test_notebook_numbers_come_out(self):
        """Those of Simple_Grad: slopes of the squared norm of the gradients of sum((a + b) * b)."""
        a = Variable([0.4605, 0.4061, 0.9422, 0.3946])
        b = Variable([0.0850, 0.3296, 0.9888, 0.6494])

        da, db = grad(((a + b) * b).sum(), [a, b])
        second = grad((da**2).sum() + (db**2).sum(), [a, b])

        printed = [[1.2611, 2.1304, 5.8394, 3.3869], [2.6923, 4.9201, 13.6563, 8.0727]]
        assert np.array(numbers(second)) == pytest.approx(
            np.array(printed), abs=8e-4
        )  # inputs have four digits

    def test_a_rule_that_hides_a_result_is_wrong_at_second_order_alone(self):
        """Exp with its output as a bare array has the right slope, and no second one."""
        x = Variable(2)
        power = np.exp(2)
        y = Variable(power, (x,), lambda gradient: (gradient * power,))

        (first,) = grad(y, [x])

        assert numbers([first]) == [power]
        assert grad(first, [x], allow_unused=True) == (None,)


class TestVariable:
    """Values, shapes and how they print."""

    @pytest.mark.parametrize("dtype", ["bool", "uint8", "int32", "float32", "float64"])
    def test_value_is_a_float64_copy(self, dtype):
        """Whatever real numbers come in are copied as float64; later changes to them do not show."""
        array = np.ones((2, 3), dtype)

        x = Variable(array)
        array[:] = 0

        assert (x.value.dtype, x.shape) == (np.float64, (2, 3))
        assert x.value.tolist() == [[1, 1, 1], [1, 1, 1]]

    def test_value_cannot_be_changed(self):
        """Writing into the value is refused, since the gradients of what was made of it would be wrong."""
        with pytest.raises(ValueError, match="read-only"):
            Variable([1, 2]).value[0] = 5

    def test_a_variable_made_by_hand_has_no_history(self):
        """Its inputs are none, so the way back ends there; that of a result are what it was made of."""
        x, y = Variable([1]), Variable([2])

        assert (x.inputs, x.backward(y)) == ((), ())
        assert (x * y).inputs == (x, y)
        assert (x + y).inputs == (x, y)

    def test_repr_shows_the_values(self):
        """Any value prints as the nested list of its numbers."""
        assert repr(Variable([[1, 2], [3, 4]])) == "Variable([[1.0, 2.0], [3.0, 4.0]])"

    def test_shapes_of_expand_and_sum_to_size_are_each_other_reversed(self):
        """Expanding adds leading axes and stretches those of size 1; sum_to_size takes them back."""
        x = Variable([[1], [2]])

        wide = x.expand((3, 2, 4))

        assert wide.value.tolist() == 3 * [[4 * [1], 4 * [2]]]
        assert wide.sum_to_size((2, 1)).value.tolist() == [[12], [24]]
        assert wide.sum_to_size((4,)).value.tolist() == 4 * [9]
        assert wide.sum().value.tolist() == 36

    def test_a_number_may_stand_on_the_left(self):
        """Sums, differences and products with a plain number in front are NumPy's."""
        x = Variable([1, 5])

        assert numbers([3 + x, 3 - x, 3 * x]) == [[4, 8], [2, -2], [3, 15]]

    def test_an_array_on_the_left_leaves_the_operation_to_the_variable(self):
        """The product of an array and a Variable is one Variable, not an array of objects."""
        product = np.array([2, 3]) * Variable([5, 7])

        assert product.value.tolist() == [10, 21]


REFUSED = {
    "text": (lambda x: Variable("3"), TypeError, "^expected real numbers, got '3'$"),
    "None": (lambda x: x + None, TypeError, "^expected real numbers, got None$"),
    "complex": (lambda x: x * 1j, TypeError, "^expected real numbers, got 1j$"),
    "a Variable of a Variable": (lambda x: Variable(x), TypeError, r"^expected real numbers, got Variable\("),
    "an exponent that varies": (
        lambda x: x ** x.sum(),
        TypeError,
        r"^expected a number as the exponent, got Variable\(6.0\)$",
    ),
    "+": (
        lambda x: x + np.ones(2),
        ValueError,
        r"^expected shapes that fit each other, got \(2, 3\) and \(2,\)$",
    ),
    "*": (
        lambda x: np.ones(2) * x,
        ValueError,
        r"^expected shapes that fit each other, got \(2, 3\) and \(2,\)$",
    ),
    "@": (lambda x: x @ x, ValueError, r"^expected matrices \(n, k\) @ \(k, m\), got \(2, 3\) @ \(2, 3\)$"),
    "@ a vector": (lambda x: x @ [1, 2, 3], ValueError, r"got \(2, 3\) @ \(3,\)$"),
    "a vector @": (lambda x: Variable([1, 2]) @ x, ValueError, r"got \(2,\) @ \(2, 3\)$"),
    "expand to fewer axes": (
        lambda x: x.expand((3,)),
        ValueError,
        r"^expected a shape that \(2, 3\) expands to, got \(3,\)$",
    ),
    "expand an axis": (lambda x: x.expand((4, 3)), ValueError, r"expands to, got \(4, 3\)$"),
    "sum to more": (
        lambda x: x.sum_to_size((1, 2, 3)),
        ValueError,
        r"^expected a shape that expands to \(2, 3\), got \(1, 2, 3\)$",
    ),
    "sum to another": (lambda x: x.sum_to_size((2,)), ValueError, r"expands to \(2, 3\), got \(2,\)$"),
    "several values": (
        lambda x: grad(x, [x]),
        ValueError,
        r"^expected an output of one value, got shape \(2, 3\); pass a vector to weigh them$",
    ),
    "no values": (lambda x: grad(Variable([]), [x]), ValueError, r"one value, got shape \(0,\); pass"),
    "a vector of another shape": (
        lambda x: grad(x, [x], [1, 2, 3]),
        ValueError,
        r"^expected a vector of the output's shape \(2, 3\), got \(3,\)$",
    ),
    "a vector for a scalar": (lambda x: grad(x.sum(), [x], [1]), ValueError, r"shape \(\), got \(1,\)$"),
    "unused": (
        lambda x: grad(x.sum(), [Variable(1), x, Variable(2)]),
        ValueError,
        r"^expected inputs that the output was computed from, got others at \[0, 2\]; "
        "allow_unused=True gives None for them$",
    ),
}


@pytest.mark.parametrize(("act", "error", "message"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_is_refused_in_a_sentence(act, error, message):
    """An error says what was expected and what came."""
    with pytest.raises(error, match=message):
        act(Variable([[1, 1, 1], [1, 1, 1]]))
