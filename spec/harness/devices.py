"""The `device` fixture: the CPU, and the current accelerator where there is one."""

import pytest
import torch

from spec.harness.contract import not_checked


def accelerator_kind() -> str | None:
    """Return the accelerator's kind, such as "cuda", None without one; leaves the device alone."""
    if not hasattr(torch, "accelerator"):
        return None  # before PyTorch 2.6, on which only claims with a history are run
    kind = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    return kind.type if kind is not None else None


def accelerator() -> torch.device | None:
    """Return the current accelerator with its index, None without one; this may initialise the device."""
    kind = accelerator_kind()
    return torch.device(kind, torch.accelerator.current_device_index()) if kind else None


@pytest.fixture(params=["cpu", pytest.param("accelerator", marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest) -> torch.device:
    """Each device in turn: the CPU, then the current accelerator."""
    if request.param == "cpu":
        return torch.device("cpu")
    return accelerator() or not_checked("no-accelerator")
