"""The notebook Simple_Grad, which builds autograd anew in a few lines: its numbers, and its rules.

All is float64, on an accelerator too, so that nothing but the rules of calculus decides.
"""

import functools

import pytest
import torch
from torch.autograd import Function
from torch.autograd.function import FunctionCtx

from spec.harness import QUALIFIED, fault, since, statement
from spec.section_6_derived.leaves import leaf, leaves, printed

# The notebook's cells come from two runs with different random inputs.
FIRST_RUN = [0.0171, 0.1633, 0.5833, 0.3794], [0.3774, 0.6308, 0.5239, 0.1387]
SECOND_RUN = [0.4605, 0.4061, 0.9422, 0.3946], [0.0850, 0.3296, 0.9888, 0.6494]


def second_use_forgotten(real):
    """Return an operation that lets its first operand alone have a gradient."""
    return lambda x, y: real(x, y.detach() if torch.is_tensor(y) else y)


def graph_forgotten(real):
    """Return an autograd.grad whose gradients have the right values, and no derivatives."""

    def grad(outputs, inputs, **options):
        found = real(outputs, inputs, **options)
        return tuple(g if g is None else g.detach() + 0 * x for g, x in zip(found, inputs, strict=True))

    return grad


def zeros_for_none(real):
    """Return an autograd.grad that does not tell an unused input from one without influence."""

    def grad(outputs, inputs, **options):
        found = real(outputs, inputs, **options)
        return tuple(torch.zeros_like(x) if g is None else g for g, x in zip(found, inputs, strict=True))

    return grad


def zeros_for_no_grad(real):
    """Return a property grad that is zeros where there is no gradient."""
    return property(lambda x: torch.zeros_like(x) if real.__get__(x) is None else real.__get__(x))


def forcing(**forced):
    """Return a replacement for a function that forces some of its options."""
    return lambda real: functools.wraps(real)(lambda *inputs, **options: real(*inputs, **options | forced))


@statement("derived.first-order-values", notes="notebook Simple_Grad")
@fault("+ forgets its second operand", torch.Tensor, "__add__", second_use_forgotten)
@fault("* forgets its second operand", torch.Tensor, "__mul__", second_use_forgotten)
def test_gradients_of_the_loss_are_b_and_a_plus_2b(device):
    """The gradient of `((a + b) * b).sum()` with respect to a is b. The gradient with respect to b is a + 2b,
    whose values the notebook Simple_Grad printed.
    """
    a, b = leaves(FIRST_RUN, device)

    da, db = torch.autograd.grad(((a + b) * b).sum(), [a, b])

    torch.testing.assert_close([da, db], [b, a + 2 * b])
    torch.testing.assert_close(db, **printed([0.7719, 1.4249, 1.6311, 0.6567], db, inputs=3))


@statement("derived.second-order-values", notes="notebook Simple_Grad")
@fault("gradients have no derivatives", torch.autograd, "grad", graph_forgotten)
@fault("** forgets one of its factors", torch.Tensor, "__pow__", lambda real: lambda x, n: x.detach() * x)
@fault("create_graph is always on", torch.autograd, "grad", forcing(create_graph=True))
class TestSecondOrderValues:
    """Gradients from torch.autograd.grad can be differentiated again if create_graph=True was passed. Let da
    and db be the gradients of `((a + b) * b).sum()`. Then the gradients of `(da**2 + db**2).sum()` are 2a +
    4b for a and 4a + 10b for b, as the notebook Simple_Grad printed.
    """

    def test_gradients_of_the_squared_norm_of_the_gradients_are_as_printed(self, device):
        a, b = leaves(SECOND_RUN, device)
        da, db = torch.autograd.grad(((a + b) * b).sum(), [a, b], create_graph=True)

        dda, ddb = torch.autograd.grad((da**2).sum() + (db**2).sum(), [a, b])

        torch.testing.assert_close([dda, ddb], [2 * a + 4 * b, 4 * a + 10 * b])
        torch.testing.assert_close(dda, **printed([1.2611, 2.1304, 5.8394, 3.3869], dda, inputs=6))
        torch.testing.assert_close(ddb, **printed([2.6923, 4.9201, 13.6563, 8.0727], ddb, inputs=14))

    def test_gradients_without_create_graph_cannot_be_differentiated(self, device):
        a = leaf([2.0, 3.0], device)

        (da,) = torch.autograd.grad((a**3).sum(), [a])

        with pytest.raises(RuntimeError, match="does not require grad"):
            torch.autograd.grad(da.sum(), [a])


@statement("derived.every-use-contributes", notes="notebook Simple_Grad")
@fault("* forgets its second operand", torch.Tensor, "__mul__", second_use_forgotten)
@fault("+ forgets its second operand", torch.Tensor, "__add__", second_use_forgotten)
def test_gradients_of_all_uses_are_summed(device):
    """Every use of a tensor in an expression adds to the gradient of the tensor. The gradient of
    (a * a).sum() is 2a, as the notebook Simple_Grad printed. The gradient of (a + a).sum() is 2 for every
    element of a.
    """
    a = leaf(SECOND_RUN[0], device)

    (of_product,) = torch.autograd.grad((a * a).sum(), [a])
    (of_sum,) = torch.autograd.grad((a + a).sum(), [a])

    torch.testing.assert_close(of_product, **printed([0.9209, 0.8121, 1.8843, 0.7893], a, inputs=2))
    assert of_sum.tolist() == [2, 2, 2, 2]


class ScaledTwice(Function):
    """Gives 2x and 3x, and notes what gradient its backward gets for the second."""

    @staticmethod
    def forward(ctx, x, seen, materialize):
        """Return both."""
        ctx.seen = seen
        if not materialize:
            ctx.set_materialize_grads(False)
        return 2 * x, 3 * x

    @staticmethod
    def backward(ctx, first, second):
        """Pass on the gradient of the first alone."""
        ctx.seen.append(second if second is None else second.tolist())
        return 2 * first, None, None


@statement(
    "derived.unused-input-gradient-is-none",
    notes="notebook Simple_Grad",
    verdict=QUALIFIED,
    says="as in PyTorch itself, the gradient of a variable that the loss does not use is None, not zeros",
)
@fault("grad is zeros where there is none", torch.Tensor, "grad", zeros_for_no_grad)
@fault("autograd.grad gives zeros for None", torch.autograd, "grad", zeros_for_none)
@fault("allow_unused is always on", torch.autograd, "grad", forcing(allow_unused=True))
@fault(
    "materialize_grads is ignored",
    torch.autograd,
    "grad",
    lambda real: (
        lambda *inputs, materialize_grads=False, **options: real(*inputs, allow_unused=True, **options)
    ),
)
@fault(
    "set_materialize_grads is ignored",
    FunctionCtx,
    "set_materialize_grads",
    lambda real: lambda ctx, on: None,
)
class TestUnusedInputGradientIsNone:
    """If the loss does not use a leaf tensor, loss.backward() leaves the .grad of this tensor at None. By
    default, torch.autograd.grad raises a RuntimeError for such a tensor. It returns None with
    allow_unused=True, and zeros with materialize_grads=True (since PyTorch 2.1).
    """

    def test_backward_leaves_none_on_an_unused_leaf_and_zeros_where_the_slope_is_0(self, device):
        used, unused = leaves([[1.0, 2.0], [3.0, 4.0]], device)

        (0 * used).sum().backward()

        assert used.grad.tolist() == [0, 0]
        assert unused.grad is None

    def test_autograd_grad_refuses_an_unused_input_unless_allowed(self, device):
        used, unused = leaves([[1.0, 2.0], [3.0, 4.0]], device)
        loss = (5 * used).sum()

        found = torch.autograd.grad(loss, [unused, used], allow_unused=True, retain_graph=True)

        assert found[0] is None
        assert found[1].tolist() == [5, 5]
        with pytest.raises(RuntimeError, match="not have been used in the graph"):
            torch.autograd.grad(loss, [unused, used])

    @since("2.1")
    def test_materialize_grads_gives_zeros_in_the_shape_of_the_input(self, device):
        used, unused = leaves([[1.0, 2.0], [3.0, 4.0, 5.0]], device)
        try:
            (found,) = torch.autograd.grad((5 * used).sum(), [unused], materialize_grads=True)
        except TypeError:  # as releases before say it
            found = None

        assert found is not None
        assert found.tolist() == [0, 0, 0]

    def test_backward_of_a_function_gets_zeros_for_an_unused_output_unless_it_asks(self, device):
        x, seen = leaf([1.0, 2.0], device), []

        for materialize in (True, False):
            ScaledTwice.apply(x, seen, materialize)[0].sum().backward()

        assert seen == [[0, 0], None]
        assert x.grad.tolist() == [4, 4]


@statement("derived.sum-backward-is-expand", notes="notebook Simple_Grad")
@fault("sum works on a copy", torch.Tensor, "sum", lambda real: lambda x: real(x * 1))
@fault("sum divides by the number of values", torch.Tensor, "sum", lambda real: lambda x: x.mean())
@fault(
    "expand repeats without a gradient",
    torch.Tensor,
    "expand",
    lambda real: lambda x, *shape: torch.cat([x, real(x.detach(), *shape)[:, 1:]], 1),
)
class TestSumBackwardIsExpand:
    """The backward pass of sum() expands one number, the gradient of the sum, to the shape of the input. The
    number is not copied. The backward pass of expand() adds up the gradients of all repetitions of an
    element.
    """

    def test_gradient_of_a_sum_is_one_number_expanded_and_copied_into_a_leaf(self, device):
        x = leaf([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], device)
        doubled = 2 * x

        (gradient,) = torch.autograd.grad(doubled.sum(), [doubled])
        x.sum().backward()

        assert gradient.tolist() == x.grad.tolist() == [[1, 1, 1], [1, 1, 1]]
        assert gradient.stride() == (0, 0)
        assert x.grad.stride() == (3, 1)

    def test_gradient_of_an_expanded_value_is_summed_over_its_copies(self, device):
        x = leaf([[1.0], [2.0]], device)
        weights = torch.tensor([[1.0, 2.0, 4.0], [10.0, 20.0, 40.0]], dtype=x.dtype, device=device)

        (gradient,) = torch.autograd.grad((x.expand(2, 3) * weights).sum(), [x])

        assert gradient.tolist() == [[7], [70]]
