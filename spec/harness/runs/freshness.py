"""What differs from a fresh PyTorch: a default that a plugin, a conftest.py or an earlier test has changed.

Else such a run is red for reasons that nobody can tell, or green for another PyTorch than the one named.
"""

import os
import sys
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
import torch

from spec.harness.accelerator.precision import precision_flags

CAUSES = "see what changes it: a conftest.py, a plugin of pytest, sitecustomize.py or the environment"


def state() -> dict[str, Any]:
    """Return what checks rely on without saying so, as it is now; older releases of PyTorch lack some."""
    flags = precision_flags()
    asked = {
        "the default dtype": torch.get_default_dtype,
        "the default device": lambda: torch.empty(0).device.type,
        "grad mode": torch.is_grad_enabled,
        "inference mode": torch.is_inference_mode_enabled,
        "anomaly mode": torch.is_anomaly_enabled,
        "autocast on the CPU": lambda: torch.is_autocast_enabled("cpu"),
        "autocast on CUDA": lambda: torch.is_autocast_enabled("cuda"),
        "the deterministic debug mode": torch.get_deterministic_debug_mode,
        "warn-always": torch.is_warn_always_enabled,
        "the precision of float32 products": lambda: flags["float32_matmul"],
        "cudnn.deterministic": lambda: flags.get("cudnn_deterministic", False),
        "cudnn.benchmark": lambda: flags.get("cudnn_benchmark", False),
        "NVIDIA_TF32_OVERRIDE": lambda: os.environ.get("NVIDIA_TF32_OVERRIDE") == "1",
        "the number of modes that see each call": lambda: torch._C._len_torch_function_stack(),
        "the number of modes that see each operator": lambda: torch._C._len_torch_dispatch_stack(),
        "flush_denormal": lambda: sys.float_info.min / 2 == 0,
        "how tensors are printed": lambda: repr(torch.arange(3, dtype=torch.float64) / 3 * 1e5),
        "how NumPy treats errors": lambda: tuple(np.geterr().values()),
    }
    found = {}
    for name, ask in asked.items():
        with suppress(AttributeError, TypeError):
            found[name] = ask()
    return found


FRESH = {
    "the default dtype": torch.float32,
    "the default device": "cpu",
    "grad mode": True,
    "the precision of float32 products": "highest",
    "the deterministic debug mode": 0,
    "the number of modes that see each call": 0,
    "the number of modes that see each operator": 0,
    "how tensors are printed": "tensor([    0.0000, 33333.3333, 66666.6667], dtype=torch.float64)",
    "how NumPy treats errors": ("warn", "warn", "ignore", "warn"),
}  # of all others: False


def differences() -> str:
    """Say in words what differs from a fresh PyTorch; "" where nothing does."""
    told = [(name, found, FRESH.get(name, False)) for name, found in state().items()]
    return "; ".join(
        f"{name} is {found}, and was {fresh} in a fresh process"
        for name, found, fresh in told
        if found != fresh
    )


class Freshness:
    """Refuses a run that begins with another PyTorch than a fresh one, and fails a test that would."""

    def __init__(self) -> None:
        self.last = "the run"  # what began with a fresh PyTorch

    def pytest_sessionstart(self, session: pytest.Session) -> None:
        """Look before anything is collected; in a worker each test tells it."""
        if not hasattr(session.config, "workerinput") and (told := differences()):
            raise pytest.UsageError(f"PyTorch is not in its initial state: {told}; {CAUSES}")

    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Look before the fixtures of a test do anything."""
        if told := differences():
            pytest.fail(
                f"PyTorch is not in its initial state since {self.last} began: {told}; {CAUSES}",
                pytrace=False,
            )
        self.last = item.nodeid
