"""Footnote 1 of the notes: net.zero_grad() against optimizer.zero_grad(), in one table and one sentence."""

import itertools

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.optim import SGD, Optimizer

from spec.harness import ANSWERED, broken_by, claim
from spec.zero_grads import (
    backward,
    both_ways,
    clears_everything,
    clears_nothing,
    clears_one_group,
    halves_the_others,
    in_training_alone,
    make_net,
    makes_zeros,
    shallow,
    spares_float32,
    spares_frozen,
    spares_single_numbers,
    spares_the_first,
)

Module = nn.Module

SAME = "given net.parameters(), optimizer.zero_grad() should do the same as net.zero_grad(); not tried"


# The overview: situations, each made around a net; what may keep its gradient, by name


def over_all(net):
    """Give the optimizer net.parameters()."""
    backward(net)
    return SGD(net.parameters(), lr=0.1), {}


def over_groups(net):
    """Give the optimizer the two layers in groups of their own."""
    backward(net)
    return SGD([{"params": net.first.parameters()}, {"params": net.second.parameters()}], lr=0.1), {}


def over_layers_of_layers(net):
    """Put the first layer into another, and that into one more."""
    net.first = nn.Sequential(nn.Sequential(net.first))
    return over_all(net)


def in_evaluation_mode(net):
    """Switch the net to evaluation."""
    return over_all(net.eval())


def frozen_from_the_start(net):
    """Freeze the first layer before any backward()."""
    net.first.requires_grad_(False)
    return over_all(net)


def frozen_midway(net):
    """Freeze the first layer when it has gradients."""
    optimizer, others = over_all(net)
    net.first.requires_grad_(False)
    return optimizer, others


def frozen_and_left_out(net):
    """Freeze the first layer when it has gradients, and give the optimizer the others alone."""
    backward(net)
    net.first.requires_grad_(False)
    return SGD([weight for weight in net.parameters() if weight.requires_grad], lr=0.1), {}


def over_the_second_layer(net):
    """Give the optimizer a part of the net."""
    backward(net)
    return SGD(net.second.parameters(), lr=0.1), {}


def one_of_two_optimizers(net):
    """Give each layer an optimizer; return the first layer's."""
    backward(net)
    SGD(net.second.parameters(), lr=0.1)
    return SGD(net.first.parameters(), lr=0.1), {}


def over_two_nets(net):
    """Give the optimizer another net, too."""
    other = make_net(net.first.weight.device)
    backward(net, other)
    return SGD([*net.parameters(), *other.parameters()], lr=0.1), {"another net": other.second.bias}


def over_an_extra_weight(net):
    """Give the optimizer a weight that is in no net."""
    optimizer, _ = over_all(net)
    extra = nn.Parameter(torch.ones(1))
    extra.grad = torch.ones(1)
    optimizer.add_param_group({"params": [extra]})
    return optimizer, {"one more": extra}


def first_layer_replaced(net):
    """Replace the first layer after the optimizer has been made."""
    optimizer, _ = over_all(net)
    old, net.first = net.first, make_net(net.first.weight.device).first
    backward(net)
    return optimizer, {"replaced": old.weight}


def one_weight_twice(net):
    """Give the optimizer the parameters of a net that has one of them under two names."""
    net.second.weight = net.first.weight
    return over_all(net)


def layer_in_a_list(net):
    """Keep a layer in a Python list, where neither the net nor the optimizer finds it."""
    net.others = [make_net(net.first.weight.device).first]
    net.others[0].weight.grad = torch.ones_like(net.others[0].weight)
    optimizer, _ = over_all(net)
    return optimizer, {"hidden": net.others[0].weight}


FIRST = ["first.weight", "first.bias"]
SECOND = ["second.weight", "second.bias"]
OVERVIEW = {
    # what the optimizer holds: situation, what net.zero_grad() leaves, what optimizer.zero_grad() leaves
    "the net's parameters": (over_all, [], []),
    "the net's parameters, in groups": (over_groups, [], []),
    "the net's parameters, in layers of layers": (over_layers_of_layers, [], []),
    "the net's parameters, in evaluation mode": (in_evaluation_mode, [], []),
    "the net's parameters, a layer frozen from the start": (frozen_from_the_start, [], []),
    "the net's parameters, a layer frozen midway": (frozen_midway, [], []),
    "the net's parameters, one of them shared by two layers": (one_weight_twice, [], []),
    "the net's parameters, where a Python list hides a layer": (layer_in_a_list, ["hidden"], ["hidden"]),
    "what is not frozen, a layer frozen midway": (frozen_and_left_out, [], FIRST),
    "a part of the net": (over_the_second_layer, [], FIRST),
    "a part of the net, another optimizer the rest": (one_of_two_optimizers, [], SECOND),
    "the net's parameters before a layer was replaced": (first_layer_replaced, ["replaced"], FIRST),
    "the parameters of two nets": (over_two_nets, ["another net"], []),
    "the net's parameters and one more": (over_an_extra_weight, ["one more"], []),
}


def left_by(owner, situation, device):
    """Return the names of what still has a gradient after the zero_grad() of `owner`."""
    net = make_net(device)
    optimizer, others = situation(net)
    both_ways(net, optimizer)[owner]()
    watched = dict(net.named_parameters()) | others
    return [name for name, weight in watched.items() if weight.grad is not None and weight.grad.cpu().any()]


KINDS = [*itertools.product([(), (3,), (2, 3)], [torch.float32, torch.float64])]
INDICES = st.integers(0, len(KINDS) - 1)


class TestOverview:
    """The answer in one table, and in one sentence."""

    @claim("footnote.zero-grad-overview", notes="footnote 1", verdict=ANSWERED, says=SAME)
    @broken_by(Module, "zero_grad", spares_frozen)
    @broken_by(Optimizer, "zero_grad", spares_frozen)
    @broken_by(Module, "zero_grad", clears_everything)
    @broken_by(Optimizer, "zero_grad", clears_everything)
    @broken_by(Module, "zero_grad", clears_nothing)
    @broken_by(Module, "zero_grad", shallow)
    @broken_by(Module, "zero_grad", in_training_alone)
    @broken_by(Optimizer, "zero_grad", clears_one_group(0))
    def test_each_method_leaves_what_the_other_alone_holds(self, device):
        """The two agree if the optimizer holds net.parameters(), frozen or not; else each leaves the rest."""
        left = {
            name: (situation, left_by("net", situation, device), left_by("optimizer", situation, device))
            for name, (situation, *_) in OVERVIEW.items()
        }

        assert left == OVERVIEW

    @claim("footnote.zero-grad-clears-what-its-owner-holds", notes="footnote 1", verdict=ANSWERED, says=SAME)
    @broken_by(Module, "zero_grad", spares_frozen)
    @broken_by(Optimizer, "zero_grad", spares_frozen)
    @broken_by(Module, "zero_grad", spares_the_first)
    @broken_by(Optimizer, "zero_grad", spares_the_first)
    @broken_by(Optimizer, "zero_grad", clears_everything)
    @broken_by(Module, "zero_grad", halves_the_others)
    @broken_by(Optimizer, "zero_grad", makes_zeros)
    @broken_by(Module, "zero_grad", spares_single_numbers)
    @broken_by(torch, "_foreach_zero_", lambda real: lambda gradients: real(gradients[:1]))
    @broken_by(Optimizer, "zero_grad", spares_float32)
    @given(
        in_net=st.sets(INDICES),
        in_optimizer=st.sets(INDICES, min_size=1),
        frozen=st.sets(INDICES),
        with_gradient=st.sets(INDICES),
        set_to_none=st.booleans(),
        foreach=st.booleans(),
    )
    def test_each_method_clears_just_what_its_owner_holds(
        self, device, in_net, in_optimizer, frozen, with_gradient, set_to_none, foreach
    ):
        """What has a gradient and is held by the method's owner is cleared, and nothing else."""
        weights = [
            nn.Parameter(torch.ones(shape, dtype=dtype, device=device), index not in frozen)
            for index, (shape, dtype) in enumerate(KINDS)
        ]
        net = nn.ParameterList(weights[index] for index in in_net)
        optimizer = SGD([weights[index] for index in in_optimizer], lr=0.1, foreach=foreach)
        for owner, held in {"net": in_net, "optimizer": in_optimizer}.items():
            for index, weight in enumerate(weights):
                weight.grad = torch.full_like(weight, 1 + index) if index in with_gradient else None
            both_ways(net, optimizer)[owner](set_to_none=set_to_none)

            found = {i: w.grad.unique().tolist() for i, w in enumerate(weights) if w.grad is not None}

            zeros = {} if set_to_none else {index: [0] for index in with_gradient & held}
            assert found == {index: [1 + index] for index in with_gradient - held} | zeros
