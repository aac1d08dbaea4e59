"""The `device` fixture: the CPU, and the current accelerator where there is one."""

import pytest
import torch

from spec.harness.contract import not_checked


def accelerator() -> torch.device | None:
    """Return the current accelerator with its index, None without one; public API only."""
    if not torch.accelerator.is_available():
        return None
    kind = torch.accelerator.current_accelerator()
    assert kind is not None
    return torch.device(kind.type, torch.accelerator.current_device_index())


@pytest.fixture(params=["cpu", pytest.param("accelerator", marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest) -> torch.device:
    """Each device in turn: the CPU, then the current accelerator."""
    if request.param == "cpu":
        return torch.device("cpu")
    return accelerator() or not_checked("no-accelerator")
