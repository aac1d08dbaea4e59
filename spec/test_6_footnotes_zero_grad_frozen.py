"""Footnote 1 of the notes: net.zero_grad() against optimizer.zero_grad() where parameters are frozen."""

import torch
from torch import nn
from torch.optim import SGD, Optimizer, sgd

from spec.harness import ANSWERED, broken_by, claim
from spec.sgd_faults import clear_after, skip_frozen, with_formula, zeros_for_none
from spec.zero_grads import (
    backward,
    both_ways,
    clears_everything,
    clears_nothing,
    copies,
    gradients,
    make_net,
    makes_zeros,
    removes,
    spares_biases,
    spares_frozen,
    writes_zeros,
)

Module = nn.Module

FROZEN = "with frozen parameters the two may differ; not tried"


def make_optimizer(weights):
    """Return an SGD that moves whatever has a gradient, also one of zeros."""
    return SGD(weights, lr=0.125, momentum=0.5, weight_decay=0.25)


class TestFrozenFromTheStart:
    """requires_grad_(False) before the first backward()."""

    @claim(
        "footnote.zero-grad-with-frozen-parameters-from-the-start",
        notes="footnote 1",
        verdict=ANSWERED,
        says=FROZEN,
    )
    @broken_by(Module, "zero_grad", makes_zeros)
    @broken_by(Optimizer, "zero_grad", makes_zeros)
    @broken_by(Module, "requires_grad_", lambda real: lambda layer, requires_grad: layer)
    @broken_by(SGD, "step", zeros_for_none)
    def test_layer_frozen_from_the_start_has_no_gradient_to_clear(self, device):
        """A layer frozen before any backward() keeps .grad None, and its weights, under either method."""
        for owner in ("net", "optimizer"):
            net = make_net(device)
            net.first.requires_grad_(False)
            optimizer = make_optimizer(net.parameters())
            for set_to_none in (True, False):
                backward(net)
                optimizer.step()

                both_ways(net, optimizer)[owner](set_to_none=set_to_none)

                assert [weight.grad for weight in net.first.parameters()] == [None, None]
                start = copies(make_net(device).first.parameters())
                torch.testing.assert_close(copies(net.first.parameters()), start, rtol=0, atol=0)

    @claim(
        "footnote.zero-grad-with-frozen-parameters-held-or-not",
        notes="footnote 1",
        verdict=ANSWERED,
        says=FROZEN,
    )
    @broken_by(Module, "zero_grad", clears_nothing)
    @broken_by(Optimizer, "zero_grad", spares_biases)
    @broken_by(Optimizer, "zero_grad", makes_zeros)
    @broken_by(SGD, "step", zeros_for_none)
    def test_layer_frozen_from_the_start_may_be_left_out_or_not(self, device):
        """Neither which method clears nor whether the optimizer holds the frozen layer changes any weight."""
        trained = {}
        for owner in ("net", "optimizer"):
            for held in ("all", "unfrozen"):
                net = make_net(device)
                net.first.requires_grad_(False)
                optimizer = make_optimizer((net if held == "all" else net.second).parameters())
                for _ in range(3):
                    both_ways(net, optimizer)[owner]()
                    backward(net)
                    optimizer.step()
                trained[owner, held] = copies(net.parameters())

        for weights in trained.values():
            torch.testing.assert_close(weights, trained["net", "unfrozen"], rtol=0, atol=0)


def values_once_frozen(owner, device, **options):
    """Return the values of a weight after a step, and after two more that follow its freezing.

    `owner` says whose zero_grad() clears the gradient before each step, None that nothing does.
    """
    weight = nn.Parameter(torch.tensor(16.0, device=device))
    net, optimizer = nn.ParameterList([weight]), SGD([weight], lr=1.0, momentum=0.5, weight_decay=0.25)
    (4 * weight).backward()
    optimizer.step()
    weight.requires_grad_(False)
    values = [weight.item()]
    for _ in range(2):
        if owner is not None:
            both_ways(net, optimizer)[owner](**options)
        optimizer.step()
        values.append(weight.item())
    return values


class TestFrozenMidway:
    """requires_grad_(False) when there is a gradient already."""

    @claim("footnote.zero-grad-with-frozen-parameters", notes="footnote 1", verdict=ANSWERED, says=FROZEN)
    @broken_by(Module, "zero_grad", spares_frozen)
    @broken_by(Optimizer, "zero_grad", spares_frozen)
    @broken_by(Module, "zero_grad", clears_nothing)
    @broken_by(Optimizer, "zero_grad", clears_nothing)
    def test_gradient_from_before_the_freezing_is_cleared(self, device):
        """Neither method asks for requires_grad: both clear what frozen parameters have of earlier passes."""
        net = make_net(device)
        for clear in both_ways(net, make_optimizer(net.parameters())).values():
            net.requires_grad_(True)
            backward(net)
            net.first.requires_grad_(False)

            clear()

            assert not any(gradient.cpu().any() for gradient in gradients(net))

    @claim(
        "footnote.zero-grad-with-frozen-parameters-next-step",
        notes="footnote 1",
        verdict=ANSWERED,
        since="2.0",
        says=FROZEN,
    )
    @broken_by(Module, "zero_grad", writes_zeros)
    @broken_by(Optimizer, "zero_grad", writes_zeros)
    @broken_by(Module, "zero_grad", spares_frozen)
    @broken_by(Optimizer, "zero_grad", spares_frozen)
    @broken_by(SGD, "step", zeros_for_none)
    def test_weight_frozen_midway_stays_once_it_is_cleared(self, device):
        """After either method's default, no step moves the frozen weight, whatever momentum and decay say."""
        assert values_once_frozen("net", device) == [16 - 8, 8, 8]
        assert values_once_frozen("optimizer", device) == [16 - 8, 8, 8]

    @claim(
        "footnote.zero-grad-with-frozen-parameters-zeros", notes="footnote 1", verdict=ANSWERED, says=FROZEN
    )
    @broken_by(Module, "zero_grad", removes)
    @broken_by(Optimizer, "zero_grad", removes)
    @broken_by(Module, "zero_grad", spares_frozen)
    @broken_by(Optimizer, "zero_grad", spares_frozen)
    def test_weight_frozen_midway_drifts_on_zeros(self, device):
        """After either method with set_to_none=False, momentum and decay go on moving the frozen weight."""
        drift = [16 - 8, 8 - (0.5 * 8 + 0.25 * 8), 2 - (0.5 * 6 + 0.25 * 2)]

        assert values_once_frozen("net", device, set_to_none=False) == drift
        assert values_once_frozen("optimizer", device, set_to_none=False) == drift

    @claim(
        "footnote.zero-grad-with-frozen-parameters-stale", notes="footnote 1", verdict=ANSWERED, says=FROZEN
    )
    @broken_by(SGD, "step", clear_after)
    @broken_by(SGD, "step", skip_frozen)
    @broken_by(sgd, "sgd", with_formula(momentum=0))
    def test_weight_frozen_midway_follows_its_stale_gradient(self, device):
        """Without either method each step takes the gradient of before the freezing again."""
        stale = [16 - 8, 8 - (0.5 * 8 + 4 + 0.25 * 8), -2 - (0.5 * 10 + 4 - 0.25 * 2)]

        assert values_once_frozen(None, device) == stale


def forget_the_gradient(real):
    """Return a requires_grad_() that starts anew."""
    return lambda weight, requires_grad: setattr(weight, "grad", None) or real(weight, requires_grad)


class TestFrozenAndLeftOut:
    """An optimizer made of the unfrozen parameters alone, when the frozen ones have gradients."""

    @claim(
        "footnote.zero-grad-with-frozen-parameters-left-out",
        notes="footnote 1",
        verdict=ANSWERED,
        says=FROZEN,
    )
    @broken_by(Optimizer, "zero_grad", clears_everything)
    @broken_by(Optimizer, "zero_grad", clears_nothing)
    @broken_by(Module, "zero_grad", spares_frozen)
    @broken_by(Module, "zero_grad", clears_nothing)
    def test_optimizer_leaves_the_gradients_of_what_it_was_not_given(self, device):
        """optimizer.zero_grad() leaves the gradients of the frozen ones; net.zero_grad() clears them."""
        net = make_net(device)
        backward(net)
        net.first.requires_grad_(False)
        before = gradients(net.first)

        SGD([weight for weight in net.parameters() if weight.requires_grad], lr=0.1).zero_grad()

        torch.testing.assert_close(gradients(net.first), before, rtol=0, atol=0)
        assert all(gradient.cpu().any() for gradient in before)
        assert not any(gradient.cpu().any() for gradient in gradients(net.second))
        net.zero_grad()
        assert not any(gradient.cpu().any() for gradient in gradients(net))

    @claim(
        "footnote.zero-grad-with-frozen-parameters-unfrozen-again",
        notes="footnote 1",
        verdict=ANSWERED,
        says=FROZEN,
    )
    @broken_by(Optimizer, "zero_grad", clears_everything)
    @broken_by(Module, "zero_grad", clears_nothing)
    @broken_by(Module, "zero_grad", spares_frozen)
    @broken_by(torch.Tensor, "requires_grad_", forget_the_gradient)
    def test_stale_gradient_enters_the_first_step_after_unfreezing(self, device):
        """What optimizer.zero_grad() left adds to the first gradient after unfreezing, and is stepped on."""
        values = {}
        for owner in ("net", "optimizer"):
            net = nn.ParameterList(torch.tensor(16.0, device=device) for _ in range(2))
            (4 * net[0] + net[1]).backward()
            net[0].requires_grad_(False)
            optimizer = SGD([net[1]], lr=1.0)
            both_ways(net, optimizer)[owner]()
            net[0].requires_grad_(True)
            optimizer.add_param_group({"params": [net[0]]})
            (3 * net[0]).backward()
            optimizer.step()
            values[owner] = [weight.item() for weight in net]

        assert values == {"net": [16 - 3, 16], "optimizer": [16 - (4 + 3), 16]}
