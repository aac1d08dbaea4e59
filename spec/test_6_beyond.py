"""What the notes link to: the notebook Simple_Grad, which builds autograd anew in a few lines.

All is float64, on an accelerator too, so that nothing but the rules of calculus decides.
"""

import functools
import inspect

import pytest
import torch
from torch.autograd import Function
from torch.autograd.function import FunctionCtx

from spec.harness import QUALIFIED, broken_by, claim

# The notebook's cells come from two runs with different random inputs, printed with four digits.
ROUNDING = 5e-5
FIRST_RUN = [0.0171, 0.1633, 0.5833, 0.3794], [0.3774, 0.6308, 0.5239, 0.1387]
SECOND_RUN = [0.4605, 0.4061, 0.9422, 0.3946], [0.0850, 0.3296, 0.9888, 0.6494]


def leaf(values, device="cpu"):
    """Return `values` as a float64 tensor to differentiate with respect to."""
    return torch.tensor(values, dtype=torch.float64, device=device, requires_grad=True)


def leaves(lists, device="cpu"):
    """Return a tensor to differentiate with respect to for each list."""
    return [leaf(values, device) for values in lists]


def assert_printed(tensor, printed, *, inputs):
    """Fail unless `tensor` is what the notebook printed, given so many inputs that it had rounded."""
    expected = torch.tensor(printed, dtype=torch.float64)
    torch.testing.assert_close(tensor.detach().cpu(), expected, rtol=0, atol=(inputs + 1) * ROUNDING)


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


def forcing(**forced):
    """Return a replacement for a function that forces some of its options."""
    return lambda real: functools.wraps(real)(lambda *inputs, **options: real(*inputs, **options | forced))


class TestNotebookNumbers:
    """The loss sum((a + b) * b) of the notebook, and its gradients."""

    @claim("derived.first-order-values", notes="notebook Simple_Grad")
    @broken_by(torch.Tensor, "__add__", second_use_forgotten)
    @broken_by(torch.Tensor, "__mul__", second_use_forgotten)
    def test_gradients_of_the_loss_are_b_and_a_plus_2b(self, device):
        """The gradients of sum((a + b) * b) are b for a and a + 2b for b, as the notebook printed them."""
        a, b = leaves(FIRST_RUN, device)

        da, db = torch.autograd.grad(((a + b) * b).sum(), [a, b])

        torch.testing.assert_close([da, db], [b, a + 2 * b])
        assert_printed(db, [0.7719, 1.4249, 1.6311, 0.6567], inputs=3)

    @claim("derived.second-order-values", notes="notebook Simple_Grad")
    @broken_by(torch.autograd, "grad", graph_forgotten)
    @broken_by(torch.Tensor, "__pow__", lambda real: lambda x, exponent: x.detach() * x)
    def test_gradients_of_the_squared_norm_of_the_gradients_are_as_printed(self, device):
        """The gradients of |da|² + |db|² are 2(a + 2b) for a and 2b + 4(a + 2b) for b, as printed."""
        a, b = leaves(SECOND_RUN, device)
        da, db = torch.autograd.grad(((a + b) * b).sum(), [a, b], create_graph=True)

        dda, ddb = torch.autograd.grad((da**2).sum() + (db**2).sum(), [a, b])

        torch.testing.assert_close([dda, ddb], [2 * a + 4 * b, 4 * a + 10 * b])
        assert_printed(dda, [1.2611, 2.1304, 5.8394, 3.3869], inputs=6)
        assert_printed(ddb, [2.6923, 4.9201, 13.6563, 8.0727], inputs=14)

    @claim("derived.second-order-values-need-create-graph", notes="notebook Simple_Grad")
    @broken_by(torch.autograd, "grad", forcing(create_graph=True))
    def test_gradients_without_create_graph_cannot_be_differentiated(self, device):
        """Without create_graph=True the gradients have no history, and differentiating them is refused."""
        a = leaf([2.0, 3.0], device)

        (da,) = torch.autograd.grad((a**3).sum(), [a])

        with pytest.raises(RuntimeError, match="does not require grad"):
            torch.autograd.grad(da.sum(), [a])

    @claim("derived.every-use-contributes", notes="notebook Simple_Grad")
    @broken_by(torch.Tensor, "__mul__", second_use_forgotten)
    @broken_by(torch.Tensor, "__add__", second_use_forgotten)
    def test_gradients_of_all_uses_are_summed(self, device):
        """Each use of a variable adds to its gradient: that of a * a is 2a, that of a + a is 2."""
        a = leaf(SECOND_RUN[0], device)

        (of_product,) = torch.autograd.grad((a * a).sum(), [a])
        (of_sum,) = torch.autograd.grad((a + a).sum(), [a])

        assert_printed(of_product, [0.9209, 0.8121, 1.8843, 0.7893], inputs=2)
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


class TestUnusedInput:
    """What a variable gets that the loss was not computed from."""

    @claim(
        "derived.unused-input-gradient-is-none",
        notes="notebook Simple_Grad",
        verdict=QUALIFIED,
        says="a variable that the loss does not use gets None as its gradient, not zeros",
    )
    @broken_by(
        torch.Tensor,
        "grad",
        lambda real: property(lambda x: torch.zeros_like(x) if real.__get__(x) is None else real.__get__(x)),
    )
    def test_backward_leaves_no_grad_on_an_unused_tensor(self, device):
        """backward() leaves None in the grad of a leaf that was not used, zeros where the slope is 0."""
        used, unused = leaves([[1.0, 2.0], [3.0, 4.0]], device)

        (0 * used).sum().backward()

        assert used.grad.tolist() == [0, 0]
        assert unused.grad is None

    @claim(
        "derived.unused-input-gradient-is-none-if-allowed",
        notes="notebook Simple_Grad",
        verdict=QUALIFIED,
        says="a variable that the loss does not use gets None as its gradient, not zeros",
    )
    @broken_by(torch.autograd, "grad", zeros_for_none)
    @broken_by(torch.autograd, "grad", forcing(allow_unused=True))
    def test_autograd_grad_refuses_an_unused_input_unless_allowed(self, device):
        """autograd.grad refuses an unused input with a RuntimeError; allow_unused=True gives None for it."""
        used, unused = leaves([[1.0, 2.0], [3.0, 4.0]], device)
        loss = (5 * used).sum()

        found = torch.autograd.grad(loss, [unused, used], allow_unused=True, retain_graph=True)

        assert found[0] is None
        assert found[1].tolist() == [5, 5]
        with pytest.raises(RuntimeError, match="not have been used in the graph"):
            torch.autograd.grad(loss, [unused, used])

    @claim(
        "derived.unused-input-gradient-is-none-or-zeros",
        notes="notebook Simple_Grad",
        verdict=QUALIFIED,
        since="2.1",
        says="a variable that the loss does not use gets None as its gradient, not zeros",
    )
    @broken_by(torch.autograd, "grad", forcing(materialize_grads=False, allow_unused=True))
    def test_materialize_grads_gives_zeros_for_an_unused_input(self, device):
        """With materialize_grads=True, autograd.grad gives zeros in the shape of an unused input."""
        used, unused = leaves([[1.0, 2.0], [3.0, 4.0, 5.0]], device)

        assert "materialize_grads" in inspect.signature(torch.autograd.grad).parameters
        (found,) = torch.autograd.grad((5 * used).sum(), [unused], materialize_grads=True)

        assert torch.is_tensor(found)
        assert found.tolist() == [0, 0, 0]

    @claim(
        "derived.unused-input-gradient-is-none-in-functions",
        notes="notebook Simple_Grad",
        verdict=QUALIFIED,
        says="inside, PyTorch does the same, with tensors that are undefined",
    )
    @broken_by(FunctionCtx, "set_materialize_grads", lambda real: lambda ctx, value: None)
    @broken_by(
        ScaledTwice,
        "forward",
        lambda real: staticmethod(lambda ctx, x, seen, option: real(ctx, x, seen, False)),
    )
    def test_backward_of_a_function_gets_zeros_for_an_unused_output(self, device):
        """A custom Function's backward gets zeros for an unused output; None only if it asks for it."""
        x, seen = leaf([1.0, 2.0], device), []

        for materialize in (True, False):
            ScaledTwice.apply(x, seen, materialize)[0].sum().backward()

        assert seen == [[0, 0], None]
        assert x.grad.tolist() == [4, 4]


def with_expanded_grad(real):
    """Return a sum() after whose backward pass the leaf keeps the expanded gradient as it came."""

    def total(x):
        x.register_post_accumulate_grad_hook(lambda x: setattr(x, "grad", x.grad[0, 0].expand(x.shape)))
        return real(x)

    return total


class TestSumAndExpand:
    """Each is the other's backward."""

    @claim("derived.sum-backward-is-expand", notes="notebook Simple_Grad")
    @broken_by(torch.Tensor, "sum", lambda real: lambda x: real(x * 1))
    @broken_by(torch.Tensor, "sum", lambda real: lambda x: x.mean())
    def test_gradient_of_a_sum_is_one_number_expanded(self, device):
        """The gradient that sum() hands back is one number in memory, seen in the shape of its input."""
        x = 2 * leaf([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], device)

        (gradient,) = torch.autograd.grad(x.sum(), [x], torch.tensor(7.0, dtype=x.dtype, device=device))

        assert gradient.tolist() == [[7, 7, 7], [7, 7, 7]]
        assert gradient.stride() == (0, 0)

    @claim("derived.sum-backward-is-expand-not-in-leaves", notes="notebook Simple_Grad")
    @broken_by(torch.Tensor, "sum", with_expanded_grad)
    def test_grad_of_a_leaf_has_memory_of_its_own(self, device):
        """What backward() accumulates in a leaf's grad is laid out like the leaf, and can be written to."""
        x = leaf([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], device)

        x.sum().backward()

        assert x.grad.stride() == (3, 1)
        x.grad[0, 1] = 9
        assert x.grad.tolist() == [[1, 9, 1], [1, 1, 1]]

    @claim("derived.sum-backward-is-expand-and-back", notes="notebook Simple_Grad")
    @broken_by(
        torch.Tensor,
        "expand",
        lambda real: lambda x, *shape: torch.cat([x, real(x.detach(), *shape)[:, 1:]], 1),
    )
    @broken_by(torch.Tensor, "expand", lambda real: lambda x, *shape: real(x.mean().view(1, 1), *shape))
    def test_gradient_of_an_expanded_value_is_summed_over_its_copies(self, device):
        """The gradient of a value that expand() repeats is the sum over its copies."""
        x = leaf([[1.0], [2.0]], device)
        weights = torch.tensor([[1.0, 2.0, 4.0], [10.0, 20.0, 40.0]], dtype=x.dtype, device=device)

        (gradient,) = torch.autograd.grad((x.expand(2, 3) * weights).sum(), [x])

        assert gradient.tolist() == [[7], [70]]
