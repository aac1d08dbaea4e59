"""The rung of parallel work, where a kind of device has no process group, and where it has neighbours."""

import pytest
import torch

from spec.harness.accelerator import cooperation
from spec.harness.accelerator.visibility import RungError


def test_a_kind_without_a_backend_has_no_process_group(monkeypatch):
    """What PyTorch has no way to do is said, and is no failure."""

    def no_backend(device):
        raise ValueError("Default backend not registered for device")

    monkeypatch.setattr(torch.distributed, "get_default_backend_for_device", no_backend)

    seen = cooperation.devices_work_together(torch.device("cpu"))

    assert seen == "no process group: PyTorch has no backend for cpu"


def test_neighbours_that_hand_on_other_bytes_are_told(monkeypatch):
    """A copy between devices is read at its end."""
    real = torch.Tensor.cpu
    monkeypatch.setattr(torch.Tensor, "to", lambda tensor, device: tensor.clone())
    monkeypatch.setattr(torch.Tensor, "cpu", lambda tensor: real(tensor) ^ 1)

    with pytest.raises(RungError, match="bytes changed in a copy from cuda:1 to cuda:0"):
        cooperation._neighbour(torch.device("cuda:1"), 2)
