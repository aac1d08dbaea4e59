"""Section 1.6 of the notes: item(), the number in a tensor of one element."""

import math
import warnings
from contextlib import contextmanager

import numpy as np
import pytest
import torch

from spec.harness import broken_by, claim

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


class TestItem:
    """1.6 item()."""

    @claim("tensor.item", notes="1.6")
    @broken_by(torch.Tensor, "item", lambda real: lambda x: x.reshape(()))
    @broken_by(torch.Tensor, "item", lambda real: lambda x: float(real(x).real))
    @broken_by(torch.Tensor, "item", lambda real: lambda x: x.cpu().float().numpy().reshape(-1)[0])
    @broken_by(torch.Tensor, "item", lambda real: lambda x: real(x.as_strided((), (), 0)))
    @pytest.mark.asks_the_device
    def test_item_is_the_number_in_a_tensor_of_one_element(self, device):
        """item() of a single element, on any number of axes, is a Python int, float, bool or complex."""
        for dtype, number in NUMBERS.items():
            for shape in ((), (1,), (1, 1, 1)):
                pair = torch.tensor([0, number], dtype=dtype, device=device)
                item = pair[1].reshape(shape).item()

                assert type(item) is type(number)
                assert item == number

    @claim("tensor.item-one-element", notes="1.6", since="2.0")
    @broken_by(torch.Tensor, "item", lambda real: lambda x: real(x.reshape(-1)[0]) if len(x) else real(x))
    @broken_by(torch.Tensor, "item", lambda real: lambda x: real(x) if len(x) else None)
    @broken_by(torch.Tensor, "item", lambda real: lambda x: real(x[0, 0] if x.dim() > 1 else x))
    def test_item_of_none_or_several_elements_is_a_runtime_error(self, device):
        """item() of no element or of several is a RuntimeError; before 2.0 it was a ValueError."""
        for shape in ((0,), (2,), (1, 3)):
            with pytest.raises((RuntimeError, ValueError)) as refusal:
                torch.ones(shape, device=device).item()
            assert refusal.type is RuntimeError

    @claim("tensor.item-float32", notes="1.6")
    @broken_by(torch.Tensor, "item", lambda real: lambda x: round(real(x), 6))
    @broken_by(torch.Tensor, "item", lambda real: lambda x: real(x.half()))
    def test_item_shows_what_float32_rounded(self, device):
        """item() gives the value as it is: of 0.1 in float32 it is 0.10000000149011612."""
        item = torch.tensor(0.1, device=device).item()

        assert item == 0.10000000149011612
        assert item == np.float32(0.1).item() != 0.1

    @claim("tensor.item-requires-grad", notes="1.6")
    @broken_by(
        torch.Tensor, "item", lambda real: lambda x: warnings.warn("requires grad", stacklevel=2) or real(x)
    )
    @broken_by(torch.Tensor, "item", lambda real: lambda x: x * 1)
    def test_item_leaves_autograd_without_a_warning(self, device):
        """item() of a tensor that requires grad is a plain number, and no warning is given."""
        loss = torch.tensor(1.5, device=device, requires_grad=True) * 2

        with every_warning() as seen:
            item = loss.item()

        assert type(item) is float
        assert item == 3
        assert not seen

    @claim("tensor.item-float", notes="1.6")
    @broken_by(torch.Tensor, "__float__", lambda real: lambda x: real(x.reshape(-1)[0]))
    @broken_by(torch.Tensor, "__int__", lambda real: lambda x: math.ceil(x.item()))
    def test_float_and_int_are_other_words_for_item(self, device):
        """float(x) and int(x), which drops the fraction, take one element, too; several are a ValueError."""
        x = torch.tensor([[2.75]], device=device)

        assert float(x) == 2.75
        assert int(x) == 2
        with pytest.raises(ValueError, match="only one element tensors"):
            float(torch.ones(2, device=device))

    @claim("tensor.item-float-warns", notes="1.6", since="2.8")
    @broken_by(torch.Tensor, "__float__", lambda real: lambda x: x.item())
    @broken_by(torch.Tensor, "__float__", lambda real: lambda x: real(x) + 1)
    def test_float_warns_that_the_gradient_is_lost(self):
        """float(x) of a tensor that requires grad gives its number, but warns."""
        x = torch.tensor(2.5, requires_grad=True)

        with every_warning() as seen:
            number = float(x)

        assert number == 2.5
        assert [str(warning.message)[:48] for warning in seen] == [
            "Converting a tensor with requires_grad=True to a"
        ]

    @claim("tensor.item-float-warns-once", notes="1.6", since="2.8")
    @broken_by(
        torch.Tensor,
        "__float__",
        lambda real: lambda x: (torch.set_warn_always(True), real(x), torch.set_warn_always(False))[1],
    )
    @broken_by(
        torch.Tensor, "__float__", lambda real: lambda x: warnings.warn("lost", stacklevel=2) or real(x)
    )
    def test_float_warns_once_in_a_process(self):
        """float(x) warns of the lost gradient once in a process, or each time after set_warn_always(True)."""
        x = torch.tensor(2.5, requires_grad=True)

        with every_warning() as always:
            assert [float(x), float(x), float(x)] == [2.5, 2.5, 2.5]
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            assert [float(x), float(x), float(x)] == [2.5, 2.5, 2.5]

        assert len(always) == 3
        assert len(seen) <= 1  # none, if an earlier test was the first

    @claim("tensor.item-meta", notes="1.6")
    @broken_by(torch.Tensor, "item", lambda real: lambda x: 0.0)
    def test_item_needs_a_value(self):
        """A tensor on meta, which has a shape and no values, has no item: a RuntimeError."""
        with pytest.raises(RuntimeError, match="meta tensors"):
            torch.ones(1, device="meta").item()
