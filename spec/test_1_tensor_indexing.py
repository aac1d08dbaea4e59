"""Section 1.4 of the notes, operations: indexing and slicing as in NumPy, and the views that they give."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from spec.faults import as_it_lies
from spec.harness import QUALIFIED, broken_by, claim

AS_NUMPY = "indexing and slicing work as in NumPy"


def entries(size):
    """Return a strategy for what may stand in an index for an axis of `size`: a position or a slice."""
    ends = [None, *range(-size - 1, size + 2)]
    slices = st.sampled_from([slice(a, b, step) for a in ends for b in ends for step in (None, 1, 2, 3)])
    return slices | st.sampled_from(range(-size, size)) if size else slices


SHAPES = [(), (3,), (0, 2), (2, 3), (3, 1), (2, 4, 3), (1, 3, 2)]
ENTRIES = {size: entries(size) for size in range(5)}


@st.composite
def indexed_arrays(draw):
    """Draw an array with an index for it: positions, slices, and ... or None at any place among them."""
    shape = draw(st.sampled_from(SHAPES))
    before = draw(st.integers(0, len(shape)))
    after = draw(st.integers(0, len(shape) - before))
    between = draw(st.sampled_from([None, ...]))
    rest = shape[before : before + after] if between is None else shape[len(shape) - after :]
    head, tail = ([draw(ENTRIES[size]) for size in sizes] for sizes in (shape[:before], rest))
    array = np.arange(np.prod(shape, dtype=int)).reshape(shape[::-1]).T  # no row of it lies in one piece
    return array, (*head, between, *tail)


def through(change):
    """Return a fault of indexing: each entry of the index goes through `change` first."""

    def replace(real):
        def getitem(x, index):
            return real(x, tuple(map(change, index if isinstance(index, tuple) else (index,))))

        return getitem

    return replace


def is_integer(entry):
    """Tell whether an entry of an index is one position."""
    return type(entry) is int


def without_new_axes(real):
    """Fault: None makes no axis."""

    def getitem(x, index):
        entries = index if isinstance(index, tuple) else (index,)
        return real(x, tuple(entry for entry in entries if entry is not None))

    return getitem


def crossing(kind):
    """Return a fault: two entries of a kind select every row of the one in every column of the other."""

    def replace(real):
        def getitem(x, index):
            if isinstance(index, tuple) and type(index[0]) is type(index[1]) is kind:
                rows, columns = (torch.as_tensor(entry).flatten() for entry in index)
                return real(real(x, rows), (slice(None), columns))
            return real(x, index)

        return getitem

    return replace


SELECTIONS = (
    lambda x: x[x % 5 == 0],
    lambda x: x[[False, True, True]],
    lambda x: x[[2, 0, -1, 2]],
    lambda x: x[:, [1, 0]],
    lambda x: x[[2, 0], [1, 0]],
    lambda x: x[[[2], [0]], [1, 0]],
    lambda x: x[[2, 0], :, [3, 1]],
    lambda x: x[x[0, 0, [2, 0]]],  # of values that are positions: an array in NumPy, here a tensor
    lambda x: x[x[0, 0, [2, 0]], x[0, 0, [1, 0]]],
)


class TestIndexing:
    """What an index selects."""

    @claim("tensor.numpy-like-indexing", notes="1.4", verdict=QUALIFIED, says=AS_NUMPY)
    @broken_by(torch.Tensor, "__getitem__", without_new_axes)
    @broken_by(
        torch.Tensor,
        "__getitem__",
        lambda real: lambda x, i: real(as_it_lies(x), i),
    )
    @broken_by(
        torch.Tensor, "__getitem__", through(lambda i: slice(i, i + 1 or None) if is_integer(i) else i)
    )
    @broken_by(torch.Tensor, "__getitem__", through(lambda i: 0 if is_integer(i) and i < 0 else i))
    @broken_by(
        torch.Tensor, "__getitem__", through(lambda i: slice(i.start, i.stop) if isinstance(i, slice) else i)
    )
    @given(case=indexed_arrays())
    def test_positions_and_slices_select_what_they_select_in_numpy(self, device, case):
        """Integers, slices that step forward, ... and None select what they select from a NumPy array."""
        array, index = case

        selected = torch.from_numpy(array).to(device)[index]

        assert tuple(selected.shape) == np.shape(array[index])
        assert selected.tolist() == array[index].tolist()

    @claim("tensor.numpy-like-indexing-selections", notes="notebook tensor")
    @broken_by(torch.Tensor, "__getitem__", crossing(list))
    @broken_by(torch.Tensor, "__getitem__", crossing(torch.Tensor))
    @broken_by(
        torch.Tensor,
        "__getitem__",
        through(lambda i: [0 if n == -1 else n for n in i] if type(i) is list else i),
    )
    @broken_by(torch.Tensor, "__getitem__", through(lambda i: sorted(i) if isinstance(i, list) else i))
    @broken_by(torch.Tensor, "__getitem__", through(lambda i: ~i if isinstance(i, torch.Tensor) else i))
    def test_masks_and_lists_select_what_they_select_in_numpy(self, device):
        """A mask, a list or tensor of positions, and two of them, paired, select what they do in NumPy."""
        array = np.arange(24).reshape(3, 2, 4)
        x = torch.tensor(array, device=device)

        for select in SELECTIONS:
            assert select(x).tolist() == select(array).tolist()

    @claim("tensor.numpy-like-indexing-position-beside-list", notes="1.4", verdict=QUALIFIED, says=AS_NUMPY)
    @broken_by(torch.Tensor, "__getitem__", through(lambda i: [i] if is_integer(i) else i))
    @broken_by(torch.Tensor, "__getitem__", lambda real: lambda x, index: real(x, index).mT)
    def test_position_beside_a_list_moves_no_axis(self, device):
        """x[1, :, [3, 0, 1]] is x[1][:, [3, 0, 1]]; NumPy, with a slice between, puts the list first."""
        x = torch.arange(24, device=device).reshape(3, 2, 4)

        assert x[1, :, [3, 0, 1]].tolist() == [[11, 8, 9], [15, 12, 13]]
        assert x.cpu().numpy()[1, :, [3, 0, 1]].tolist() == [[11, 15], [8, 12], [9, 13]]

    @claim("tensor.numpy-like-indexing-one-element", notes="1.4", verdict=QUALIFIED, says=AS_NUMPY)
    @broken_by(torch.Tensor, "__getitem__", lambda real: lambda x, index: real(x, index).sum().item())
    @broken_by(torch.Tensor, "__getitem__", lambda real: lambda x, index: real(x, (*index, None)))
    @broken_by(torch.Tensor, "__getitem__", lambda real: lambda x, index: real(x, index).clone())
    def test_one_element_is_a_tensor_without_axes(self, device):
        """An index of one element gives a tensor of no axes that is a view, where NumPy gives a number."""
        x = torch.tensor([[1, 2], [3, 4]], device=device)

        element = x[1, 0]
        x.fill_(7)

        assert isinstance(x.cpu().numpy()[1, 0], np.integer)
        assert type(element) is torch.Tensor
        assert element.shape == ()
        assert element.item() == 7

    @claim("tensor.numpy-like-indexing-no-negative-step", notes="1.4", verdict=QUALIFIED, says=AS_NUMPY)
    @broken_by(torch.Tensor, "__getitem__", through(lambda i: slice(i.start, i.stop)))
    @broken_by(torch.Tensor, "flip", lambda real: lambda x, *axes: x)
    @broken_by(torch.Tensor, "flip", lambda real: lambda x, *axes: real(x, 1))
    def test_negative_step_is_refused_and_flip_does_it(self, device):
        """A slice that steps backwards is a ValueError; flip gives what NumPy's [::-1] does."""
        x = torch.arange(6, device=device).reshape(3, 2)

        with pytest.raises(ValueError, match="step must be greater than zero"):
            x[::-1]
        assert x.flip(0).tolist() == x.cpu().numpy()[::-1].tolist() == [[4, 5], [2, 3], [0, 1]]

    @claim("tensor.numpy-like-indexing-refused", notes="notebook tensor")
    @broken_by(torch.Tensor, "__getitem__", through(lambda i: min(i, 2) if is_integer(i) else i))
    @broken_by(torch.Tensor, "__getitem__", through(lambda i: max(i, -3) if is_integer(i) else i))
    @broken_by(torch.Tensor, "__getitem__", through(lambda i: int(i) if isinstance(i, float) else i))
    @broken_by(
        torch.Tensor, "__getitem__", lambda real: lambda x, i: real(x, i[:2] if type(i) is tuple else i)
    )
    @broken_by(
        torch.Tensor, "__getitem__", lambda real: lambda x, i: real(x, [*i, True] if type(i) is list else i)
    )
    def test_indices_that_numpy_refuses_are_refused(self):
        """A position off the axis, a float, an index too many, a short mask: IndexErrors, as in NumPy."""
        x = torch.tensor([[0, 1], [2, 3], [4, 5]])

        for index in (3, -4, 1.0, (0, 0, 0), [True, False]):
            with pytest.raises(IndexError):
                x[index]
            with pytest.raises(IndexError):
                x.numpy()[index]

    @claim("tensor.numpy-like-indexing-slice-outside", notes="notebook tensor")
    @broken_by(torch.Tensor, "__getitem__", through(lambda i: slice(-1, None) if i.start >= 3 else i))
    @broken_by(torch.Tensor, "__getitem__", through(lambda i: slice(i.start, i.stop - 1)))
    @broken_by(torch.Tensor, "__getitem__", through(lambda i: slice(i.start % 3, i.stop)))
    def test_slice_is_cut_to_what_there_is(self, device):
        """A slice that reaches past an end is cut to what there is, and may be empty."""
        x = torch.tensor([10, 20, 30], device=device)

        assert x[1:99].tolist() == [20, 30]
        assert x[-99:1].tolist() == [10]
        assert x[5:9].shape == (0,)


class TestViews:
    """What happens to the tensor when what was selected changes."""

    @claim("tensor.slice-is-view", notes="notebook tensor")
    @broken_by(torch.Tensor, "__getitem__", lambda real: lambda x, index: real(x, index).clone())
    @broken_by(torch.Tensor, "__getitem__", lambda real: lambda x, index: real(x, index).contiguous())
    @broken_by(torch.Tensor, "__getitem__", lambda real: lambda x, index: real(x, index).flatten())
    @given(case=indexed_arrays())
    def test_writing_to_a_slice_writes_to_its_tensor(self, device, case):
        """What integers, slices, ... and None select is a view: writing there is writing to the tensor."""
        array, index = case
        x = torch.from_numpy(array).to(device, copy=True)

        x[index].fill_(-1)
        array[index] = -1

        assert x.tolist() == array.tolist()

    @claim("tensor.slice-is-view-in-place", notes="notebook tensor")
    @broken_by(torch.Tensor, "__getitem__", lambda real: lambda x, index: real(x, index).clone())
    @broken_by(torch.Tensor, "__getitem__", lambda real: lambda x, index: real(x, index).detach())
    @broken_by(torch.Tensor, "__getitem__", lambda real: lambda x, index: real(x, index).contiguous())
    def test_column_is_every_fourth_value_of_the_tensor(self, device):
        """A column of a 3x4 tensor is the tensor's memory, read from its first value on in steps of four."""
        x = torch.arange(12, device=device).reshape(3, 4).clone()

        column = x[:, 1]

        assert column._base is x
        assert column.data_ptr() == x.data_ptr() + 1 * x.element_size()
        assert column.stride() == (4,)
        assert not column.is_contiguous()

    @claim("tensor.slice-is-view-assignment", notes="notebook tensor")
    @broken_by(torch.Tensor, "__setitem__", lambda real: lambda x, index, value: None)
    @broken_by(torch.Tensor, "__setitem__", lambda real: lambda x, index, value: real(x, index[::-1], value))
    def test_assignment_to_a_column_changes_the_tensor(self, device):
        """After x[:, 1] = 0, each row of the notebook's 4x4 ones is 1, 0, 1, 1."""
        x = torch.ones(4, 4, device=device)

        x[:, 1] = 0

        assert x.tolist() == [[1, 0, 1, 1]] * 4

    @claim("tensor.slice-is-view-not-for-selections", notes="notebook tensor")
    @broken_by(
        torch.Tensor,
        "__getitem__",
        lambda real: lambda x, index: real(x, slice(0, 3, 2)) if isinstance(index, list) else real(x, index),
    )
    @broken_by(
        torch.Tensor,
        "__getitem__",
        lambda real: lambda x, index: x if isinstance(index, torch.Tensor) else real(x, index),
    )
    def test_mask_and_list_of_positions_select_a_copy(self, device):
        """What a mask or a list of positions selects is a copy: writing there changes nothing."""
        x = torch.tensor([1, 2, 3], device=device)

        x[x != 2].fill_(-1)
        x[[0, 2]].fill_(-1)

        assert x.tolist() == [1, 2, 3]

    @claim("tensor.slice-is-view-assignment-to-selection", notes="notebook tensor")
    @broken_by(torch.Tensor, "__setitem__", lambda real: lambda x, index, value: x[index].fill_(-1))
    @broken_by(torch.Tensor, "__iadd__", lambda real: lambda x, other: x)
    @broken_by(torch.Tensor, "__iadd__", lambda real: lambda x, other: x + 2 * other)
    def test_assignment_to_a_mask_or_list_changes_the_tensor(self, device):
        """As a target, a mask or list writes into the tensor; with +=, a position given twice counts once."""
        x = torch.tensor([1, 2, 3, 4], device=device)

        x[x > 3] = -1
        x[[2, 0]] = torch.tensor([30, 10], device=device)
        x[[1, 1]] += 5

        assert x.tolist() == [10, 7, 30, -1]
