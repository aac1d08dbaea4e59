"""Footnote 1 of the notes: net.zero_grad() against optimizer.zero_grad() where they hold different things."""

import pytest
import torch
from torch import nn
from torch.optim import SGD, Optimizer

from spec.harness import ANSWERED, QUALIFIED, broken_by, claim
from spec.sgd_faults import clear_after
from spec.zero_grads import (
    backward,
    both_ways,
    clears_everything,
    clears_nothing,
    copies,
    gradients,
    make_net,
    spares_biases,
    spares_the_first,
    spares_the_second,
)

Module = nn.Module

SAME = "given net.parameters(), optimizer.zero_grad() should do the same as net.zero_grad(); not tried"
PART = "where the optimizer holds a part of the net only, the two may differ; not tried"


def replaced_by_name(real):
    """Return a Module.__setattr__ that puts the weights of a new layer into the old one."""

    def assign(net, name, value):
        old = net.__dict__.get("_modules", {}).get(name)
        return old.load_state_dict(value.state_dict()) if old is not None else real(net, name, value)

    return assign


def make_weights(*values, device):
    """Return a net that is nothing but weights of one number each."""
    return nn.ParameterList(torch.tensor(value, dtype=torch.float64, device=device) for value in values)


def values_after_each_step(clear, optimizer, loss, weights, *, steps=3):
    """Return the values of the weights after each of some steps that begin with clear()."""
    values = []
    for _ in range(steps):
        clear()
        loss().backward()
        optimizer.step()
        values.append([weight.item() for weight in weights])
    return values


def gradients_after_each_pass(clear, net, layer, *, passes=3):
    """Return the gradients of a layer after each of some passes that begin with clear()."""
    found = []
    for _ in range(passes):
        clear()
        backward(net)
        found.append(gradients(layer))
    return found


def times(factors, gradients):
    """Return the gradients multiplied by each factor."""
    return [[factor * gradient for gradient in gradients] for factor in factors]


class TestPartOfTheNet:
    """An optimizer over a part of the net."""

    @claim("footnote.zero-grad-with-partial-optimizer", notes="footnote 1", verdict=ANSWERED, says=PART)
    @broken_by(Optimizer, "zero_grad", clears_everything)
    @broken_by(Optimizer, "zero_grad", clears_nothing)
    @broken_by(Module, "zero_grad", spares_the_first)
    @broken_by(Module, "zero_grad", clears_nothing)
    def test_gradients_outside_of_the_optimizer_add_up(self, device):
        """A layer outside has 1, 2, 3 times its gradient in passes after optimizer.zero_grad()."""
        net = make_net(device)
        optimizer = SGD(net.second.parameters(), lr=0.1)
        for owner, factors in {"net": (1, 1, 1), "optimizer": (1, 2, 3)}.items():
            clear = both_ways(net, optimizer)[owner]
            net.zero_grad()
            backward(net)
            once = gradients(net)
            net.zero_grad()

            found = gradients_after_each_pass(clear, net, net)

            expected = [[*first, *once[2:]] for first in times(factors, once[:2])]
            torch.testing.assert_close(found, expected)

    @claim(
        "footnote.zero-grad-with-partial-optimizer-weights", notes="footnote 1", verdict=ANSWERED, says=PART
    )
    @broken_by(Optimizer, "zero_grad", clears_nothing)
    @broken_by(Optimizer, "zero_grad", spares_biases)
    @broken_by(Module, "zero_grad", clears_nothing)
    @broken_by(Module, "zero_grad", spares_biases)
    def test_weights_inside_of_the_optimizer_are_trained_alike(self, device):
        """All the same the weights come out equal, bit for bit: no step looks at what adds up outside."""
        trained = []
        for owner in ("net", "optimizer"):
            net = make_net(device)
            optimizer = SGD(net.second.parameters(), lr=0.1, momentum=0.5)
            for _ in range(3):
                both_ways(net, optimizer)[owner]()
                backward(net)
                optimizer.step()
            trained.append(copies(net.parameters()))

        torch.testing.assert_close(trained[1], trained[0], rtol=0, atol=0)

    @claim(
        "footnote.zero-grad-with-partial-optimizer-clipping", notes="footnote 1", verdict=ANSWERED, says=PART
    )
    @broken_by(Optimizer, "zero_grad", clears_everything)
    @broken_by(Module, "zero_grad", clears_nothing)
    @broken_by(nn.utils, "clip_grad_norm_", lambda real: lambda weights, norm: real([*weights][1:], norm))
    def test_clipping_the_net_counts_what_adds_up_outside(self, device):
        """Unless the net's gradients are clipped: those that add up outside make the steps inside smaller."""
        after = {}
        for owner in ("net", "optimizer"):
            net = make_weights(16.0, 16.0, device=device)
            optimizer = SGD([net[1]], lr=1.0)
            for _ in range(2):
                both_ways(net, optimizer)[owner]()
                (3 * net[0] + 4 * net[1]).backward()
                nn.utils.clip_grad_norm_(net.parameters(), 6.0)
                optimizer.step()
            after[owner] = net[1].item()

        assert after["net"] == pytest.approx(16 - 4 - 4)
        assert after["optimizer"] == pytest.approx(16 - 4 - 4 * 6 / (6**2 + 4**2) ** 0.5)

    @claim("footnote.zero-grad-with-two-optimizers", notes="footnote 1", verdict=ANSWERED, says=PART)
    @broken_by(Optimizer, "zero_grad", clears_everything)
    @broken_by(Optimizer, "zero_grad", clears_nothing)
    @broken_by(Module, "zero_grad", clears_nothing)
    @broken_by(Module, "zero_grad", spares_biases)
    def test_two_optimizers_clear_together_what_the_net_clears(self, device):
        """Of two optimizers over two layers each clears its own; net.zero_grad() clears for both."""
        net = make_net(device)
        first, second = SGD(net.first.parameters(), lr=0.1), SGD(net.second.parameters(), lr=0.1)
        left = []
        for methods in ([first.zero_grad], [first.zero_grad, second.zero_grad], [net.zero_grad]):
            net.zero_grad()
            backward(net)
            for clear in methods:
                clear()
            left.append([bool(gradient.any()) for gradient in gradients(net)])

        assert left == [[False, False, True, True], [False] * 4, [False] * 4]

    @claim(
        "footnote.zero-grad-with-two-optimizers-next-step", notes="footnote 1", verdict=ANSWERED, says=PART
    )
    @broken_by(Optimizer, "zero_grad", clears_everything)
    @broken_by(Optimizer, "zero_grad", clears_nothing)
    @broken_by(Module, "zero_grad", clears_nothing)
    @broken_by(SGD, "step", clear_after)
    def test_optimizer_that_is_not_cleared_steps_on_sums(self, device):
        """With one of two optimizers forgotten, its weight goes 1, 2, 3 times as far as its gradient says."""
        values = {}
        for owner in ("net", "optimizer"):
            net = make_weights(32.0, 32.0, device=device)
            optimizers = SGD([net[0]], lr=1.0), SGD([net[1]], lr=1.0)
            clear = both_ways(net, optimizers[0])[owner]
            for _ in range(3):
                clear()
                (4 * net[0] + net[1]).backward()
                for optimizer in optimizers:
                    optimizer.step()
            values[owner] = [weight.item() for weight in net]

        assert values == {"net": [32 - 3 * 4, 32 - 3], "optimizer": [32 - 3 * 4, 32 - (1 + 2 + 3)]}


class TestMoreThanTheNet:
    """An optimizer that holds parameters of others."""

    @claim("footnote.zero-grad-with-other-parameters", notes="footnote 1", verdict=QUALIFIED, says=SAME)
    @broken_by(Module, "zero_grad", clears_everything)
    @broken_by(Module, "zero_grad", clears_nothing)
    @broken_by(Optimizer, "zero_grad", clears_nothing)
    @broken_by(Optimizer, "zero_grad", spares_the_first)
    def test_net_leaves_the_gradients_of_another_net_of_its_optimizer(self, device):
        """Over two nets, one net's zero_grad() leaves the other's gradients; the optimizer's clears both."""
        net, other = make_net(device), make_net(device)
        optimizer = SGD([*net.parameters(), *other.parameters()], lr=0.1)
        left = []
        for clear in both_ways(net, optimizer).values():
            backward(net, other)
            clear()
            left.append([any(g.any() for g in gradients(each)) for each in (net, other)])

        assert left == [[False, True], [False, False]]

    @claim(
        "footnote.zero-grad-with-other-parameters-next-step",
        notes="footnote 1",
        verdict=QUALIFIED,
        says=SAME,
    )
    @broken_by(Module, "zero_grad", clears_everything)
    @broken_by(Module, "zero_grad", clears_nothing)
    @broken_by(Optimizer, "zero_grad", spares_the_second)
    @broken_by(SGD, "step", clear_after)
    def test_other_net_steps_on_sums_of_its_gradients(self, device):
        """After one net's zero_grad() the optimizer moves the other by 1, 2, 3 times its gradient."""

        def values(owner):
            net, other = make_weights(32.0, device=device), make_weights(32.0, device=device)
            optimizer = SGD([*net, *other], lr=1.0)
            clear = both_ways(net, optimizer)[owner]
            return values_after_each_step(clear, optimizer, lambda: net[0] + 2 * other[0], [*net, *other])

        assert values("net") == [[31, 32 - 2], [30, 30 - 4], [29, 26 - 6]]
        assert values("optimizer") == [[31, 32 - 2], [30, 30 - 2], [29, 28 - 2]]

    @claim("footnote.zero-grad-with-other-parameters-extra", notes="footnote 1", verdict=QUALIFIED, says=SAME)
    @broken_by(Module, "zero_grad", clears_everything)
    @broken_by(Module, "zero_grad", clears_nothing)
    @broken_by(Optimizer, "zero_grad", spares_the_second)
    @broken_by(SGD, "step", clear_after)
    def test_net_misses_a_weight_that_is_not_registered(self, device):
        """A weight that the net keeps in a list has its gradients added up, and the steps take the sums."""

        def values(owner):
            net = make_weights(32.0, device=device)
            net.scales = [nn.Parameter(torch.tensor(32.0, device=device))]
            optimizer = SGD([*net, *net.scales], lr=1.0)
            clear = both_ways(net, optimizer)[owner]
            return values_after_each_step(
                clear, optimizer, lambda: net[0] + 2 * net.scales[0], [*net, *net.scales]
            )

        assert values("net") == [[31, 32 - 2], [30, 30 - 4], [29, 26 - 6]]
        assert values("optimizer") == [[31, 32 - 2], [30, 30 - 2], [29, 28 - 2]]


class TestReplacedLayer:
    """A layer of the net replaced after the optimizer has been made."""

    @claim(
        "footnote.zero-grad-with-other-parameters-new-layer",
        notes="footnote 1",
        verdict=QUALIFIED,
        says=SAME,
    )
    @broken_by(Optimizer, "zero_grad", clears_everything)
    @broken_by(Module, "zero_grad", clears_nothing)
    @broken_by(Module, "zero_grad", spares_the_first)
    @broken_by(Module, "__setattr__", replaced_by_name)
    def test_optimizer_neither_clears_nor_trains_the_new_layer(self, device):
        """The new layer's gradients add up under optimizer.zero_grad(), and under either it never moves."""
        for owner, factor in {"net": 1, "optimizer": 3}.items():
            net = make_net(device)
            net.second.requires_grad_(False)  # so that each pass gives the new layer the same gradient
            optimizer = SGD(net.parameters(), lr=0.1, weight_decay=0.5)
            net.first = make_net(device).first
            before = copies(net.first.parameters())
            backward(net)
            once = gradients(net.first)
            net.zero_grad()
            for _ in range(3):
                both_ways(net, optimizer)[owner]()
                backward(net)
                optimizer.step()

            torch.testing.assert_close(copies(net.first.parameters()), before, rtol=0, atol=0)
            torch.testing.assert_close([gradients(net.first)], times([factor], once))

    @claim(
        "footnote.zero-grad-with-other-parameters-old-layer",
        notes="footnote 1",
        verdict=QUALIFIED,
        says=SAME,
    )
    @broken_by(Module, "zero_grad", clears_everything)
    @broken_by(Optimizer, "zero_grad", clears_nothing)
    @broken_by(SGD, "step", clear_after)
    def test_old_layer_goes_on_moving_after_the_nets_zero_grad(self, device):
        """net.zero_grad() misses the old layer, which each step then moves by its last gradient again."""

        def values(owner):
            net = make_weights(32.0, device=device)
            old, optimizer = net[0], SGD(net.parameters(), lr=1.0)
            (4 * net[0]).backward()
            net[0] = nn.Parameter(torch.tensor(8.0, device=device))
            clear = both_ways(net, optimizer)[owner]
            return values_after_each_step(clear, optimizer, lambda: 2 * net[0], [old, net[0]])

        assert values("net") == [[32 - 4, 8], [28 - 4, 8], [24 - 4, 8]]
        assert values("optimizer") == [[32, 8], [32, 8], [32, 8]]


class TestSharedByTwoNets:
    """A weight in two nets that have an optimizer each."""

    @claim(
        "footnote.zero-grad-with-shared-parameter-of-two-nets",
        notes="footnote 1",
        verdict=QUALIFIED,
        says=SAME,
    )
    @broken_by(Module, "zero_grad", spares_the_first)
    @broken_by(Optimizer, "zero_grad", spares_the_first)
    @broken_by(Module, "zero_grad", clears_everything)
    @broken_by(Optimizer, "zero_grad", clears_everything)
    def test_clearing_one_net_takes_the_shared_gradient_from_the_other(self, device):
        """Either method of one net clears the shared weight for the other, whose step then leaves it."""
        values = {}
        for owner in ("net", "optimizer"):
            net = make_weights(32.0, 32.0, device=device)
            other = nn.ParameterList([net[0], torch.tensor(32.0, dtype=torch.float64, device=device)])
            optimizer, others_optimizer = SGD(net.parameters(), lr=1.0), SGD(other.parameters(), lr=1.0)
            (net[0] + 2 * net[1] + 4 * other[1]).backward()

            both_ways(net, optimizer)[owner]()

            others_optimizer.step()
            values[owner] = [net[0].item(), net[1].item(), other[1].item()]

        assert values == {"net": [32, 32, 28], "optimizer": [32, 32, 28]}
