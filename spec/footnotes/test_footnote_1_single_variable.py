"""Footnote 1 of the notes: clearing a single gradient, Variable.grad.data.zero_()."""

import pytest
import torch
from torch import autograd, nn
from torch.optim import SGD, Optimizer

from spec.harness import OUTDATED, each_row, fault, since, statement
from spec.zero_grads import backward, both_ways, copies, make_net, writes_zeros_by_default

SINGLE = "Variable.grad.data.zero_() clears the gradient of a single variable"
WITHOUT = {  # whose zero_grad() comes after a first backward()
    "before backward()": None,
    "after net.zero_grad()": pytest.param("net", marks=since("2.0")),
    "after optimizer.zero_grad()": pytest.param("optimizer", marks=since("2.0")),
}


def reading(change):
    """Return a replacement for an attribute that reads as `change(its value, tensor)`."""
    return lambda real: property(lambda x: change(real.__get__(x), x), real.__set__, real.__delete__)


reads_zeros_for_none = reading(lambda gradient, x: torch.zeros_like(x) if gradient is None else gradient)
is_a_copy = reading(lambda data, x: data.clone())


@statement("footnote.zero-single-variable", notes="footnote 1", verdict=OUTDATED, says=SINGLE)
@fault("the net writes zeros by default", nn.Module, "zero_grad", writes_zeros_by_default)
@fault("the optimizer writes zeros by default", Optimizer, "zero_grad", writes_zeros_by_default)
@fault("grad reads as zeros where it is None", torch.Tensor, "grad", reads_zeros_for_none)
@fault("data is a copy", torch.Tensor, "data", is_a_copy)
@fault("zero_ fills the first row", torch.Tensor, "zero_", lambda real: lambda x: real(x[:1]))
@fault(
    "Variable makes a parameter",
    autograd,
    "Variable",
    lambda real: type(real)("Variable", (real,), {"__new__": lambda cls, x: nn.Parameter(x)}),
)
class TestZeroSingleVariable:
    """weight.grad.data.zero_() fills the gradient of one parameter with zeros. The call raises an
    AttributeError if weight.grad is None, for example (since PyTorch 2.0) after zero_grad().
    torch.autograd.Variable works like another name for torch.Tensor.
    """

    @each_row
    @pytest.mark.parametrize("owner", WITHOUT.values(), ids=WITHOUT)
    def test_gradient_that_is_none_cannot_be_zeroed(self, device, owner):
        net = make_net(device)
        if owner:
            backward(net)
            both_ways(net, SGD(net.parameters(), lr=0.1))[owner]()

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
        torch.testing.assert_close(others, before, rtol=0, atol=0)

    def test_variable_is_another_name_for_tensor(self, device):
        t = torch.tensor([1.0, 2.0], device=device)

        variable = autograd.Variable(t)

        assert type(variable) is torch.Tensor
        assert variable.data_ptr() == t.data_ptr()
        assert isinstance(t, autograd.Variable)
