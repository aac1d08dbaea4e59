"""blitz/explained/layout.py: positions and strides worked out by hand, and what is refused.

spec/section_1_tensor/test_1_4_1_strides.py holds PyTorch to these functions.
"""

from re import escape

import pytest

from blitz.explained.layout import (
    Layout,
    channels_last,
    expand,
    infer_shape,
    is_channels_last,
    is_contiguous,
    permute,
    positions,
    reshape,
    row_major,
    runs,
    sliced,
    squeeze,
    transpose,
    unsqueeze,
    view,
)

SCALAR = Layout((), (), 5)
BOX = Layout((2, 3, 4), (12, 4, 1), 5)
TURNED = Layout((4, 6), (1, 4), 5)  # (6, 4) transposed: two runs, (4, 1) and (6, 4)


POSITIONS = {
    "row-major": (Layout((2, 3), (3, 1)), [0, 1, 2, 3, 4, 5]),
    "transposed": (Layout((3, 2), (1, 3)), [0, 3, 1, 4, 2, 5]),
    "gaps": (Layout((2, 2, 2), (20, 7, 2)), [0, 2, 7, 9, 20, 22, 27, 29]),
    "an offset": (Layout((2, 2), (10, 3), 7), [7, 10, 17, 20]),
    "expanded": (Layout((2, 3), (1, 0), 4), [4, 4, 4, 5, 5, 5]),
    "an axis of size 1": (Layout((2, 1), (3, 99)), [0, 3]),
    "one number": (SCALAR, [5]),
    "no elements": (Layout((2, 0, 3), (1, 1, 1), 5), []),
}


@pytest.mark.parametrize(("layout", "expected"), POSITIONS.values(), ids=POSITIONS)
def test_positions_follow_the_strides_last_index_fastest(layout, expected):
    """Element (i, j, ...) is at offset + i * strides[0] + j * strides[1] + ...; an offset not given is 0."""
    assert positions(layout) == expected


OWN = {
    "row_major": (row_major, (2, 3, 4), (12, 4, 1)),
    "row_major of no axes": (row_major, (), ()),
    "row_major with size 1": (row_major, (3, 1, 2), (2, 2, 1)),
    "row_major with size 0 inside": (row_major, (2, 0, 3), (3, 3, 1)),
    "row_major with size 0 first": (row_major, (0, 2), (2, 1)),
    "row_major with size 0 last": (row_major, (2, 3, 0), (3, 1, 1)),
    "row_major of a list": (row_major, [5, 7], (7, 1)),
    "channels_last": (channels_last, (2, 3, 4, 5), (60, 1, 15, 3)),
    "channels_last without images": (channels_last, (0, 3, 4, 5), (60, 1, 15, 3)),
    "channels_last without channels": (channels_last, (2, 0, 4, 5), (0, 1, 0, 0)),
    "channels_last without rows": (channels_last, (2, 3, 0, 5), (0, 1, 15, 3)),
    "channels_last without columns": (channels_last, (2, 3, 4, 0), (0, 1, 0, 3)),
    "channels_last of a list": (channels_last, [1, 2, 3, 4], (24, 1, 8, 2)),
}

CONTIGUOUS = {
    "row-major": (Layout((2, 3, 4), (12, 4, 1)), True),
    "behind an offset": (BOX, True),
    "one number": (SCALAR, True),
    "axes of size 1 with other strides": (Layout((1, 2, 1, 3, 1), (7, 3, 0, 1, 9)), True),
    "no elements": (Layout((2, 0, 3), (7, 8, 9)), True),
    "transposed": (TURNED, False),
    "a gap between the rows": (Layout((2, 3), (4, 1)), False),
    "a gap between all": (Layout((3,), (2,)), False),
    "right strides but the last": (Layout((2, 3), (3, 2)), False),
    "one element for all": (Layout((3,), (0,)), False),
    "one row for all": (Layout((2, 3), (0, 1)), False),
}

CHANNELS_LAST = {
    "channels_last": (Layout((2, 3, 4, 5), (60, 1, 15, 3), 5), True),
    "row-major": (Layout((2, 3, 4, 5), (60, 20, 5, 1)), False),
    "row-major, one channel": (Layout((2, 1, 4, 5), (20, 20, 5, 1)), True),
    "row-major, one pixel": (Layout((2, 3, 1, 1), (3, 1, 1, 1)), True),
    "axes of size 1 with other strides": (Layout((1, 3, 1, 5), (99, 1, 77, 3)), True),
    "a gap between the images": (Layout((2, 3, 4, 5), (61, 1, 15, 3)), False),
    "a gap between the rows": (Layout((2, 3, 4, 5), (60, 1, 16, 3)), False),
    "a gap between the columns": (Layout((2, 3, 4, 5), (60, 1, 15, 4)), False),
    "three axes": (Layout((3, 4, 5), (1, 15, 3)), False),
    "five axes": (Layout((1, 2, 3, 4, 5), (120, 60, 1, 15, 3)), False),
    "no columns": (Layout((2, 3, 4, 0), (0, 1, 0, 3)), True),
    "no columns, but another stride": (Layout((2, 3, 4, 0), (0, 1, 0, 9)), False),
}


class TestMemoryOfOnesOwn:
    """Layouts of new memory, and how to know them again."""

    @pytest.mark.parametrize(("make", "shape", "strides"), OWN.values(), ids=OWN)
    def test_new_memory_is_filled_in_order_from_its_start(self, make, shape, strides):
        """The strides are products of inner sizes, an inner 0 counted as 1 or as 0, and the offset is 0."""
        assert make(shape) == Layout(tuple(shape), strides, 0)

    @pytest.mark.parametrize(("layout", "expected"), CONTIGUOUS.values(), ids=CONTIGUOUS)
    def test_contiguous_is_row_major_where_steps_are_taken(self, layout, expected):
        """Strides of axes of size 1 do not count, and without elements none do."""
        assert is_contiguous(layout) is expected

    @pytest.mark.parametrize(("layout", "expected"), CHANNELS_LAST.values(), ids=CHANNELS_LAST)
    def test_channels_last_is_known_by_its_strides(self, layout, expected):
        """It takes four axes, and the strides of those that are not of size 1."""
        assert is_channels_last(layout) is expected


RUNS = {
    "contiguous": (BOX, [(24, 1)]),
    "transposed": (TURNED, [(4, 1), (6, 4)]),
    "the last axis put first": (Layout((4, 2, 3), (1, 12, 4)), [(4, 1), (6, 4)]),
    "a gap behind the second axis": (Layout((2, 3, 4), (15, 5, 1)), [(6, 5), (4, 1)]),
    "every second of a line": (Layout((2, 3), (6, 2)), [(6, 2)]),
    "three": (Layout((2, 3, 4), (1, 2, 90)), [(2, 1), (3, 2), (4, 90)]),
    "axes of size 1": (Layout((1, 2, 1, 3, 1), (7, 3, 0, 1, 9)), [(6, 1)]),
    "expanded in front": (Layout((4, 2, 3), (0, 3, 1)), [(4, 0), (6, 1)]),
    "expanded between": (Layout((2, 3, 4), (4, 0, 1)), [(2, 4), (3, 0), (4, 1)]),
    "expanded twice": (Layout((2, 3), (0, 0)), [(6, 0)]),
    "no elements": (Layout((2, 0), (1, 1)), [(2, 1), (0, 1)]),
    "one number": (SCALAR, []),
}

NONE = Layout((2, 0, 3), (7, 8, 9), 5)
VIEWS = {  # strides of the view, or None
    "to the same shape": (TURNED, (4, 6), (1, 4)),
    "a run cut": (TURNED, (4, 2, 3), (1, 12, 4)),
    "the run before it cut": (TURNED, (2, 2, 6), (2, 1, 4)),
    "both runs cut": (TURNED, [2, 2, 3, 2], (2, 1, 8, 4)),
    "a size worked out": (TURNED, (2, -1, 6), (2, 1, 4)),
    "axes of size 1 added": (TURNED, (1, 4, 1, 6), (4, 1, 24, 4)),
    "both runs as one": (TURNED, (24,), None),
    "a run and a part": (TURNED, (2, 12), None),
    "a part and a run": (TURNED, (12, 2), None),
    "a run cut where it does not divide": (TURNED, (6, 4), None),
    "a run of 3 cut in 2": (Layout((2, 3), (1, 2)), (3, 2), None),
    "contiguous, joined": (BOX, (24,), (1,)),
    "contiguous, joined and cut": (BOX, (4, 6), (6, 1)),
    "contiguous, a last axis of size 1": (BOX, (6, 4, 1), (4, 1, 1)),
    "axes of size 1 dropped": (Layout((1, 2, 1, 3), (7, 3, 0, 1), 5), (6,), (1,)),
    "expanded, the axis left": (Layout((2, 3, 4), (0, 4, 1), 5), (2, 12), (0, 1)),
    "expanded, the axis joined": (Layout((2, 3, 4), (0, 4, 1), 5), (6, 4), None),
    "expanded, the last axis joined": (Layout((3, 2), (1, 0), 5), (6,), None),
    "expanded twice": (Layout((2, 3), (0, 0), 5), (3, 2), (0, 0)),
    "one number": (SCALAR, (1, -1), (1, 1)),
    "one number again": (Layout((1, 1), (1, 1), 5), (), ()),
    "no elements": (NONE, (2, 0, 3), (7, 8, 9)),
    "no elements, another shape": (NONE, (0, 4), (4, 1)),
    "no elements, a size worked out": (NONE, (4, -1, 2), (2, 2, 1)),
}

RESHAPED = {
    "a view": (TURNED, (2, 2, -1), (Layout((2, 2, 6), (2, 1, 4), 5), False)),
    "a copy": (TURNED, (24,), (Layout((24,), (1,), 0), True)),
    "a copy, a size worked out": (TURNED, [-1, 8], (Layout((3, 8), (8, 1), 0), True)),
    "no elements": (NONE, (0, 4), (Layout((0, 4), (4, 1), 5), False)),
}

INFERRED = {
    "nothing asked": ((2, 3, 4), (6, 4), (6, 4)),
    "last": ((2, 3, 4), (6, -1), (6, 4)),
    "first": ((2, 3, 4), [-1, 12], (2, 12)),
    "between": ([2, 3, 4], (2, -1, 4), (2, 3, 4)),
    "alone": ((2, 3, 4), (-1,), (24,)),
    "one": ((2, 3, 4), (24, -1), (24, 1)),
    "of one number": ((), (-1,), (1,)),
    "to one number": ((1, 1), (), ()),
    "no elements": ((2, 0), (3, -1), (3, 0)),
    "no elements, no question": ((2, 0), (0, 5), (0, 5)),
}


class TestNewShape:
    """Runs, and what view, reshape and -1 make of them."""

    @pytest.mark.parametrize(("layout", "expected"), RUNS.values(), ids=RUNS)
    def test_runs_are_axes_that_are_evenly_spaced(self, layout, expected):
        """Neighbours join where the outer stride is inner size times inner stride; size 1 is left out."""
        assert runs(layout) == expected

    @pytest.mark.parametrize(("layout", "shape", "strides"), VIEWS.values(), ids=VIEWS)
    def test_view_cuts_runs_and_joins_none(self, layout, shape, strides):
        """A view keeps the offset; there is none where a new axis would reach from one run into the next."""
        expected = strides if strides is None else Layout(infer_shape(layout.shape, shape), strides, 5)

        assert view(layout, shape) == expected

    @pytest.mark.parametrize(("layout", "shape", "expected"), RESHAPED.values(), ids=RESHAPED)
    def test_reshape_is_the_view_or_else_a_copy(self, layout, shape, expected):
        """The copy is row-major from offset 0."""
        assert reshape(layout, shape) == expected

    @pytest.mark.parametrize(("old", "new", "expected"), INFERRED.values(), ids=INFERRED)
    def test_size_minus_one_is_worked_out_from_the_others(self, old, new, expected):
        """It is what remains of the number of elements, 1 and 0 included."""
        assert infer_shape(old, new) == expected


PADDED = Layout((1, 2, 1, 3), (99, 6, 77, 1), 5)
COLUMN = Layout((3, 1), (2, 9), 5)
MOVED = {
    "transpose": (transpose, (BOX, 0, 2), Layout((4, 3, 2), (1, 4, 12), 5)),
    "transpose, from the back": (transpose, (BOX, -1, -3), Layout((4, 3, 2), (1, 4, 12), 5)),
    "transpose, an axis with itself": (transpose, (BOX, 1, -2), BOX),
    "permute": (permute, (BOX, (2, 0, 1)), Layout((4, 2, 3), (1, 12, 4), 5)),
    "permute, from the back": (permute, (BOX, [-2, -1, 0]), Layout((3, 4, 2), (4, 1, 12), 5)),
    "permute, no axes": (permute, (SCALAR, ()), SCALAR),
    "sliced, from": (sliced, (BOX, 0, slice(1, None)), Layout((1, 3, 4), (12, 4, 1), 17)),
    "sliced, from and step": (sliced, (BOX, 1, slice(1, None, 2)), Layout((2, 1, 4), (12, 8, 1), 9)),
    "sliced, step": (sliced, (BOX, -1, slice(None, None, 3)), Layout((2, 3, 2), (12, 4, 3), 5)),
    "sliced, step of 1": (sliced, (BOX, -3, slice(0, 2, 1)), BOX),
    "sliced, from the back": (sliced, (BOX, 2, slice(-3, -1)), Layout((2, 3, 2), (12, 4, 1), 6)),
    "sliced, to nothing": (sliced, (BOX, 2, slice(3, 1)), Layout((2, 3, 0), (12, 4, 1), 8)),
    "sliced, behind the end": (sliced, (BOX, 1, slice(9, None)), Layout((2, 0, 4), (12, 4, 1), 17)),
    "sliced, an expanded axis": (sliced, (Layout((4,), (0,), 5), 0, slice(1, 3)), Layout((2,), (0,), 5)),
    "expand": (expand, (COLUMN, (3, 4)), Layout((3, 4), (2, 0), 5)),
    "expand, axes in front": (expand, (COLUMN, (6, 5, 3, 4)), Layout((6, 5, 3, 4), (0, 0, 2, 0), 5)),
    "expand, an axis of size 1 in front": (expand, (COLUMN, [1, 3, 2]), Layout((1, 3, 2), (0, 2, 0), 5)),
    "expand, to the same shape": (expand, (COLUMN, (3, 1)), COLUMN),
    "expand, to nothing": (expand, (COLUMN, (3, 0)), Layout((3, 0), (2, 0), 5)),
    "expand, nothing": (expand, (Layout((0, 1), (1, 1), 5), (0, 2)), Layout((0, 2), (1, 0), 5)),
    "expand, one number": (expand, (SCALAR, (2,)), Layout((2,), (0,), 5)),
    "squeeze": (squeeze, (PADDED,), Layout((2, 3), (6, 1), 5)),
    "squeeze, axis 0": (squeeze, (PADDED, 0), Layout((2, 1, 3), (6, 77, 1), 5)),
    "squeeze, from the back": (squeeze, (PADDED, -2), Layout((1, 2, 3), (99, 6, 1), 5)),
    "squeeze, an axis of size 2": (squeeze, (PADDED, 1), PADDED),
    "squeeze, an axis of size 0": (squeeze, (Layout((1, 0), (1, 1), 5),), Layout((0,), (1,), 5)),
    "squeeze, to one number": (squeeze, (Layout((1, 1), (3, 2), 5),), SCALAR),
    "unsqueeze, first": (unsqueeze, (TURNED, 0), Layout((1, 4, 6), (4, 1, 4), 5)),
    "unsqueeze, between": (unsqueeze, (TURNED, 1), Layout((4, 1, 6), (1, 24, 4), 5)),
    "unsqueeze, last": (unsqueeze, (TURNED, 2), Layout((4, 6, 1), (1, 4, 1), 5)),
    "unsqueeze, first from the back": (unsqueeze, (TURNED, -3), Layout((1, 4, 6), (4, 1, 4), 5)),
    "unsqueeze, one number": (unsqueeze, (SCALAR, 0), Layout((1,), (1,), 5)),
}


@pytest.mark.parametrize(("move", "arguments", "expected"), MOVED.values(), ids=MOVED)
def test_other_axes_are_another_layout_of_the_same_memory(move, arguments, expected):
    """Axes move with their strides, and the offset moves where elements are cut off in front."""
    assert move(*arguments) == expected


IMAGES = "expected a shape (N, C, H, W), got "
SIGNS = "expected sizes of 0 or more, one of them perhaps -1, got "
ANY = "-1 in (0, -1) could be any number: there are 0 elements; give the size itself"
COUNT = "expected sizes for the 24 elements of (4, 6), got "
AXIS = "expected one of 3 axes, counted from 0 or back from -1, got "
ORDER = "expected each of the 3 axes once, got "
STEP = "expected a step of 1 or more, got {}; PyTorch has no negative strides"
REPEAT = "expected sizes that repeat axes of size 1 of (3, 1), got "

REFUSED = {
    "three axes": (channels_last, ([3, 4, 5],), IMAGES + "(3, 4, 5)"),
    "five axes": (channels_last, ((1, 2, 3, 4, 5),), IMAGES + "(1, 2, 3, 4, 5)"),
    "two sizes -1": (infer_shape, ((6,), [-1, -1]), SIGNS + "(-1, -1)"),
    "sizes -2": (view, (TURNED, (-2, -2, 6)), SIGNS + "(-2, -2, 6)"),
    "-1 beside 0, no elements": (infer_shape, ((2, 0), [0, -1]), ANY),
    "-1 beside 0": (infer_shape, ([4, 6], [0, -1]), COUNT + "(0, -1)"),
    "-1 for no whole number": (reshape, (TURNED, [5, -1]), COUNT + "(5, -1)"),
    "too many elements": (view, (TURNED, (25,)), COUNT + "(25,)"),
    "too few elements": (view, (TURNED, (4, 5)), COUNT + "(4, 5)"),
    "no elements for some": (reshape, (TURNED, (0,)), COUNT + "(0,)"),
    "some elements for none": (
        reshape,
        (NONE, (2,)),
        "expected sizes for the 0 elements of (2, 0, 3), got (2,)",
    ),
    "transpose, first too far": (transpose, (BOX, 3, 0), AXIS + "3"),
    "transpose, second too far back": (transpose, (BOX, 0, -4), AXIS + "-4"),
    "permute, an axis twice": (permute, (BOX, [0, 1, -2]), ORDER + "(0, 1, -2)"),
    "permute, an axis missing": (permute, (BOX, (1, 0)), ORDER + "(1, 0)"),
    "permute, too far": (permute, (BOX, (0, 1, 3)), AXIS + "3"),
    "sliced, too far": (sliced, (BOX, 3, slice(1)), AXIS + "3"),
    "sliced, a step of 0": (sliced, (BOX, 0, slice(None, None, 0)), STEP.format(0)),
    "sliced, a step back": (sliced, (BOX, 0, slice(None, None, -1)), STEP.format(-1)),
    "expand, another size": (expand, (COLUMN, [2, 1]), REPEAT + "(2, 1)"),
    "expand, to size 1": (expand, (COLUMN, (1, 1)), REPEAT + "(1, 1)"),
    "expand, to size -1": (expand, (COLUMN, (3, -1)), REPEAT + "(3, -1)"),
    "expand, to fewer axes": (expand, (COLUMN, (3,)), REPEAT + "(3,)"),
    "squeeze, too far back": (squeeze, (BOX, -4), AXIS + "-4"),
    "unsqueeze, too far": (unsqueeze, (TURNED, 3), AXIS + "3"),
    "unsqueeze, too far back": (unsqueeze, (TURNED, -4), AXIS + "-4"),
    "a stride too few": (positions, (Layout((2, 3), (1,)),), "zip() argument 2 is shorter than argument 1"),
}


@pytest.mark.parametrize(("act", "arguments", "message"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_is_refused_in_a_sentence(act, arguments, message):
    """An error says what was expected and what came."""
    with pytest.raises(ValueError, match=f"^{escape(message)}$"):
        act(*arguments)
