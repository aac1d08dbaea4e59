"""Notes 2.7, what is left out of the graph: what freezing saves, and layers under torch.no_grad() instead."""

import copy
from contextlib import nullcontext

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from spec.counters import flops, graph_nodes
from spec.harness import ANSWERED, QUALIFIED, each_row, fault, statement
from spec.section_2_autograd.faults import by_zeroing, if_grad_is_off, ignored, tracked_anyway

# FLOPs of each layer of make_net() for a batch: of its product, and of each of the two that its backward
# pass may need, for the gradient of the weight and for that of the input
FIRST, SECOND, THIRD = 2 * 11 * 3 * 5, 2 * 11 * 5 * 7, 2 * 11 * 7 * 2
COSTS = {
    # the layers that are frozen; then the nodes of the graph, and the FLOPs of the backward pass
    "none": ((), 14, FIRST + 2 * SECOND + 2 * THIRD),
    "first": ((1,), 9, SECOND + 2 * THIRD),
    "first two": ((1, 2), 4, THIRD),
    "all": ((1, 2, 3), 0, 0),
    "middle": ((2,), 11, FIRST + SECOND + 2 * THIRD),
    "last": ((3,), 11, FIRST + 2 * SECOND + THIRD),
}
TRAINED = {
    # the layers in question; then those that train if these are frozen, and if they are run under no_grad
    "first two": ((1, 2), [3], [3]),
    "middle": ((2,), [1, 3], [3]),
    "last": ((3,), [1, 2], []),
}


def make_net(device, *frozen):
    """Return three linear layers, 3 to 5 to 7 to 2, those of the given numbers (1, 2, 3) frozen."""
    net = nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 2)).to(device)
    for number in frozen:
        net[2 * number - 2].requires_grad_(False)
    return net


def make_batch(device):
    """Return a batch of 11 rows for make_net()."""
    return torch.randn(11, 3, device=device)


def run(net, x, untracked):
    """Return what a net makes of `x`, its linear layers of the given numbers under no_grad."""
    for place, layer in enumerate(net):
        with torch.no_grad() if place / 2 + 1 in untracked else nullcontext():
            x = layer(x)
    return x


def backward(output):
    """Run the backward pass of a sum, if it has one."""
    if output.requires_grad:
        output.sum().backward()


def trained(net):
    """Return the numbers of the linear layers of a net whose weight has a gradient."""
    return [number for number, layer in enumerate(net[::2], 1) if layer.weight.grad is not None]


# Faults


def no_way_through(real):
    """Let no gradient pass a linear layer that is frozen, as if it were run under no_grad."""
    return lambda x, weight, bias: real(x if weight.requires_grad else x.detach(), weight, bias)


def always_through(real):
    """Compute the gradient of the input, whether or not anything needs it."""
    return lambda x, weight, bias: real(x if x.requires_grad else x.detach().requires_grad_(), weight, bias)


def rounded_if_frozen(real):
    """Let a frozen layer give another result by a millionth."""
    return lambda x, weight, bias: real(x, weight, bias) + 1e-6 * (not weight.requires_grad)


@statement(
    "autograd.freezing-saves-work",
    notes="2.7; notebook autograd",
    verdict=QUALIFIED,
    says="freezing parameters saves computation",
)
@fault("requires_grad_ freezes nothing", nn.Module, "requires_grad_", ignored)
@fault("freezing makes the gradient zero", nn.Module, "requires_grad_", by_zeroing)
@fault("no gradient passes a frozen layer", F, "linear", no_way_through)
@fault("the gradient of the input is always computed", F, "linear", always_through)
class TestFreezingSavesWork:
    """backward() skips the first layers of a net if these layers are frozen (requires_grad=False). If a
    frozen layer comes after a layer that trains, backward() skips only the gradients of the frozen layer's
    own parameters. Freezing after the forward pass saves no work.
    """

    @each_row
    @pytest.mark.parametrize(("frozen", "nodes", "work"), COSTS.values(), ids=COSTS)
    def test_backward_costs_what_trains_and_the_way_to_it(self, device, frozen, nodes, work):
        output = make_net(device, *frozen)(make_batch(device))

        assert graph_nodes(output).total() == nodes
        assert flops(lambda: backward(output)) == work

    def test_freezing_after_the_forward_pass_saves_nothing(self, device):
        net = make_net(device)
        output = net(make_batch(device))
        net[0].requires_grad_(False)

        assert flops(lambda: backward(output)) == FIRST + 2 * SECOND + 2 * THIRD
        assert trained(net) == [2, 3]


@statement(
    "autograd.no-grad-vs-freezing",
    notes="2.7; notebook autograd",
    verdict=ANSWERED,
    says="torch.no_grad() achieves something similar to requires_grad=False; how similar is left open",
)
@fault("no_grad records a linear layer", F, "linear", tracked_anyway)
@fault("freezing acts as no_grad", F, "linear", no_way_through)
@fault("no_grad changes results", F, "linear", if_grad_is_off(lambda output: output + 1e-6))
@fault("freezing changes results", F, "linear", rounded_if_frozen)
class TestNoGradOrFreezing:
    """A frozen layer (requires_grad=False) still passes gradients back to the earlier layers of the net. A
    layer that runs under torch.no_grad() passes no gradients back. Freezing and torch.no_grad() both leave
    the output of the net unchanged.
    """

    @each_row
    @pytest.mark.parametrize(("numbers", "if_frozen", "under_no_grad"), TRAINED.values(), ids=TRAINED)
    def test_no_grad_stops_the_layers_in_front_as_well(self, device, numbers, if_frozen, under_no_grad):
        frozen, plain, x = make_net(device, *numbers), make_net(device), make_batch(device)

        backward(frozen(x))
        backward(run(plain, x, numbers))

        assert (trained(frozen), trained(plain)) == (if_frozen, under_no_grad)
        assert [parameter.requires_grad for parameter in plain.parameters()] == [True] * 6

    def test_neither_changes_the_forward_pass(self, device):
        net, x = make_net(device), make_batch(device)
        frozen = copy.deepcopy(net).requires_grad_(False)

        results = [frozen(x), run(net, x, (1, 2, 3))]

        torch.testing.assert_close(results, [net(x).detach()] * 2, rtol=0, atol=0)
