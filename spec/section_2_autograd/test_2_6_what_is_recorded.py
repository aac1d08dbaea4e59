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
    "round": lambda x: x.round(),
    "largest": lambda x: x.max(0).values,
}
NOT_RECORDED = {
    "detach": lambda x: x.detach(),
    "compare": lambda x: x > 0,
    "argmax": lambda x: x.argmax(),
    "to int": lambda x: x.int(),
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
@fault("detach is clone", torch.Tensor, "detach", lambda real: torch.Tensor.clone)
@fault("zeros_like multiplies by zero", torch, "zeros_like", lambda real: lambda x: 0 * x)
class TestNodes:
    """A differentiable operation makes a node if an input requires a gradient. detach(), comparisons,
    positions, casts to integers and new tensors make none.
    """

    @pytest.mark.parametrize("operation", RECORDED.values(), ids=RECORDED)
    def test_differentiable_operation_leads_back_to_its_input(self, operation, device):
        x = torch.randn(3, 3, device=device, requires_grad=True)

        result = operation(x)

        assert result.grad_fn is not None
        assert torch.autograd.grad(result.sum(), x, allow_unused=True)[0] is not None

    @pytest.mark.parametrize("operation", NOT_RECORDED.values(), ids=NOT_RECORDED)
    def test_other_results_have_no_node(self, operation, device):
        result = operation(torch.randn(3, 3, device=device, requires_grad=True))

        assert (result.grad_fn, result.requires_grad) == (None, False)

    @pytest.mark.parametrize("operation", RECORDED.values(), ids=RECORDED)
    def test_nothing_is_recorded_where_no_input_requires_a_gradient(self, operation, device):
        result = operation(torch.randn(3, 3, device=device))

        assert (result.grad_fn, result.requires_grad) == (None, False)


@statement(
    "autograd.requires-grad-propagates",
    notes="notebook autograd",
    verdict=QUALIFIED,
    says="an operation's output requires gradients if only a single input does",
)
@fault("all inputs have to require a gradient", torch, "addcmul", only_if(all))
@fault("a sum always requires a gradient", torch.Tensor, "__add__", as_a_leaf)
@fault("the first input decides", torch, "addcmul", only_if(lambda flags: flags[0]))
@fault(
    "round passes its gradient on", torch.Tensor, "round", lambda real: lambda x: x + (real(x) - x).detach()
)
@fault("round drops the graph", torch.Tensor, "round", lambda real: lambda x: real(x).detach())
@fault("int keeps the graph", torch.Tensor, "int", lambda real: torch.Tensor.trunc)
class TestRequiresGradPropagates:
    """The result of a differentiable operation requires a gradient if at least one input does. That of
    round() and sign() is zero, and integers have none.
    """

    def test_lines_of_the_notebook_print_false_and_true(self):
        x, y = torch.rand(5, 5), torch.rand(5, 5)
        z = torch.rand((5, 5), requires_grad=True)

        assert f"{(x + y).requires_grad} {(x + z).requires_grad}" == "False True"

    @pytest.mark.parametrize("flags", list(product([False, True], repeat=3)), ids=str)
    def test_result_requires_a_gradient_if_any_input_does(self, flags, device):
        inputs = [torch.ones(2, device=device, requires_grad=flag) for flag in flags]

        assert torch.addcmul(*inputs).requires_grad == (True in flags)

    @pytest.mark.parametrize("steps", [lambda x: x.round(), lambda x: x.sign()], ids=["round", "sign"])
    def test_round_and_sign_pass_on_zeros(self, steps, device):
        x = torch.tensor([0.4, -1.6, 2.5], device=device, requires_grad=True)

        y = steps(x)

        assert y.requires_grad
        y.sum().backward()
        assert x.grad is not None
        assert x.grad.tolist() == [0, 0, 0]

    def test_cast_to_integers_and_back_ends_the_graph(self, device):
        x = torch.tensor([2.0, -3.0], device=device, requires_grad=True)

        there_and_back = x.int().float()

        assert there_and_back.tolist() == [2, -3]
        assert not there_and_back.requires_grad
