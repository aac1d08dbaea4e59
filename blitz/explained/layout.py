"""Strides: where the elements of a tensor are, when a view is possible, and when reshape has to copy.

A tensor is a line of numbers in memory and a *layout*: a shape, a stride for each axis and an offset.
Element (i, j, ...) is at position offset + i * strides[0] + j * strides[1] + ... of the line. A view is
another layout of the same line, so it costs nothing and shares every change.

Transposing, slicing, expanding, squeezing and unsqueezing choose or rearrange axes. Each changes the layout
alone, so each is always a view. To give a new shape is harder: the elements have to keep their row-major
order (the last index runs fastest), and each new axis has to get by with one stride. The rule:

1.  Leave out the axes of size 1. Nobody steps along them, and so their strides do not matter.
2.  Two neighbours are *joined* if one step of the outer axis goes as far as all steps of the inner one:
    outer stride == inner size * inner stride. Axes that are joined are one evenly spaced *run*.
3.  A view can cut a run into new axes at will, but no axis can reach from one run into the next, for there
    the spacing changes. So the view exists exactly if the new sizes, taken from the last to the first,
    use up one run after the other.

`Tensor.view` raises where there is no view; `Tensor.reshape` copies the elements, row-major, into new memory.
A contiguous tensor is a single run of stride 1: every shape of as many elements is a view of it. An expanded
axis, with its stride of 0, is an axis like any other. Where there are no elements none can be misplaced:
such a tensor is contiguous whatever its strides, and every shape of 0 elements is a view of it.
"""

from collections.abc import Sequence
from math import prod
from typing import NamedTuple


class Layout(NamedTuple):
    """Where the elements of a tensor are in its memory; all numbers count elements, none of them bytes.

    A tensor's own: `Layout(tuple(x.shape), x.stride(), x.storage_offset())`.
    """

    shape: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int = 0


def positions(layout: Layout) -> list[int]:
    """Return the position in memory of each element, in row-major order: what a layout means.

    >>> positions(Layout((2, 3), (1, 2)))
    [0, 2, 4, 1, 3, 5]
    """
    found = [layout.offset]
    for size, stride in _axes(layout):
        found = [position + step * stride for position in found for step in range(size)]
    return found


# Memory of one's own


def row_major(shape: Sequence[int]) -> Layout:
    """Return the contiguous layout of `shape`: a step goes as far as all inner axes together.

    An inner axis of size 0 counts as 1.

    >>> row_major((2, 3, 4))
    Layout(shape=(2, 3, 4), strides=(12, 4, 1), offset=0)
    """
    inner = [prod(max(size, 1) for size in shape[axis + 1 :]) for axis in range(len(shape))]
    return Layout(tuple(shape), tuple(inner))


def is_contiguous(layout: Layout) -> bool:
    """Tell whether the elements lie row-major and without gaps, or there are none.

    >>> is_contiguous(Layout((2, 1, 3), (3, 99, 1))), is_contiguous(Layout((2, 3), (1, 2)))
    (True, False)
    """
    steps = zip(_axes(layout), row_major(layout.shape).strides, strict=True)
    # an axis of size 1 is not stepped along
    return prod(layout.shape) == 0 or all(size == 1 or stride == own for (size, stride), own in steps)


# A new shape


def runs(layout: Layout) -> list[tuple[int, int]]:
    """Return the evenly spaced runs, from the first axis to the last, as (length, stride).

    >>> runs(row_major((2, 3, 4)))
    [(24, 1)]
    >>> runs(Layout((4, 2, 3), (1, 12, 4)))  # row_major((2, 3, 4)), its last axis put first
    [(4, 1), (6, 4)]
    """
    found: list[tuple[int, int]] = []
    for size, stride in _axes(layout):
        if size == 1:
            continue
        length = 1
        if found and found[-1][1] == size * stride:
            length, _ = found.pop()
        found.append((length * size, stride))
    return found


def view(layout: Layout, shape: Sequence[int]) -> Layout | None:
    """Return the layout that `Tensor.view` gives, None where no view has that shape; one size may be -1.

    The strides of axes of size 1, which mean nothing, are those of a row-major tensor.

    Raises:
        ValueError: no tensor of as many elements has the shape.

    >>> view(Layout((4, 6), (1, 4)), (2, 2, -1))
    Layout(shape=(2, 2, 6), strides=(2, 1, 4), offset=0)
    >>> view(Layout((4, 6), (1, 4)), (24,)) is None
    True
    """
    shape = _infer(layout.shape, shape)
    if prod(shape) == 0:
        return layout if shape == layout.shape else row_major(shape)._replace(offset=layout.offset)
    pending = runs(layout)
    length, stride = 1, 1  # what is left of the current run, and the distance of its parts
    strides = []
    for size in reversed(shape):
        if length == 1 and size > 1:
            length, stride = pending.pop()
        if length % size:
            return None
        strides.append(stride)
        length, stride = length // size, stride * size
    return Layout(shape, tuple(reversed(strides)), layout.offset)


def reshape(layout: Layout, shape: Sequence[int]) -> tuple[Layout, bool]:
    """Return the layout that `Tensor.reshape` gives, and whether that is a copy; one size may be -1.

    Raises:
        ValueError: no tensor of as many elements has the shape.

    >>> reshape(Layout((2, 3), (1, 2)), (6,))
    (Layout(shape=(6,), strides=(1,), offset=0), True)
    """
    viewed = view(layout, shape)
    if viewed is None:
        return row_major(_infer(layout.shape, shape)), True
    return viewed, False


def _infer(old: Sequence[int], new: Sequence[int]) -> tuple[int, ...]:
    """Return the sizes `new` for a tensor of shape `old`, a -1 worked out."""
    count, others = prod(old), prod(size for size in new if size != -1)
    unknown = count // others if others else -1  # beside a 0, it could be any number
    asked = tuple(unknown if size == -1 else size for size in new)
    if prod(asked) != count or min(asked, default=0) < 0 or list(new).count(-1) > 1:
        raise ValueError(
            f"expected sizes for the {count} elements of {tuple(old)}, one of them perhaps -1, "
            f"got {tuple(new)}"
        )
    return asked


# The same elements under other axes


def transpose(layout: Layout, first: int, second: int) -> Layout:
    """Return the layout with two axes swapped.

    >>> transpose(row_major((2, 3)), 0, 1)
    Layout(shape=(3, 2), strides=(1, 3), offset=0)
    """
    axes = _axes(layout)
    axes[first], axes[second] = axes[second], axes[first]
    return _layout(axes, layout.offset)


def permute(layout: Layout, order: Sequence[int]) -> Layout:
    """Return the layout whose axis k is axis `order[k]` of the old one.

    >>> permute(row_major((2, 3, 4)), (2, 0, 1))
    Layout(shape=(4, 2, 3), strides=(1, 12, 4), offset=0)
    """
    axes = _axes(layout)
    return _layout([axes[axis] for axis in order], layout.offset)


def sliced(layout: Layout, axis: int, part: slice) -> Layout:
    """Return the layout of `x[part]`, or of the same on another axis: a step lengthens the stride.

    >>> sliced(row_major((2, 10)), 1, slice(1, None, 3))
    Layout(shape=(2, 3), strides=(10, 3), offset=1)
    """
    axes = _axes(layout)
    size, stride = axes[axis]
    taken = range(size)[part]
    axes[axis] = (len(taken), stride * taken.step)
    return _layout(axes, layout.offset + stride * taken.start)


def expand(layout: Layout, shape: Sequence[int]) -> Layout:
    """Return the layout with axes of size 1 repeated, and axes added in front, by strides of 0.

    >>> expand(row_major((3, 1)), (2, 3, 4))
    Layout(shape=(2, 3, 4), strides=(0, 1, 0), offset=0)
    """
    axes = [(1, 0)] * (len(shape) - len(layout.shape)) + _axes(layout)
    repeated = [(n, stride if n == size else 0) for n, (size, stride) in zip(shape, axes, strict=True)]
    return _layout(repeated, layout.offset)


def squeeze(layout: Layout, axis: int) -> Layout:
    """Return the layout without an axis, if its size is 1.

    >>> squeeze(row_major((1, 2)), 0), squeeze(row_major((1, 2)), 1).shape
    (Layout(shape=(2,), strides=(1,), offset=0), (1, 2))
    """
    axes = _axes(layout)
    if layout.shape[axis] == 1:
        del axes[axis]
    return _layout(axes, layout.offset)


def unsqueeze(layout: Layout, axis: int) -> Layout:
    """Return the layout with a new axis of size 1 before `axis`, or behind the last one.

    >>> unsqueeze(row_major((2, 3)), 1), unsqueeze(row_major((2, 3)), 2).shape
    (Layout(shape=(2, 1, 3), strides=(3, 3, 1), offset=0), (2, 3, 1))
    """
    axes = _axes(layout)
    size, stride = (axes[axis:] or [(1, 1)])[0]
    axes.insert(axis, (1, size * stride))
    return _layout(axes, layout.offset)


def _axes(layout: Layout) -> list[tuple[int, int]]:
    return list(zip(layout.shape, layout.strides, strict=True))


def _layout(axes: list[tuple[int, int]], offset: int) -> Layout:
    return Layout(tuple(size for size, _ in axes), tuple(stride for _, stride in axes), offset)
