"""Section 1.4 of the notes, operations: joining tensors by cat and stack."""

import numpy as np
import pytest
import torch
from torch import zeros

from spec.faults import as_it_lies
from spec.harness import each_row, fault, since, statement

JOINED = {
    "the first axis, if none is given": (lambda x, y: torch.cat([x, y]), [[0, 1], [2, 3], [4, 5], [6, 7]]),
    "the second axis": (lambda x, y: torch.cat([x, y], dim=1), [[0, 1, 4, 5], [2, 3, 6, 7]]),
    "the last axis": (lambda x, y: torch.cat([x[None], y[None]], -1), [[[0, 1, 4, 5], [2, 3, 6, 7]]]),
    "tensors of two lengths": (lambda x, y: torch.cat([x[:1], y]), [[0, 1], [4, 5], [6, 7]]),
    "an empty vector": (lambda x, y: torch.cat([x, x.new_zeros(0)]), [[0, 1], [2, 3]]),
}
NOT_JOINED = {
    "other sizes": (lambda: torch.cat([zeros(2, 1), zeros(3, 1)], dim=1), RuntimeError, "must match"),
    "an empty matrix": (lambda: torch.cat([zeros(2, 3), zeros(0, 4)]), RuntimeError, "must match"),
    "scalars": (lambda: torch.cat([zeros(()), zeros(())]), RuntimeError, "zero-dimensional tensor"),
    "a bare tensor": (lambda: torch.cat(zeros(2, 3)), TypeError, "must be tuple of Tensors, not Tensor"),
    "no tensors": pytest.param(lambda: torch.cat([]), ValueError, "non-empty list", marks=since("2.9")),
}
NEW_AXES = {"at the front": 0, "in the middle": 1, "at the end": 2, "at the end, counted from there": -1}
NOT_STACKED = {
    "other sizes": ([zeros(2, 3), zeros(1, 3)], "expects each tensor to be equal size"),
    "no tensors": ([], "expects a non-empty TensorList"),
}


def without_strides(real):
    """Join the values as they lie in memory."""
    return lambda tensors, dim=0: real([*map(as_it_lies, tensors)], dim)


def sharing(real):
    """Give a tensor that is alone back as it is."""
    return lambda tensors, dim=0: tensors[0] if len(tensors) == 1 else real(tensors, dim)


def cutting(real):
    """Join only as many rows of each tensor as the first one has."""
    return lambda tensors, dim=0: real([x[: len(tensors[0])] for x in tensors], dim)


def like_the_first(real):
    """Join in the dtype of the first tensor."""
    return lambda tensors, dim=0: real([x.to(tensors[0].dtype) for x in tensors], dim)


def with_an_empty_one(real):
    """Join an empty tensor as well."""
    return lambda tensors, dim=0: real([*tensors, zeros(0)], dim)


def broadcasting(real):
    """Stretch all tensors to the shape of the first one."""
    return lambda tensors, dim=0: real([x.expand_as(tensors[0]) for x in tensors], dim)


@statement("tensor.cat", notes="1.4; notebook tensor")
@fault("cat ignores dim", torch, "cat", lambda real: lambda tensors, dim=0: real(tensors))
@fault("cat takes dim -1 for 1", torch, "cat", lambda real: lambda tensors, dim=0: real(tensors, abs(dim)))
@fault("cat joins the values as they lie in memory", torch, "cat", without_strides)
@fault("cat cuts longer tensors", torch, "cat", cutting)
@fault("cat gives a tensor that is alone back", torch, "cat", sharing)
@fault("cat keeps the first dtype", torch, "cat", like_the_first)
@fault("cat of nothing is empty", torch, "cat", with_an_empty_one)
class TestCat:
    """`cat(tensors)` lays tensors one behind the other along an axis that they have, in new memory. Their
    other axes must match.
    """

    @pytest.mark.parametrize(("join", "expected"), JOINED.values(), ids=JOINED)
    def test_tensors_lie_one_behind_the_other(self, join, expected, device):
        x = torch.tensor([[0, 1], [2, 3]], device=device)
        y = torch.tensor([[4, 6], [5, 7]], device=device).T

        assert join(x, y).tolist() == expected

    def test_joined_tensor_is_a_copy_even_of_one_tensor(self, device):
        x = torch.ones(2, device=device)

        joined = torch.cat([x])
        x.fill_(7)

        assert joined.tolist() == [1, 1]

    def test_dtype_is_that_of_a_sum(self, device):
        whole, half = torch.tensor([7], device=device), torch.tensor([0.5], device=device)

        joined, turned = torch.cat([whole, half]), torch.cat([half, whole])

        assert joined.dtype == turned.dtype == torch.float32
        assert joined.tolist() == [7, 0.5]
        assert turned.tolist() == [0.5, 7]

    @pytest.mark.parametrize(("join", "error", "why"), NOT_JOINED.values(), ids=NOT_JOINED)
    def test_tensors_that_do_not_fit_are_refused(self, join, error, why):
        with pytest.raises((error, RuntimeError), match=why) as refusal:
            join()

        assert refusal.type is error


@statement("tensor.stack", notes="1.4; notebook tensor")
@fault("stack is cat", torch, "stack", lambda real: torch.cat)
@fault("stack ignores dim", torch, "stack", lambda real: lambda tensors, dim=0: real(tensors))
@fault(
    "stack takes dim -1 for 1", torch, "stack", lambda real: lambda tensors, dim=0: real(tensors, abs(dim))
)
@fault("stack joins the values as they lie in memory", torch, "stack", without_strides)
@fault("stack broadcasts", torch, "stack", broadcasting)
class TestStack:
    """`stack(tensors)` lays tensors of one shape along a new axis, in new memory. It is the same as `cat` of
    the tensors after `unsqueeze(dim)`.
    """

    @each_row
    @pytest.mark.parametrize("dim", NEW_AXES.values(), ids=NEW_AXES)
    def test_tensors_lie_along_a_new_axis(self, dim, device):
        arrays = np.arange(12).reshape(2, 3, 2).swapaxes(1, 2)
        x, y = torch.from_numpy(arrays).to(device)

        assert torch.stack([x, y], dim).tolist() == np.stack(arrays, dim).tolist()

    def test_stack_is_cat_of_unsqueezed_tensors(self, device):
        x, y = torch.tensor([1, 2, 3], device=device), torch.tensor([4, 5, 6], device=device)

        assert torch.stack([x, y], dim=1).tolist() == [[1, 4], [2, 5], [3, 6]]
        assert torch.cat([x[:, None], y[:, None]], dim=1).tolist() == [[1, 4], [2, 5], [3, 6]]

    def test_scalars_are_copied_into_a_vector(self, device):
        x = torch.tensor(1.5, device=device)

        stacked = torch.stack([x])
        x.fill_(7)

        assert stacked.tolist() == [1.5]

    @pytest.mark.parametrize(("tensors", "why"), NOT_STACKED.values(), ids=NOT_STACKED)
    def test_shapes_that_differ_and_no_tensors_are_refused(self, tensors, why):
        with pytest.raises(RuntimeError, match=why):
            torch.stack(tensors)
