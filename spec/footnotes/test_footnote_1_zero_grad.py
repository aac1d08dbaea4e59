"""Footnote 1 of the notes: net.zero_grad() against optimizer.zero_grad() over the same parameters."""

import pytest
import torch
from torch import nn, optim
from torch.optim import SGD, Optimizer

from spec.footnotes.situations import OVERVIEW, left_by
from spec.harness import ANSWERED, each_row, fault, since, statement
from spec.zero_grads import (
    backward,
    both_ways,
    clears_everything,
    clears_nothing,
    clears_one_group,
    copies,
    in_training_alone,
    keeps_the_graph,
    loss_of,
    make_net,
    makes_zeros,
    removes,
    shallow,
    spares_biases,
    spares_frozen,
    spares_single_numbers,
    spares_the_second,
    times_zero,
    writes_zeros,
    writes_zeros_by_default,
)

SAME = "given net.parameters(), optimizer.zero_grad() should do the same as net.zero_grad(); not tried"
# SparseAdam takes sparse gradients alone.
DENSE = {
    name: found
    for name, found in vars(optim).items()
    if isinstance(found, type) and issubclass(found, Optimizer) and name not in ("Optimizer", "SparseAdam")
}


def make_optimizer(weights):
    """Return an SGD that goes on without a gradient, if it is let."""
    return SGD(weights, lr=0.125, momentum=0.5, weight_decay=0.25)


def trained(owner, device, **options):
    """Return the weights of a net after steps that begin with the zero_grad() of `owner`.

    For None as `owner`, nothing is cleared, and each .grad is set to a new gradient by hand.
    """
    net = make_net(device)
    optimizer = make_optimizer(net.parameters())
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


def ignores_none(real):
    """Return a .grad that cannot be set to None, so that neither way of clearing by default does anything."""
    return property(real.__get__, lambda x, new: None if new is None else real.__set__(x, new))


@statement("footnote.net-vs-optimizer-zero-grad", notes="footnote 1", verdict=ANSWERED, says=SAME)
@fault("the net clears nothing", nn.Module, "zero_grad", clears_nothing)
@fault("the net spares frozen parameters", nn.Module, "zero_grad", spares_frozen)
@fault("the net spares biases", nn.Module, "zero_grad", spares_biases)
@fault("the net clears all that there is", nn.Module, "zero_grad", clears_everything)
@fault("the net clears its direct layers alone", nn.Module, "zero_grad", shallow)
@fault("the net spares single numbers", nn.Module, "zero_grad", spares_single_numbers)
@fault("the net clears in training mode alone", nn.Module, "zero_grad", in_training_alone)
@fault("the net writes zeros by default", nn.Module, "zero_grad", writes_zeros_by_default)
@fault("the net makes new tensors of zeros", nn.Module, "zero_grad", makes_zeros)
@fault("the net keeps the graph of gradients", nn.Module, "zero_grad", keeps_the_graph)
@fault("the net multiplies by zero", nn.Module, "zero_grad", times_zero)
@fault("the net always writes zeros", nn.Module, "zero_grad", writes_zeros)
@fault("the net always removes gradients", nn.Module, "zero_grad", removes)
@fault("the optimizer clears nothing", Optimizer, "zero_grad", clears_nothing)
@fault("the optimizer spares frozen parameters", Optimizer, "zero_grad", spares_frozen)
@fault("the optimizer spares its second parameter", Optimizer, "zero_grad", spares_the_second)
@fault("the optimizer clears all that there is", Optimizer, "zero_grad", clears_everything)
@fault("the optimizer clears its first group alone", Optimizer, "zero_grad", clears_one_group(0))
@fault("the optimizer clears its second group alone", Optimizer, "zero_grad", clears_one_group(1))
@fault("the optimizer writes zeros by default", Optimizer, "zero_grad", writes_zeros_by_default)
@fault("the optimizer makes new tensors of zeros", Optimizer, "zero_grad", makes_zeros)
@fault("the optimizer keeps the graph of gradients", Optimizer, "zero_grad", keeps_the_graph)
@fault("the optimizer multiplies by zero", Optimizer, "zero_grad", times_zero)
@fault("foreach fills one tensor alone", torch, "_foreach_zero_", lambda real: lambda them: real(them[:1]))
@fault("gradients cannot be set to None", torch.Tensor, "grad", ignores_none)
class TestNetVsOptimizerZeroGrad:
    """If the optimizer holds net.parameters(), frozen or not, net.zero_grad() and optimizer.zero_grad() do
    the same. Otherwise each of them leaves the gradients that only the other one's owner holds.
    """

    @pytest.mark.parametrize("name", OVERVIEW)
    def test_each_method_leaves_what_the_other_alone_holds(self, device, name):
        situation, left_by_net, left_by_optimizer = OVERVIEW[name]

        assert left_by("net", situation, device) == left_by_net
        assert left_by("optimizer", situation, device) == left_by_optimizer

    @pytest.mark.parametrize("options", [{}, {"set_to_none": True}, {"set_to_none": False}], ids=str)
    def test_either_method_trains_the_weights_that_new_gradients_give(self, device, options):
        by_hand, by_net = trained(None, device), trained("net", device, **options)

        by_optimizer = trained("optimizer", device, **options)

        torch.testing.assert_close(by_optimizer, by_net, rtol=0, atol=0)
        torch.testing.assert_close(by_net, by_hand, rtol=0, atol=0)

    @since("2.0")
    @each_row
    @pytest.mark.parametrize("owner", ["net", "optimizer"])
    def test_default_sets_each_grad_to_none(self, device, owner):
        net = make_net(device)
        backward(net)
        net.scale = nn.Parameter(torch.tensor(2.0, device=device))
        net.scale.grad = torch.ones_like(net.scale)

        both_ways(net, make_optimizer(net.parameters()))[owner]()

        assert [weight.grad for weight in net.parameters()] == [None] * 5

    @each_row
    @pytest.mark.parametrize("owner", ["net", "optimizer"])
    def test_set_to_none_false_fills_the_same_tensors_with_zeros(self, device, owner):
        net = make_net(device)
        backward(net)
        net.first.bias.grad[1] = torch.inf
        were = [weight.grad for weight in net.parameters()]

        both_ways(net, SGD(net.parameters(), lr=0.1, foreach=True))[owner](set_to_none=False)

        assert all(weight.grad is was for weight, was in zip(net.parameters(), were, strict=True))
        assert not any(was.cpu().any() for was in were)

    @each_row
    @pytest.mark.parametrize("owner", ["net", "optimizer"])
    def test_set_to_none_false_cuts_gradients_from_their_graph(self, device, owner):
        net = make_net(device)
        were = [weight * 3 for weight in net.parameters()]  # as with create_graph=True
        for weight, was in zip(net.parameters(), were, strict=True):
            weight.grad = was

        both_ways(net, make_optimizer(net.parameters()))[owner](set_to_none=False)

        assert not any(was.requires_grad or was.cpu().any() for was in were)


@statement(
    "footnote.net-vs-optimizer-zero-grad-any-optimizer", notes="footnote 1", verdict=ANSWERED, says=SAME
)
@fault("LBFGS clears nothing", optim.LBFGS, "zero_grad", clears_nothing)
@fault("the net spares its second parameter", nn.Module, "zero_grad", spares_the_second)
@fault("Adam does not step", optim.Adam, "step", lambda real: lambda optimizer, closure: None)
def test_every_dense_optimizer_trains_the_same_weights_after_either_method(device):
    """Whichever dense optimizer of torch.optim it is, it trains the same weights after either method."""
    for optimizer_class in DENSE.values():
        by_net, before = trained_by(optimizer_class, "net", device)

        by_optimizer, _ = trained_by(optimizer_class, "optimizer", device)

        torch.testing.assert_close(by_optimizer, by_net, rtol=0, atol=0)
        assert not any(new.cpu().equal(old.cpu()) for new, old in zip(by_net, before, strict=True))
