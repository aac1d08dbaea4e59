"""What the notebook Simple_Grad warns of, leaves out, and points to at its end.

All is float64, on an accelerator too, so that nothing but the rules of calculus decides.
"""

from types import SimpleNamespace

import pytest
import torch
from torch.autograd import Function

from spec.harness import OUTDATED, WRONG, broken_by, claim


def leaf(values, device="cpu"):
    """Return `values` as a float64 tensor to differentiate with respect to."""
    return torch.tensor(values, dtype=torch.float64, device=device, requires_grad=True)


class Fused(Function):
    """(a + b) * b in one step, as a hand-written operator: it keeps a + b for its backward."""

    @staticmethod
    def forward(ctx, a, b):
        """Return the product, and keep what the gradients are made of."""
        total = a + b
        ctx.save_for_backward(b, total)
        return total * b

    @staticmethod
    def backward(ctx, gradient):
        """Return the gradients for a and b."""
        b, total = ctx.saved_tensors
        return gradient * b, gradient * (total + b)


class Recomputed(Function):
    """The same operator, with a + b computed again in its backward."""

    @staticmethod
    def forward(ctx, a, b):
        """Return the product, and keep the inputs alone."""
        ctx.save_for_backward(a, b)
        return (a + b) * b

    @staticmethod
    def backward(ctx, gradient):
        """Return the gradients for a and b."""
        a, b = ctx.saved_tensors
        return gradient * b, gradient * (a + b + b)


class Declared(Function):
    """The same operator, with a + b as a second output."""

    @staticmethod
    def forward(ctx, a, b):
        """Return the product and the sum."""
        total = a + b
        ctx.save_for_backward(b, total)
        return total * b, total

    @staticmethod
    def backward(ctx, gradient, gradient_of_total):
        """Return the gradients for a and b, those that come through the sum included."""
        b, total = ctx.saved_tensors
        through_total = gradient * b + gradient_of_total
        return through_total, through_total + gradient * total


def squared_norm(outputs, inputs):
    """Return the sum of the squares of all gradients, to be differentiated again."""
    gradients = torch.autograd.grad(outputs.sum(), inputs, create_graph=True)
    return sum((gradient**2).sum() for gradient in gradients)


def make_inputs(device):
    """Return a and b, from the notebook's second run."""
    a, b = [0.4605, 0.4061, 0.9422, 0.3946], [0.0850, 0.3296, 0.9888, 0.6494]
    return leaf(a, device), leaf(b, device)


def unfused(a, b):
    """Compute what Fused computes, in PyTorch's own steps."""
    return (a + b) * b


class TestHiddenIntermediate:
    """A backward that reuses a result of the forward pass which autograd never saw."""

    @claim("derived.hidden-intermediate-breaks-second-order", notes="notebook Simple_Grad")
    @broken_by(Fused, "apply", lambda real: unfused)
    @broken_by(Fused, "apply", lambda real: Recomputed.apply)
    @broken_by(Fused, "apply", lambda real: lambda a, b: real(a, b) + a * a)
    def test_hidden_intermediate_loses_its_part_of_the_second_order(self, device):
        """Silently the second order lacks the paths through the hidden a + b: None for a, 2a + 6b for b."""
        a, b = make_inputs(device)

        da, db = torch.autograd.grad(squared_norm(Fused.apply(a, b), [a, b]), [a, b], allow_unused=True)

        assert da is None
        torch.testing.assert_close(db, 2 * a + 6 * b)  # not 4a + 10b
        # Of four printed digits, as are the inputs: each may be 0.00005 off.
        printed = torch.tensor([1.4312, 2.7896, 7.8169, 4.6857], dtype=db.dtype)
        torch.testing.assert_close(db.cpu().detach(), printed, rtol=0, atol=9 * 5e-5)

    @claim("derived.hidden-intermediate-breaks-second-order-only", notes="notebook Simple_Grad")
    @broken_by(Fused, "apply", lambda real: lambda a, b: real(a.detach(), b) + a)
    @broken_by(
        Fused,
        "backward",
        lambda real: staticmethod(
            lambda ctx, gradient: (real(ctx, gradient)[0], gradient * ctx.saved_tensors[1])
        ),
    )
    def test_hidden_intermediate_passes_a_single_backward(self, device):
        """First-order gradients of the operator that hides a + b are right, and gradcheck accepts it."""
        a, b = make_inputs(device)

        da, db = torch.autograd.grad(Fused.apply(a, b).sum(), [a, b])

        torch.testing.assert_close([da, db], [b, a + 2 * b])
        assert torch.autograd.gradcheck(Fused.apply, [a, b], raise_exception=False)

    @claim("derived.hidden-intermediate-is-found-by-gradgradcheck", notes="notebook Simple_Grad")
    @broken_by(torch.autograd, "gradgradcheck", lambda real: torch.autograd.gradcheck)
    @broken_by(Fused, "apply", lambda real: Recomputed.apply)
    @broken_by(Recomputed, "apply", lambda real: Fused.apply)
    def test_gradgradcheck_finds_the_hidden_intermediate(self, device):
        """The operator that hides a + b fails gradgradcheck, and the one that computes it again passes."""
        inputs = make_inputs(device)

        assert not torch.autograd.gradgradcheck(Fused.apply, inputs, raise_exception=False)
        assert torch.autograd.gradgradcheck(Recomputed.apply, inputs, raise_exception=False)

    @claim("derived.hidden-intermediate-recomputed-or-declared", notes="notebook Simple_Grad")
    @broken_by(Recomputed, "apply", lambda real: Fused.apply)
    @broken_by(Declared, "apply", lambda real: lambda a, b: (Fused.apply(a, b), a + b))
    @broken_by(
        Declared,
        "backward",
        lambda real: staticmethod(lambda ctx, gradient, of_total: real(ctx, gradient, 0 * of_total)),
    )
    def test_recomputing_or_declaring_the_intermediate_makes_the_second_order_right(self, device):
        """With a + b computed again in the backward, or given as an output, the second order is right."""
        a, b = make_inputs(device)

        for outputs in (Recomputed.apply(a, b), Declared.apply(a, b)[0]):
            second = torch.autograd.grad(squared_norm(outputs, [a, b]), [a, b], allow_unused=True)

            assert all(map(torch.is_tensor, second))
            torch.testing.assert_close(second, (2 * a + 4 * b, 4 * a + 10 * b))


def unrecorded(real):
    """Return an in-place product that autograd does not see."""
    return lambda x, factor: (x.data.mul_(factor), x)[1]


class TestMutation:
    """In-place operations, which the notebook's own autograd leaves out."""

    @claim("derived.mutation-is-tracked", notes="notebook Simple_Grad")
    @broken_by(torch.Tensor, "__imul__", unrecorded)
    @broken_by(torch.Tensor, "__imul__", lambda real: lambda x, factor: x * 1)
    def test_uses_refer_to_the_value_that_they_saw(self, device):
        """A use before an in-place operation is a use of the old value, one after it of the new."""
        a = leaf([2.0, 3.0], device)

        x = a * 1
        y = 3 * x
        x *= 5
        z = 7 * x

        assert torch.autograd.grad(y.sum(), [a], retain_graph=True)[0].tolist() == [3, 3]
        assert torch.autograd.grad(z.sum(), [a])[0].tolist() == [35, 35]

    @claim("derived.mutation-is-tracked-in-views", notes="notebook Simple_Grad")
    @broken_by(torch.Tensor, "__getitem__", lambda real: lambda x, index: real(x, index).clone())
    @broken_by(torch.Tensor, "__imul__", unrecorded)
    def test_views_and_their_base_share_the_history_of_changes(self, device):
        """A change to a tensor is in the history of a view taken before, and a change to the view in its."""
        a = leaf([2.0, 3.0], device)

        x = a * 1
        view = x[1:]
        x *= 5
        view *= 7

        assert torch.autograd.grad(view.sum(), [a], retain_graph=True)[0].tolist() == [0, 35]
        assert torch.autograd.grad(x.sum(), [a])[0].tolist() == [5, 35]

    @claim("derived.mutation-is-tracked-in-saved-values", notes="notebook Simple_Grad")
    @broken_by(torch.Tensor, "__imul__", unrecorded)
    def test_change_to_a_value_kept_for_backward_is_reported(self, device):
        """backward() is refused if a value that it needs, here the result of exp(), was changed in place."""
        x = leaf([1.0, 2.0], device).exp()
        x *= 5

        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            x.sum().backward()


def cube(x):
    """Return the third power, of a tensor or as TorchScript."""
    return x * x * x


class TestTools:
    """What the notebook points to at its end."""

    @claim(
        "derived.torchscript",
        notes="notebook Simple_Grad",
        verdict=OUTDATED,
        since="2.10",
        says="TorchScript differentiates a program as a whole, by symbols",
    )
    @broken_by(torch.jit._script, "warnings", lambda real: SimpleNamespace(warn=lambda *words: None))
    @broken_by(torch.jit, "script", lambda real: lambda function: function)
    def test_scripting_warns_that_it_is_deprecated(self):
        """torch.jit.script is deprecated and says so; what it makes can still be differentiated."""
        x = leaf([2.0, 3.0])

        with pytest.warns((DeprecationWarning, FutureWarning), match="torch.jit.script` is deprecated"):
            scripted = torch.jit.script(cube)

        assert torch.autograd.grad(scripted(x).sum(), [x])[0].tolist() == [12, 27]

    @claim(
        "derived.torchscript-trace",
        notes="notebook Simple_Grad",
        verdict=OUTDATED,
        since="2.10",
        says="TorchScript differentiates a program as a whole, by symbols",
    )
    @broken_by(torch.jit._trace, "warnings", lambda real: SimpleNamespace(warn=lambda *words: None))
    @broken_by(torch.jit, "trace", lambda real: lambda function, inputs: function)
    def test_tracing_warns_that_it_is_deprecated(self):
        """torch.jit.trace is deprecated and says so; what it makes can still be differentiated."""
        x = leaf([2.0, 3.0])

        with pytest.warns((DeprecationWarning, FutureWarning), match="torch.jit.trace` is deprecated"):
            traced = torch.jit.trace(cube, (torch.ones(2, dtype=x.dtype),))

        assert torch.autograd.grad(traced(x).sum(), [x])[0].tolist() == [12, 27]

    @claim(
        "derived.torch-grad-name",
        notes="notebook Simple_Grad",
        verdict=WRONG,
        says="a new operator is best checked with torch.grad",
    )
    @broken_by(
        torch,
        "__getattr__",
        lambda real: lambda name: torch.autograd.grad if name == "grad" else real(name),
    )
    @broken_by(torch.autograd, "grad", lambda real: lambda outputs, inputs: (outputs, inputs))
    def test_torch_has_no_grad_of_its_own(self):
        """There is no torch.grad; it is torch.autograd.grad that gives gradients."""
        x = leaf([2.0, 3.0])

        found = torch.autograd.grad(cube(x).sum(), [x])

        assert not hasattr(torch, "grad")
        torch.testing.assert_close(found[0], 3 * x**2)
