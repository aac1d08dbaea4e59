"""How long does each operation take on this machine? Run by name: pytest spec/benchmarks."""

import math

import pytest

from spec.benchmarks.operations import OPERATIONS


@pytest.mark.benchmark
@pytest.mark.parametrize("builder", OPERATIONS, ids=lambda builder: builder.__name__)
def test_seconds_of(builder, device, benchmark):
    """The operation returns a number, after a warm-up and as often as pytest-benchmark repeats it."""
    operation = builder(device)
    operation()

    result = benchmark(operation)

    assert math.isfinite(result)
