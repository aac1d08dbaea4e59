"""Footnote 1 of the notes: net.zero_grad() against optimizer.zero_grad() over the same parameters."""

import pytest
import torch
from torch import nn, optim
from torch.optim import SGD, Optimizer

from spec.harness import ANSWERED, each_row, fault, since, statement
from spec.zero_grads import (
    backward,
    both_ways,
    clears_nothing,
    clears_one_group,
    copies,
    gradients,
    in_training_alone,
    loss_of,
    make_net,
    makes_zeros,
    shallow,
    spares_biases,
    spares_the_second,
    writes_zeros_by_default,
)

SAME = "given net.parameters(), optimizer.zero_grad() should do the same as net.zero_grad(); not tried"
OWNERS = pytest.mark.parametrize("owner", ["net", "optimizer"])
OPTIONS = {
    # of zero_grad(), and whether each .grad is the tensor it was, now full of zeros; None where it is None
    "default": pytest.param({}, None, marks=since("2.0")),
    "set_to_none=True": ({"set_to_none": True}, None),
    "set_to_none=False": ({"set_to_none": False}, True),
}
# SparseAdam takes sparse gradients alone.
DENSE = {
    name: found
    for name, found in vars(optim).items()
    if isinstance(found, type) and issubclass(found, Optimizer) and name not in ("Optimizer", "SparseAdam")
}


def over_groups(net):
    """Give the optimizer the two layers in groups of their own."""
    return SGD([{"params": layer.parameters()} for layer in net.children()], lr=0.1)


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


def trained(owner, device, **options):
    """Return the weights of a net after steps that begin with the zero_grad() of `owner`.

    For None as `owner`, nothing is cleared, and each .grad is set to a new gradient by hand.
    """
    net = make_net(device)
    optimizer = SGD(net.parameters(), lr=0.125, momentum=0.5, weight_decay=0.25)
    for _ in range(3):
        if owner is None:
            by_hand = torch.autograd.grad(loss_of(net), [*net.parameters()])
            for weight, gradient in zip(net.parameters(), by_hand, strict=True):
                weight.grad = gradient
        else:
            both_ways(net, optimizer)[owner](**options)
            backward(net)
        optimizer.step()
    return copies(net.parameters())


def trained_by(optimizer_class, owner, device):
    """Return the weights of a net without biases after steps of an optimizer, and those that it began with.

    Each step gets a function that clears and computes the loss, as LBFGS asks for; Muon takes matrices alone.
    """
    net = make_net(device)
    net.first.bias = net.second.bias = None
    before = copies(net.parameters())
    optimizer = optimizer_class(net.parameters(), lr=0.125)

    def closure():
        both_ways(net, optimizer)[owner]()
        loss = loss_of(net)
        loss.backward()
        return loss

    for _ in range(3):
        optimizer.step(closure)
    return copies(net.parameters()), before


@statement("footnote.net-vs-optimizer-zero-grad", notes="footnote 1", verdict=ANSWERED, says=SAME)
@fault("the net spares biases", nn.Module, "zero_grad", spares_biases)
@fault("the net clears its direct layers alone", nn.Module, "zero_grad", shallow)
@fault("the net clears in training mode alone", nn.Module, "zero_grad", in_training_alone)
@fault("the net writes zeros by default", nn.Module, "zero_grad", writes_zeros_by_default)
@fault("the net makes new tensors of zeros", nn.Module, "zero_grad", makes_zeros)
@fault("the optimizer spares its second parameter", Optimizer, "zero_grad", spares_the_second)
@fault("the optimizer clears its first group alone", Optimizer, "zero_grad", clears_one_group(0))
@fault("the optimizer writes zeros by default", Optimizer, "zero_grad", writes_zeros_by_default)
@fault("the optimizer makes new tensors of zeros", Optimizer, "zero_grad", makes_zeros)
@fault("LBFGS clears nothing", optim.LBFGS, "zero_grad", clears_nothing)
class TestNetVsOptimizerZeroGrad:
    """If the optimizer holds net.parameters(), net.zero_grad() and optimizer.zero_grad() do the same: they
    clear every gradient in the same way, and any optimizer then trains the same weights.
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
        net.scale = nn.Parameter(torch.tensor(2.0, device=device))
        optimizer = SGD(net.parameters(), lr=0.1, foreach=True)
        net.scale.grad = torch.full_like(net.scale, torch.inf)
        were = [weight.grad for weight in net.parameters()]

        both_ways(net, optimizer)[owner](**options)

        are = [weight.grad for weight in net.parameters()]
        found = [
            None if new is None else new is old and not new.cpu().any().item()
            for new, old in zip(are, were, strict=True)
        ]
        assert found == [zeroed] * 5

    @pytest.mark.parametrize("options", [{}, {"set_to_none": True}, {"set_to_none": False}], ids=str)
    def test_either_method_trains_the_weights_that_new_gradients_give(self, device, options):
        by_hand, by_net = trained(None, device), trained("net", device, **options)

        by_optimizer = trained("optimizer", device, **options)

        torch.testing.assert_close(by_optimizer, by_net, rtol=0, atol=0)
        torch.testing.assert_close(by_net, by_hand, rtol=0, atol=0)

    def test_every_dense_optimizer_trains_the_same_weights_after_either_method(self, device):
        for optimizer_class in DENSE.values():
            by_net, before = trained_by(optimizer_class, "net", device)

            by_optimizer, _ = trained_by(optimizer_class, "optimizer", device)

            torch.testing.assert_close(by_optimizer, by_net, rtol=0, atol=0)
            assert not any(new.cpu().equal(old.cpu()) for new, old in zip(by_net, before, strict=True))
