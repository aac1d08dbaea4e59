"""blitz/explained/tape.py: values held to NumPy, gradients of every order to finite differences."""

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


def shared(a, b):
    """Use a result four times, in three operations."""
    c = a * b.T
    return (c * c * a + c.exp() * 0.01).sum() + c.sum() * a.sum()


def noting(rule, name, ran):
    """Return a rule that notes its name each time that it runs."""
    return lambda gradient: ran.append(name) or rule(gradient)


# Each weighs its values by others (B, A), so that a gradient in the wrong place cannot hide.
EXPRESSIONS = {
    "a + b": lambda a, b: ((a + b.T) * A).sum(),
    "a - b": lambda a, b: ((a - b.T) * A).sum(),
    "a * b": lambda a, b: (a * b.T * A).sum(),
    "a @ b": lambda a, b: (a @ b * B[:2]).sum(),
    "a.T": lambda a, b: (a.T * b * B).sum(),
    "a.expand": lambda a, b: (a.expand((4, 2, 3)) * np.arange(24).reshape(4, 2, 3) * b.T).sum(),
    "a.sum_to_size": lambda a, b: (a.sum_to_size((1, 3)) * b.T).sum(),
    "a.sum_to_size, an axis less": lambda a, b: (a.sum_to_size((3,)) * a * b.T).sum(),
    "a**3": lambda a, b: (a**3 * b.T).sum(),
    "a**-1": lambda a, b: (a**-1 * b.T).sum(),
    "(a * a)**0.5": lambda a, b: ((a * a) ** 0.5 * b.T).sum(),
    "a**0": lambda a, b: (a**0 * b.T + a).sum(),
    "a.relu": lambda a, b: (a.relu() * b.T).sum(),
    "a.exp": lambda a, b: (a.exp() * b.T).sum(),
    "a.log": lambda a, b: ((a * a).log() * b.T).sum(),
    "a number": lambda a, b: (3 * (2 + -a) - 4 + (5 + b.T * -1)).sum() * b.sum(),
    "broadcasting": lambda a, b: ((a + b.sum_to_size((1, 2)).T) * b.sum_to_size((1, 1)) * a).sum(),
    "shared": shared,
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

    def test_slopes_at_zero_are_those_of_pytorch(self):
        """At its corner relu is flat, and x**0 and x**1 have the slopes 0 and 1, without NumPy's warnings."""
        x = Variable([-2, 0, 3])

        for result, expected in ((x.relu(), [0, 0, 1]), (x**0, [0, 0, 0]), (x**1, [1, 1, 1])):
            assert numbers(grad(result.sum(), [x])) == [expected]

    def test_later_use_is_counted_before_an_earlier_result_hands_on(self):
        """A result used right away and once more much later hands both on to its own input."""
        x = Variable(2)
        early = x * 3
        late = early * 1 * 1 * 1 + early

        assert numbers(grad(late, [late, x, early])) == [1, 6, 2]

    def test_input_that_was_not_used_gets_none_if_allowed(self):
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
            derivatives += grad(derivatives[-1].sum(), [x])

        assert numbers(derivatives) == [[0, 16], [0, 32], [0, 48], [0, 48], [24, 24], [0, 0]]

    def test_slope_of_a_linear_function_no_longer_depends_on_its_input(self):
        """The gradient of 3x was not computed from x, and neither was the slope of relu."""
        x = Variable(2)

        assert numbers(grad(*grad(3 * x, [x]), [x], allow_unused=True)) == [None]
        assert numbers(grad(*grad(x.relu(), [x]), [x], allow_unused=True)) == [None]

    def test_rule_runs_again_in_a_second_call_if_the_gradients_depend_on_its_result(self):
        """Of (a + b) * b, the rule of the sum runs in both calls, and that of the product in the first."""
        a, b, ran = Variable(A), Variable(A), []
        total = a + b
        product = total * b
        for result, name in ((total, "a + b"), (product, "(a + b) * b")):
            result.backward = noting(result.backward, name, ran)

        da, db = grad(product.sum(), [a, b])
        assert ran == ["(a + b) * b", "a + b"]

        grad((da * da + db * db).sum(), [a, b])
        assert ran[2:] == ["a + b"]

    def test_rule_with_a_number_at_hand_hides_what_it_is_made_of(self):
        """A rule that does not compute a + b again is right once, and wrong without a word from then on."""
        a, b = Variable([2, 3]), Variable([5, 7])
        total = a.value + b.value
        product = Variable(total * b.value, (a, b), lambda gradient: (gradient * b, gradient * (b + total)))

        da, db = grad(product.sum(), [a, b])
        second = grad((da * da + db * db).sum(), [a, b], allow_unused=True)

        assert numbers([da, db]) == [[5, 7], [2 + 2 * 5, 3 + 2 * 7]]
        assert numbers(second) == [None, [2 * 2 + 6 * 5, 2 * 3 + 6 * 7]]  # not 2a + 4b and 4a + 10b


class TestVariable:
    """Values, and how they print."""

    def test_value_is_a_float64_copy_that_cannot_be_changed(self):
        """What was made of a value would have wrong gradients if it changed."""
        array = np.ones((2, 3), dtype=np.int32)

        x = Variable(array)
        array[:] = 0

        assert (x.value.dtype, x.shape) == (np.float64, (2, 3))
        assert repr(x) == "Variable([[1.0, 1.0, 1.0], [1.0, 1.0, 1.0]])"
        with pytest.raises(ValueError, match="read-only"):
            x.value[0] = 5

    def test_values_are_those_of_numpy(self):
        """Sums go to each size that expands back, and a plain number may stand on the left."""
        x, a = Variable(A), np.array(A)

        assert x.sum_to_size((2, 1)).value.tolist() == a.sum(1, keepdims=True).tolist()
        assert x.sum_to_size((3,)).value.tolist() == a.sum(0).tolist()
        assert x.expand((4, 2, 3)).value.tolist() == [A] * 4
        assert numbers([3 + x, x - 3, 3 * x, x**2]) == [y.tolist() for y in (3 + a, a - 3, 3 * a, a**2)]
        assert numbers([x.exp(), x.relu()]) == [np.exp(a).tolist(), a.clip(min=0).tolist()]
        assert (x * x).log().value.tolist() == np.log(a * a).tolist()


REFUSED = {
    "a vector @": (
        lambda x: x @ Variable([1, 2, 3]),
        r"^expected matrices \(n, k\) @ \(k, m\), got \(2, 3\) @ \(3,\)$",
    ),
    "several values": (
        lambda x: grad(x, [x]),
        r"^expected an output of one value, got shape \(2, 3\); take its sum\(\)$",
    ),
    "unused": (
        lambda x: grad(x.sum(), [Variable(1), x, Variable(2)]),
        r"^expected inputs that the output was computed from, got others at \[0, 2\]; allow_unused=True",
    ),
}


@pytest.mark.parametrize(("act", "message"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_is_refused_in_a_sentence(act, message):
    """An error says what was expected and what came."""
    with pytest.raises(ValueError, match=message):
        act(Variable(A))
