"""blitz/explained/tape.py: slopes at zero, what a gradient still depends on, and what is refused.

spec/section_6_derived/test_6_first_principles.py holds the gradients of first and second order of generated
expressions to torch.autograd.
"""

import numpy as np
import pytest

from blitz.explained.tape import Variable, grad

A = [[0.5, -1.5, 2.0], [1.25, 3.0, -0.75]]


def numbers(variables):
    """Return what is in each Variable as nested lists, None as it is."""
    return [variable and variable.value.tolist() for variable in variables]


def noting(rule, name, ran):
    """Return a rule that notes its name each time that it runs."""
    return lambda gradient: ran.append(name) or rule(gradient)


def test_slopes_at_zero_are_those_of_pytorch():
    """At its corner relu is flat, and x**0 and x**1 have the slopes 0 and 1, without NumPy's warnings."""
    x = Variable([-2, 0, 3])

    for result, expected in ((x.relu(), [0, 0, 1]), (x**0, [0, 0, 0]), (x**1, [1, 1, 1])):
        assert numbers(grad(result.sum(), [x])) == [expected]


def test_fourth_order_of_a_fourth_power_is_24():
    """x**4 has the derivatives 4x³, 12x², 24x, 24, 0, at 0 as well."""
    x = Variable([0, 2])
    derivatives = [x**4]

    for _ in range(5):
        derivatives += grad(derivatives[-1].sum(), [x])

    assert numbers(derivatives) == [[0, 16], [0, 32], [0, 48], [0, 48], [24, 24], [0, 0]]


def test_slope_of_a_linear_function_no_longer_depends_on_its_input():
    """The gradient of 3x was not computed from x, and neither was the slope of relu."""
    x = Variable(2)

    assert numbers(grad(*grad(3 * x, [x]), [x], allow_unused=True)) == [None]
    assert numbers(grad(*grad(x.relu(), [x]), [x], allow_unused=True)) == [None]


def test_rule_runs_again_in_a_second_call_if_the_gradients_depend_on_its_result():
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


def test_value_is_a_float64_copy_that_cannot_be_changed():
    """What was made of a value would have wrong gradients if it changed."""
    array = np.ones((2, 3), dtype=np.int32)

    x = Variable(array)
    array[:] = 0

    assert (x.value.dtype, x.shape) == (np.float64, (2, 3))
    assert repr(x) == "Variable([[1.0, 1.0, 1.0], [1.0, 1.0, 1.0]])"
    with pytest.raises(ValueError, match="read-only"):
        x.value[0] = 5


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
