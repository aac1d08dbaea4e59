"""How long does each operation take on this machine? `pytest -m benchmark` times them.

Any other run of pytest does each twice, untimed: that shows that it can be repeated.
"""

import math

import pytest
import torch

from spec.benchmarks.operations import ON_A_DEVICE, ON_NO_DEVICE
from spec.benchmarks.sampling import sample

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
def test_seconds_of_what_needs_no_device(builder, benchmark):
    """So does what is the same on every device."""
    cpu = torch.device("cpu")

    result = sample(benchmark, builder(cpu), cpu)

    assert math.isfinite(result)
