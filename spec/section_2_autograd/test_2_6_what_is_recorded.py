"""The notebooks on autograd and nn: which operations are recorded, and whose results require a gradient."""

from itertools import product

import pytest
import torch

from spec.harness import QUALIFIED, fault, statement

RECORDED = {
    "add": lambda x: x + 1,
    "index": lambda x: x[0],
    "matmul": lambda x: x @ x,
    "sum": lambda x: x.sum(),
    "transpose": lambda x: x.t(),
    "view": lambda x: x.view(9),
    "clone": lambda x: x.clone(),
    "to float64": lambda x: x.double(),
    "largest": lambda x: x.max(0).values,
}
NOT_RECORDED = {
    "detach": lambda x: x.detach(),
    "compare": lambda x: x > 0,
    "argmax": lambda x: x.argmax(),
    "to int and back": lambda x: x.int().float(),
    "where the largest are": lambda x: x.max(0).indices,
    "zeros_like": lambda x: torch.zeros_like(x),
}

# Faults


def only_if(condition):
    """Return a replacement that records an operation only if `condition` holds for its inputs' flags."""

    def replace(real):
        def function(*inputs):
            recorded = condition([x.requires_grad for x in inputs])
            result = real(*inputs)
            return result if recorded else result.detach()

        return function

    return replace


def as_a_leaf(real):
    """Return an operation whose result requires a gradient and has lost its graph."""
    return lambda x, *rest: real(x, *rest).detach().requires_grad_()


@statement(
    "autograd.every-op-makes-a-node",
    notes="notebook nn",
    verdict=QUALIFIED,
    says="every tensor operation creates at least one Function node",
)
@fault("clone drops the graph", torch.Tensor, "clone", lambda real: lambda x: real(x).detach())
@fault("view lets its result require a gradient", torch.Tensor, "view", as_a_leaf)
@fault("int keeps the graph", torch.Tensor, "int", lambda real: torch.Tensor.trunc)
@fault("zeros_like multiplies by zero", torch, "zeros_like", lambda real: lambda x: 0 * x)
class TestNodes:
    """A differentiable operation adds a node to the graph if at least one input requires a gradient.
    Comparisons, argmax() and casts to integers are not differentiable and add no node. detach() and
    zeros_like() add no node either.
    """

    @pytest.mark.parametrize("operation", RECORDED.values(), ids=RECORDED)
    def test_differentiable_operation_leads_back_to_its_input(self, operation, device):
        x = torch.randn(3, 3, device=device, requires_grad=True)

        result = operation(x)

        assert result.grad_fn is not None
        assert torch.autograd.grad(result.sum(), x, allow_unused=True)[0] is not None
        assert not operation(x.detach()).requires_grad

    @pytest.mark.parametrize("operation", NOT_RECORDED.values(), ids=NOT_RECORDED)
    def test_other_results_have_no_node(self, operation, device):
        result = operation(torch.randn(3, 3, device=device, requires_grad=True))

        assert (result.grad_fn, result.requires_grad) == (None, False)


@statement(
    "autograd.requires-grad-propagates",
    notes="notebook autograd",
    verdict=QUALIFIED,
    says="the output of an operation requires gradients even if only a single input requires gradients",
)
@fault("all inputs have to require a gradient", torch.Tensor, "__add__", only_if(all))
@fault("a sum always requires a gradient", torch.Tensor, "__add__", as_a_leaf)
@fault("the first input decides", torch.Tensor, "__add__", only_if(lambda flags: flags[0]))
@fault(
    "round passes its gradient on", torch.Tensor, "round", lambda real: lambda x: x + (real(x) - x).detach()
)
@fault("round drops the graph", torch.Tensor, "round", lambda real: lambda x: real(x).detach())
class TestRequiresGradPropagates:
    """The result of a differentiable operation requires a gradient if at least one input requires a gradient.
    If no input does, the result requires none. round() and sign() count as differentiable, but pass back a
    gradient of zeros.
    """

    @pytest.mark.parametrize("flags", list(product([False, True], repeat=2)), ids=str)
    def test_sum_of_the_notebook_requires_a_gradient_if_either_input_does(self, flags, device):
        x, y = (torch.rand(5, 5, device=device, requires_grad=flag) for flag in flags)

        result = x + y

        assert (result.requires_grad, result.grad_fn is not None) == (any(flags), any(flags))

    @pytest.mark.parametrize("steps", [lambda x: x.round(), lambda x: x.sign()], ids=["round", "sign"])
    def test_round_and_sign_pass_on_zeros(self, steps, device):
        x = torch.tensor([0.4, -1.6, 2.5], device=device, requires_grad=True)

        y = steps(x)

        assert y.requires_grad
        y.sum().backward()
        assert x.grad is not None
        assert x.grad.tolist() == [0, 0, 0]
