"""Which accelerator a run is about, and the `device` fixture: the CPU, and that accelerator."""

import os
from collections.abc import Generator
from contextlib import nullcontext
from typing import Any

import pytest
import torch

from spec.harness.accelerator.precision import float32_precision
from spec.harness.statements.contract import lacks, not_checked
from spec.harness.statements.judging import judged_on_the_cpu

NAMED = "BLITZ_DEVICE"  # what --device named, for every process that a run starts
SEAT = "BLITZ_SEAT"  # which device is a worker's own, of how many: "0/8"
WITHOUT_HARDWARE = "fake"  # the accelerator of spec/fake_accelerator


def name_device(name: str) -> None:
    """Have this run, and the processes that it starts, be about the device `name`.

    Args:
        name: a kind, such as "xpu", or a kind and an index, such as "cuda:1"; "cpu" leaves accelerators out.

    Raises:
        pytest.UsageError: there is no such device here.
    """
    kind, _, index = name.partition(":")
    found = _current_kind()
    count = torch.accelerator.device_count() if found == kind else 0
    is_there = name == kind if count else name == "cpu"
    if not is_there and not (index.isdecimal() and int(index) < count):
        devices = f"{count} of that kind" if count else f"only cpu{f' and {found}' if found else ''}"
        raise pytest.UsageError(
            f"--device {name}: no such device here; PyTorch {torch.__version__} sees {devices}"
        )
    os.environ[NAMED] = name


def accelerator_kind() -> str | None:
    """Return the accelerator's kind, such as "cuda", None without one; leaves the device alone."""
    return None if os.environ.get(NAMED) == "cpu" else _current_kind()


def _current_kind() -> str | None:
    if not hasattr(torch, "accelerator"):
        return None  # before PyTorch 2.6, on which only checks with a history are run
    device = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    return device.type if device is not None else None


def accelerator() -> torch.device | None:
    """Return the current accelerator with its index, None without one; this may initialise the device."""
    kind = accelerator_kind()
    if kind is None:
        return None
    _, _, index = os.environ.get(NAMED, "").partition(":")
    if index:
        torch.accelerator.set_device_index(int(index))
    return torch.device(kind, torch.accelerator.current_device_index())


def label(device: torch.device) -> str:
    """Return the name of a device as the caller sees it; to a worker on CUDA its own is always the first."""
    seat = os.environ.get(SEAT, "").partition("/")[0]
    return f"{device.type}:{seat}" if seat and device.type == "cuda" else str(device)


def has_hardware() -> bool:
    """Tell whether the accelerator is more than a name: what it costs is then worth a measurement."""
    return accelerator_kind() not in (None, WITHOUT_HARDWARE)


def on_accelerator(item: Any) -> bool:
    """Tell whether a collected test needs an accelerator."""
    return bool(item.get_closest_marker("gpu") or item.get_closest_marker("multi_gpu"))


class OnAccelerator:
    """What holds for each test on an accelerator: IEEE's float32, the CPU as the judge, gaps allowed."""

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, Any, Any]:
        """Compute float32 as IEEE says unless the test says otherwise; put back what it changed."""
        with float32_precision("ieee") if on_accelerator(item) else nullcontext():
            return (yield)

    @pytest.hookimpl(wrapper=True, trylast=True)
    def pytest_pyfunc_call(self, pyfuncitem: pytest.Function) -> Generator[None, Any, Any]:
        """Have the CPU judge a test; where its accelerator, not CUDA, lacks something, it is not checked."""
        try:
            allowed = not on_accelerator(pyfuncitem) or pyfuncitem.get_closest_marker("asks_the_device")
            with nullcontext() if allowed else judged_on_the_cpu(pyfuncitem.path.parent):
                return (yield)
        except Exception as error:
            if on_accelerator(pyfuncitem) and lacks(error, accelerator_kind()):
                not_checked("not-implemented", str(error).splitlines()[0][:200])
            raise


@pytest.fixture(params=["cpu", pytest.param("accelerator", marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest) -> torch.device:
    """Each device in turn: the CPU, then the current accelerator."""
    if request.param == "cpu":
        return torch.device("cpu")
    return accelerator() or not_checked("no-accelerator")
