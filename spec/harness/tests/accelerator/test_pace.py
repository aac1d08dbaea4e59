"""The rungs of memory and speed: a byte that changes is told, and what is slower than any healthy device."""

from types import SimpleNamespace

import pytest
import torch

from spec.harness.accelerator import pace
from spec.harness.accelerator.visibility import RungError

CPU = torch.device("cpu")


def one_byte_off(tensor):
    """Return a copy of a tensor with another last byte, if it has one."""
    numbers = tensor.contiguous().flatten().clone()
    numbers.view(torch.uint8)[-1:].bitwise_xor_(1)
    return numbers.view(tensor.shape)


@pytest.mark.parametrize("name", [name for name in pace.PARTS if name != "no rows"])
@pytest.mark.parametrize("dtype", pace.COPIED, ids=str)
def test_a_part_that_comes_back_as_another_is_told(monkeypatch, dtype, name):
    """Whatever a comparison copies to the CPU is held to the bytes that were sent."""
    monkeypatch.setattr(pace, "COPIED", [dtype])
    monkeypatch.setattr(pace, "PARTS", {name: pace.PARTS[name]})
    monkeypatch.setattr(torch.Tensor, "cpu", one_byte_off)

    with pytest.raises(RungError, match=f"^1 of [0-9]+ bytes changed in a copy of {name} of {dtype}"):
        pace._check_parts(CPU)


def test_a_copy_below_the_floor_is_told(monkeypatch):
    """A copy that is slower than half a lane of PCIe fails the rung of speed; no CPU is measured."""
    monkeypatch.setattr(pace, "seconds", lambda work, device: 1.0)

    with pytest.raises(RungError, match=r"a copy to it makes 0.02 GB/s, expected at least 0.5"):
        pace._copy_to(CPU)
    for kind in ("cpu", "fake"):
        seen = pace.speed_is_above_the_floor(SimpleNamespace(type=kind))
        assert seen == f"not measured: {kind} has no hardware of its own"


def test_multiprocessors_below_the_floor_are_told(monkeypatch):
    """A GPU with clocks that are locked low makes fewer operations than its multiprocessors should."""
    card = SimpleNamespace(multi_processor_count=132)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: card)
    monkeypatch.setattr(torch, "randn", lambda *shape, device: torch.ones(1, 1))
    monkeypatch.setattr(pace, "seconds", lambda work, device: 2 * 4096**3 / 6e12)

    with pytest.raises(RungError, match=r"make 6.0 TFLOP/s, its multiprocessors should make at least 8.4"):
        pace._product_of_all_multiprocessors(CPU)
