"""Section 1.4 of the notes, "resize": PyTorch on generated layouts, held to blitz/explained/layout.py.

Each claim here takes 2,400 layouts: Hypothesis draws 300 tensors, and from each eight more are made by
transposing, permuting, slicing, expanding, squeezing, unsqueezing, and going over to channels_last.
"""

from collections import Counter
from itertools import groupby
from math import prod

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from blitz.explained import layout
from blitz.explained.layout import Layout
from spec.harness import WRONG, broken_by, claim

REASON = "prefer reshape, because view alone can leave a tensor non-contiguous"
TENSORS, STEPS, BYTES = 300, 8, 100
STARTS = [(12,), (6, 4), (2, 3, 4), (4, 1, 6), (2, 3, 2, 4), (3, 2, 4, 4), (1, 4, 6, 1), ()]
PARTS = [slice(1, None), slice(None, -1), slice(None, None, 2), slice(None, None, 3)]
MOVES = ("transpose", "permute", "slice", "expand", "squeeze", "unsqueeze", "channels_last")


def layout_of(x):
    """Return the layout of a tensor, as PyTorch tells it."""
    return Layout(tuple(x.shape), x.stride(), x.storage_offset())


def stepped(at):
    """Return a layout with the strides that mean nothing, those of axes of size 1, set to 0."""
    strides = (stride if size != 1 else 0 for size, stride in zip(at.shape, at.strides, strict=True))
    return at._replace(strides=tuple(strides))


def move(x, at, draw):
    """Return the tensor after a step that `draw` chooses, and its layout by the rules."""
    n = x.dim()
    k = draw(n + 1)
    i, j = (draw(n), draw(n)) if n else (0, 0)
    match MOVES[draw(len(MOVES))] if n else "unsqueeze":
        case "transpose":
            return x.transpose(i, j), layout.transpose(at, i, j)
        case "permute":
            order = [*range(i, n), *range(i)]
            return x.permute(order), layout.permute(at, order)
        case "slice":
            part = PARTS[draw(len(PARTS))]
            return x[(*[slice(None)] * i, part)], layout.sliced(at, i, part)
        case "expand" if x.numel() < 100:
            shape = (*[2] * draw(2), *(size if size != 1 else 1 + draw(3) for size in x.shape))
            return x.expand(shape), layout.expand(at, shape)
        case "unsqueeze" if n < 5:
            return x.unsqueeze(k), layout.unsqueeze(at, k)
        case "channels_last" if n == 4:
            there = layout.is_channels_last(at)
            return x.contiguous(memory_format=torch.channels_last), (
                at if there else layout.channels_last(at.shape)
            )
    return x.squeeze(i), layout.squeeze(at, i)


def another_shape(shape, draw):
    """Return a shape of as many elements: some neighbours joined and cut anew, perhaps one size as -1."""
    start = draw(2) * draw(len(shape) or 1)
    stop = len(shape) - draw(2) * draw(len(shape) - start or 1)
    rest, cut = prod(shape[start:stop]), []
    while rest > 1:
        divisors = [size for size in range(2, rest + 1) if rest % size == 0]
        cut.append(divisors[-1 - draw(len(divisors))])
        rest //= cut[-1]
    sizes = [*shape[:start], *(cut or [rest]), *shape[stop:]]
    if prod(sizes) and draw(3) == 0:
        sizes[draw(len(sizes))] = -1
    return sizes


def tally(check, device, measured):
    """Hold what `check(x, at, draw)` saw to what the rules say, and return how often it had which outcome."""
    outcomes, different = Counter(), set()

    @settings(max_examples=TENSORS)
    @given(st.binary(min_size=BYTES, max_size=BYTES))
    def run(choices):
        left = iter(choices)

        def draw(count):
            return next(left, 0) % count

        shape = STARTS[draw(len(STARTS))]
        x = torch.arange(prod(shape), device=device).reshape(shape)
        at = layout.row_major(shape)
        for _ in range(STEPS):
            x, at = move(x, at, draw)
            outcome, seen, said = check(x, at, draw)
            agrees = (
                seen == said
            )  # on its own: pytest words what an assert compares, and here that takes long
            assert agrees, f"{layout_of(x)}: PyTorch gives {seen}, the rules say {said}"
            outcomes[outcome] += 1
            different.add(at)

    run()
    measured |= {"layouts": outcomes.total(), "different": len(different), **outcomes}
    return outcomes


def viewed(x, shape):
    """Return what x.view(shape) shares with x, and its layout; None where PyTorch refuses it."""
    try:
        return told(x, x.view(shape))
    except RuntimeError:
        return None


def told(x, found):
    """Return whether `found` begins where `x` does in memory, and its layout."""
    return found.data_ptr() == x.data_ptr(), stepped(layout_of(found))


def column_major(real):
    """Return a `reshape` in which the first index runs fastest, as in Fortran."""
    return lambda x, shape: real(x.permute([*reversed(range(x.dim()))]), shape)


def runs_cut_at_ones(real):
    """Return a `runs` in which an axis of size 1 keeps its neighbours apart."""

    def runs(at):
        pieces = groupby(zip(at.shape, at.strides, strict=True), lambda axis: axis[0] == 1)
        return [run for ones, axes in pieces if not ones for run in real(Layout(*zip(*axes, strict=True)))]

    return runs


def runs_by_order(real):
    """Return a `runs` that joins all axes if the strides descend, however far the steps go."""

    def runs(at):
        strides = [stride for size, stride in zip(at.shape, at.strides, strict=True) if size != 1]
        descend = strides and strides == sorted(strides, reverse=True)
        return [(prod(at.shape), strides[-1])] if descend else real(at)

    return runs


def reading_every_stride(real):
    """Return an `is_contiguous` that reads the stride of an axis of size 1, too."""
    return lambda at: real(at) and (0 in at.shape or at.strides == layout.row_major(at.shape).strides)


class TestEveryLayout:
    """PyTorch and the rules agree, layout by layout."""

    @claim("tensor.reshape-over-view-positions", notes="1.4 (1)")
    @broken_by(layout, "positions", lambda real: lambda at: sorted(real(at)))
    @broken_by(layout, "positions", lambda real: lambda at: real(at._replace(offset=0)))
    @broken_by(torch.Tensor, "flatten", lambda real: lambda x: real(x.permute([*reversed(range(x.dim()))])))
    @broken_by(torch.Tensor, "storage_offset", lambda real: lambda x: 0)
    def test_strides_tell_where_each_element_is(self, device, measured):
        """Element (i, j, ...) is at offset + i * strides[0] + j * strides[1] + ... of the memory."""

        def check(x, at, draw):
            places = layout.positions(layout_of(x))
            memory = x.as_strided([max(places, default=-1) + 1], [1], 0).tolist()
            outcome = "with elements" if places else "without elements"
            return outcome, x.flatten().tolist(), [memory[place] for place in places]

        outcomes = tally(check, device, measured)

        assert outcomes["with elements"] > 2000

    @claim("tensor.transpose-strides", notes="1.4 (2) to (4)")
    @broken_by(torch.Tensor, "transpose", lambda real: lambda x, i, j: real(x, i, j).contiguous())
    @broken_by(torch.Tensor, "expand", lambda real: lambda x, shape: real(x, shape).clone())
    @broken_by(torch.Tensor, "permute", lambda real: lambda x, order: real(x, sorted(order, reverse=True)))
    @broken_by(torch.Tensor, "unsqueeze", lambda real: lambda x, axis: real(x, 0))
    @broken_by(layout, "sliced", lambda real: lambda at, *part: real(at, *part)._replace(strides=at.strides))
    @broken_by(layout, "sliced", lambda real: lambda at, *part: real(at, *part)._replace(offset=at.offset))
    @broken_by(layout, "squeeze", lambda real: lambda at, axis: real(at))
    @broken_by(layout, "channels_last", lambda real: layout.row_major)
    def test_views_change_the_layout_and_leave_the_memory(self, device, measured):
        """Transposing, permuting, slicing, expanding and (un)squeezing change strides as layout.py says."""

        def check(x, at, draw):
            outcome = f"{min(x.numel(), 2)} or more elements"
            return outcome, stepped(layout_of(x)), stepped(at)

        outcomes = tally(check, device, measured)

        assert outcomes["2 or more elements"] > 2000

    @claim("tensor.reshape-over-view-rule", notes="1.4 (1)", verdict=WRONG, says=REASON)
    @broken_by(torch.Tensor, "view", lambda real: lambda x, shape: x.reshape(shape))
    @broken_by(torch.Tensor, "view", lambda real: lambda x, shape: real(x.contiguous(), shape))
    @broken_by(layout, "view", lambda real: lambda at, shape: real(layout.row_major(at.shape), shape))
    @broken_by(
        layout, "view", lambda real: lambda at, shape: real(at, shape) if layout.is_contiguous(at) else None
    )
    @broken_by(layout, "runs", runs_cut_at_ones)
    @broken_by(layout, "runs", runs_by_order)
    def test_view_exists_where_new_axes_use_up_one_run_after_another(self, device, measured):
        """A view exists exactly if no new axis reaches from one evenly spaced run of axes into the next."""

        def check(x, at, draw):
            shape = another_shape(x.shape, draw)
            expected = layout.view(layout_of(x), shape)
            outcome = f"{'view' if expected else 'no view'}, {'' if x.is_contiguous() else 'non-'}contiguous"
            return outcome, viewed(x, shape), expected and (True, stepped(expected))

        outcomes = tally(check, device, measured)

        assert outcomes["no view, non-contiguous"] > 500
        assert outcomes["view, non-contiguous"] > 500

    @claim("tensor.reshape-over-view-copies", notes="1.4 (1)")
    @broken_by(torch.Tensor, "reshape", lambda real: lambda x, shape: real(x.clone(), shape))
    @broken_by(torch.Tensor, "reshape", lambda real: lambda x, shape: real(x.contiguous(), shape))
    @broken_by(torch.Tensor, "reshape", column_major)
    @broken_by(layout, "view", lambda real: lambda at, shape: None)
    @broken_by(layout, "runs", runs_cut_at_ones)
    @broken_by(layout, "runs", runs_by_order)
    def test_reshape_is_the_view_or_else_a_row_major_copy(self, device, measured):
        """What reshape gives shares the memory exactly where a view exists; else it is a row-major copy."""

        def check(x, at, draw):
            shape = another_shape(x.shape, draw)
            expected, copied = layout.reshape(layout_of(x), shape)
            found = x.reshape(shape)
            seen = (*told(x, found), found.cpu().flatten().equal(x.cpu().flatten()))
            return "copy" if copied else "view", seen, (not copied, stepped(expected), True)

        outcomes = tally(check, device, measured)

        assert min(outcomes["copy"], outcomes["view"]) > 500

    @claim("tensor.reshape-over-view-contiguous", notes="1.4 (1)")
    @broken_by(torch.Tensor, "is_contiguous", lambda real: lambda x, **order: real(x))
    @broken_by(
        torch.Tensor, "is_contiguous", lambda real: lambda x, **order: real(x, **order) and x.numel() > 0
    )
    @broken_by(layout, "is_contiguous", reading_every_stride)
    @broken_by(layout, "is_contiguous", lambda real: lambda at: len(layout.runs(at)) < 2)
    @broken_by(layout, "is_channels_last", lambda real: lambda at: real(at) and not layout.is_contiguous(at))
    @broken_by(
        layout, "is_channels_last", lambda real: lambda at: real(at) or (len(at.shape) == 4 and 0 in at.shape)
    )
    def test_is_contiguous_compares_strides_of_more_than_one_step(self, device, measured):
        """Contiguous means row-major strides, channels_last those of (N, H, W, C), size 1 aside."""

        def check(x, at, draw):
            at = layout_of(x)
            row_major, channels_last = layout.is_contiguous(at), layout.is_channels_last(at)
            seen = x.is_contiguous(), x.is_contiguous(memory_format=torch.channels_last)
            outcome = f"{row_major * 'contiguous'} {channels_last * 'channels_last'}".strip() or "neither"
            return outcome, seen, (row_major, channels_last)

        outcomes = tally(check, device, measured)

        assert min(outcomes["contiguous"], outcomes["neither"]) > 500
        assert min(outcomes["channels_last"], outcomes["contiguous channels_last"]) > 50

    @claim("tensor.reshape-over-view-contiguous-copies", notes="1.4 (1)")
    @broken_by(torch.Tensor, "contiguous", lambda real: lambda x, **order: x.clone())
    @broken_by(torch.Tensor, "contiguous", lambda real: lambda x, **order: x)
    @broken_by(layout, "is_contiguous", reading_every_stride)
    def test_contiguous_copies_only_what_is_not(self, device, measured):
        """With contiguous() a contiguous tensor stays where it is; another gets a row-major copy."""

        def check(x, at, draw):
            at = layout_of(x)
            stays = layout.is_contiguous(at)
            found = x.contiguous()
            said = (stays, stepped(at if stays else layout.row_major(x.shape)), True)
            return "as it is" if stays else "copy", (*told(x, found), found.cpu().equal(x.cpu())), said

        outcomes = tally(check, device, measured)

        assert min(outcomes["as it is"], outcomes["copy"]) > 500
