"""Notes 2.7, what is left out of the graph: what freezing saves, and layers under torch.no_grad() instead."""

import copy
from contextlib import nullcontext

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.optim import SGD

from spec.counters import flops, graph_nodes, operators, saved_bytes
from spec.harness import ANSWERED, QUALIFIED, fault, statement
from spec.section_2_autograd.three_layers import (
    by_zeroing,
    if_grad_is_off,
    ignored,
    make_batch,
    make_net,
    tracked_anyway,
)

# FLOPs of each layer of make_net() for a batch: of its product, and of each of the two that its backward
# pass may need, for the gradient of the weight and for that of the input
FIRST, SECOND, THIRD = 2 * 11 * 3 * 5, 2 * 11 * 5 * 7, 2 * 11 * 7 * 2

# values in the batch, in what ReLU gives behind each of the first two layers, and in the last two weights
X, H1, H2, W2, W3 = 11 * 3, 11 * 5, 11 * 7, 5 * 7, 7 * 2

COSTS = {
    # the layers that are frozen; then the nodes of the graph, the FLOPs of the backward pass, and how many
    # values the forward pass keeps for it (of H1 and H2 one tensor serves ReLU and the layer behind)
    "none": ((), 14, FIRST + 2 * SECOND + 2 * THIRD, X + H1 + H2 + W2 + W3),
    "first": ((1,), 9, SECOND + 2 * THIRD, H1 + H2 + W3),
    "first two": ((1, 2), 4, THIRD, H2),
    "all": ((1, 2, 3), 0, 0, 0),
    "middle": ((2,), 11, FIRST + SECOND + 2 * THIRD, X + H1 + H2 + W2 + W3),
    "last": ((3,), 11, FIRST + 2 * SECOND + THIRD, X + H1 + H2 + W2 + W3),
}
UNDER_NO_GRAD = {
    # the layers under no_grad; then FLOPs and values as above
    "first": ((1,), SECOND + 2 * THIRD, H1 + H2 + W3),
    "first two": ((1, 2), THIRD, H2),
    "middle": ((2,), THIRD, X + H1 + H2),
    "last": ((3,), 0, X + H1 + H2 + W2),
}
TRAINED = {
    # the layers in question; then those that train if these are frozen, and if they are run under no_grad
    "none": ((), [1, 2, 3], [1, 2, 3]),
    "first two": ((1, 2), [3], [3]),
    "middle": ((2,), [1, 3], [3]),
    "first and last": ((1, 3), [2], []),
    "last": ((3,), [1, 2], []),
}


def run(net, x, untracked=()):
    """Return what a net makes of `x`, its linear layers of the given numbers under no_grad."""
    for place, layer in enumerate(net):
        with torch.no_grad() if place / 2 + 1 in untracked else nullcontext():
            x = layer(x)
    return x


def backward(output):
    """Run the backward pass of a sum, if it has one."""
    if output.requires_grad:
        output.sum().backward()


def cost(net, x, untracked=()):
    """Return the FLOPs of the backward pass, and how many values the forward pass keeps for it."""
    output = run(net, x, untracked)
    return flops(lambda: backward(output)), saved_bytes(lambda: run(net, x, untracked)) / 4


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
    """Freezing the first layers of a net spares the backward pass through them, and the memory for it. A
    frozen layer behind one that trains spares only the gradients of its own parameters.
    """

    @pytest.mark.parametrize(("frozen", "nodes"), [row[:2] for row in COSTS.values()], ids=COSTS)
    def test_graph_begins_at_the_first_layer_that_trains(self, frozen, nodes):
        graph = graph_nodes(make_net("cpu", *frozen)(make_batch("cpu")))

        assert graph.total() == nodes
        assert graph["AccumulateGrad"] == 2 * (3 - len(frozen))

    @pytest.mark.parametrize(("frozen", "nodes", "work", "kept"), COSTS.values(), ids=COSTS)
    def test_backward_costs_what_trains_and_the_way_to_it(self, device, frozen, nodes, work, kept):
        assert cost(make_net(device, *frozen), make_batch(device)) == (work, kept)

    def test_freezing_after_the_forward_pass_saves_nothing(self, device):
        net = make_net(device)
        loss = net(make_batch(device)).sum()
        net[0].requires_grad_(False)

        assert flops(loss.backward) == FIRST + 2 * SECOND + 2 * THIRD
        assert trained(net) == [2, 3]


def rounded_if_frozen(real):
    """Let a frozen layer give another result by a millionth."""
    return lambda x, weight, bias: real(x, weight, bias) + 1e-6 * (not weight.requires_grad)


@statement(
    "autograd.no-grad-vs-freezing",
    notes="2.7; notebook autograd",
    verdict=ANSWERED,
    says="torch.no_grad() achieves something similar to requires_grad=False; how similar is left open",
)
@fault("no_grad records a linear layer", F, "linear", tracked_anyway)
@fault("freezing acts as no_grad", F, "linear", no_way_through)
@fault("no_grad copies results", F, "linear", if_grad_is_off(torch.clone))
@fault("no_grad changes results", F, "linear", if_grad_is_off(lambda output: output + 1e-6))
@fault("freezing changes results", F, "linear", rounded_if_frozen)
class TestNoGradOrFreezing:
    """A frozen layer lets gradients through to the layers in front of it; torch.no_grad() around the layer
    stops those as well. Where nothing in front trains, the two train and cost the same.
    """

    @pytest.mark.parametrize(("numbers", "if_frozen", "under_no_grad"), TRAINED.values(), ids=TRAINED)
    def test_no_grad_stops_the_layers_in_front_as_well(self, device, numbers, if_frozen, under_no_grad):
        frozen, plain, x = make_net(device, *numbers), make_net(device), make_batch(device)

        backward(frozen(x))
        backward(run(plain, x, numbers))

        assert (trained(frozen), trained(plain)) == (if_frozen, under_no_grad)
        assert [parameter.requires_grad for parameter in plain.parameters()] == [True] * 6

    @pytest.mark.parametrize(("numbers", "work", "kept"), UNDER_NO_GRAD.values(), ids=UNDER_NO_GRAD)
    def test_no_grad_saves_the_way_through_as_well(self, device, numbers, work, kept):
        assert cost(make_net(device), make_batch(device), numbers) == (work, kept)

    def test_both_train_the_same_where_nothing_in_front_trains(self, device):
        start, x = make_net(device).state_dict(), make_batch(device)
        ends = []
        for frozen, untracked in (((1, 2), ()), ((), (1, 2))):
            net = make_net(device, *frozen)
            net.load_state_dict(start)
            optimizer = SGD(net.parameters(), lr=0.01, momentum=0.9, weight_decay=0.1)
            for _ in range(3):
                optimizer.zero_grad(set_to_none=True)
                run(net, x, untracked).square().sum().backward()
                optimizer.step()
            ends.append(net.state_dict())

        moved = [name for name, value in ends[0].items() if not value.cpu().equal(start[name].cpu())]
        assert moved == ["4.weight", "4.bias"]
        torch.testing.assert_close(ends[1], ends[0], rtol=0, atol=0)

    def test_neither_changes_the_forward_pass(self, device):
        net, x = make_net(device), make_batch(device)
        frozen = copy.deepcopy(net).requires_grad_(False)
        forwards = [lambda: net(x), lambda: frozen(x), torch.no_grad()(lambda: net(x))]

        results = [forward().detach() for forward in forwards]
        counts = [operators(forward) for forward in forwards]

        torch.testing.assert_close(results[1:], results[:1] * 2, rtol=0, atol=0)
        assert [flops(forward) for forward in forwards] == [FIRST + SECOND + THIRD] * 3
        for count in counts:
            del count["aten.detach.default"]  # hands a result to the graph
        assert counts[1:] == counts[:1] * 2
