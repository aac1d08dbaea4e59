"""Footnote 1 of the notes: where net.zero_grad() and optimizer.zero_grad() may differ."""

import pytest
import torch
from torch import nn
from torch.optim import SGD, Optimizer

from spec.harness import ANSWERED, QUALIFIED, fault, statement
from spec.zero_grads import (
    backward,
    both_ways,
    clears_everything,
    copies,
    gradients,
    make_net,
    make_weights,
    spares_biases,
    spares_frozen,
    spares_the_first,
    spares_the_second,
)

FROZEN = "if parameters are frozen, optimizer.zero_grad() may differ from net.zero_grad(); not tried"
PART = "if the optimizer holds only a part of the net, its zero_grad() may differ from the net's; not tried"
SAME = "if the optimizer holds net.parameters(), its zero_grad() should do the same as the net's; not tried"
OWNERS = pytest.mark.parametrize("owner", ["net", "optimizer"])


def forget_the_gradient(real):
    """Return a requires_grad_() that starts anew."""
    return lambda weight, requires_grad: setattr(weight, "grad", None) or real(weight, requires_grad)


@statement("footnote.zero-grad-with-frozen-parameters", notes="footnote 1", verdict=ANSWERED, says=FROZEN)
@fault("the net spares frozen parameters", nn.Module, "zero_grad", spares_frozen)
@fault("the optimizer spares frozen parameters", Optimizer, "zero_grad", spares_frozen)
@fault("the optimizer clears all that there is", Optimizer, "zero_grad", clears_everything)
@fault("unfreezing starts anew", torch.Tensor, "requires_grad_", forget_the_gradient)
class TestZeroGradWithFrozenParameters:
    """Both net.zero_grad() and optimizer.zero_grad() clear the gradients of parameters that were frozen by
    requires_grad_(False). An optimizer that was made without the frozen parameters leaves their old
    gradients. The old gradients enter the first step after the parameters are unfrozen and added to the
    optimizer.
    """

    @OWNERS
    def test_gradient_from_before_the_freezing_is_cleared(self, device, owner):
        net = make_net(device)
        backward(net)
        net.first.requires_grad_(False)

        both_ways(net, SGD(net.parameters(), lr=0.125))[owner]()

        assert not any(gradient.cpu().any() for gradient in gradients(net))

    def test_optimizer_leaves_the_gradients_of_frozen_parameters_that_it_was_not_given(self, device):
        net = make_net(device)
        backward(net)
        net.first.requires_grad_(False)
        left = [*gradients(net.first), *map(torch.zeros_like, net.second.parameters())]

        SGD([weight for weight in net.parameters() if weight.requires_grad], lr=0.1).zero_grad()

        torch.testing.assert_close(gradients(net), left, rtol=0, atol=0)
        net.zero_grad()
        assert not any(gradient.cpu().any() for gradient in gradients(net))

    @pytest.mark.parametrize(("owner", "value"), [("net", 16 - 3), ("optimizer", 16 - (4 + 3))])
    def test_gradient_that_was_left_enters_the_first_step_after_unfreezing(self, device, owner, value):
        net = make_weights(16.0, 16.0, device=device)
        (4 * net[0] + net[1]).backward()
        net[0].requires_grad_(False)
        optimizer = SGD([net[1]], lr=1.0)
        both_ways(net, optimizer)[owner]()
        net[0].requires_grad_(True)
        optimizer.add_param_group({"params": [net[0]]})

        (3 * net[0]).backward()
        optimizer.step()

        assert [weight.item() for weight in net] == [value, 16]


@statement("footnote.zero-grad-with-partial-optimizer", notes="footnote 1", verdict=ANSWERED, says=PART)
@fault("the net spares its first parameter", nn.Module, "zero_grad", spares_the_first)
@fault("the optimizer clears all that there is", Optimizer, "zero_grad", clears_everything)
@fault("the optimizer spares biases", Optimizer, "zero_grad", spares_biases)
class TestZeroGradWithPartialOptimizer:
    """If the optimizer holds only a part of the net, optimizer.zero_grad() leaves the gradients of the other
    parameters. These gradients add up, but optimizer.step() does not use these gradients. Training gives
    the same weights as with net.zero_grad().
    """

    @pytest.mark.parametrize(("owner", "factors"), [("net", (1, 1, 1)), ("optimizer", (1, 2, 3))])
    def test_gradients_outside_of_the_optimizer_add_up(self, device, owner, factors):
        net = make_net(device)
        clear = both_ways(net, SGD(net.second.parameters(), lr=0.1))[owner]
        backward(net)
        once = gradients(net)
        net.zero_grad()

        found = []
        for _ in factors:
            clear()
            backward(net)
            found.append(gradients(net))

        torch.testing.assert_close(
            found, [[once[0] * factor, once[1] * factor, *once[2:]] for factor in factors]
        )

    def test_weights_inside_of_the_optimizer_are_trained_alike(self, device):
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


def values_after_each_step(clear, optimizer, loss, weights):
    """Return the values of the weights after each of three steps that begin with clear()."""
    values = []
    for _ in range(3):
        clear()
        loss().backward()
        optimizer.step()
        values.append([weight.item() for weight in weights])
    return values


@statement("footnote.zero-grad-with-other-parameters", notes="footnote 1", verdict=QUALIFIED, says=SAME)
@fault("the net clears all that there is", nn.Module, "zero_grad", clears_everything)
@fault("the optimizer spares its second parameter", Optimizer, "zero_grad", spares_the_second)
@fault("the optimizer clears all that there is", Optimizer, "zero_grad", clears_everything)
class TestZeroGradWithOtherParameters:
    """net.zero_grad() does not clear the gradients of parameters that only the optimizer holds, such as those
    of another net. Every optimizer.step() then uses the old gradients again. optimizer.zero_grad() does
    not clear the gradients of a layer that was put into the net later.
    """

    @pytest.mark.parametrize("where", ["another net", "a list"])
    @pytest.mark.parametrize(
        ("owner", "expected"),
        [("net", [[31, 32 - 2], [30, 30 - 4], [29, 26 - 6]]), ("optimizer", [[31, 30], [30, 28], [29, 26]])],
        ids=["net", "optimizer"],
    )
    def test_steps_take_the_sums_of_gradients_that_the_net_misses(self, device, where, owner, expected):
        net, other = make_weights(32.0, device=device), [*make_weights(32.0, device=device)]
        if where == "a list":
            net.scales = other
        optimizer = SGD([*net, *other], lr=1.0)
        clear = both_ways(net, optimizer)[owner]

        values = values_after_each_step(clear, optimizer, lambda: net[0] + 2 * other[0], [net[0], *other])

        assert values == expected

    @pytest.mark.parametrize(
        ("owner", "expected", "gradient"),
        [("net", [[32 - 4, 8], [28 - 4, 8], [24 - 4, 8]], 2), ("optimizer", [[32, 8]] * 3, 2 + 2 + 2)],
        ids=["net", "optimizer"],
    )
    def test_optimizer_moves_the_old_layer_and_not_the_new_one(self, device, owner, expected, gradient):
        net = nn.Sequential(make_weights(32.0, device=device))
        [old], optimizer = net[0], SGD(net.parameters(), lr=1.0)
        (4 * old).backward()
        net[0] = make_weights(8.0, device=device)
        [new], clear = net[0], both_ways(net, optimizer)[owner]

        values = values_after_each_step(clear, optimizer, lambda: 2 * net[0][0], [old, new])

        assert values == expected
        assert new.grad.item() == gradient
