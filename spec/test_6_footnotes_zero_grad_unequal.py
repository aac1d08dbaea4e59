"""Footnote 1 of the notes: net.zero_grad() against optimizer.zero_grad() where it holds other parameters."""

import torch
from torch import nn
from torch.optim import SGD, Optimizer

from spec.harness import QUALIFIED, broken_by, claim
from spec.sgd_faults import clear_after
from spec.zero_grads import (
    backward,
    both_ways,
    clears_everything,
    clears_nothing,
    copies,
    gradients,
    halves_the_others,
    make_net,
    make_weights,
    spares_the_first,
    spares_the_second,
    times,
)

Module = nn.Module

SAME = "given net.parameters(), optimizer.zero_grad() should do the same as net.zero_grad(); not tried"


def replaced_by_name(real):
    """Return a Module.__setattr__ that puts the weights of a new layer into the old one."""

    def assign(net, name, value):
        old = net.__dict__.get("_modules", {}).get(name)
        return old.load_state_dict(value.state_dict()) if old is not None else real(net, name, value)

    return assign


def lists_registered(real):
    """Return a Module.__setattr__ that also registers the weights in a list."""

    def assign(net, name, value):
        real(net, name, value)
        for number, weight in enumerate(value if isinstance(value, list) else []):
            net.register_parameter(f"{name}_{number}", weight)

    return assign


def values_after_each_step(clear, optimizer, loss, weights, *, steps=3):
    """Return the values of the weights after each of some steps that begin with clear()."""
    values = []
    for _ in range(steps):
        clear()
        loss().backward()
        optimizer.step()
        values.append([weight.item() for weight in weights])
    return values


class TestMoreThanTheNet:
    """An optimizer that holds parameters of others."""

    @claim("footnote.zero-grad-with-other-parameters", notes="footnote 1", verdict=QUALIFIED, says=SAME)
    @broken_by(Module, "zero_grad", clears_everything)
    @broken_by(Module, "zero_grad", halves_the_others)
    @broken_by(Module, "zero_grad", clears_nothing)
    @broken_by(Optimizer, "zero_grad", clears_nothing)
    @broken_by(Optimizer, "zero_grad", spares_the_first)
    def test_net_leaves_the_gradients_of_another_net_of_its_optimizer(self, device):
        """Over two nets, one net's zero_grad() leaves the other's gradients; the optimizer's clears both."""
        net, other = make_net(device), make_net(device)
        optimizer = SGD([*net.parameters(), *other.parameters()], lr=0.1)
        backward(net, other)
        before = gradients(other)

        net.zero_grad()

        assert not any(gradient.cpu().any() for gradient in gradients(net))
        torch.testing.assert_close(gradients(other), before, rtol=0, atol=0)
        backward(net)
        optimizer.zero_grad()
        assert not any(gradient.cpu().any() for gradient in gradients(net) + gradients(other))

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
    @broken_by(Module, "__setattr__", lists_registered)
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
