"""Section 1.4 of the notes, operations: indexing and slicing as in NumPy, and the views that they give."""

import numpy as np
import pytest
import torch
from torch import Tensor

from spec.faults import as_it_lies
from spec.harness import QUALIFIED, fault, statement

VIEWS = {
    "a position": lambda x: x[1],
    "a position from the end": lambda x: x[-1],
    "a slice": lambda x: x[1:],
    "a slice past the end": lambda x: x[5:9],
    "every second": lambda x: x[::2],
    "a column": lambda x: x[:, 1],
    "positions around ...": lambda x: x[0, ..., -1],
    "a new axis": lambda x: x[:, None],
}
COPIES = {
    "a mask": lambda x: x[x % 5 == 0],
    "a list of booleans": lambda x: x[[False, True, True]],
    "a list of positions": lambda x: x[[2, 0, -1, 2]],
    "two lists in pairs": lambda x: x[[2, 0], [1, 0]],
    "a tensor of positions": lambda x: x[x[0, 0, [2, 0]] // 6],
    "two tensors of positions": lambda x: x[x[0, 0, [2, 0]] // 6, x[0, 0, [1, 0]] // 6],
}


def arrays():
    """Return an array whose rows are no single piece of memory."""
    return np.arange(24).reshape(4, 2, 3).T


def through(change):
    """Return a fault of indexing: each entry of the index goes through `change` first."""
    return lambda real: lambda x, i: real(x, tuple(map(change, i if isinstance(i, tuple) else (i,))))


def without_a_step(entry):
    """Return the entry of an index without the step of a slice."""
    return slice(entry.start, entry.stop) if isinstance(entry, slice) else entry


@statement(
    "tensor.numpy-like-indexing",
    notes="1.4; notebook tensor",
    verdict=QUALIFIED,
    says="indexing and slicing work as in NumPy",
)
@fault("a step is overlooked", Tensor, "__getitem__", through(without_a_step))
@fault("strides are overlooked", Tensor, "__getitem__", lambda real: lambda x, i: real(as_it_lies(x), i))
@fault("one element is a number", Tensor, "__getitem__", lambda real: lambda x, i: real(x, i).sum().item())
@fault("a float is a position", Tensor, "__getitem__", through(lambda i: int(i) if type(i) is float else i))
class TestNumpyLikeIndexing:
    """An index selects the same elements from a tensor as from a NumPy array. Unlike in NumPy, the index of a
    single element returns a tensor, and a slice cannot have a negative step.
    """

    @pytest.mark.parametrize("select", [*VIEWS.values(), *COPIES.values()], ids=[*VIEWS, *COPIES])
    def test_index_selects_what_it_selects_in_numpy(self, select, device):
        array = arrays()

        selected = select(torch.from_numpy(array).to(device))

        assert selected.shape == select(array).shape
        assert selected.tolist() == select(array).tolist()

    def test_one_element_is_a_tensor_without_axes(self, device):
        x = torch.tensor([[1, 2], [3, 4]], device=device)

        element = x[1, 0]
        x.fill_(7)

        assert isinstance(x.cpu().numpy()[1, 0], np.integer)
        assert isinstance(element, Tensor)
        assert element.tolist() == 7  # it is a view as well

    def test_negative_step_is_refused_and_flip_does_it(self, device):
        x = torch.arange(6, device=device).reshape(3, 2)

        with pytest.raises(ValueError, match="step must be greater than zero"):
            x[::-1]
        assert x.flip(0).tolist() == x.cpu().numpy()[::-1].tolist() == [[4, 5], [2, 3], [0, 1]]

    @pytest.mark.parametrize(
        "index",
        [3, -4, 1.0, (0, 0, 0)],
        ids=["past the end", "before the start", "a float", "one too many"],
    )
    def test_index_that_numpy_refuses_is_refused(self, index):
        x = torch.tensor([[0, 1], [2, 3], [4, 5]])

        for indexed in (x, x.numpy()):
            with pytest.raises(IndexError):
                indexed[index]


@statement("tensor.slice-is-view", notes="notebook tensor")
@fault("an index copies", Tensor, "__getitem__", lambda real: lambda x, index: real(x, index).clone())
@fault("an index detaches", Tensor, "__getitem__", lambda real: lambda x, index: real(x, index).detach())
@fault("a list is a slice", Tensor, "__getitem__", through(lambda i: slice(0, 3) if type(i) is list else i))
@fault("an assignment does nothing", Tensor, "__setitem__", lambda real: lambda x, index, value: None)
class TestSliceIsView:
    """Indexing by a position or a slice returns a view, so writing to the view changes the tensor. Indexing
    by a mask or a list of positions returns a copy. An assignment such as `x[mask] = 0` nevertheless changes
    `x` itself.
    """

    @pytest.mark.parametrize("select", VIEWS.values(), ids=VIEWS)
    def test_writing_to_a_view_writes_to_its_tensor(self, select, device):
        array = arrays()
        x = torch.from_numpy(array).to(device, copy=True)

        view = select(x)
        view.fill_(-1)
        select(array)[...] = -1

        assert view._base is x
        assert x.tolist() == array.tolist()

    def test_mask_and_list_of_positions_select_a_copy(self, device):
        x = torch.tensor([1, 2, 3], device=device)

        x[x != 2].fill_(-1)
        x[[0, 2]].fill_(-1)

        assert x.tolist() == [1, 2, 3]

    def test_assignment_writes_into_the_tensor(self, device):
        x = torch.ones(3, 4, device=device)

        x[:, 1] = 0
        assert x.tolist() == [[1, 0, 1, 1]] * 3
        x[x < 1] = torch.tensor([2.0, 3.0, 4.0], device=device)
        x[[2, 0]] = torch.tensor([[5.0], [6.0]], device=device)
        assert x.tolist() == [[6, 6, 6, 6], [1, 3, 1, 1], [5, 5, 5, 5]]
        x[[1, 1]] += 10  # a row named twice counts once
        assert x[1].tolist() == [11, 13, 11, 11]
