"""Footnote 1 of the notes: clearing a single gradient, Variable.grad.data.zero_()."""

import gc

import pytest
import torch
from torch import autograd, nn
from torch.optim import SGD, Optimizer

from spec.harness import OUTDATED, QUALIFIED, broken_by, claim
from spec.zero_grads import backward, both_ways, clears_nothing, copies, make_net, writes_zeros_by_default

SINGLE = "a single variable is cleared by Variable.grad.data.zero_()"


# Faults: in a tensor's .grad and .data


def reading(change):
    """Return a replacement for an attribute that reads as `change(its value, tensor)`."""
    return lambda real: property(lambda x: change(real.__get__(x), x), real.__set__, real.__delete__)


reads_zeros_for_none = reading(lambda gradient, x: torch.zeros_like(x) if gradient is None else gradient)


def zeroes_every_gradient(real):
    """Return a zero_() that zeroes the gradient of every parameter there is."""

    def zero(x):
        for thing in gc.get_objects():
            if type(thing) is nn.Parameter and thing.grad is not None:
                real(thing.grad)
        return real(x)

    return zero


def variable_that(answer):
    """Return a Variable that makes of a tensor what `answer` does."""
    return lambda real: type(real)("Variable", (real,), {"__new__": lambda cls, x: answer(x)})


class TestSingleVariable:
    """Variable.grad.data.zero_()."""

    @claim("footnote.zero-single-variable", notes="footnote 1", verdict=OUTDATED, since="2.0", says=SINGLE)
    @broken_by(nn.Module, "zero_grad", writes_zeros_by_default)
    @broken_by(Optimizer, "zero_grad", writes_zeros_by_default)
    @broken_by(Optimizer, "zero_grad", clears_nothing)
    @broken_by(torch.Tensor, "grad", reads_zeros_for_none)
    def test_single_gradient_cannot_be_zeroed_after_zero_grad(self, device):
        """Since zero_grad() leaves None, weight.grad.data.zero_() after it is an AttributeError."""
        net = make_net(device)
        for clear in both_ways(net, SGD(net.parameters(), lr=0.1)).values():
            backward(net)

            clear()

            with pytest.raises(AttributeError, match="'NoneType' object has no attribute 'data'"):
                net.first.weight.grad.data.zero_()

    @claim("footnote.zero-single-variable-too-early", notes="footnote 1", verdict=QUALIFIED, says=SINGLE)
    @broken_by(torch.Tensor, "grad", reads_zeros_for_none)
    @broken_by(nn.Module, "requires_grad_", lambda real: lambda layer, requires_grad: layer)
    def test_single_gradient_cannot_be_zeroed_before_backward(self, device):
        """Before backward(), and where frozen by then, .grad.data.zero_() is an AttributeError, too."""
        net = make_net(device)
        net.first.requires_grad_(False)

        with pytest.raises(AttributeError, match="'NoneType' object has no attribute 'data'"):
            net.second.weight.grad.data.zero_()
        backward(net)
        with pytest.raises(AttributeError, match="'NoneType' object has no attribute 'data'"):
            net.first.weight.grad.data.zero_()

    @claim("footnote.zero-single-variable-alone", notes="footnote 1", verdict=QUALIFIED, says=SINGLE)
    @broken_by(torch.Tensor, "data", reading(lambda data, x: data.clone()))
    @broken_by(torch.Tensor, "zero_", lambda real: lambda x: torch.zeros_like(x))
    @broken_by(torch.Tensor, "zero_", lambda real: lambda x: real(x[:1]))
    @broken_by(torch.Tensor, "zero_", zeroes_every_gradient)
    def test_single_gradient_is_zeroed_where_there_is_one(self, device):
        """Where there is a gradient, .grad.data.zero_() fills it with zeros in place, and all others stay."""
        net = make_net(device)
        backward(net)
        first, *others = [weight.grad for weight in net.parameters()]
        before = copies(others)

        net.first.weight.grad.data.zero_()

        assert net.first.weight.grad is first
        assert not first.cpu().any()
        torch.testing.assert_close([weight.grad for weight in net.parameters()][1:], before, rtol=0, atol=0)

    @claim("footnote.zero-single-variable-hidden", notes="footnote 1", verdict=QUALIFIED, says=SINGLE)
    @broken_by(torch.Tensor, "data", reading(lambda data, x: x.detach()))
    @broken_by(torch.Tensor, "data", reading(lambda data, x: data.clone()))
    @broken_by(torch.Tensor, "zero_", lambda real: lambda x: real(x.data))
    def test_data_hides_the_zeros_from_autograd(self, device):
        """Autograd misses zeros written through .data: what used the gradient passes back wrong ones."""
        found = {}
        for way in ("grad.data", "grad"):
            weight, factor = (nn.Parameter(torch.tensor(value, device=device)) for value in (2.0, 3.0))
            weight.grad = torch.full_like(weight, 5.0)
            result = factor * weight.grad
            (weight.grad.data if way == "grad.data" else weight.grad).zero_()
            try:
                result.backward()
            except RuntimeError as error:
                found[way] = str(error)
            else:
                found[way] = factor.grad.item()

        assert found["grad.data"] == 0  # and should be 5
        assert "has been modified by an inplace operation" in str(found["grad"])

    @claim("footnote.zero-single-variable-alias", notes="footnote 1", verdict=OUTDATED, says=SINGLE)
    @broken_by(autograd, "Variable", variable_that(torch.clone))
    @broken_by(autograd, "Variable", variable_that(nn.Parameter))
    @broken_by(
        type(autograd.Variable), "__instancecheck__", lambda real: lambda cls, x: type(x) is nn.Parameter
    )
    def test_variable_is_another_name_for_tensor(self, device):
        """Variable(t) is a plain Tensor in the memory of t, and every Tensor is an instance of Variable."""
        t = torch.tensor([1.0, 2.0], device=device)

        variable = autograd.Variable(t)

        assert type(variable) is torch.Tensor
        assert variable.data_ptr() == t.data_ptr()
        assert isinstance(t, autograd.Variable)
        assert isinstance(nn.Parameter(t), autograd.Variable)
