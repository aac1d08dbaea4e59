"""Section 2.7 of the notes, "Exclusion from the DAG": frozen parameters, and what freezing saves."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.optim import Adam

from spec.counters import flops, graph_nodes, saved_bytes
from spec.harness import QUALIFIED, broken_by, claim
from spec.three_layers import (
    FIRST,
    FLOAT,
    ROWS,
    SECOND,
    THIRD,
    by_zeroing,
    forward_operators,
    ignored,
    make_batch,
)


def make_stack(device, *frozen):
    """Return three linear layers, 3 to 5 to 7 to 2, those of the given numbers (1, 2, 3) frozen."""
    net = nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 2)).to(device)
    for number in frozen:
        net[2 * number - 2].requires_grad_(False)
    return net


def backward_flops(net):
    """Return the FLOPs of the backward pass of `net` for a batch."""
    device = next(net.parameters()).device
    loss = net(make_batch(device)).sum()
    return flops(loss.backward) if loss.requires_grad else 0


def kept_bytes(net):
    """Return the bytes that the forward pass of `net` keeps for its backward pass."""
    batch = make_batch(next(net.parameters()).device)
    return saved_bytes(lambda: net(batch))


def trained(net):
    """Return the numbers, from 1, of the layers of make_stack() whose weight has a gradient."""
    return [number for number in (1, 2, 3) if net[2 * number - 2].weight.grad is not None]


# Faults: ways to freeze that look like it


def weights_only(real):
    """Leave the biases as they are."""

    def freeze(layer, requires_grad=True):
        layer.weight.requires_grad_(requires_grad)

    return freeze


def no_way_through(real):
    """Let no gradient pass a layer whose weight is frozen."""
    return lambda x, weight, bias: real(x if weight.requires_grad else x.detach(), weight, bias)


def always_through(real):
    """Compute the gradient of the input, whether or not anything needs it."""
    return lambda x, weight, bias: real(x if x.requires_grad else x.detach().requires_grad_(), weight, bias)


def forgetting_the_gradient(real):
    """Drop the gradient of what is frozen."""
    return lambda tensor, requires_grad=True: setattr(tensor, "grad", None) or real(tensor, requires_grad)


def with_gradient_zero(real):
    """Set the gradient of what is frozen to zero."""
    return lambda tensor, requires_grad: (
        setattr(tensor, "grad", tensor.detach() * 0) or real(tensor, requires_grad)
    )


def none_as_zero(step):
    """Take a step in which a parameter without a gradient has a gradient of zero."""

    def fill(optimizer):
        for weight in optimizer.param_groups[0]["params"]:
            weight.grad = torch.zeros_like(weight) if weight.grad is None else weight.grad
        step(optimizer)

    return fill


def graph_or_nothing(real):
    """Do nothing without a graph."""
    return lambda y, *rest: real(y, *rest) if y.requires_grad else None


class TestRequiresGradFalse:
    """requires_grad = False."""

    @claim(
        "autograd.requires-grad-false-excludes",
        notes="2.7",
        verdict=QUALIFIED,
        says="requires_grad=False takes a tensor out of the graph, and no gradient is computed for it",
    )
    @broken_by(torch.Tensor, "requires_grad_", ignored)
    @broken_by(torch.Tensor, "requires_grad_", by_zeroing)
    @broken_by(torch.Tensor, "backward", lambda real: lambda y: None)
    @broken_by(torch.Tensor, "requires_grad_", with_gradient_zero)
    def test_frozen_leaf_gets_no_gradient_and_the_others_get_theirs(self, device):
        """A leaf with requires_grad=False keeps grad None, not zero, and is a constant to the others."""
        a = torch.tensor([2.0, 3.0], device=device, requires_grad=True)
        b = torch.tensor([5.0, 7.0], device=device, requires_grad=True)
        b.requires_grad_(False)

        (a * a * b).sum().backward()

        assert b.grad is None
        assert a.grad is not None
        assert a.grad.tolist() == [2 * 2 * 5, 2 * 3 * 7]

    @claim("autograd.requires-grad-false-excludes-leaves-only", notes="2.7")
    @broken_by(
        torch.Tensor, "requires_grad_", lambda real: lambda t, on: real(t, on) if t.is_leaf else t.detach()
    )
    @broken_by(torch.Tensor, "detach", lambda real: lambda t: t.view(-1))
    @broken_by(torch.Tensor, "detach", lambda real: lambda t: real(t).clone())
    def test_only_a_leaf_can_be_frozen(self, device):
        """A computed tensor refuses requires_grad=False; detach() shares its values without the graph."""
        result = 2 * torch.ones(2, device=device, requires_grad=True)

        with pytest.raises(RuntimeError, match="only change requires_grad flags of leaf variables"):
            result.requires_grad_(False)
        assert not result.detach().requires_grad
        assert result.detach().data_ptr() == result.data_ptr()

    @claim("autograd.requires-grad-false-excludes-after-forward", notes="2.7")
    @broken_by(torch.Tensor, "requires_grad_", ignored)
    @broken_by(torch.Tensor, "requires_grad_", by_zeroing)
    @broken_by(torch.Tensor, "backward", lambda real: lambda y: None)
    def test_leaf_frozen_between_forward_and_backward_gets_no_gradient(self, device):
        """requires_grad=False between the forward and the backward pass is in time to keep grad None."""
        a = torch.tensor([2.0, 3.0], device=device, requires_grad=True)
        b = torch.tensor([5.0, 7.0], device=device, requires_grad=True)
        loss = (a * b).sum()
        b.requires_grad_(False)

        loss.backward()

        assert b.grad is None
        assert a.grad is not None
        assert a.grad.tolist() == [5, 7]

    @claim("autograd.requires-grad-false-excludes-stale-gradient", notes="2.7")
    @broken_by(torch.Tensor, "requires_grad_", forgetting_the_gradient)
    @broken_by(torch.Tensor, "requires_grad_", ignored)
    @broken_by(torch.Tensor, "requires_grad_", with_gradient_zero)
    def test_gradient_from_before_freezing_stays(self, device):
        """A gradient that a leaf has when it is frozen stays as it is: neither dropped nor added to."""
        a = torch.tensor([2.0, 3.0], device=device, requires_grad=True)
        b = torch.tensor([5.0, 7.0], device=device, requires_grad=True)
        (a * b).sum().backward()
        b.requires_grad_(False)

        (a * b).sum().backward()

        assert b.grad is not None
        assert b.grad.tolist() == [2, 3]
        assert a.grad.tolist() == [10, 14]

    @claim("autograd.requires-grad-false-excludes-everything", notes="2.7")
    @broken_by(torch.Tensor, "backward", graph_or_nothing)
    @broken_by(nn.Module, "requires_grad_", ignored)
    @broken_by(nn.Module, "requires_grad_", weights_only)
    def test_backward_raises_where_everything_is_frozen(self, device):
        """With every parameter frozen the loss requires no grad, and backward() raises."""
        loss = make_stack(device, 1, 2, 3)(make_batch(device)).sum()

        with pytest.raises(RuntimeError, match="does not require grad"):
            loss.backward()

    @claim("autograd.requires-grad-false-excludes-module-attribute", notes="2.7")
    @broken_by(
        nn.Module,
        "__setattr__",
        lambda real: (
            lambda net, name, value: (
                net.requires_grad_(value) if name == "requires_grad" else real(net, name, value)
            )
        ),
    )
    @broken_by(nn.Module, "requires_grad_", ignored)
    @broken_by(nn.Module, "requires_grad_", lambda real: lambda net, on: real(net[0], on))
    def test_module_is_frozen_by_its_method_and_not_by_an_attribute(self):
        """net.requires_grad = False freezes nothing, silently; net.requires_grad_(False) every parameter."""
        net = make_stack("cpu")

        net.requires_grad = False
        flags_by_attribute = [parameter.requires_grad for parameter in net.parameters()]
        net.requires_grad_(False)

        assert flags_by_attribute == [True] * 6
        assert [parameter.requires_grad for parameter in net.parameters()] == [False] * 6


SAVES = {
    "notes": "2.7",
    "verdict": QUALIFIED,
    "says": "freezing parameters saves computation",
}


class TestWhatFreezingSaves:
    """The advantage of frozen parameters: exact counts for three linear layers with ReLU between them."""

    @claim("autograd.freezing-saves-work", **SAVES)
    @broken_by(nn.Module, "requires_grad_", ignored)
    @broken_by(nn.Module, "requires_grad_", by_zeroing)
    @broken_by(F, "linear", no_way_through)
    @broken_by(F, "linear", always_through)
    def test_backward_costs_what_is_trained_and_the_way_to_it(self, device):
        """Backward costs a product a layer that trains, and one a layer behind the first that trains."""
        cost = {
            (): FIRST + 2 * SECOND + 2 * THIRD,
            (1,): SECOND + 2 * THIRD,
            (1, 2): THIRD,
            (2,): FIRST + SECOND + 2 * THIRD,
            (3,): FIRST + 2 * SECOND + THIRD,
            (2, 3): FIRST + SECOND + THIRD,
        }

        assert {frozen: backward_flops(make_stack(device, *frozen)) for frozen in cost} == cost

    @claim("autograd.freezing-saves-work-graph", **SAVES)
    @broken_by(nn.Module, "requires_grad_", ignored)
    @broken_by(nn.Module, "requires_grad_", by_zeroing)
    @broken_by(nn.Module, "requires_grad_", weights_only)
    @broken_by(F, "linear", no_way_through)
    def test_freezing_prunes_the_graph_in_front_only(self):
        """Of 14 nodes, freezing the first 1, 2, 3 layers leaves 9, 4, 0, the middle or last alone 11."""
        left = {(): 14, (1,): 9, (1, 2): 4, (1, 2, 3): 0, (2,): 11, (3,): 11}

        graphs = {frozen: graph_nodes(make_stack("cpu", *frozen)(make_batch("cpu"))) for frozen in left}

        assert {frozen: nodes.total() for frozen, nodes in graphs.items()} == left
        assert all(nodes["AccumulateGrad"] == 2 * (3 - len(frozen)) for frozen, nodes in graphs.items())

    @claim("autograd.freezing-saves-work-memory", **SAVES)
    @broken_by(nn.Module, "requires_grad_", ignored)
    @broken_by(nn.Module, "requires_grad_", by_zeroing)
    @broken_by(F, "linear", always_through)
    @broken_by(F, "linear", no_way_through)
    def test_freezing_frees_memory_in_front_only(self, device):
        """Freezing the first layers frees what they keep for backward; the middle or last alone, nothing."""
        x, h1, h2, w2, w3 = ROWS * 3, ROWS * 5, ROWS * 7, 5 * 7, 7 * 2
        kept = {
            (): x + h1 + h2 + w2 + w3,  # of h1 and h2 one tensor serves ReLU and the layer behind
            (1,): h1 + h2 + w3,
            (1, 2): h2,
            (1, 2, 3): 0,
            (2,): x + h1 + h2 + w2 + w3,
            (3,): x + h1 + h2 + w2 + w3,
        }

        values = {frozen: kept_bytes(make_stack(device, *frozen)) / FLOAT for frozen in kept}

        assert values == kept

    @claim("autograd.freezing-saves-work-forward", **SAVES)
    @broken_by(F, "linear", lambda real: lambda x, w, b: real(x, w if w.requires_grad else w.clone(), b))
    @broken_by(F, "linear", lambda real: lambda x, w, b: real(x, w, b) if w.requires_grad else x @ w.T + b)
    @broken_by(
        F,
        "linear",
        lambda real: lambda x, w, b: real(x, w, b) if w.requires_grad else b.expand(len(x), len(b)),
    )
    def test_freezing_leaves_the_forward_pass_as_it_is(self, device):
        """Frozen or not, the forward pass takes the same FLOPs, by the same operators."""
        free, frozen, batch = make_stack(device), make_stack(device, 1, 2, 3), make_batch(device)

        assert flops(lambda: frozen(batch)) == flops(lambda: free(batch)) == FIRST + SECOND + THIRD
        assert forward_operators(frozen, batch) == forward_operators(free, batch)

    @claim("autograd.freezing-saves-work-too-late", **SAVES)
    @broken_by(nn.Module, "requires_grad_", ignored)
    @broken_by(torch.Tensor, "backward", lambda real: lambda y: None)
    @broken_by(torch.Tensor, "backward", lambda real: lambda y: real(y.detach().requires_grad_()))
    def test_freezing_after_the_forward_pass_saves_nothing(self, device):
        """A layer frozen between forward and backward costs all its FLOPs, and the result is thrown away."""
        net = make_stack(device)
        loss = net(make_batch(device)).sum()
        net[0].requires_grad_(False)

        cost = flops(loss.backward)

        assert cost == FIRST + 2 * SECOND + 2 * THIRD
        assert trained(net) == [2, 3]

    @claim("autograd.freezing-saves-work-optimizer", **SAVES)
    @broken_by(nn.Module, "requires_grad_", ignored)
    @broken_by(nn.Module, "requires_grad_", by_zeroing)
    @broken_by(nn.Module, "requires_grad_", weights_only)
    @broken_by(Adam, "step", none_as_zero)
    def test_optimizer_holds_nothing_for_frozen_parameters(self, device):
        """Adam, given every parameter, holds its two averages of those that train, and none of the frozen."""
        net = make_stack(device, 1, 2)
        optimizer = Adam(net.parameters())

        net(make_batch(device)).sum().backward()
        optimizer.step()

        held = [
            value.numel() for state in optimizer.state.values() for value in state.values() if value.dim()
        ]
        assert sorted(held) == [2, 2, 14, 14]  # of the bias, (2,), and of the weight, (2, 7)
