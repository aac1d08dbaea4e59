"""Footnote 1 of the notes: net.zero_grad() against optimizer.zero_grad() where it holds a part of the net."""

import pytest
import torch
from torch import nn
from torch.optim import SGD, Optimizer

from spec.harness import ANSWERED, broken_by, claim
from spec.sgd_faults import clear_after
from spec.zero_grads import (
    backward,
    both_ways,
    clears_everything,
    clears_nothing,
    copies,
    gradients,
    make_net,
    make_weights,
    spares_biases,
    spares_the_first,
    times,
)

Module = nn.Module

PART = "where the optimizer holds a part of the net only, the two may differ; not tried"


def gradients_after_each_pass(clear, net, layer, *, passes=3):
    """Return the gradients of a layer after each of some passes that begin with clear()."""
    found = []
    for _ in range(passes):
        clear()
        backward(net)
        found.append(gradients(layer))
    return found


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
        pairs = [first.zero_grad], [second.zero_grad], [first.zero_grad, second.zero_grad], [net.zero_grad]
        for methods in pairs:
            net.zero_grad()
            backward(net)
            for clear in methods:
                clear()
            left.append([bool(gradient.cpu().any()) for gradient in gradients(net)])

        assert left[:2] == [[False, False, True, True], [True, True, False, False]]
        assert left[2:] == [[False] * 4, [False] * 4]

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
