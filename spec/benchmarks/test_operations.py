"""How long does each operation take on this machine? Run by name: pytest spec/benchmarks."""

import math

import pytest

from spec.benchmarks.operations import OPERATIONS
from spec.benchmarks.sampling import sample


@pytest.mark.benchmark
@pytest.mark.parametrize("builder", OPERATIONS, ids=lambda builder: builder.__name__)
def test_seconds_of(builder, device, benchmark):
    """The operation returns a number, however often it is timed."""
    result = sample(benchmark, builder(device), device)

    assert math.isfinite(result)
