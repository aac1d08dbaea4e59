"""1.6 of the notes: item(), the number in a tensor of one element."""

import math
import warnings

import pytest
import torch
from torch import Tensor

from spec.harness import fault, since, statement

NUMBERS = {  # what is put in, and what comes out
    "int64": (7, 7),
    "uint8": (7, 7),
    "float64": (0.1, 0.1),
    "float32": (0.1, 0.10000000149011612),
    "float16": (1.5, 1.5),
    "bfloat16": (-2.5, -2.5),
    "bool": (True, True),
    "complex64": (1 + 2j, 1 + 2j),
}


@statement("tensor.item", notes="1.6")
@fault("item is a tensor", Tensor, "item", lambda real: lambda x: x.reshape(()))
@fault("item is always a float", Tensor, "item", lambda real: lambda x: float(real(x).real))
@fault("item takes the first of several", Tensor, "item", lambda real: lambda x: real(x.reshape(-1)[:1]))
@fault("item warns", Tensor, "item", lambda real: lambda x: warnings.warn("lost", stacklevel=2) or real(x))
@fault("int rounds up", Tensor, "__int__", lambda real: lambda x: math.ceil(x.item()))
@fault("float does not warn", Tensor, "__float__", lambda real: lambda x: x.item())
class TestItem:
    """`x.item()` returns the only element of a tensor `x` as a Python number, without a gradient. It raises a
    RuntimeError if `x` has no element or several elements. `float(x)` warns if `x` requires a gradient (since
    PyTorch 2.8).
    """

    @pytest.mark.asks_the_device
    @pytest.mark.parametrize(
        ("dtype", "given", "expected"), [(d, *n) for d, n in NUMBERS.items()], ids=NUMBERS
    )
    def test_item_is_the_number_in_a_tensor_of_one_element(self, dtype, given, expected, device):
        for shape in ((), (1,), (1, 1, 1)):
            pair = torch.tensor([0, given], dtype=getattr(torch, dtype), device=device)
            item = pair[1].reshape(shape).item()

            assert type(item) is type(expected)
            assert item == expected

    @since("2.0")  # before, a ValueError
    @pytest.mark.parametrize("shape", [(0,), (2,), (1, 3)], ids=["none", "two", "three in a row"])
    def test_item_of_none_or_several_elements_is_a_runtime_error(self, shape, device):
        with pytest.raises((RuntimeError, ValueError)) as refusal:
            torch.ones(shape, device=device).item()

        assert refusal.type is RuntimeError

    def test_item_leaves_autograd_without_a_warning(self, device, repeated_warnings):
        loss = torch.tensor(1.5, device=device, requires_grad=True) * 2

        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            item = loss.item()

        assert type(item) is float
        assert item == 3
        assert not seen

    def test_float_and_int_are_other_words_for_item(self, device):
        x = torch.tensor([[2.75]], device=device)

        assert float(x) == 2.75
        assert int(x) == 2
        with pytest.raises(ValueError, match="only one element tensors"):
            float(torch.ones(2, device=device))

    @since("2.8")
    def test_float_warns_that_the_gradient_is_lost(self, repeated_warnings):
        x = torch.tensor(2.5, requires_grad=True)

        with pytest.warns(UserWarning, match="Converting a tensor with requires_grad=True"):
            number = float(x)

        assert number == 2.5
