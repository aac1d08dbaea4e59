"""Section 1.4 (1) to (4) of the notes: shapes and strides, held to blitz/explained/layout.py."""

from collections import Counter
from itertools import groupby, product
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
    (lambda x: x.contiguous(memory_format=order(x.shape)), lambda at: in_order(at)),
]


def rotated(shape):
    """Return the axes with the first one last."""
    return [*range(1, len(shape)), 0]


def grown(shape):
    """Return a shape with an axis more, and with 3 for each size of 1."""
    return (2, *(3 if size == 1 else size for size in shape))


def order(shape):
    """Return the order of memory for a shape: channels_last for images, and else row-major."""
    return torch.channels_last if len(shape) == 4 else torch.contiguous_format


def in_order(at):
    """Return the layout after `contiguous()` in that order, which leaves a tensor alone that has it."""
    images = len(at.shape) == 4
    has_it = layout.is_channels_last(at) if images else layout.is_contiguous(at)
    return at if has_it else (layout.channels_last if images else layout.row_major)(at.shape)


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


def told(x, found):
    """Return whether `found` shares the memory of `x`, and its layout."""
    return found.data_ptr() == x.data_ptr(), stepped(layout_of(found))


def viewed(x, shape):
    """Return what is told of `x.view(shape)`, None where PyTorch refuses it."""
    try:
        return told(x, x.view(shape))
    except RuntimeError:
        return None


def runs_cut_at_ones(real):
    """Return a `runs` in which an axis of size 1 keeps its neighbours apart."""

    def runs(at):
        pieces = groupby(zip(at.shape, at.strides, strict=True), lambda axis: axis[0] == 1)
        return [run for ones, axes in pieces if not ones for run in real(Layout(*zip(*axes, strict=True)))]

    return runs


def only_of_contiguous(real):
    """Return a `view` that only contiguous tensors have."""
    return lambda at, shape: real(at, shape) if layout.is_contiguous(at) else None


def reading_every_stride(real):
    """Return an `is_contiguous` that reads the stride of an axis of size 1, too."""
    return lambda at: real(at) and (0 in at.shape or at.strides == layout.row_major(at.shape).strides)


@statement("tensor.strides", notes="1.4 (1); 1.4 (2); 1.4 (3); 1.4 (4)")
@fault("transpose copies", Tensor, "transpose", lambda real: lambda x, i, j: real(x, i, j).contiguous())
@fault(
    "a slice starts at the offset of its tensor",
    layout,
    "sliced",
    lambda real: lambda at, *part: real(at, *part)._replace(offset=at.offset),
)
@fault("view copies", Tensor, "view", lambda real: lambda x, shape: x.reshape(shape))
@fault("only a contiguous tensor has a view", layout, "view", only_of_contiguous)
@fault("an axis of size 1 ends a run", layout, "runs", runs_cut_at_ones)
@fault(
    "reshape makes its tensor contiguous first",
    Tensor,
    "reshape",
    lambda real: lambda x, shape: real(x.contiguous(), shape),
)
@fault("the stride of an axis of size 1 counts", layout, "is_contiguous", reading_every_stride)
@fault("contiguous() always copies", Tensor, "contiguous", lambda real: lambda x, **order: x.clone())
class TestStrides:
    """A tensor reads its memory by a shape, a stride for each axis, and an offset, and a view of it reads the same
    memory by others. Where no strides fit a new shape, `view()` raises and `reshape()` copies, and nowhere else.
    """

    def test_views_change_shape_strides_and_offset_and_leave_the_memory(self, device):
        wrong = [at for x, at in tensors(device) if stepped(layout_of(x)) != stepped(at)]

        assert wrong == []

    def test_strides_tell_where_each_element_is(self, device):
        def elements(x):
            places = layout.positions(layout_of(x))
            memory = x.as_strided([max(places, default=-1) + 1], [1], 0).tolist()
            return [memory[place] for place in places]

        wrong = [at for x, at in tensors(device) if x.flatten().tolist() != elements(x)]

        assert wrong == []

    def test_view_exists_where_no_new_axis_reaches_from_one_run_into_the_next(self, device):
        wrong, views = [], Counter()

        for x, _ in tensors(device):
            for shape in shapes_for(x):
                expected = layout.view(layout_of(x), shape)
                if viewed(x, shape) != (expected and (True, stepped(expected))):
                    wrong.append((layout_of(x), shape))
                views[expected is not None, x.is_contiguous()] += 1

        assert wrong == []
        assert views[False, False] > 1000
        assert views[True, False] > 1000

    def test_reshape_gives_the_view_or_else_a_row_major_copy(self, device):
        wrong = []

        for x, _ in tensors(device):
            for shape in shapes_for(x):
                expected, copied = layout.reshape(layout_of(x), shape)
                found = x.reshape(shape)
                seen = (*told(x, found), found.flatten().tolist())
                if seen != (not copied, stepped(expected), x.flatten().tolist()):
                    wrong.append((layout_of(x), shape))

        assert wrong == []

    def test_contiguous_tensors_have_row_major_strides_and_others_are_copied(self, device):
        wrong, copies = [], Counter()

        for x in tensors(device):
            at, found = layout_of(x), x.contiguous()
            stays = layout.is_contiguous(at)
            seen = x.is_contiguous(), *told(x, found), found.tolist()
            expected = stays, stays, stepped(at if stays else layout.row_major(at.shape)), x.tolist()
            if seen != expected or x.is_contiguous(memory_format=IMAGES) != layout.is_channels_last(at):
                wrong.append(at)
            copies[found is not x] += 1

        assert wrong == []
        assert min(copies[True], copies[False]) > 100
