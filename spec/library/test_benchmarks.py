"""Each benchmark's operation runs, so that none rots between the days on which somebody times it."""

import math

import pytest

from spec.benchmarks.operations import OPERATIONS


@pytest.mark.parametrize("builder", OPERATIONS, ids=lambda builder: builder.__name__)
def test_an_operation_can_be_repeated(builder, device):
    """An operation gives a finite number the first time and the second."""
    operation = builder(device)

    assert math.isfinite(operation())
    assert math.isfinite(operation())
