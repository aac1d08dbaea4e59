"""Footnote 1 of the notes: what a gradient of None and one of zeros do in the steps that follow."""

import weakref
from math import sqrt

import pytest
import torch
from torch import nn
from torch.optim import SGD, Adam, Optimizer

from spec.counters import operators
from spec.faults import with_options
from spec.harness import QUALIFIED, each_row, fault, statement
from spec.sgd_faults import zeros_for_none
from spec.zero_grads import backward, copies, held, make_net, make_weights, removes, writes_zeros

ZEROS = "zero_grad() sets the gradients to zero"
MODES = {"None": True, "zeros": False}  # set_to_none
# of the averages 0.1 g and 0.001 g², 0.9 and 0.999 are left, divided by 1 - 0.9² and 1 - 0.999²
ADAM = 0.5 * (0.09 / 0.19) / sqrt(0.000999 / 0.001999)
MOVES = {
    # an optimizer; then a weight of 16 after a step on a gradient of 4, and after one on it cleared to zeros
    "plain SGD": (SGD, {"lr": 1.0}, 16 - 4, 12),
    "momentum": (SGD, {"lr": 1.0, "momentum": 0.5}, 16 - 4, 12 - 0.5 * 4),
    "weight decay": (SGD, {"lr": 1.0, "weight_decay": 0.25}, 16 - (4 + 4), 8 - 2),
    "Adam": (Adam, {"lr": 0.5, "eps": 0.0}, 16 - 0.5, 15.5 - ADAM),
}
FIRST_MOVES = {
    # an optimizer; then a weight of 16 after a first step, on a gradient of zeros
    "plain SGD": (SGD, {}, 16),
    "momentum": (SGD, {"momentum": 0.5}, 16),
    "weight decay": (SGD, {"weight_decay": 0.25}, 16 - 0.25 * 16),
    "Adam": (Adam, {}, 16),
}


def none_for_zeros(real):
    """Return a step() that leaves out what has a gradient of zeros."""

    def step(optimizer):
        for weight in held(optimizer):
            weight.grad = None if weight.grad is None or not weight.grad.cpu().any() else weight.grad
        real(optimizer)

    return step


def leaves_for_zeros(real):
    """Return a zero_grad() that leaves the gradients where it is to write zeros."""
    return lambda owner, set_to_none: real(owner) if set_to_none else None


@statement("footnote.none-versus-zero-grads", notes="footnote 1", verdict=QUALIFIED, says=ZEROS)
@fault("Adam skips zeros", Adam, "step", none_for_zeros)
@fault("Adam takes None for zeros", Adam, "step", zeros_for_none)
@fault("Adam always decays weights", Adam, "__init__", with_options(weight_decay=0.25))
@fault("SGD takes None for zeros", SGD, "step", zeros_for_none)
@fault("SGD always has momentum", SGD, "__init__", with_options(momentum=0.5))
@fault("zero_grad leaves the gradients for zeros", Optimizer, "zero_grad", leaves_for_zeros)
@fault("the net always writes zeros", nn.Module, "zero_grad", writes_zeros)
@fault("the net always removes gradients", nn.Module, "zero_grad", removes)
@fault("the optimizer always writes zeros", Optimizer, "zero_grad", writes_zeros)
class TestNoneVersusZeroGrads:
    """optimizer.step() does not change a parameter whose gradient is None. If the gradient is zeros, plain
    SGD does not change the parameter either. Momentum and Adam then change it only through earlier gradients,
    and weight decay always changes it. A gradient of zeros costs memory, and None costs no memory.
    """

    @each_row
    @pytest.mark.parametrize(("kind", "options", "first", "second"), MOVES.values(), ids=MOVES)
    def test_weight_rests_at_none_and_may_move_on_at_zeros(self, device, kind, options, first, second):
        values = {}
        for mode, set_to_none in MODES.items():
            [weight] = make_weights(16.0, device=device)
            optimizer = kind([weight], **options)
            (4 * weight).backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=set_to_none)
            optimizer.step()
            values[mode] = weight.item()

        assert values == pytest.approx({"None": first, "zeros": second})

    @pytest.mark.parametrize(("kind", "options", "after"), FIRST_MOVES.values(), ids=FIRST_MOVES)
    def test_without_earlier_gradients_zeros_move_a_weight_by_its_decay_alone(
        self, device, kind, options, after
    ):
        [weight] = make_weights(16.0, device=device)
        weight.grad = torch.zeros_like(weight)

        kind([weight], lr=1.0, **options).step()

        assert weight.item() == after

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

    @each_row
    @pytest.mark.parametrize(("mode", "each"), [("None", 0), ("zeros", 4)])
    def test_zeros_cost_a_fill_and_an_addition_for_each_parameter(self, device, mode, each):
        net = make_net(device)
        backward(net)

        fills = operators(lambda: net.zero_grad(set_to_none=MODES[mode]))["aten.zero_.default"]
        additions = operators(lambda: backward(net))["aten.add_.Tensor"]

        assert [fills, additions] == [each, each]

    @pytest.mark.parametrize(("mode", "freed"), [("None", True), ("zeros", False)])
    def test_none_gives_back_the_memory_of_the_gradient(self, device, mode, freed):
        [weight] = make_weights(16.0, device=device)
        optimizer = SGD([weight], lr=1.0)
        weight.grad = torch.ones_like(weight)
        memory = weakref.ref(weight.grad.untyped_storage())

        optimizer.zero_grad(set_to_none=MODES[mode])

        assert (memory() is None) is freed
