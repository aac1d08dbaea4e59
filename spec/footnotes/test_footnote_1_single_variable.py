"""Footnote 1 of the notes: clearing a single gradient, Variable.grad.data.zero_()."""

import gc

import pytest
import torch
from torch import autograd, nn
from torch.optim import SGD, Optimizer

from spec.harness import OUTDATED, fault, since, statement
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


@statement("footnote.zero-single-variable", notes="footnote 1", verdict=OUTDATED, says=SINGLE)
@fault("the net writes zeros by default", nn.Module, "zero_grad", writes_zeros_by_default)
@fault("the optimizer writes zeros by default", Optimizer, "zero_grad", writes_zeros_by_default)
@fault("the optimizer clears nothing", Optimizer, "zero_grad", clears_nothing)
@fault("grad reads as zeros where it is None", torch.Tensor, "grad", reads_zeros_for_none)
@fault(
    "requires_grad_ does nothing",
    nn.Module,
    "requires_grad_",
    lambda real: lambda layer, requires_grad: layer,
)
@fault("data is a copy", torch.Tensor, "data", reading(lambda data, x: data.clone()))
@fault("zero_ makes a new tensor", torch.Tensor, "zero_", lambda real: lambda x: torch.zeros_like(x))
@fault("zero_ fills the first row", torch.Tensor, "zero_", lambda real: lambda x: real(x[:1]))
@fault("zero_ clears every gradient", torch.Tensor, "zero_", zeroes_every_gradient)
@fault("data is seen by autograd", torch.Tensor, "data", reading(lambda data, x: x.detach()))
@fault("zero_ is hidden from autograd", torch.Tensor, "zero_", lambda real: lambda x: real(x.data))
@fault("Variable copies its tensor", autograd, "Variable", variable_that(torch.clone))
@fault("Variable makes a parameter", autograd, "Variable", variable_that(nn.Parameter))
@fault(
    "only parameters are Variables",
    type(autograd.Variable),
    "__instancecheck__",
    lambda real: lambda cls, x: type(x) is nn.Parameter,
)
class TestZeroSingleVariable:
    """weight.grad.data.zero_() fills the gradient of one parameter with zeros, hidden from autograd, if there
    is one. Since zero_grad() leaves None, it is an AttributeError after it, as it always was before
    backward(). Variable is another name for Tensor.
    """

    @since("2.0")
    def test_single_gradient_cannot_be_zeroed_after_zero_grad(self, device):
        net = make_net(device)
        for clear in both_ways(net, SGD(net.parameters(), lr=0.1)).values():
            backward(net)

            clear()

            with pytest.raises(AttributeError, match="'NoneType' object has no attribute 'data'"):
                net.first.weight.grad.data.zero_()

    def test_single_gradient_cannot_be_zeroed_before_backward(self, device):
        net = make_net(device)
        net.first.requires_grad_(False)

        with pytest.raises(AttributeError, match="'NoneType' object has no attribute 'data'"):
            net.second.weight.grad.data.zero_()
        backward(net)
        with pytest.raises(AttributeError, match="'NoneType' object has no attribute 'data'"):
            net.first.weight.grad.data.zero_()

    def test_single_gradient_is_zeroed_where_there_is_one(self, device):
        net = make_net(device)
        backward(net)
        first, *others = [weight.grad for weight in net.parameters()]
        before = copies(others)

        net.first.weight.grad.data.zero_()

        assert net.first.weight.grad is first
        assert not first.cpu().any()
        torch.testing.assert_close([weight.grad for weight in net.parameters()][1:], before, rtol=0, atol=0)

    def test_data_hides_the_zeros_from_autograd(self, device):
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

    def test_variable_is_another_name_for_tensor(self, device):
        t = torch.tensor([1.0, 2.0], device=device)

        variable = autograd.Variable(t)

        assert type(variable) is torch.Tensor
        assert variable.data_ptr() == t.data_ptr()
        assert isinstance(t, autograd.Variable)
        assert isinstance(nn.Parameter(t), autograd.Variable)
