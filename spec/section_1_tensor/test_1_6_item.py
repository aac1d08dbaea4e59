"""1.6 of the notes: item(), the number in a tensor of one element."""

import math
import warnings
from contextlib import contextmanager

import numpy as np
import pytest
import torch

from spec.harness import fault, since, statement

NUMBERS = {
    torch.int64: 7,
    torch.uint8: 7,
    torch.float64: 0.1,
    torch.float16: 1.5,
    torch.bfloat16: -2.5,
    torch.bool: True,
    torch.complex64: 1 + 2j,
}


@contextmanager
def every_warning():
    """Collect warnings, those included that PyTorch gives only once a process."""
    once = not torch.is_warn_always_enabled()
    torch.set_warn_always(True)
    try:
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            yield seen
    finally:
        torch.set_warn_always(not once)


@statement("tensor.item", notes="1.6")
@fault("item is a tensor", torch.Tensor, "item", lambda real: lambda x: x.reshape(()))
@fault("item is always a float", torch.Tensor, "item", lambda real: lambda x: float(real(x).real))
@fault(
    "item is a number of NumPy",
    torch.Tensor,
    "item",
    lambda real: lambda x: x.cpu().float().numpy().reshape(-1)[0],
)
@fault(
    "item reads the start of the memory",
    torch.Tensor,
    "item",
    lambda real: lambda x: real(x.as_strided((), (), 0)),
)
@fault(
    "item takes the first of several",
    torch.Tensor,
    "item",
    lambda real: lambda x: real(x.reshape(-1)[0]) if len(x) else real(x),
)
@fault("item of nothing is None", torch.Tensor, "item", lambda real: lambda x: real(x) if len(x) else None)
@fault(
    "item takes the first of a matrix",
    torch.Tensor,
    "item",
    lambda real: lambda x: real(x[0, 0] if x.dim() > 1 else x),
)
@fault("item rounds", torch.Tensor, "item", lambda real: lambda x: round(real(x), 6))
@fault(
    "item warns",
    torch.Tensor,
    "item",
    lambda real: lambda x: warnings.warn("requires grad", stacklevel=2) or real(x),
)
@fault(
    "float takes the first of several",
    torch.Tensor,
    "__float__",
    lambda real: lambda x: real(x.reshape(-1)[0]),
)
@fault("int rounds up", torch.Tensor, "__int__", lambda real: lambda x: math.ceil(x.item()))
@fault("float does not warn", torch.Tensor, "__float__", lambda real: lambda x: x.item())
@fault("float adds one", torch.Tensor, "__float__", lambda real: lambda x: real(x) + 1)
@fault(
    "float warns each time",
    torch.Tensor,
    "__float__",
    lambda real: lambda x: warnings.warn("lost", stacklevel=2) or real(x),
)
@fault("item of meta is 0", torch.Tensor, "item", lambda real: lambda x: 0.0)
class TestItem:
    """item() gives the single element of a tensor as a Python number, exactly and without a gradient. No
    element and several elements are a RuntimeError. float(x) and int(x) do the same, and float(x) warns if
    x requires grad.
    """

    @pytest.mark.asks_the_device
    def test_item_is_the_number_in_a_tensor_of_one_element(self, device):
        for dtype, number in NUMBERS.items():
            for shape in ((), (1,), (1, 1, 1)):
                pair = torch.tensor([0, number], dtype=dtype, device=device)
                item = pair[1].reshape(shape).item()

                assert type(item) is type(number)
                assert item == number

    @since("2.0")
    def test_item_of_none_or_several_elements_is_a_runtime_error(self, device):
        for shape in ((0,), (2,), (1, 3)):
            with pytest.raises((RuntimeError, ValueError)) as refusal:
                torch.ones(shape, device=device).item()
            assert refusal.type is RuntimeError

    def test_item_shows_what_float32_rounded(self, device):
        item = torch.tensor(0.1, device=device).item()

        assert item == 0.10000000149011612
        assert item == np.float32(0.1).item() != 0.1

    def test_item_leaves_autograd_without_a_warning(self, device):
        loss = torch.tensor(1.5, device=device, requires_grad=True) * 2

        with every_warning() as seen:
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
    def test_float_warns_that_the_gradient_is_lost(self):
        x = torch.tensor(2.5, requires_grad=True)

        with every_warning() as seen:
            number = float(x)

        assert number == 2.5
        assert [str(warning.message)[:48] for warning in seen] == [
            "Converting a tensor with requires_grad=True to a"
        ]

    @since("2.8")
    def test_float_warns_once_in_a_process(self):
        x = torch.tensor(2.5, requires_grad=True)

        with every_warning() as always:
            assert [float(x), float(x), float(x)] == [2.5, 2.5, 2.5]
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            assert [float(x), float(x), float(x)] == [2.5, 2.5, 2.5]

        assert len(always) == 3
        assert len(seen) <= 1  # none, if an earlier test was the first

    def test_item_needs_a_value(self):
        with pytest.raises(RuntimeError, match="meta tensors"):
            torch.ones(1, device="meta").item()
