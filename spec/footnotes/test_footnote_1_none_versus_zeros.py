"""Footnote 1 of the notes: what a gradient of None and one of zeros do in the steps that follow."""

import weakref
from math import sqrt

import pytest
import torch
from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer

from spec.counters import operators
from spec.faults import with_options
from spec.harness import QUALIFIED, fault, statement
from spec.sgd_faults import zeros_for_none
from spec.zero_grads import backward, copies, held, make_net, makes_zeros, removes, writes_zeros

Module = nn.Module

ZEROS = "zero_grad() sets the gradients to zero"
MODES = {"None": True, "zeros": False}  # set_to_none


def make_weight(device):
    """Return a weight of one number, 16."""
    return nn.Parameter(torch.tensor(16.0, dtype=torch.float64, device=device))


def after_clearing(device, optimizer_class, look, **options):
    """Return `look(optimizer, weight)` for each mode, after a step on a gradient and one on it cleared."""
    found = {}
    for mode, set_to_none in MODES.items():
        weight = make_weight(device)
        optimizer = optimizer_class([weight], **options)
        (4 * weight).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=set_to_none)
        optimizer.step()
        found[mode] = look(optimizer, weight)
    return found


# Faults


def none_for_zeros(real):
    """Return a step() that leaves out what has a gradient of zeros."""

    def step(optimizer):
        for weight in held(optimizer):
            weight.grad = None if weight.grad is None or not weight.grad.cpu().any() else weight.grad
        real(optimizer)

    return step


def in_mode(mode, fault):
    """Return a replacement for zero_grad() that is `fault(owner)` in one of the two modes."""
    return lambda real: (
        lambda owner, set_to_none: (
            fault(owner) if set_to_none is MODES[mode] else real(owner, set_to_none=set_to_none)
        )
    )


def halve(owner):
    """Halve every gradient that there is."""
    for weight in held(owner):
        weight.grad = None if weight.grad is None else weight.grad / 2


def hoarding(real):
    """Return a zero_grad() that sets every .grad to None and keeps the tensors elsewhere."""

    def zero_grad(owner, set_to_none=True):
        owner.kept = [weight.grad for weight in held(owner)]
        real(owner, set_to_none)

    return zero_grad


@statement("footnote.none-versus-zero-grads", notes="footnote 1", verdict=QUALIFIED, says=ZEROS)
@fault("Adam skips zeros", Adam, "step", none_for_zeros)
@fault("Adam takes None for zeros", Adam, "step", zeros_for_none)
@fault("the optimizer always writes zeros", Optimizer, "zero_grad", writes_zeros)
@fault("the optimizer always removes gradients", Optimizer, "zero_grad", removes)
@fault("SGD skips zeros", SGD, "step", none_for_zeros)
@fault("SGD takes None for zeros", SGD, "step", zeros_for_none)
@fault("SGD always has momentum", SGD, "__init__", with_options(momentum=0.5))
@fault("SGD always decays weights", SGD, "__init__", with_options(weight_decay=0.5))
@fault("zeros are half of the gradient", Optimizer, "zero_grad", in_mode("zeros", halve))
@fault("the default clears nothing", Optimizer, "zero_grad", in_mode("None", lambda owner: None))
@fault("the net always writes zeros", Module, "zero_grad", writes_zeros)
@fault("the net makes new tensors of zeros", Module, "zero_grad", makes_zeros)
@fault("a hidden list keeps the gradients", Optimizer, "zero_grad", hoarding)
class TestNoneVersusZeroGrads:
    """A step leaves a parameter alone whose gradient is None. With a gradient of zeros, momentum, weight
    decay and the averages of Adam still move it. Zeros also cost memory, a fill, and an addition in the
    next backward pass.
    """

    def test_adam_moves_on_at_zeros_and_rests_at_none(self, device):
        values = after_clearing(device, Adam, lambda optimizer, weight: weight.item(), lr=0.5, eps=0.0)

        # of the averages 0.1 g and 0.001 g² there are left 0.9 and 0.999, divided by 1 - 0.9² and 1 - 0.999²
        second = 0.5 * (0.09 / 0.19) / sqrt(0.000999 / 0.001999)
        assert values == pytest.approx({"None": 16 - 0.5, "zeros": 16 - 0.5 - second})

    def test_adam_counts_zeros_as_a_step_and_none_not(self, device):
        def state(optimizer, weight):
            kept = optimizer.state[weight]
            return [kept[name].item() for name in ("step", "exp_avg", "exp_avg_sq")]

        found = after_clearing(device, Adam, state, lr=0.5)

        assert found["None"] == pytest.approx([1, 0.1 * 4, 0.001 * 4**2])
        assert found["zeros"] == pytest.approx([2, 0.9 * 0.1 * 4, 0.999 * 0.001 * 4**2])

    def test_weight_that_a_pass_does_not_use_rests_at_none(self, device):
        values = {}
        for mode, set_to_none in MODES.items():
            always, once = make_weight(device), make_weight(device)
            optimizer = SGD([always, once], lr=1.0, momentum=0.5)
            for loss in (lambda a, b: a + 4 * b, lambda a, b: a, lambda a, b: a):
                optimizer.zero_grad(set_to_none=set_to_none)
                loss(always, once).backward()
                optimizer.step()
                values.setdefault(mode, []).append(once.item())

        assert values == {"None": [16 - 4, 12, 12], "zeros": [16 - 4, 12 - 2, 10 - 1]}

    def test_plain_sgd_moves_at_neither(self, device):
        values = after_clearing(device, SGD, lambda optimizer, weight: weight.item(), lr=1.0)

        assert values == {"None": 16 - 4, "zeros": 16 - 4}

    def test_weights_that_every_pass_uses_are_trained_alike(self, device):
        trained = []
        for set_to_none in MODES.values():
            net = make_net(device)
            optimizer = Adam(net.parameters(), lr=0.125)
            for _ in range(3):
                optimizer.zero_grad(set_to_none=set_to_none)
                backward(net)
                optimizer.step()
            trained.append(copies(net.parameters()))

        torch.testing.assert_close(trained[1], trained[0], rtol=0, atol=0)

    def test_zeros_cost_a_fill_and_an_addition_for_each_parameter(self, device):
        def costs(set_to_none):
            net = make_net(device)
            backward(net)
            counts = operators(lambda: net.zero_grad(set_to_none=set_to_none))
            counts += operators(lambda: backward(net))
            return [counts["aten.zero_.default"], counts["aten.add_.Tensor"]]

        assert costs(set_to_none=True) == [0, 0]
        assert costs(set_to_none=False) == [4, 4]

    def test_none_gives_back_the_memory_of_the_gradient(self, device):
        freed = {}
        for mode, set_to_none in MODES.items():
            weight = make_weight(device)
            optimizer = SGD([weight], lr=1.0)
            weight.grad = torch.ones_like(weight)
            memory = weakref.ref(weight.grad.untyped_storage())
            optimizer.zero_grad(set_to_none=set_to_none)
            freed[mode] = memory() is None

        assert freed == {"None": True, "zeros": False}


@statement("footnote.none-versus-zero-grads-weight-decay", notes="footnote 1", verdict=QUALIFIED, says=ZEROS)
@fault("AdamW skips zeros", AdamW, "step", none_for_zeros)
@fault("AdamW takes None for zeros", AdamW, "step", zeros_for_none)
@fault("AdamW ignores weight decay", AdamW, "__init__", with_options(weight_decay=0.0))
def test_adamw_shrinks_a_weight_at_zeros_alone(device):
    """AdamW shrinks a weight whose gradients have all been zeros, and leaves one that has None."""
    zeros, none = make_weight(device), make_weight(device)
    zeros.grad = torch.zeros_like(zeros)

    AdamW([zeros, none], lr=0.5, weight_decay=0.25).step()

    assert [zeros.item(), none.item()] == [16 - 0.5 * 0.25 * 16, 16]
