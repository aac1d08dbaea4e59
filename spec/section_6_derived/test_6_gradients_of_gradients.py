"""The notebook Simple_Grad, gradients of gradients: what runs again, what is None, and the two exercises.

All is float64, on an accelerator too, so that nothing but the rules of calculus decides.
"""

import pytest
import torch
from torch.autograd import Function
from torch.autograd.function import FunctionCtx

from spec.harness import ANSWERED, QUALIFIED, fault, statement
from spec.section_6_derived.leaves import leaf
from spec.section_6_derived.test_6_functions import Declared, Recomputed, make_inputs, squared_norm
from spec.section_6_derived.test_6_simple_grad import graph_forgotten, second_use_forgotten, zeros_for_none


class Factor(Function):
    """x times a factor; if that is None, x itself, and no gradient for it."""

    @staticmethod
    def forward(ctx, x, factor):
        """Return the product."""
        ctx.factor = factor
        return x * (factor or 1)

    @staticmethod
    def backward(ctx, gradient):
        """Return the gradient for x, None without a factor."""
        return None if ctx.factor is None else gradient * ctx.factor, None


class Doubled(Function):
    """2x; without `materialize`, its backward gets None for a gradient that is None."""

    @staticmethod
    def forward(ctx, x, materialize):
        """Return twice as much."""
        ctx.set_materialize_grads(materialize)
        return 2 * x

    @staticmethod
    def backward(ctx, gradient):
        """Return the gradient for x."""
        return None if gradient is None else 2 * gradient, None


class Guarded(Function):
    """(a + b) * b, with a + b as a second output; as in the notebook, it skips gradients that are None."""

    @staticmethod
    def forward(ctx, a, b, seen):
        """Return the product and the sum; `seen` gets which gradients each backward has."""
        ctx.set_materialize_grads(False)
        ctx.seen = seen
        total = a + b
        ctx.save_for_backward(b, total)
        return total * b, total

    @staticmethod
    def backward(ctx, of_product, of_total):
        """Return the gradients for a and b."""
        ctx.seen.append((of_product is not None, of_total is not None))
        b, total = ctx.saved_tensors
        if of_product is None:
            return of_total, of_total, None
        through_total = of_product * b if of_total is None else of_product * b + of_total
        return through_total, through_total + of_product * total, None


def counted(node, name, ran):
    """Have a node note its name each time that its backward runs."""
    node.register_hook(lambda *gradients: ran.append(name))


# Faults


def through_logarithms(real):
    """Return a product of positive numbers whose gradient is made of the product itself."""
    return lambda x, y: (x.log() + y.log()).exp()


@statement(
    "derived.backward-runs-again",
    notes="notebook Simple_Grad",
    verdict=QUALIFIED,
    says="the entries of the tape that ran in the first call to grad run again in the second",
)
@fault("gradients have no derivatives", torch.autograd, "grad", graph_forgotten)
@fault("* works by logarithms", torch.Tensor, "__mul__", through_logarithms)
@fault("the recomputing operator declares a + b", Recomputed, "apply", lambda real: Declared.apply)
class TestBackwardRunsAgain:
    """If gradients are differentiated, the backward pass of an operation runs again only if the gradients
    depend on the operation's result. For the gradients of ((a + b) * b).sum(), the backward pass of a + b
    runs again, but not that of the product.
    """

    def test_backward_of_the_sum_runs_again_and_that_of_the_product_does_not(self, device):
        a, b = make_inputs(device)
        total = a + b
        product = total * b
        loss, ran = product.sum(), []
        for result, name in ((total, "a + b"), (product, "(a + b) * b"), (loss, "sum")):
            counted(result.grad_fn, name, ran)

        da, db = torch.autograd.grad(loss, [a, b], create_graph=True)
        assert ran == ["sum", "(a + b) * b", "a + b"]

        torch.autograd.grad((da**2 + db**2).sum(), [a, b])
        assert ran[3:] == ["a + b"]

    @pytest.mark.parametrize(("operator", "runs"), [(Recomputed, 1), (Declared, 2)])
    def test_backward_of_an_operator_runs_again_if_it_declares_what_it_kept(self, operator, runs, device):
        a, b = make_inputs(device)
        outputs, ran = operator.apply(a, b), []
        product = outputs if torch.is_tensor(outputs) else outputs[0]
        counted(product.grad_fn, "operator", ran)

        torch.autograd.grad(squared_norm(product, [a, b]), [a, b], allow_unused=True)

        assert len(ran) == runs


USES = {
    # the factors of two uses of x, None for a use without a gradient; and the gradient of their sum
    "the first": ((3, None), [3, 3]),
    "the second": ((None, 3), [3, 3]),
    "both": ((3, 4), [7, 7]),
    "neither": ((None, None), None),
}
BEFORE = {
    # what is done to x before a use without a gradient, and the gradient of x
    "an operation of PyTorch": (lambda x: 2 * x, None),
    "a custom Function": (lambda x: Doubled.apply(x, True), [0, 0]),
    "a custom Function that asks for None": (lambda x: Doubled.apply(x, False), None),
}


@statement(
    "derived.none-adds-nothing",
    notes="notebook Simple_Grad",
    verdict=QUALIFIED,
    says="a gradient that is None is skipped in sums, and what only such gradients reach is not run",
)
@fault("autograd.grad gives zeros for None", torch.autograd, "grad", zeros_for_none)
@fault("+ forgets its second operand", torch.Tensor, "__add__", second_use_forgotten)
@fault(
    "set_materialize_grads is ignored",
    FunctionCtx,
    "set_materialize_grads",
    lambda real: lambda ctx, on: None,
)
@fault(
    "a Function gets None by default",
    FunctionCtx,
    "set_materialize_grads",
    lambda real: lambda ctx, on: real(ctx, False),
)
class TestNoneAddsNothing:
    """A custom Function may return None as the gradient of its input. None adds nothing to the gradients of
    other uses, and operations of PyTorch pass None on. The backward() of an earlier custom Function gets
    zeros instead, unless ctx.set_materialize_grads(False) was called.
    """

    @pytest.mark.parametrize(("factors", "expected"), USES.values(), ids=USES)
    def test_gradients_of_all_uses_are_summed_without_those_that_are_none(self, factors, expected, device):
        x = leaf([1.0, 2.0], device)
        first, second = (Factor.apply(x, factor) for factor in factors)

        (gradient,) = torch.autograd.grad((first + second).sum(), [x], allow_unused=True)

        assert (gradient if gradient is None else gradient.tolist()) == expected

    @pytest.mark.parametrize(("before", "expected"), BEFORE.values(), ids=BEFORE)
    def test_none_is_passed_on_or_made_zeros(self, before, expected, device):
        x = leaf([1.0, 2.0], device)

        (gradient,) = torch.autograd.grad(Factor.apply(before(x), None).sum(), [x], allow_unused=True)

        assert (gradient if gradient is None else gradient.tolist()) == expected


def of_the_product(a, b):
    """Return the gradients for a and b of da**2 + db**2, where da = b and db = a + 2b."""
    return 2 * a + 4 * b, 4 * a + 10 * b


def of_the_product_times_a(a, b):
    """Return the same where da = 2ab + b² and db = a² + 2ab."""
    da, db = 2 * a * b + b**2, a**2 + 2 * a * b
    return 4 * da * b + 4 * db * (a + b), 4 * da * (a + b) + 4 * db * a


LOSSES = {
    # of the product; the gradients of the squared norm of its gradients; and whether product and sum have a
    # gradient in the first backward of the operator, and in the second
    "the product": (lambda product, a: product, of_the_product, [(True, False), (False, True)]),
    "the product*a": (lambda product, a: product * a, of_the_product_times_a, [(True, False), (True, True)]),
}


@statement(
    "derived.exercises-on-none",
    notes="notebook Simple_Grad",
    verdict=ANSWERED,
    says="exercises: why is the gradient of the product None the second time, and how do two more characters "
    "change that?",
)
@fault("gradients have no derivatives", torch.autograd, "grad", graph_forgotten)
@fault("None is made zeros", FunctionCtx, "set_materialize_grads", lambda real: lambda ctx, on: None)
@pytest.mark.parametrize(("loss", "second_order", "there"), LOSSES.values(), ids=LOSSES)
def test_backward_gets_a_gradient_of_what_the_first_gradients_contain(loss, second_order, there, device):
    """A custom Function returns `p = (a + b) * b` and the sum a + b. If the gradients of `p.sum()` are
    differentiated again, backward() gets None for p, because these gradients do not contain p. The gradients
    of `(p*a).sum()` contain p.
    """
    a, b = make_inputs(device)
    seen = []

    product, _ = Guarded.apply(a, b, seen)
    found = torch.autograd.grad(squared_norm(loss(product, a), [a, b]), [a, b])

    torch.testing.assert_close(found, second_order(a, b))
    assert seen == there
