"""Footnote 1 of the notes: net.zero_grad() against optimizer.zero_grad() over the same parameters."""

import functools

import torch
from torch import nn, optim
from torch.optim import SGD, Optimizer

from spec.counters import operators
from spec.harness import ANSWERED, broken_by, claim
from spec.zero_grads import (
    backward,
    both_ways,
    clears_nothing,
    clears_one_group,
    copies,
    gradients,
    keeps_the_graph,
    loss_of,
    make_net,
    makes_zeros,
    removes,
    spares_biases,
    spares_the_first,
    spares_the_second,
    times_zero,
    writes_zeros,
    writes_zeros_by_default,
)

Module = nn.Module

SAME = "given net.parameters(), optimizer.zero_grad() should do the same as net.zero_grad(); not tried"


def make_optimizer(weights):
    """Return an SGD that goes on without a gradient, if it is let."""
    return SGD(weights, lr=0.125, momentum=0.5, weight_decay=0.25)


def share_a_weight(net):
    """Let the two layers share their weight."""
    net.second.weight = net.first.weight


def trained(owner, device, *, change=lambda net: None, steps=3, **options):
    """Return the weights of a net after steps that begin with the zero_grad() of `owner`.

    For None as `owner`, nothing is cleared, and each .grad is set to a new gradient by hand.
    """
    net = make_net(device)
    change(net)
    optimizer = make_optimizer(net.parameters())
    for _ in range(steps):
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


# SparseAdam takes sparse gradients alone.
DENSE = {
    name: found
    for name, found in vars(optim).items()
    if isinstance(found, type) and issubclass(found, Optimizer) and name not in ("Optimizer", "SparseAdam")
}


class TestSameParameters:
    """optimizer = optim.SGD(net.parameters(), ...)."""

    @claim("footnote.net-vs-optimizer-zero-grad", notes="footnote 1", verdict=ANSWERED, says=SAME)
    @broken_by(Module, "zero_grad", clears_nothing)
    @broken_by(Optimizer, "zero_grad", clears_nothing)
    @broken_by(Module, "zero_grad", spares_biases)
    @broken_by(Optimizer, "zero_grad", spares_the_first)
    @broken_by(torch.Tensor, "grad", ignores_none)
    def test_either_method_trains_the_same_weights(self, device):
        """Over net.parameters(), steps after either give the weights that new gradients give, bit for bit."""
        by_hand = trained(None, device)
        for options in ({}, {"set_to_none": True}, {"set_to_none": False}):
            by_net = trained("net", device, **options)

            by_optimizer = trained("optimizer", device, **options)

            torch.testing.assert_close(by_optimizer, by_net, rtol=0, atol=0)
            torch.testing.assert_close(by_net, by_hand, rtol=0, atol=0)

    @claim(
        "footnote.net-vs-optimizer-zero-grad-default",
        notes="footnote 1",
        verdict=ANSWERED,
        since="2.0",
        says=SAME,
    )
    @broken_by(Module, "zero_grad", writes_zeros_by_default)
    @broken_by(Optimizer, "zero_grad", writes_zeros_by_default)
    @broken_by(Module, "zero_grad", spares_biases)
    @broken_by(Optimizer, "zero_grad", clears_nothing)
    def test_either_method_removes_gradients_by_default(self, device):
        """Without an argument either method sets every .grad to None."""
        net = make_net(device)
        for clear in both_ways(net, make_optimizer(net.parameters())).values():
            backward(net)

            clear()

            assert [weight.grad for weight in net.parameters()] == [None] * 4

    @claim("footnote.net-vs-optimizer-zero-grad-removed", notes="footnote 1", verdict=ANSWERED, says=SAME)
    @broken_by(Module, "zero_grad", writes_zeros)
    @broken_by(Optimizer, "zero_grad", writes_zeros)
    @broken_by(Module, "zero_grad", lambda real: lambda net, set_to_none: real(net, False) or real(net, True))
    @broken_by(Optimizer, "zero_grad", lambda real: lambda o, set_to_none: real(o, False) or real(o, True))
    def test_set_to_none_lets_the_gradients_go_as_they_are(self, device):
        """With set_to_none=True either sets .grad to None, and leaves the tensor that was there untouched."""
        net = make_net(device)
        for clear in both_ways(net, make_optimizer(net.parameters())).values():
            backward(net)
            were, values = [weight.grad for weight in net.parameters()], gradients(net)

            clear(set_to_none=True)

            assert [weight.grad for weight in net.parameters()] == [None] * 4
            torch.testing.assert_close(were, values, rtol=0, atol=0)

    @claim("footnote.net-vs-optimizer-zero-grad-zeros", notes="footnote 1", verdict=ANSWERED, says=SAME)
    @broken_by(Module, "zero_grad", makes_zeros)
    @broken_by(Optimizer, "zero_grad", makes_zeros)
    @broken_by(Module, "zero_grad", spares_biases)
    @broken_by(Optimizer, "zero_grad", spares_the_first)
    @broken_by(Module, "zero_grad", times_zero)
    @broken_by(Optimizer, "zero_grad", times_zero)
    def test_set_to_none_false_fills_the_same_tensors_with_zeros(self, device):
        """With set_to_none=False either fills the gradients with zeros where they lie, infinite ones, too."""
        net = make_net(device)
        for clear in both_ways(net, make_optimizer(net.parameters())).values():
            backward(net)
            net.first.bias.grad[1] = torch.inf
            were = [weight.grad for weight in net.parameters()]

            clear(set_to_none=False)

            assert all(weight.grad is was for weight, was in zip(net.parameters(), were, strict=True))
            assert not any(was.cpu().any() for was in were)

    @claim("footnote.net-vs-optimizer-zero-grad-graph", notes="footnote 1", verdict=ANSWERED, says=SAME)
    @broken_by(Module, "zero_grad", keeps_the_graph)
    @broken_by(Optimizer, "zero_grad", keeps_the_graph)
    @broken_by(Module, "zero_grad", makes_zeros)
    @broken_by(Optimizer, "zero_grad", makes_zeros)
    def test_set_to_none_false_cuts_the_gradients_from_their_graph(self, device):
        """Gradients that have a graph, as of create_graph=True, lose it with set_to_none=False, in either."""
        net = make_net(device)
        for clear in both_ways(net, make_optimizer(net.parameters())).values():
            were = [weight * 3 for weight in net.parameters()]
            for weight, was in zip(net.parameters(), were, strict=True):
                weight.grad = was

            clear(set_to_none=False)

            assert not any(was.requires_grad or was.cpu().any() for was in were)
            assert all(weight.grad is was for weight, was in zip(net.parameters(), were, strict=True))

    @claim("footnote.net-vs-optimizer-zero-grad-groups", notes="footnote 1", verdict=ANSWERED, says=SAME)
    @broken_by(Optimizer, "zero_grad", clears_one_group(0))
    @broken_by(Optimizer, "zero_grad", clears_one_group(1))
    @broken_by(Module, "zero_grad", clears_nothing)
    def test_groups_of_an_optimizer_are_all_cleared(self, device):
        """An optimizer that holds the net in several groups clears them all, as net.zero_grad() does."""
        net = make_net(device)
        groups = [{"params": net.first.parameters()}, {"params": net.second.parameters(), "lr": 0.5}]
        for clear in both_ways(net, SGD(groups, lr=0.1)).values():
            backward(net)

            clear()

            assert not any(gradient.cpu().any() for gradient in gradients(net))

    @claim("footnote.zero-grad-with-shared-parameter", notes="footnote 1", verdict=ANSWERED, says=SAME)
    @broken_by(Module, "zero_grad", clears_nothing)
    @broken_by(Optimizer, "zero_grad", clears_nothing)
    @broken_by(Optimizer, "zero_grad", spares_the_second)
    @broken_by(Module, "zero_grad", spares_the_second)
    def test_weight_under_two_names_is_cleared_and_trained_once(self, device):
        """A weight that two layers share is one parameter with one gradient, and either method clears it."""
        by_net = trained("net", device, change=share_a_weight)

        by_optimizer = trained("optimizer", device, change=share_a_weight)

        assert len(by_net) == 3
        torch.testing.assert_close(by_optimizer, by_net, rtol=0, atol=0)

    @claim(
        "footnote.net-vs-optimizer-zero-grad-any-optimizer", notes="footnote 1", verdict=ANSWERED, says=SAME
    )
    @broken_by(optim.LBFGS, "zero_grad", clears_nothing)
    @broken_by(optim.Adagrad, "zero_grad", spares_the_second)
    @broken_by(Optimizer, "zero_grad", clears_nothing)
    @broken_by(Module, "zero_grad", spares_the_first)
    @broken_by(optim.Adam, "step", lambda real: lambda optimizer, closure: None)
    def test_every_optimizer_trains_the_same_weights_after_either_method(self, device):
        """Whichever dense optimizer of torch.optim it is: after either method it trains the same weights."""
        for optimizer_class in DENSE.values():
            by_net, before = trained_by(optimizer_class, "net", device)

            by_optimizer, _ = trained_by(optimizer_class, "optimizer", device)

            torch.testing.assert_close(by_optimizer, by_net, rtol=0, atol=0)
            assert not any(new.cpu().equal(old.cpu()) for new, old in zip(by_net, before, strict=True))

    @claim("footnote.net-vs-optimizer-zero-grad-calls", notes="footnote 1", verdict=ANSWERED, says=SAME)
    @broken_by(torch, "_foreach_zero_", lambda real: lambda gradients: [each.zero_() for each in gradients])
    @broken_by(torch, "_foreach_zero_", lambda real: lambda gradients: real(gradients[:1]))
    @broken_by(SGD, "__init__", lambda real: lambda o, w, lr, foreach: real(o, w, lr=lr, foreach=False))
    @broken_by(Module, "zero_grad", removes)
    def test_foreach_fills_in_one_call_what_the_net_fills_one_by_one(self, device):
        """With set_to_none=False the net fills one gradient a call; an SGD with foreach=True all in one."""
        net, calls = make_net(device), {}
        for foreach in (False, True):
            optimizer = SGD(net.parameters(), lr=0.1, foreach=foreach)
            for owner, clear in both_ways(net, optimizer).items():
                backward(net)
                counts = operators(functools.partial(clear, set_to_none=False))
                calls[owner, foreach] = counts["aten.zero_.default"], counts["aten._foreach_zero_.default"]
                assert not any(gradient.cpu().any() for gradient in gradients(net))

        assert calls == {
            ("net", False): (4, 0),
            ("optimizer", False): (4, 0),
            ("net", True): (4, 0),
            ("optimizer", True): (0, 1),
        }
