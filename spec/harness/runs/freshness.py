"""What differs from a fresh PyTorch: a default that a plugin, a conftest.py or an earlier test has changed.

Else such a run is red for reasons that nobody can tell, or green for another PyTorch than the one named.
"""

import os
import sys

import numpy as np
import pytest
import torch

from spec.harness.accelerator.precision import precision_flags

CAUSES = "see what changes it: a conftest.py, a plugin of pytest, sitecustomize.py or the environment"
PRINTED = "tensor([    0.0000, 33333.3333, 66666.6667], dtype=torch.float64)"


def differences() -> str:
    """Say in words what differs from a fresh PyTorch; "" where nothing does."""
    flags = precision_flags()
    settings = {  # what checks rely on without saying so: as it is, and as it was
        "the default dtype": (torch.get_default_dtype(), torch.float32),
        "the default device": (torch.empty(0).device.type, "cpu"),
        "grad mode": (torch.is_grad_enabled(), True),
        "inference mode": (torch.is_inference_mode_enabled(), False),
        "anomaly mode": (torch.is_anomaly_enabled(), False),
        "autocast on the CPU": (torch.is_autocast_enabled("cpu"), False),
        "autocast on CUDA": (torch.is_autocast_enabled("cuda"), False),
        "the deterministic debug mode": (torch.get_deterministic_debug_mode(), 0),
        "warn-always": (torch.is_warn_always_enabled(), False),
        "the precision of float32 products": (flags["float32_matmul"], "highest"),
        "cudnn.deterministic": (flags.get("cudnn_deterministic", False), False),
        "cudnn.benchmark": (flags.get("cudnn_benchmark", False), False),
        "NVIDIA_TF32_OVERRIDE": (os.environ.get("NVIDIA_TF32_OVERRIDE") == "1", False),
        "the number of modes that see each call": (torch._C._len_torch_function_stack(), 0),
        "the number of modes that see each operator": (torch._C._len_torch_dispatch_stack(), 0),
        "flush_denormal": (sys.float_info.min / 2 == 0, False),
        "how tensors are printed": (repr(torch.arange(3, dtype=torch.float64) / 3 * 1e5), PRINTED),
        "how NumPy treats errors": (tuple(np.geterr().values()), ("warn", "warn", "ignore", "warn")),
    }
    return "; ".join(
        f"{name} is {found}, and was {fresh} in a fresh process"
        for name, (found, fresh) in settings.items()
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
