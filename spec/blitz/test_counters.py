"""spec/counters.py: every counter counts right, notices one thing more, and passes errors on."""

import numpy as np
import pytest
import torch
from torch.nn.functional import relu

from spec.counters import (
    allocated_bytes,
    copied_bytes,
    flops,
    graph_nodes,
    operators,
)

FLOAT = 4  # bytes
COUNTERS = [operators, flops, copied_bytes, allocated_bytes]


def needed(*shape):
    """Return ones that require grad."""
    return torch.ones(*shape, requires_grad=True)


@pytest.mark.parametrize("count", COUNTERS)
def test_counting_changes_nothing_and_ends_with_the_run(count):
    """The count holds nothing of an earlier run, even of one that went wrong, nor of what came between."""
    a, b, results = needed(2, 3), torch.ones(3, 5), []

    def run():
        results.append(a @ torch.add(b, b, alpha=4).clone())

    once = count(run)
    with pytest.raises(ZeroDivisionError):
        count(lambda: 1 / 0)
    run()

    assert once
    assert count(run) == once
    assert not count(lambda: None)
    assert all(torch.equal(result, torch.full((2, 5), 15.0)) for result in results)


def test_operators_are_counted_by_name():
    """Each call is one, as a method, a function or a sign; a product has two more in its backward pass."""
    x, a = torch.ones(2, 3), needed(3, 5)
    b = needed(5, 7)

    assert operators(lambda: (x + 1, torch.add(x, x), x.mT @ x)) == {
        "aten.add.Tensor": 2,
        "aten.transpose.int": 1,
        "aten.mm.default": 1,
    }
    assert operators(lambda: (a @ b).sum().backward())["aten.mm.default"] == 3


def test_flops_are_those_of_products():
    """A multiplication and an addition for each triple; what is done to each value does not count."""
    a, b = needed(2, 3), torch.ones(3, 5)

    assert flops(lambda: a @ b) == 60
    assert flops(lambda: (a @ b).sum().backward()) == 120
    assert flops(lambda: relu(b * b + b).sum()) == 0


def test_copies_count_by_what_they_write():
    """To another place, type or layout; views, sums and conversions to the same type copy nothing."""
    x = torch.ones(6, 10)

    assert copied_bytes(x.clone) == 60 * FLOAT
    assert copied_bytes(x.double) == 60 * 2 * FLOAT
    assert copied_bytes(lambda: x.mT.contiguous()) == 60 * FLOAT
    assert copied_bytes(lambda: x[:2].copy_(x[2:4])) == 20 * FLOAT
    assert copied_bytes(lambda: (x + x, x.mT, x.float(), x.contiguous())) == 0


def test_each_result_is_allocated_also_if_it_is_thrown_away():
    """Copies, too; what shares memory takes none. median() has another operator copy its 60 values."""
    x, array = torch.ones(60), np.ones(60, dtype=np.float32)

    assert allocated_bytes(lambda: x + x + x + x) == 180 * FLOAT
    assert allocated_bytes(lambda: x.view(6, 10).mT[2:].add_(torch.from_numpy(array[:6]))) == 0
    assert allocated_bytes(lambda: torch.tensor(array)) == 60 * FLOAT
    assert allocated_bytes(lambda: x + 1) == 60 * FLOAT + 8
    assert allocated_bytes(x.median) == (60 + 1) * FLOAT


def test_nodes_of_a_graph_are_counted_by_name():
    """Each operation is one, and each leaf that gets a gradient; what has no graph has no nodes."""
    a, b = needed(2), needed(2)
    c = a.exp()

    assert graph_nodes(3 * a**3 - b**2) == {
        "SubBackward0": 1,
        "MulBackward0": 1,
        "PowBackward0": 2,
        "AccumulateGrad": 2,
    }
    assert graph_nodes(c * c) == {"MulBackward0": 1, "ExpBackward0": 1, "AccumulateGrad": 1}
    assert not graph_nodes(a)
    assert not graph_nodes((2 * a).detach())
