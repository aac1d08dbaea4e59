"""spec/counters.py: every counter counts right, notices one thing more, and passes errors on."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import conv2d, relu

from spec.counters import (
    allocated_bytes,
    copied_bytes,
    flops,
    graph_nodes,
    operators,
    peak_bytes,
    saved_bytes,
)

FLOAT = 4  # bytes
COUNTERS = [operators, flops, copied_bytes, saved_bytes, allocated_bytes, peak_bytes]


def refuse():
    """Stand for a run that goes wrong."""
    raise LookupError("lost")


class TestEveryCounter:
    """What all six have in common."""

    @pytest.mark.parametrize("count", COUNTERS)
    def test_a_run_that_does_nothing_costs_nothing(self, count):
        """Nothing is counted but what the run does."""
        assert not count(lambda: None)

    @pytest.mark.parametrize("count", COUNTERS)
    def test_an_error_of_the_run_comes_through(self, count):
        """A run that goes wrong has no count."""
        with pytest.raises(LookupError, match="lost"):
            count(refuse)

    @pytest.mark.parametrize("count", COUNTERS)
    def test_the_run_computes_what_it_does_uncounted(self, count):
        """Each operator gets all that it was given, by position and by keyword."""
        results = []

        count(lambda: results.append(torch.add(torch.ones(2), torch.ones(2), alpha=4)))

        assert results[0].tolist() == [5, 5]

    @pytest.mark.parametrize("count", COUNTERS)
    def test_counting_ends_with_the_run_even_if_it_goes_wrong(self, count):
        """The count of one run holds nothing of an earlier one, nor of what came between."""
        a, b = torch.ones(2, 3, requires_grad=True), torch.ones(3, 5)
        once = count(lambda: a @ b.clone())

        with pytest.raises(LookupError):
            count(refuse)
        a @ b.clone()

        assert once
        assert count(lambda: a @ b.clone()) == once


class TestOperators:
    """operators(run)."""

    def test_operators_are_counted_by_name(self):
        """Each call is one, whether it is called as a method, a function or by a sign."""
        x = torch.ones(2, 3)

        counts = operators(lambda: (x + 1, torch.add(x, x), x.mT @ x))

        assert counts == {"aten.add.Tensor": 2, "aten.transpose.int": 1, "aten.mm.default": 1}

    def test_operators_of_the_backward_pass_count(self):
        """A product has two more in its backward pass, one for each factor."""
        a, b = torch.ones(2, 3, requires_grad=True), torch.ones(3, 5, requires_grad=True)

        assert operators(lambda: a @ b)["aten.mm.default"] == 1
        assert operators(lambda: (a @ b).sum().backward())["aten.mm.default"] == 3


class TestFlops:
    """flops(run)."""

    def test_a_product_is_a_multiplication_and_an_addition_for_each_triple(self):
        """(2, 3) times (3, 5) is 2 * 2 * 3 * 5, and a batch of seven is seven times that."""
        assert flops(lambda: torch.ones(2, 3) @ torch.ones(3, 5)) == 60
        assert flops(lambda: torch.ones(7, 2, 3) @ torch.ones(7, 3, 5)) == 7 * 60

    def test_a_convolution_is_a_product_for_each_place_of_its_kernel(self):
        """3 channels to 4 by a 2x2 kernel on 5x6 pixels: 2 * (3 * 2 * 2) * 4 * (4 * 5) a picture."""
        assert flops(lambda: conv2d(torch.ones(7, 3, 5, 6), torch.ones(4, 3, 2, 2))) == 7 * 2 * 12 * 4 * 20

    def test_what_is_done_to_each_value_does_not_count(self):
        """Sums, relu and products value by value are no products of matrices."""
        x = torch.ones(2, 3)

        assert flops(lambda: relu(x * x + x).sum()) == 0

    def test_one_product_more_is_noticed_in_the_backward_pass(self):
        """A factor that needs a gradient costs its backward pass one product of the same size."""
        a, b = torch.ones(2, 3, requires_grad=True), torch.ones(3, 5)
        one = (a @ b).sum()
        both = (a @ b.requires_grad_()).sum()

        assert flops(one.backward) == 60
        assert flops(both.backward) == 120


class TestCopiedBytes:
    """copied_bytes(run)."""

    def test_copies_count_by_what_they_write(self):
        """To another place, type or layout, whole or into a part."""
        x = torch.ones(6, 10)

        assert copied_bytes(x.clone) == 60 * FLOAT
        assert copied_bytes(x.double) == 60 * 2 * FLOAT
        assert copied_bytes(lambda: x.mT.contiguous()) == 60 * FLOAT
        assert copied_bytes(lambda: x[:2].copy_(x[2:4])) == 20 * FLOAT

    def test_what_is_computed_or_only_seen_otherwise_is_no_copy(self):
        """Views, sums and conversions to the type that is there already copy nothing."""
        x = torch.ones(6, 10)

        assert copied_bytes(lambda: (x + x, x.mT, x.float(), x.contiguous())) == 0


class TestSavedBytes:
    """saved_bytes(run)."""

    def test_a_product_keeps_the_factor_of_each_gradient(self):
        """The gradient of a needs b, and that of b needs a."""
        a, b = torch.ones(2, 3, requires_grad=True), torch.ones(3, 5)

        assert saved_bytes(lambda: a @ b) == 15 * FLOAT
        assert saved_bytes(lambda: a @ b.requires_grad_()) == (15 + 6) * FLOAT

    def test_what_several_operations_keep_counts_once(self):
        """Two products with one factor, or with a view of it, keep it once; another factor comes on top."""
        a, b, c = torch.ones(2, 3, requires_grad=True), torch.ones(3, 5), torch.ones(3, 5)

        assert saved_bytes(lambda: (a @ b, a @ b)) == 15 * FLOAT
        assert saved_bytes(lambda: (a @ b, a @ b[:, 1:])) == 15 * FLOAT
        assert saved_bytes(lambda: (a @ b, a @ c)) == 30 * FLOAT

    def test_nothing_is_kept_without_a_graph(self):
        """Without a tensor that requires grad there is no backward pass to keep anything for."""
        a, b = torch.ones(2, 3), torch.ones(3, 5)

        assert saved_bytes(lambda: a @ b) == 0

    def test_the_backward_pass_still_runs(self):
        """Counting changes no gradient."""
        a = torch.tensor([2.0, 3.0], requires_grad=True)

        saved_bytes(lambda: (a**3).sum().backward())

        assert a.grad.tolist() == [12, 27]


class TestAllocatedBytes:
    """allocated_bytes(run)."""

    def test_each_result_counts_also_if_it_is_thrown_away(self):
        """Three results of 60 values are 180 values."""
        x = torch.ones(60)

        assert allocated_bytes(lambda: x + x) == 60 * FLOAT
        assert allocated_bytes(lambda: x + x + x + x) == 180 * FLOAT

    def test_views_and_changes_in_place_take_nothing(self):
        """A result that shares memory needs none of its own."""
        x, y = torch.ones(60), torch.ones(8, 6)

        assert allocated_bytes(lambda: x.view(6, 10).mT[2:].add_(y)) == 0

    def test_copies_of_other_memory_count_and_shared_memory_does_not(self):
        """A tensor made of an array takes memory of its own, from_numpy does not."""
        array = np.ones(60, dtype=np.float32)

        assert allocated_bytes(lambda: torch.tensor(array)) == 60 * FLOAT
        assert allocated_bytes(lambda: torch.from_numpy(array)) == 0

    def test_a_number_is_a_small_tensor(self):
        """The 1 of x + 1 takes eight bytes."""
        x = torch.ones(60)

        assert allocated_bytes(lambda: x + 1) == 60 * FLOAT + 8

    def test_what_an_operator_has_another_take_counts(self):
        """median() works on a copy of its 60 values, and gives it back before it is done."""
        x = torch.ones(60)

        assert allocated_bytes(lambda: x.median()) == (60 + 1) * FLOAT


class TestPeakBytes:
    """peak_bytes(run)."""

    def test_results_count_as_long_as_they_exist(self, device):
        """In a chain two exist at once, the one read and the one written; kept ones add up."""
        x = torch.ones(60, device=device)
        kept = []

        assert peak_bytes(lambda: x + 1) == 60 * FLOAT
        assert peak_bytes(lambda: x + 1 + 1 + 1 + 1) == 120 * FLOAT
        assert peak_bytes(lambda: kept.extend([x + 1, x + 1, x + 1])) == 180 * FLOAT

    def test_what_autograd_keeps_exists(self, device):
        """A result that the backward pass needs stays, though no name in Python is left for it."""
        x = torch.ones(60, device=device, requires_grad=True)

        assert peak_bytes(lambda: x.exp().exp().exp().exp()) == 4 * 60 * FLOAT
        assert peak_bytes(lambda: x.detach().exp().exp().exp().exp()) == 2 * 60 * FLOAT

    def test_the_highest_point_counts_and_not_the_last(self):
        """Large and then small is large, and so is small and then large."""
        large, small = torch.ones(60), torch.ones(1)

        assert peak_bytes(lambda: (large + 1).sum() + 1) == 61 * FLOAT
        assert peak_bytes(lambda: small.expand(60) + 1) == 60 * FLOAT

    def test_views_changes_in_place_and_what_was_there_take_nothing(self):
        """A result that shares memory needs none of its own."""
        x, y = torch.ones(60), torch.ones(60)

        assert peak_bytes(lambda: x.view(6, 10).mT[2:].add_(1)) == 0
        assert peak_bytes(lambda: torch.add(x, x, out=y)) == 0
        assert peak_bytes(lambda: (x + 1).view(6, 10).mT[2:].add_(1)) == 60 * FLOAT

    def test_what_an_operator_needs_for_itself_does_not_count(self):
        """Of median() the result counts, and not the copy that it works on."""
        x = torch.ones(60)

        assert peak_bytes(lambda: x.median()) == FLOAT

    def test_each_of_several_results_counts(self):
        """Values and indices of max() are two tensors, of floats and of int64."""
        x = torch.ones(6, 10)

        assert peak_bytes(lambda: x.max(dim=1)) == 6 * FLOAT + 6 * 8


class TestGraphNodes:
    """graph_nodes(output)."""

    def test_nodes_are_counted_by_name(self):
        """Each operation is a node, and so is each leaf that gets a gradient."""
        a, b = torch.ones(2, requires_grad=True), torch.ones(2, requires_grad=True)

        nodes = graph_nodes(3 * a**3 - b**2)

        assert nodes == {"SubBackward0": 1, "MulBackward0": 1, "PowBackward0": 2, "AccumulateGrad": 2}

    def test_a_node_on_two_ways_counts_once(self):
        """The leaf of a * a and what is read twice are one node each."""
        a = torch.ones(2, requires_grad=True)
        b = a.exp()

        assert graph_nodes(a * a) == {"MulBackward0": 1, "AccumulateGrad": 1}
        assert graph_nodes(b * b) == {"MulBackward0": 1, "ExpBackward0": 1, "AccumulateGrad": 1}

    def test_what_has_no_graph_has_no_nodes(self):
        """Constants, leaves and detached results have nothing behind them."""
        a = torch.ones(2, requires_grad=True)

        assert not graph_nodes(torch.ones(2))
        assert not graph_nodes(a)
        assert not graph_nodes((2 * a).detach())

    def test_layers_are_walked_to_the_end(self):
        """Two layers of two parameters have four leaves."""
        net = nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 2))

        assert graph_nodes(net(torch.ones(7, 3)))["AccumulateGrad"] == 4
