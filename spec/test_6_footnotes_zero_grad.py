"""Footnote 1 of the notes: net.zero_grad() against optimizer.zero_grad(), where they are equal."""

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
    copies,
    gradients,
    keeps_the_graph,
    make_net,
    makes_zeros,
    spares_biases,
    spares_frozen,
    spares_the_first,
    spares_the_second,
    writes_zeros,
    writes_zeros_by_default,
)

Module = nn.Module

SAME = "given net.parameters(), optimizer.zero_grad() should do the same as net.zero_grad(); not tried"


def make_optimizer(weights):
    """Return an SGD that goes on without a gradient, if it is let."""
    return SGD(weights, lr=0.125, momentum=0.5, weight_decay=0.25)


# The overview: situations, each made around a net; what may keep its gradient, by name


def over_all(net):
    """Give the optimizer net.parameters()."""
    backward(net)
    return SGD(net.parameters(), lr=0.1), {}


def over_groups(net):
    """Give the optimizer the two layers in groups of their own."""
    backward(net)
    return SGD([{"params": net.first.parameters()}, {"params": net.second.parameters()}], lr=0.1), {}


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


def share_a_weight(net):
    """Let the two layers share their weight."""
    net.second.weight = net.first.weight


def one_weight_twice(net):
    """Give the optimizer the parameters of a net that has one of them under two names."""
    share_a_weight(net)
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
    return [name for name, weight in watched.items() if weight.grad is not None and weight.grad.any()]


class TestOverview:
    """The answer in one table, and in one sentence."""

    @claim("footnote.zero-grad-overview", notes="footnote 1", verdict=ANSWERED, says=SAME)
    @broken_by(Module, "zero_grad", spares_frozen)
    @broken_by(Optimizer, "zero_grad", spares_frozen)
    @broken_by(Module, "zero_grad", clears_everything)
    @broken_by(Optimizer, "zero_grad", clears_everything)
    @broken_by(Module, "zero_grad", clears_nothing)
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
    @given(
        in_net=st.sets(st.integers(0, 5)),
        in_optimizer=st.sets(st.integers(0, 5), min_size=1),
        frozen=st.sets(st.integers(0, 5)),
        with_gradient=st.sets(st.integers(0, 5)),
        set_to_none=st.booleans(),
    )
    def test_each_method_clears_just_what_its_owner_holds(
        self, device, in_net, in_optimizer, frozen, with_gradient, set_to_none
    ):
        """What has a gradient and is held by the method's owner is cleared, and nothing else."""
        weights = [nn.Parameter(torch.ones(2, device=device), index not in frozen) for index in range(6)]
        net = nn.ParameterList(weights[index] for index in in_net)
        optimizer = SGD([weights[index] for index in in_optimizer], lr=0.1)
        left = {}
        for owner, clear in both_ways(net, optimizer).items():
            for index, weight in enumerate(weights):
                weight.grad = torch.ones_like(weight) if index in with_gradient else None
            clear(set_to_none=set_to_none)
            left[owner] = {i for i, w in enumerate(weights) if w.grad is not None and w.grad.any()}

        assert left == {"net": with_gradient - in_net, "optimizer": with_gradient - in_optimizer}


def trained(owner, device, *, change=lambda net: None, steps=3, **options):
    """Return the weights of a net after steps that begin with the zero_grad() of `owner`."""
    net = make_net(device)
    change(net)
    optimizer = make_optimizer(net.parameters())
    for _ in range(steps):
        both_ways(net, optimizer)[owner](**options)
        backward(net)
        optimizer.step()
    return copies(net.parameters())


class TestSameParameters:
    """optimizer = optim.SGD(net.parameters(), ...)."""

    @claim("footnote.net-vs-optimizer-zero-grad", notes="footnote 1", verdict=ANSWERED, says=SAME)
    @broken_by(Module, "zero_grad", clears_nothing)
    @broken_by(Optimizer, "zero_grad", clears_nothing)
    @broken_by(Module, "zero_grad", spares_biases)
    @broken_by(Optimizer, "zero_grad", spares_the_first)
    def test_either_method_trains_the_same_weights(self, device):
        """Over net.parameters(), steps after either zero_grad() give the same weights, bit for bit."""
        for options in ({}, {"set_to_none": True}, {"set_to_none": False}):
            by_net = trained("net", device, **options)

            by_optimizer = trained("optimizer", device, **options)

            torch.testing.assert_close(by_optimizer, by_net, rtol=0, atol=0)

    @claim(
        "footnote.net-vs-optimizer-zero-grad-default",
        notes="footnote 1",
        verdict=ANSWERED,
        since="2.0",
        says=SAME,
    )
    @broken_by(Module, "zero_grad", writes_zeros_by_default)
    @broken_by(Optimizer, "zero_grad", writes_zeros_by_default)
    @broken_by(Module, "zero_grad", spares_biases)
    @broken_by(Optimizer, "zero_grad", clears_nothing)
    def test_either_method_removes_gradients_by_default(self, device):
        """Without an argument either method sets every .grad to None."""
        net = make_net(device)
        for clear in both_ways(net, make_optimizer(net.parameters())).values():
            backward(net)

            clear()

            assert [weight.grad for weight in net.parameters()] == [None] * 4

    @claim("footnote.net-vs-optimizer-zero-grad-removed", notes="footnote 1", verdict=ANSWERED, says=SAME)
    @broken_by(Module, "zero_grad", writes_zeros)
    @broken_by(Optimizer, "zero_grad", writes_zeros)
    @broken_by(Module, "zero_grad", lambda real: lambda net, set_to_none: real(net, False) or real(net, True))
    @broken_by(Optimizer, "zero_grad", lambda real: lambda o, set_to_none: real(o, False) or real(o, True))
    def test_set_to_none_lets_the_gradients_go_as_they_are(self, device):
        """With set_to_none=True either sets .grad to None, and leaves the tensor that was there untouched."""
        net = make_net(device)
        for clear in both_ways(net, make_optimizer(net.parameters())).values():
            backward(net)
            were, values = [weight.grad for weight in net.parameters()], gradients(net)

            clear(set_to_none=True)

            assert [weight.grad for weight in net.parameters()] == [None] * 4
            torch.testing.assert_close(were, values, rtol=0, atol=0)

    @claim("footnote.net-vs-optimizer-zero-grad-zeros", notes="footnote 1", verdict=ANSWERED, says=SAME)
    @broken_by(Module, "zero_grad", makes_zeros)
    @broken_by(Optimizer, "zero_grad", makes_zeros)
    @broken_by(Module, "zero_grad", spares_biases)
    @broken_by(Optimizer, "zero_grad", spares_the_first)
    def test_set_to_none_false_fills_the_same_tensors_with_zeros(self, device):
        """With set_to_none=False either fills the gradients with zeros where they lie."""
        net = make_net(device)
        for clear in both_ways(net, make_optimizer(net.parameters())).values():
            backward(net)
            were = [weight.grad for weight in net.parameters()]

            clear(set_to_none=False)

            assert all(weight.grad is was for weight, was in zip(net.parameters(), were, strict=True))
            assert not any(was.any() for was in were)

    @claim("footnote.net-vs-optimizer-zero-grad-graph", notes="footnote 1", verdict=ANSWERED, says=SAME)
    @broken_by(Module, "zero_grad", keeps_the_graph)
    @broken_by(Optimizer, "zero_grad", keeps_the_graph)
    @broken_by(Module, "zero_grad", spares_biases)
    @broken_by(Optimizer, "zero_grad", clears_nothing)
    def test_set_to_none_false_cuts_the_gradients_from_their_graph(self, device):
        """Gradients that have a graph, as of create_graph=True, lose it with set_to_none=False, in either."""
        net = make_net(device)
        for clear in both_ways(net, make_optimizer(net.parameters())).values():
            for weight in net.parameters():
                weight.grad = weight * 3

            clear(set_to_none=False)

            assert [weight.grad.requires_grad for weight in net.parameters()] == [False] * 4
            assert not any(weight.grad.any() for weight in net.parameters())

    @claim("footnote.net-vs-optimizer-zero-grad-groups", notes="footnote 1", verdict=ANSWERED, says=SAME)
    @broken_by(Optimizer, "zero_grad", clears_one_group(0))
    @broken_by(Optimizer, "zero_grad", clears_one_group(1))
    @broken_by(Module, "zero_grad", clears_nothing)
    def test_groups_of_an_optimizer_are_all_cleared(self, device):
        """An optimizer that holds the net in several groups clears them all, as net.zero_grad() does."""
        net = make_net(device)
        groups = [{"params": net.first.parameters()}, {"params": net.second.parameters(), "lr": 0.5}]
        for clear in both_ways(net, SGD(groups, lr=0.1)).values():
            backward(net)

            clear()

            assert not any(gradient.any() for gradient in gradients(net))

    @claim("footnote.zero-grad-with-shared-parameter", notes="footnote 1", verdict=ANSWERED, says=SAME)
    @broken_by(Module, "zero_grad", clears_nothing)
    @broken_by(Optimizer, "zero_grad", clears_nothing)
    @broken_by(Optimizer, "zero_grad", spares_the_second)
    @broken_by(Module, "zero_grad", spares_the_second)
    def test_weight_under_two_names_is_cleared_and_trained_once(self, device):
        """A weight that two layers share is one parameter with one gradient, and either method clears it."""
        by_net = trained("net", device, change=share_a_weight)

        by_optimizer = trained("optimizer", device, change=share_a_weight)

        assert len(by_net) == 3
        torch.testing.assert_close(by_optimizer, by_net, rtol=0, atol=0)
