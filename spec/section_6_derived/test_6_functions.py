"""What the notebook Simple_Grad warns of: operators of one's own, and operations in place.

All is float64, on an accelerator too, so that nothing but the rules of calculus decides.
"""

import torch
from torch.autograd import Function

from spec.harness import QUALIFIED, fault, statement
from spec.section_6_derived.leaves import leaf, printed


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


class Kept(Function):
    """The same operator, with a + b kept as it is, a tensor without a graph."""

    @staticmethod
    def forward(ctx, a, b):
        """Return the product, and keep the sum beside what is saved."""
        ctx.total = a + b
        ctx.save_for_backward(b)
        return ctx.total * b

    @staticmethod
    def backward(ctx, gradient):
        """Return the gradients for a and b."""
        (b,) = ctx.saved_tensors
        return gradient * b, gradient * (ctx.total + b)


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


def without_total(real):
    """Return a backward that forgets what comes through a + b for b."""
    return staticmethod(lambda ctx, gradient: (real(ctx, gradient)[0], gradient * ctx.saved_tensors[1]))


@statement("derived.hidden-intermediate-breaks-second-order", notes="notebook Simple_Grad")
@fault("the fused operator is taken apart", Fused, "apply", lambda real: lambda a, b: (a + b) * b)
@fault("the fused operator hides a from b", Fused, "apply", lambda real: lambda a, b: real(a.detach(), b) + a)
@fault("the fused backward forgets a term", Fused, "backward", without_total)
@fault("gradgradcheck is gradcheck", torch.autograd, "gradgradcheck", lambda real: torch.autograd.gradcheck)
@fault("the recomputing operator hides a + b, too", Recomputed, "apply", lambda real: Fused.apply)
class TestHiddenIntermediateBreaksSecondOrder:
    """A custom autograd Function can have right gradients, but silently wrong gradients of gradients. The
    cause is an intermediate result that forward() saves for backward() but does not return.
    gradgradcheck() finds the mistake, and gradcheck() does not.
    """

    def test_first_order_is_right_and_gradcheck_accepts_it(self, device):
        a, b = make_inputs(device)

        da, db = torch.autograd.grad(Fused.apply(a, b).sum(), [a, b])

        torch.testing.assert_close([da, db], [b, a + 2 * b])
        assert torch.autograd.gradcheck(Fused.apply, [a, b], raise_exception=False)

    def test_second_order_is_none_for_a_and_2a_plus_6b_for_b(self, device):
        a, b = make_inputs(device)

        da, db = torch.autograd.grad(squared_norm(Fused.apply(a, b), [a, b]), [a, b], allow_unused=True)

        assert da is None
        torch.testing.assert_close(db, 2 * a + 6 * b)  # not 4a + 10b
        torch.testing.assert_close(db, **printed([1.4312, 2.7896, 7.8169, 4.6857], db, inputs=8))

    def test_gradgradcheck_finds_it(self, device):
        inputs = make_inputs(device)

        assert not torch.autograd.gradgradcheck(Fused.apply, inputs, raise_exception=False)
        assert torch.autograd.gradgradcheck(Recomputed.apply, inputs, raise_exception=False)

    def test_recomputing_or_declaring_the_result_makes_the_second_order_right(self, device):
        a, b = make_inputs(device)

        for outputs in (Recomputed.apply(a, b), Declared.apply(a, b)[0]):
            second = torch.autograd.grad(squared_norm(outputs, [a, b]), [a, b], allow_unused=True)

            assert all(map(torch.is_tensor, second))
            torch.testing.assert_close(second, (2 * a + 4 * b, 4 * a + 10 * b))


def with_graph(real):
    """Return a backward that finds the graph of a + b in what was kept."""

    def backward(ctx, gradient):
        (b,) = ctx.saved_tensors
        ctx.total = ctx.total - b.detach() + b
        return real(ctx, gradient)

    return staticmethod(backward)


@statement(
    "derived.raw-tensor-in-backward",
    notes="notebook Simple_Grad",
    verdict=QUALIFIED,
    says="a backward that multiplies by a raw tensor, one without a history, stops with an AttributeError",
)
@fault("what was kept has a graph", Kept, "backward", with_graph)
def test_raw_tensor_counts_as_a_constant(device):
    """In PyTorch, the backward() of a custom Function may use a result of forward() that has no graph, and no
    error is raised. The result counts as a constant, so the gradients of gradients are silently wrong.
    """
    a, b = make_inputs(device)

    first = torch.autograd.grad(Kept.apply(a, b).sum(), [a, b])
    da, db = torch.autograd.grad(squared_norm(Kept.apply(a, b), [a, b]), [a, b], allow_unused=True)

    torch.testing.assert_close(first, (b, a + 2 * b))
    assert da is None
    torch.testing.assert_close(db, 2 * a + 6 * b)  # not 4a + 10b


def unrecorded(real):
    """Return an in-place product that autograd does not see."""
    return lambda x, factor: (x.data.mul_(factor), x)[1]


@statement("derived.mutation-is-tracked", notes="notebook Simple_Grad")
@fault("*= is not recorded", torch.Tensor, "__imul__", unrecorded)
@fault("*= makes a new tensor of its operand", torch.Tensor, "__imul__", lambda real: lambda x, factor: x * 1)
@fault("an index copies", torch.Tensor, "__getitem__", lambda real: lambda x, index: real(x, index).clone())
class TestMutationIsTracked:
    """Autograd records an in-place operation such as x *= 5. Only the gradients of results that are computed
    from x later include the factor 5. An operation on x is recorded for its views too, and an operation on
    a view for x.
    """

    def test_uses_refer_to_the_value_that_they_saw(self, device):
        a = leaf([2.0, 3.0], device)

        x = a * 1
        y = 3 * x
        x *= 5
        z = 7 * x

        assert torch.autograd.grad(y.sum(), [a], retain_graph=True)[0].tolist() == [3, 3]
        assert torch.autograd.grad(z.sum(), [a])[0].tolist() == [35, 35]

    def test_a_view_and_its_base_share_the_history_of_changes(self, device):
        a = leaf([2.0, 3.0], device)

        x = a * 1
        view = x[1:]
        x *= 5
        view *= 7

        assert torch.autograd.grad(view.sum(), [a], retain_graph=True)[0].tolist() == [0, 35]
        assert torch.autograd.grad(x.sum(), [a])[0].tolist() == [5, 35]
