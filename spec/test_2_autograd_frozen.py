"""Section 2.7 of the notes, "Exclusion from the DAG": what freezing saves."""

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


def none_as_zero(step):
    """Take a step in which a parameter without a gradient has a gradient of zero."""

    def fill(optimizer):
        for weight in optimizer.param_groups[0]["params"]:
            weight.grad = torch.zeros_like(weight) if weight.grad is None else weight.grad
        step(optimizer)

    return fill


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
            (1, 3): SECOND + THIRD,
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
