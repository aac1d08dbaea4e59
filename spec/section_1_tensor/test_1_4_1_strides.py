"""Section 1.4 (1) to (4) of the notes: shapes and strides, held to blitz/explained/layout.py."""

from collections import Counter
from itertools import product
from math import prod

import torch
from torch import Tensor

from blitz.explained import layout
from blitz.explained.layout import Layout
from spec.harness import fault, statement

STARTS = [(4, 6), (2, 3, 4), (1, 4, 6), (2, 3, 2, 4), (4, 1, 2, 3), (2, 0, 3)]
STEPS = [  # what is done to a tensor, and what the rules make of its layout
    (lambda x: x.transpose(0, -1), lambda at: layout.transpose(at, 0, -1)),
    (lambda x: x.permute(rotated(x.shape)), lambda at: layout.permute(at, rotated(at.shape))),
    (lambda x: x[1:], lambda at: layout.sliced(at, 0, slice(1, None))),
    (lambda x: x[..., ::2], lambda at: layout.sliced(at, -1, slice(None, None, 2))),
    (lambda x: x.expand(grown(x.shape)), lambda at: layout.expand(at, grown(at.shape))),
    (lambda x: x.squeeze(0), lambda at: layout.squeeze(at, 0)),
    (lambda x: x.unsqueeze(1), lambda at: layout.unsqueeze(at, 1)),
]


def rotated(shape):
    """Return the axes with the first one last."""
    return [*range(1, len(shape)), 0]


def grown(shape):
    """Return a shape with an axis more, and with 3 for each size of 1."""
    return (2, *(3 if size == 1 else size for size in shape))


def tensors(device):
    """Yield what any three steps make of contiguous tensors, with the layout that the rules give."""
    for shape in STARTS:
        for steps in product(STEPS, repeat=3):
            x, at = torch.arange(prod(shape), device=device).reshape(shape), layout.row_major(shape)
            for step, rule in steps:
                x, at = step(x), rule(at)
            yield x, at


def shapes_for(x):
    """Return shapes of as many elements as `x` has: one axis, neighbours joined, and cut in two."""
    joined = [(-1,), (prod(x.shape[:2]), *x.shape[2:]), (*x.shape[:-2], prod(x.shape[-2:]))]
    return [*joined, (2, -1), (-1, 2)] if x.numel() % 2 == 0 else joined


def layout_of(x):
    """Return the layout of a tensor, as PyTorch tells it."""
    return Layout(tuple(x.shape), x.stride(), x.storage_offset())


def stepped(at):
    """Return a layout with 0 for the strides that mean nothing, those of axes of size 1."""
    strides = (stride if size != 1 else 0 for size, stride in zip(at.shape, at.strides, strict=True))
    return at._replace(strides=tuple(strides))


def elements(x, at):
    """Return what is in the memory of `x` where the layout says that the elements are."""
    places = layout.positions(at)
    memory = x.as_strided([max(places, default=-1) + 1], [1], 0).tolist()
    return [memory[place] for place in places]


def told(x, found):
    """Return whether `found` shares the memory of `x`, and its layout."""
    return found.data_ptr() == x.data_ptr(), stepped(layout_of(found))


def has_view(x, shape):
    """Return whether there is an `x.view(shape)`."""
    try:
        x.view(shape)
    except RuntimeError:
        return False
    return True


def only_of_contiguous(real):
    """Let only contiguous tensors have a view."""
    return lambda at, shape: real(at, shape) if layout.is_contiguous(at) else None


@statement("tensor.strides", notes="1.4 (1); 1.4 (2); 1.4 (3); 1.4 (4)")
@fault("transpose copies", Tensor, "transpose", lambda real: lambda x, i, j: real(x, i, j).contiguous())
@fault("positions are sorted", layout, "positions", lambda real: lambda at: sorted(real(at)))
@fault("view copies", Tensor, "view", lambda real: lambda x, shape: x.reshape(shape))
@fault("only a contiguous tensor has a view", layout, "view", only_of_contiguous)
@fault("reshape always copies", Tensor, "reshape", lambda real: lambda x, shape: real(x.clone(), shape))
class TestStrides:
    """A tensor finds its elements in memory by a start (offset) and a step (stride) for each axis. A view
    reads the same memory with another shape, start or step. `reshape()` copies, and `view()` raises a
    RuntimeError, exactly when no strides fit the new shape.
    """

    def test_view_changes_shape_strides_and_offset_and_no_element(self, device):
        wrong = []

        for x, at in tensors(device):
            if stepped(layout_of(x)) != stepped(at) or x.flatten().tolist() != elements(x, at):
                wrong.append(at)

        assert wrong == []

    def test_view_exists_where_strides_fit_and_reshape_copies_row_by_row_elsewhere(self, device):
        wrong, views = [], Counter()

        for x, at in tensors(device):
            row_by_row = x.flatten().tolist()
            for shape in shapes_for(x):
                expected, copied = layout.reshape(at, shape)
                found = x.reshape(shape)
                seen = (*told(x, found), found.flatten().tolist())
                if seen != (not copied, stepped(expected), row_by_row) or has_view(x, shape) is copied:
                    wrong.append((at, shape))
                views[copied, layout.is_contiguous(at)] += 1

        assert wrong == []
        assert min(views[True, False], views[False, False]) > 1000
