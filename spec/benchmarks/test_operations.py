"""How long does each operation take on this machine? `pytest -m benchmark` times them.

Any other run of pytest does each twice, untimed: that shows that it can be repeated.
"""

import math

import pytest
import torch

from spec.benchmarks.operations import ON_A_DEVICE, ON_NO_DEVICE
from spec.benchmarks.sampling import SAMPLES, sample
from spec.benchmarks.starting import start_of_pytest
from spec.harness.statements.contract import not_checked

pytestmark = pytest.mark.benchmark


def name(builder):
    """Return the id of a benchmark."""
    return builder.__name__


@pytest.mark.parametrize("builder", ON_A_DEVICE, ids=name)
def test_seconds_of(builder, device, benchmark):
    """The operation returns a number, however often it is timed."""
    result = sample(benchmark, builder(device), device)

    assert math.isfinite(result)


@pytest.mark.parametrize("builder", ON_NO_DEVICE, ids=name)
def test_seconds_of_what_needs_no_device(builder, benchmark, pytestconfig):
    """So does what is the same on every device; pytest starts for two seconds, and that only to be timed."""
    if builder is start_of_pytest and benchmark.disabled and not pytestconfig.option.slow:
        not_checked("slow", "starting pytest, which this run did")
    cpu = torch.device("cpu")
    result = sample(benchmark, builder(cpu), cpu, samples=3 if builder is start_of_pytest else SAMPLES)

    assert math.isfinite(result)
