"""Section 2.7 of the notes, "Exclusion from the DAG": requires_grad = False."""

import pytest
import torch
from torch import nn

from spec.harness import QUALIFIED, broken_by, claim
from spec.three_layers import by_zeroing, ignored, make_batch, make_net

# Faults: ways to freeze that look like it


def forgetting_the_gradient(real):
    """Drop the gradient of what is frozen."""
    return lambda tensor, requires_grad=True: setattr(tensor, "grad", None) or real(tensor, requires_grad)


def with_gradient_zero(real):
    """Set the gradient of what is frozen to zero."""
    return lambda tensor, requires_grad: (
        setattr(tensor, "grad", tensor.detach() * 0) or real(tensor, requires_grad)
    )


def graph_or_nothing(real):
    """Do nothing without a graph."""
    return lambda y, *rest: real(y, *rest) if y.requires_grad else None


def assigning(change):
    """Return a replacement for the attribute requires_grad that assigns `change(flag)`."""
    return lambda real: property(real.__get__, lambda tensor, flag: real.__set__(tensor, change(flag)))


class TestRequiresGradFalse:
    """requires_grad = False."""

    @claim(
        "autograd.requires-grad-false-excludes",
        notes="2.7",
        verdict=QUALIFIED,
        says="requires_grad=False takes a tensor out of the graph, and no gradient is computed for it",
    )
    @broken_by(torch.Tensor, "requires_grad_", ignored)
    @broken_by(torch.Tensor, "requires_grad_", by_zeroing)
    @broken_by(torch.Tensor, "backward", lambda real: lambda y: None)
    @broken_by(torch.Tensor, "requires_grad_", with_gradient_zero)
    def test_frozen_leaf_gets_no_gradient_and_the_others_get_theirs(self, device):
        """A leaf with requires_grad=False keeps grad None, not zero, and is a constant to the others."""
        a = torch.tensor([2.0, 3.0], device=device, requires_grad=True)
        b = torch.tensor([5.0, 7.0], device=device, requires_grad=True)
        b.requires_grad_(False)

        (a * a * b).sum().backward()

        assert b.grad is None
        assert a.grad is not None
        assert a.grad.tolist() == [2 * 2 * 5, 2 * 3 * 7]

    @claim("autograd.requires-grad-false-excludes-by-assignment", notes="2.7")
    @broken_by(torch.Tensor, "requires_grad", assigning(lambda flag: True))
    @broken_by(torch.Tensor, "requires_grad", assigning(lambda flag: False))
    @broken_by(torch.Tensor, "backward", lambda real: lambda y: None)
    def test_assignment_freezes_a_leaf_and_frees_it_again(self, device):
        """b.requires_grad = False keeps b.grad at None, and with True the next backward() fills it."""
        a = torch.tensor([2.0, 3.0], device=device, requires_grad=True)
        b = torch.tensor([5.0, 7.0], device=device, requires_grad=True)

        gradients = []
        for flag in (False, True):
            b.requires_grad = flag
            (a * b).sum().backward()
            gradients.append(b.grad)

        assert a.grad is not None
        assert a.grad.tolist() == [2 * 5, 2 * 7]
        assert gradients[0] is None
        assert gradients[1] is not None
        assert gradients[1].tolist() == [2, 3]

    @claim("autograd.requires-grad-false-excludes-leaves-only", notes="2.7")
    @broken_by(
        torch.Tensor, "requires_grad_", lambda real: lambda t, on: real(t, on) if t.is_leaf else t.detach()
    )
    @broken_by(torch.Tensor, "detach", lambda real: lambda t: t.view(-1))
    @broken_by(torch.Tensor, "detach", lambda real: lambda t: real(t).clone())
    def test_only_a_leaf_can_be_frozen(self, device):
        """A computed tensor refuses requires_grad=False; detach() shares its values without the graph."""
        result = 2 * torch.ones(2, device=device, requires_grad=True)

        with pytest.raises(RuntimeError, match="only change requires_grad flags of leaf variables"):
            result.requires_grad_(False)
        assert not result.detach().requires_grad
        assert result.detach().data_ptr() == result.data_ptr()

    @claim("autograd.requires-grad-false-excludes-after-forward", notes="2.7")
    @broken_by(torch.Tensor, "requires_grad_", ignored)
    @broken_by(torch.Tensor, "requires_grad_", by_zeroing)
    @broken_by(torch.Tensor, "backward", lambda real: lambda y: None)
    def test_leaf_frozen_between_forward_and_backward_gets_no_gradient(self, device):
        """requires_grad=False between the forward and the backward pass is in time to keep grad None."""
        a = torch.tensor([2.0, 3.0], device=device, requires_grad=True)
        b = torch.tensor([5.0, 7.0], device=device, requires_grad=True)
        loss = (a * b).sum()
        b.requires_grad_(False)

        loss.backward()

        assert b.grad is None
        assert a.grad is not None
        assert a.grad.tolist() == [5, 7]

    @claim("autograd.requires-grad-false-excludes-stale-gradient", notes="2.7")
    @broken_by(torch.Tensor, "requires_grad_", forgetting_the_gradient)
    @broken_by(torch.Tensor, "requires_grad_", ignored)
    @broken_by(torch.Tensor, "requires_grad_", with_gradient_zero)
    def test_gradient_from_before_freezing_stays(self, device):
        """A gradient that a leaf has when it is frozen stays as it is: neither dropped nor added to."""
        a = torch.tensor([2.0, 3.0], device=device, requires_grad=True)
        b = torch.tensor([5.0, 7.0], device=device, requires_grad=True)
        (a * b).sum().backward()
        b.requires_grad_(False)

        (a * b).sum().backward()

        assert b.grad is not None
        assert b.grad.tolist() == [2, 3]
        assert a.grad.tolist() == [10, 14]

    @claim("autograd.requires-grad-false-excludes-everything", notes="2.7")
    @broken_by(torch.Tensor, "backward", graph_or_nothing)
    @broken_by(nn.Module, "requires_grad_", ignored)
    @broken_by(nn.Module, "requires_grad_", lambda real: lambda layer, on: layer.weight.requires_grad_(on))
    def test_backward_raises_where_everything_is_frozen(self, device):
        """With every parameter frozen the loss requires no grad, and backward() raises."""
        loss = make_net(device, 1, 2, 3)(make_batch(device)).sum()

        with pytest.raises(RuntimeError, match="does not require grad"):
            loss.backward()

    @claim("autograd.requires-grad-false-excludes-module-attribute", notes="2.7")
    @broken_by(
        nn.Module,
        "__setattr__",
        lambda real: (
            lambda net, name, value: (
                net.requires_grad_(value) if name == "requires_grad" else real(net, name, value)
            )
        ),
    )
    @broken_by(nn.Module, "requires_grad_", ignored)
    @broken_by(nn.Module, "requires_grad_", lambda real: lambda net, on: real(net[0], on))
    def test_module_is_frozen_by_its_method_and_not_by_an_attribute(self):
        """net.requires_grad = False freezes nothing, silently; net.requires_grad_(False) every parameter."""
        net = make_net("cpu")

        net.requires_grad = False
        flags_by_attribute = [parameter.requires_grad for parameter in net.parameters()]
        net.requires_grad_(False)

        assert flags_by_attribute == [True] * 6
        assert [parameter.requires_grad for parameter in net.parameters()] == [False] * 6
