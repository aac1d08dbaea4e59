"""Section 2.7 of the notes, "Exclusion from the DAG": what torch.no_grad() turns off."""

from contextlib import nullcontext
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from spec.counters import flops, peak_bytes
from spec.harness import QUALIFIED, broken_by, claim
from spec.three_layers import (
    FIRST,
    FLOAT,
    ROWS,
    SECOND,
    THIRD,
    forward_operators,
    if_grad_is_off,
    make_batch,
    make_net,
    tracked_anyway,
)

COMPUTED = {
    "add": lambda x: x + 1,
    "matmul": lambda x: x @ x,
    "sum": lambda x: x.sum(),
    "clone": lambda x: x.clone(),
    "to float64": lambda x: x.double(),
    "list of positions": lambda x: x[[1, 0]],
    "linear": lambda x: F.linear(x, x, x[0]),
}
VIEWS = {
    "view": lambda x: x.view(4),
    "index": lambda x: x[1],
    "slice": lambda x: x[1:],
    "expand": lambda x: x.expand(3, 2, 2),
    "transpose": lambda x: x.t(),
    "flatten": nn.Flatten(0),
}
ITSELF = {
    "contiguous": lambda x: x.contiguous(),
    "to its own device": lambda x: x.to(x.device),
    "to its own type": lambda x: x.float(),
    "identity": nn.Identity(),
    "dropout in eval mode": nn.Dropout().eval(),
}


# Faults


def nothing_off(real):
    """Let no_grad() do nothing; not where layers are made, which need it for their first weights."""
    return nullcontext


def in_two_steps(real):
    """Have a linear layer do under no_grad by two operators what it else does by one."""
    return lambda x, weight, bias: real(x, weight, bias) if torch.is_grad_enabled() else x @ weight.T + bias


TRACKING = {"notes": "2.7", "verdict": QUALIFIED, "says": "inside torch.no_grad() tracking is off"}


class TestTracking:
    """What is not recorded inside no_grad, and what seems to be all the same."""

    @claim("autograd.no-grad-disables-tracking", **TRACKING)
    @broken_by(torch, "no_grad", nothing_off)
    @broken_by(torch.Tensor, "clone", if_grad_is_off(torch.Tensor.requires_grad_))
    @broken_by(torch.Tensor, "sum", tracked_anyway)
    def test_results_have_no_graph_and_require_no_gradient(self, device):
        """What an operation computes under no_grad has no grad_fn and requires no gradient; outside both."""
        x = torch.tensor([[1.0, 2.0], [3.0, 5.0]], device=device, requires_grad=True)

        tracked = {name: operation(x) for name, operation in COMPUTED.items()}
        with torch.no_grad():
            results = {name: operation(x) for name, operation in COMPUTED.items()}

        assert [name for name, result in results.items() if result.requires_grad] == []
        assert [name for name, result in results.items() if result.grad_fn is not None] == []
        assert [name for name, result in tracked.items() if result.grad_fn is None] == []

    @claim("autograd.no-grad-disables-tracking-new-leaves", **TRACKING)
    @broken_by(torch, "ones", if_grad_is_off(torch.Tensor.detach))
    @broken_by(torch.Tensor, "requires_grad_", if_grad_is_off(torch.Tensor.detach))
    @broken_by(torch.Tensor, "backward", lambda real: lambda y: None)
    def test_tensor_made_inside_can_require_a_gradient(self, device):
        """A tensor made under no_grad with requires_grad=True requires a gradient, and gets it outside."""
        with torch.no_grad():
            a = torch.ones(2, device=device, requires_grad=True)
            b = torch.full((2,), 3.0, device=device).requires_grad_()
        assert a.requires_grad
        assert b.requires_grad

        (a * a * b).sum().backward()

        assert a.grad is not None
        assert [a.grad.tolist(), b.grad.tolist()] == [[6, 6], [1, 1]]

    @claim("autograd.no-grad-disables-tracking-views", **TRACKING)
    @broken_by(torch.Tensor, "view", if_grad_is_off(torch.Tensor.detach))
    @broken_by(torch.Tensor, "t", tracked_anyway)
    @broken_by(torch.Tensor, "expand", if_grad_is_off(torch.clone))
    def test_view_says_that_it_requires_a_gradient_and_gets_none(self, device):
        """A view made under no_grad says requires_grad=True, has no grad_fn, and passes no gradient on."""
        x = torch.ones(2, 2, device=device, requires_grad=True)

        with torch.no_grad():
            views = {name: operation(x) for name, operation in VIEWS.items()}

        assert [name for name, view in views.items() if not view.requires_grad] == []
        assert [name for name, view in views.items() if view.grad_fn is not None] == []
        for view in views.values():
            view.sum().backward()
            assert view.grad is None
        assert x.grad is None

    @claim("autograd.no-grad-disables-tracking-views-in-place", **TRACKING)
    @broken_by(torch, "no_grad", nothing_off)
    @broken_by(torch.Tensor, "view", if_grad_is_off(torch.Tensor.detach))
    @broken_by(torch.Tensor, "view", if_grad_is_off(torch.clone))
    def test_view_from_inside_is_not_changed_in_place_outside(self, device):
        """A view made under no_grad refuses a change in place outside, and takes one inside, for its base."""
        x = 1 * torch.ones(2, 2, device=device, requires_grad=True)
        with torch.no_grad():
            view = x.view(4)

        with pytest.raises(
            RuntimeError, match="view was created in no_grad mode and is being modified inplace"
        ):
            view.mul_(3)
        with torch.no_grad():
            view.mul_(5)

        assert x.tolist() == [[5, 5], [5, 5]]

    @claim("autograd.no-grad-disables-tracking-itself", **TRACKING)
    @broken_by(torch.Tensor, "contiguous", if_grad_is_off(torch.clone))
    @broken_by(nn.Identity, "forward", if_grad_is_off(torch.Tensor.detach))
    @broken_by(nn.Dropout, "forward", if_grad_is_off(torch.Tensor.detach))
    def test_what_returns_its_input_returns_its_graph(self, device):
        """An operation that changes nothing returns its input under no_grad, too, with its graph and flag."""
        x = 2 * torch.ones(2, device=device, requires_grad=True)

        with torch.no_grad():
            results = {name: operation(x) for name, operation in ITSELF.items()}

        assert [name for name, result in results.items() if result is not x] == []
        assert x.grad_fn is not None

    @claim("autograd.no-grad-disables-tracking-in-place", **TRACKING)
    @broken_by(torch.Tensor, "add_", lambda real: lambda weight, n: real(weight.data, n))
    @broken_by(torch.Tensor, "__mul__", lambda real: lambda weight, x: real(weight.clone(), x))
    @broken_by(torch.Tensor, "add_", if_grad_is_off(torch.Tensor.detach_))
    def test_change_in_place_is_seen_at_backward(self, device):
        """A weight changed in place under no_grad stays a leaf; a graph that needs the old value raises."""
        weight = torch.tensor([2.0, 3.0], device=device, requires_grad=True)
        x = torch.tensor([5.0, 7.0], device=device, requires_grad=True)
        product = weight * x

        with torch.no_grad():
            weight.add_(10)

        assert (weight.tolist(), weight.grad_fn, weight.requires_grad) == ([12, 13], None, True)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            product.sum().backward()

    @claim("autograd.no-grad-disables-tracking-memory", **TRACKING)
    @broken_by(F, "linear", tracked_anyway)
    @broken_by(F, "linear", lambda real: lambda x, weight, bias: real(x.detach(), weight, bias))
    @broken_by(F, "linear", if_grad_is_off(torch.clone))
    def test_memory_no_longer_grows_with_depth(self, device):
        """All outputs of d layers live at once, under no_grad only 2; detach() afterwards comes too late."""
        x, layer_output = torch.randn(ROWS, 4, device=device), ROWS * 4 * FLOAT
        peaks = {}
        for depth in (2, 3, 7):
            net = nn.Sequential(*(nn.Linear(4, 4) for _ in range(depth))).to(device)
            tracked = peak_bytes(partial(net, x))
            detached = peak_bytes(lambda net=net: net(x).detach())
            with torch.no_grad():
                untracked = peak_bytes(partial(net, x))
            peaks[depth] = [count / layer_output for count in (tracked, detached, untracked)]

        assert peaks == {depth: [depth, depth, 2] for depth in peaks}

    @claim("autograd.no-grad-disables-tracking-work", **TRACKING)
    @broken_by(F, "linear", if_grad_is_off(torch.clone))
    @broken_by(F, "linear", if_grad_is_off(torch.relu))
    @broken_by(F, "linear", in_two_steps)
    def test_arithmetic_is_the_same(self, device):
        """The forward pass takes the same FLOPs under no_grad, by the same operators."""
        net, x = make_net(device), make_batch(device)

        tracked = forward_operators(net, x), flops(partial(net, x))
        with torch.no_grad():
            untracked = forward_operators(net, x), flops(partial(net, x))

        assert untracked == tracked
        assert untracked[1] == FIRST + SECOND + THIRD
