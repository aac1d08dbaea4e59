"""Section 2.7 of the notes, "Exclusion from the DAG": layers under torch.no_grad() against frozen ones."""

from contextlib import nullcontext

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.optim import SGD

from spec.counters import flops, saved_bytes
from spec.harness import ANSWERED, broken_by, claim
from spec.three_layers import (
    FIRST,
    FLOAT,
    ROWS,
    SECOND,
    THIRD,
    by_zeroing,
    if_grad_is_off,
    ignored,
    make_batch,
    make_net,
    tracked_anyway,
)


def run(net, x, *untracked):
    """Return what the layers make of `x`, those of the given numbers under no_grad."""
    for number, layer in enumerate(net, 1):
        with torch.no_grad() if number in untracked else nullcontext():
            x = layer(x)
    return x


def numbers_trained(net, output):
    """Return the numbers of the layers to which output.sum().backward() gives a gradient."""
    if output.requires_grad:
        output.sum().backward()
    return [number for number, layer in enumerate(net, 1) if layer.weight.grad is not None]


def cost(net, x, *untracked):
    """Return how many values the forward pass keeps for backward, and the FLOPs of the backward pass."""
    kept = saved_bytes(lambda: run(net, x, *untracked)) / FLOAT
    output = run(net, x, *untracked)
    return kept, flops(output.sum().backward) if output.requires_grad else 0


# Faults


def like_freezing(real):
    """Let a linear layer under no_grad act as one that is frozen."""

    def linear(x, weight, bias):
        if torch.is_grad_enabled():
            return real(x, weight, bias)
        with torch.enable_grad():
            return real(x, weight.detach(), bias.detach())

    return linear


def like_no_grad(real):
    """Let a linear layer that is frozen act as one under no_grad."""
    return lambda x, weight, bias: real(x if weight.requires_grad else x.detach(), weight, bias)


def flags_off(real):
    """Let no_grad take the requires_grad of what comes by, for good."""

    def linear(x, weight, bias):
        for parameter in (weight, bias):
            parameter.requires_grad_(parameter.requires_grad and torch.is_grad_enabled())
        return real(x, weight, bias)

    return linear


AGAINST = {
    "notes": "2.7",
    "verdict": ANSWERED,
    "says": "torch.no_grad() achieves something similar to requires_grad=False; how similar is left open",
}


class TestAgainstFreezing:
    """The same layers of a net frozen, or run under no_grad."""

    @claim("autograd.no-grad-vs-freezing", **AGAINST)
    @broken_by(F, "linear", tracked_anyway)
    @broken_by(F, "linear", like_freezing)
    @broken_by(F, "linear", like_no_grad)
    @broken_by(nn.Module, "requires_grad_", ignored)
    @broken_by(nn.Module, "requires_grad_", by_zeroing)
    def test_no_grad_stops_the_layers_in_front_as_well(self, device):
        """Freezing stops the training of the layer itself; no_grad around it stops all in front, too."""
        trained = {
            # numbers of layers: those that train if these are frozen, and if they are run under no_grad
            (): ([1, 2, 3], [1, 2, 3]),
            (1,): ([2, 3], [2, 3]),
            (1, 2): ([3], [3]),
            (2,): ([1, 3], [3]),
            (1, 3): ([2], []),
            (3,): ([1, 2], []),
            (1, 2, 3): ([], []),
        }

        seen, x = {}, make_batch(device)
        for numbers in trained:
            frozen, plain = make_net(device, *numbers), make_net(device)
            by_no_grad = numbers_trained(plain, run(plain, x, *numbers))
            seen[numbers] = (numbers_trained(frozen, frozen(x)), by_no_grad)

        assert seen == trained

    @claim("autograd.no-grad-vs-freezing-gradients", **AGAINST)
    @broken_by(F, "linear", tracked_anyway)
    @broken_by(F, "linear", like_freezing)
    @broken_by(F, "linear", like_no_grad)
    @broken_by(F, "linear", lambda real: lambda x, w, b: real(x, w * (1 if w.requires_grad else 2), b))
    @broken_by(F, "linear", if_grad_is_off(lambda y: 2 * y))
    def test_gradients_behind_are_the_same_and_those_in_front_differ(self, device):
        """Either around layer 2 leaves layer 3 its gradient; layer 1 gets its own where layer 2 is frozen."""
        net, x = make_net(device, 2).double(), make_batch(device).double()
        v = torch.randn(ROWS, 2, device=device).double()
        (w1, b1), (w2, b2), (w3, _) = (
            [p.detach().cpu().numpy() for p in layer.parameters()] for layer in net
        )
        inputs, weights = x.cpu().numpy(), v.cpu().numpy()

        gradients = {}
        for name, untracked, flag in (("frozen", [], False), ("no_grad", [2], True)):
            net.zero_grad(set_to_none=True)
            net[1].requires_grad_(flag)
            (v * run(net, x, *untracked)).sum().backward()
            gradients[name] = [layer.weight.grad for layer in net]

        third = torch.from_numpy(weights.T @ ((inputs @ w1.T + b1) @ w2.T + b2)).to(device)
        first = torch.from_numpy((weights @ w3 @ w2).T @ inputs).to(device)
        assert [gradient is None for gradient in gradients["frozen"]] == [False, True, False]
        assert gradients["no_grad"][:2] == [None, None]
        torch.testing.assert_close(gradients["frozen"][::2], [first, third])
        torch.testing.assert_close(gradients["no_grad"][2], third)

    @claim("autograd.no-grad-vs-freezing-in-front", **AGAINST)
    @broken_by(F, "linear", tracked_anyway)
    @broken_by(nn.Module, "requires_grad_", ignored)
    @broken_by(nn.Module, "requires_grad_", by_zeroing)
    @broken_by(F, "linear", if_grad_is_off(lambda y: 2 * y))
    def test_in_front_of_all_that_trains_both_train_the_same(self, device):
        """Where nothing in front trains, steps give the same weights bit for bit, and move none of theirs."""
        start, x = make_net(device).state_dict(), make_batch(device)
        trained = []
        for frozen, untracked in (((1, 2), ()), ((), (1, 2))):
            net = make_net(device, *frozen)
            net.load_state_dict(start)
            optimizer = SGD(net.parameters(), lr=0.01, momentum=0.9, weight_decay=0.1)
            for _ in range(3):
                optimizer.zero_grad(set_to_none=True)
                run(net, x, *untracked).square().sum().backward()
                optimizer.step()
            trained.append(net.state_dict())

        moved = [name for name, value in trained[0].items() if not value.cpu().equal(start[name].cpu())]
        assert moved == ["2.weight", "2.bias"]
        torch.testing.assert_close(trained[1], trained[0], rtol=0, atol=0)

    @claim("autograd.no-grad-vs-freezing-cost", **AGAINST)
    @broken_by(F, "linear", tracked_anyway)
    @broken_by(F, "linear", like_freezing)
    @broken_by(F, "linear", like_no_grad)
    @broken_by(nn.Module, "requires_grad_", by_zeroing)
    def test_both_save_the_same_in_front_and_no_grad_more_elsewhere(self, device):
        """In front the two save as much; around a layer in between, no_grad also saves the way through it."""
        x, h1, h2, w2, w3 = ROWS * 3, ROWS * 5, ROWS * 7, 5 * 7, 7 * 2
        expected = {
            # values kept for backward and FLOPs of backward: frozen, and under no_grad
            (1,): 2 * ((h1 + h2 + w3, SECOND + 2 * THIRD),),
            (1, 2): 2 * ((h2, THIRD),),
            (2,): ((x + w2 + h2 + w3, FIRST + SECOND + 2 * THIRD), (x + h2, THIRD)),
            (3,): ((x + h1 + w2 + w3, FIRST + 2 * SECOND + THIRD), (x + h1 + w2, 0)),
        }

        batch = make_batch(device)
        costs = {
            numbers: (cost(make_net(device, *numbers), batch), cost(make_net(device), batch, *numbers))
            for numbers in expected
        }

        assert costs == expected

    @claim("autograd.no-grad-vs-freezing-values", **AGAINST)
    @broken_by(F, "linear", if_grad_is_off(lambda y: y + 1e-6))
    @broken_by(F, "linear", if_grad_is_off(lambda y: y.half().float()))
    @broken_by(F, "linear", lambda real: lambda x, w, b: real(x, w, b) + 1e-6 * (not w.requires_grad))
    def test_neither_changes_a_value(self, device):
        """Frozen, under no_grad, or neither: a net gives the same output bit for bit."""
        net, x = make_net(device), make_batch(device)

        plain, untracked = net(x), run(net, x, 1, 2, 3)
        frozen = net.requires_grad_(False)(x)

        torch.testing.assert_close([untracked, frozen], [plain.detach()] * 2, rtol=0, atol=0)

    @claim("autograd.no-grad-vs-freezing-lasting", **AGAINST)
    @broken_by(F, "linear", tracked_anyway)
    @broken_by(F, "linear", flags_off)
    @broken_by(nn.Module, "requires_grad_", ignored)
    @broken_by(nn.Module, "requires_grad_", by_zeroing)
    def test_no_grad_is_of_the_block_and_freezing_of_the_parameter(self, device):
        """no_grad leaves requires_grad True and ends with its block; a frozen layer stays frozen."""
        net, frozen, x = make_net(device), make_net(device, 1), make_batch(device)

        untracked = run(net, x, 1, 2, 3)
        flags = [parameter.requires_grad for parameter in net.parameters()]

        assert not untracked.requires_grad
        assert flags == [True] * 6
        assert numbers_trained(net, net(x)) == [1, 2, 3]
        assert [numbers_trained(frozen, frozen(x)) for _ in range(2)] == [[2, 3]] * 2

    @claim("autograd.no-grad-vs-freezing-input", **AGAINST)
    @broken_by(F, "linear", tracked_anyway)
    @broken_by(F, "linear", like_freezing)
    @broken_by(F, "linear", like_no_grad)
    @broken_by(torch.Tensor, "backward", lambda real: lambda y: real(y) if y.requires_grad else None)
    def test_frozen_net_passes_a_gradient_to_its_input(self, device):
        """The gradient of an input comes through a net that is all frozen; under no_grad backward raises."""
        net = make_net(device, 1, 2, 3).double()
        x = make_batch(device).double().requires_grad_()
        slope = np.ones(2) @ net[2].weight.cpu().numpy() @ net[1].weight.cpu().numpy()

        with pytest.raises(RuntimeError, match="does not require grad"):
            run(net, x, 1, 2, 3).sum().backward()
        assert numbers_trained(net, net(x)) == []
        assert x.grad is not None
        expected = torch.from_numpy(slope @ net[0].weight.cpu().numpy()).to(device).expand(ROWS, 3)
        torch.testing.assert_close(x.grad, expected)
