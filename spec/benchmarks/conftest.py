"""What the benchmarks ran on stands in the files that pytest-benchmark saves."""

import torch

from blitz.precision import precision_flags
from spec.harness import machine


def pytest_benchmark_update_machine_info(machine_info):
    """Add processor, accelerators, libraries and precision."""
    machine_info["blitz"] = {
        "torch": str(torch.__version__),
        **machine.describe(),
        "precision": precision_flags(),
    }
