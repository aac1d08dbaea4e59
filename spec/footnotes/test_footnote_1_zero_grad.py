"""Footnote 1 of the notes: net.zero_grad() against optimizer.zero_grad() over the same parameters."""

import pytest
import torch
from torch import nn
from torch.optim import SGD, Optimizer

from spec.harness import ANSWERED, each_row, fault, since, statement
from spec.zero_grads import (
    backward,
    both_ways,
    clears_direct_layers,
    clears_in_training,
    clears_the_first_group,
    copies,
    gradients,
    make_net,
    makes_zeros,
    spares_biases,
    spares_the_second,
    writes_zeros_by_default,
)

SAME = "if the optimizer holds net.parameters(), its zero_grad() should do the same as the net's; not tried"
OWNERS = pytest.mark.parametrize("owner", ["net", "optimizer"])
OPTIONS = {
    # of zero_grad(), and whether each .grad is the tensor it was, now full of zeros; None where it is None
    "default": pytest.param({}, None, marks=since("2.0")),
    "set_to_none=True": ({"set_to_none": True}, None),
    "set_to_none=False": ({"set_to_none": False}, True),
}


def over_groups(net):
    """Give the optimizer the two layers in groups of their own."""
    return SGD([{"params": layer.parameters()} for layer in (net.first, net.second)], lr=0.1)


def over_layers_of_layers(net):
    """Put the first layer into another, and that into one more."""
    net.first = nn.Sequential(nn.Sequential(net.first))
    return SGD(net.parameters(), lr=0.1)


def over_a_shared_weight(net):
    """Let the two layers share their weight."""
    net.second.weight = net.first.weight
    return SGD(net.parameters(), lr=0.1)


OPTIMIZERS = {
    "parameters in groups": over_groups,
    "layers of layers": over_layers_of_layers,
    "a weight that two layers share": over_a_shared_weight,
    "a net in evaluation mode": lambda net: SGD(net.eval().parameters(), lr=0.1),
}


@statement("footnote.net-vs-optimizer-zero-grad", notes="footnote 1", verdict=ANSWERED, says=SAME)
@fault("the net spares biases", nn.Module, "zero_grad", spares_biases)
@fault("the net clears its direct layers alone", nn.Module, "zero_grad", clears_direct_layers)
@fault("the net clears in training mode alone", nn.Module, "zero_grad", clears_in_training)
@fault("the net writes zeros by default", nn.Module, "zero_grad", writes_zeros_by_default)
@fault("the net makes new tensors of zeros", nn.Module, "zero_grad", makes_zeros)
@fault("the optimizer spares its second parameter", Optimizer, "zero_grad", spares_the_second)
@fault("the optimizer clears its first group alone", Optimizer, "zero_grad", clears_the_first_group)
@fault("the optimizer writes zeros by default", Optimizer, "zero_grad", writes_zeros_by_default)
@fault("the optimizer makes new tensors of zeros", Optimizer, "zero_grad", makes_zeros)
class TestNetVsOptimizerZeroGrad:
    """If the optimizer holds net.parameters(), net.zero_grad() and optimizer.zero_grad() have the same
    effect. Both methods set every gradient to None by default (since PyTorch 2.0), or to zeros with
    set_to_none=False. Training gives the same weights with either method.
    """

    @OWNERS
    @pytest.mark.parametrize("make_optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS)
    def test_either_method_clears_every_gradient(self, device, owner, make_optimizer):
        net = make_net(device)
        optimizer = make_optimizer(net)
        backward(net)

        both_ways(net, optimizer)[owner]()

        assert not any(gradient.cpu().any() for gradient in gradients(net))

    @each_row
    @OWNERS
    @pytest.mark.parametrize(("options", "zeroed"), OPTIONS.values(), ids=OPTIONS)
    def test_either_method_clears_in_the_same_way(self, device, owner, options, zeroed):
        net = make_net(device)
        backward(net)
        net.first.bias.grad[1] = torch.inf
        were = [weight.grad for weight in net.parameters()]

        both_ways(net, SGD(net.parameters(), lr=0.1))[owner](**options)

        are = [weight.grad for weight in net.parameters()]
        found = [
            None if new is None else new is old and not new.cpu().any().item()
            for new, old in zip(are, were, strict=True)
        ]
        assert found == [zeroed] * 4

    @pytest.mark.parametrize("options", [{}, {"set_to_none": True}, {"set_to_none": False}], ids=str)
    def test_either_method_trains_the_same_weights(self, device, options):
        trained = {}
        for owner in ("net", "optimizer"):
            net = make_net(device)
            optimizer = SGD(net.parameters(), lr=0.125, momentum=0.5, weight_decay=0.25)
            for _ in range(3):
                both_ways(net, optimizer)[owner](**options)
                backward(net)
                optimizer.step()
            trained[owner] = copies(net.parameters())

        torch.testing.assert_close(trained["optimizer"], trained["net"], rtol=0, atol=0)
