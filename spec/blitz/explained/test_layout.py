"""blitz/explained/layout.py: positions and strides worked out by hand, one table a function.

spec/section_1_tensor/test_1_4_1_strides.py holds PyTorch to these functions.
"""

from re import escape

import pytest

from blitz.explained.layout import (
    Layout,
    expand,
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
COLUMN = Layout((3, 1), (2, 9), 5)
NONE = Layout((2, 0, 3), (7, 8, 9), 5)

POSITIONS = {
    "row-major": (Layout((2, 3), (3, 1)), [0, 1, 2, 3, 4, 5]),
    "gaps": (Layout((2, 2, 2), (20, 7, 2)), [0, 2, 7, 9, 20, 22, 27, 29]),
    "expanded, an offset": (Layout((2, 3), (1, 0), 4), [4, 4, 4, 5, 5, 5]),
    "one number": (SCALAR, [5]),
    "no elements": (NONE, []),
}


@pytest.mark.parametrize(("layout", "expected"), POSITIONS.values(), ids=POSITIONS)
def test_positions_follow_the_strides_last_index_fastest(layout, expected):
    """Element (i, j, ...) is at offset + i * strides[0] + j * strides[1] + ...; an offset not given is 0."""
    assert positions(layout) == expected


OWN = {
    "three axes": ((2, 3, 4), (12, 4, 1)),
    "no axes": ((), ()),
    "size 0 inside": ((2, 0, 3), (3, 3, 1)),
}

CONTIGUOUS = {
    "row-major": (BOX, True),
    "axes of size 1 with other strides": (Layout((1, 2, 1, 3, 1), (7, 3, 0, 1, 9)), True),
    "no elements": (NONE, True),
    "transposed": (TURNED, False),
    "a gap between the rows": (Layout((2, 3), (4, 1)), False),
    "a gap between all": (Layout((3,), (2,)), False),
    "one row for all": (Layout((2, 3), (0, 1)), False),
}


class TestMemoryOfOnesOwn:
    """Layouts of new memory, and how to know them again."""

    @pytest.mark.parametrize(("shape", "strides"), OWN.values(), ids=OWN)
    def test_new_memory_is_filled_in_order_from_its_start(self, shape, strides):
        """The strides are products of inner sizes, an inner 0 counted as 1, and the offset is 0."""
        assert row_major(shape) == Layout(shape, strides, 0)

    @pytest.mark.parametrize(("layout", "expected"), CONTIGUOUS.values(), ids=CONTIGUOUS)
    def test_contiguous_is_row_major_where_steps_are_taken(self, layout, expected):
        """Strides of axes of size 1 do not count, and without elements none do."""
        assert is_contiguous(layout) is expected


RUNS = {
    "contiguous": (BOX, [(24, 1)]),
    "transposed": (TURNED, [(4, 1), (6, 4)]),
    "every second of a line": (Layout((2, 3), (6, 2)), [(6, 2)]),
    "three": (Layout((2, 3, 4), (1, 2, 90)), [(2, 1), (3, 2), (4, 90)]),
    "axes of size 1": (Layout((1, 2, 1, 3, 1), (7, 3, 0, 1, 9)), [(6, 1)]),
    "expanded between": (Layout((2, 3, 4), (4, 0, 1)), [(2, 4), (3, 0), (4, 1)]),
}

VIEWS = {  # strides of the view, or None
    "a run cut": (TURNED, (4, 2, 3), (1, 12, 4)),
    "both runs cut": (TURNED, [2, 2, 3, 2], (2, 1, 8, 4)),
    "a size worked out": (TURNED, (2, -1, 6), (2, 1, 4)),
    "axes of size 1 added": (TURNED, (1, 4, 1, 6), (4, 1, 24, 4)),
    "both runs as one": (TURNED, (24,), None),
    "a run and a part": (TURNED, (2, 12), None),
    "a part and a run": (TURNED, (12, 2), None),
    "a run cut where it does not divide": (TURNED, (6, 4), None),
    "contiguous, joined and cut": (BOX, (4, 6), (6, 1)),
    "expanded, the axis left": (Layout((2, 3, 4), (0, 4, 1), 5), (2, 12), (0, 1)),
    "expanded, the axis joined": (Layout((2, 3, 4), (0, 4, 1), 5), (6, 4), None),
    "one number": (SCALAR, (1, -1), (1, 1)),
    "no elements": (NONE, (2, 0, 3), (7, 8, 9)),
    "no elements, another shape": (NONE, (4, -1, 2), (2, 2, 1)),
}

SIZES = {
    "too many elements": (TURNED, (25,)),
    "-1 for no whole number": (TURNED, (5, -1)),
    "-1 twice": (SCALAR, (-1, -1)),
    "-2 twice": (TURNED, (-2, -2, 6)),
    "-1 that could be any number": (NONE, (0, -1)),
}


class TestNewShape:
    """Runs, and the views that they allow."""

    @pytest.mark.parametrize(("layout", "expected"), RUNS.values(), ids=RUNS)
    def test_runs_are_the_evenly_spaced_parts(self, layout, expected):
        """Neighbours are joined where one outer step goes as far as all inner ones."""
        assert runs(layout) == expected

    @pytest.mark.parametrize(("layout", "shape", "strides"), VIEWS.values(), ids=VIEWS)
    def test_view_cuts_runs_and_never_joins_them(self, layout, shape, strides):
        """The view keeps the offset; where there is none, reshape gives a row-major copy."""
        found = view(layout, shape)

        if strides is None:
            assert found is None
            assert reshape(layout, shape) == (row_major(shape), True)
        else:
            assert (found.strides, found.offset) == (strides, 5)
            assert reshape(layout, shape) == (found, False)

    @pytest.mark.parametrize(("layout", "shape"), SIZES.values(), ids=SIZES)
    def test_sizes_of_another_number_of_elements_are_refused_in_a_sentence(self, layout, shape):
        """The sentence tells the shape and the sizes."""
        with pytest.raises(
            ValueError, match=escape(f"elements of {layout.shape}, one of them perhaps -1, got")
        ):
            view(layout, shape)


MOVED = {
    "transpose": (transpose, (BOX, 0, 2), Layout((4, 3, 2), (1, 4, 12), 5)),
    "transpose, from the back": (transpose, (BOX, -1, -3), Layout((4, 3, 2), (1, 4, 12), 5)),
    "permute": (permute, (BOX, (2, 0, 1)), Layout((4, 2, 3), (1, 12, 4), 5)),
    "sliced, from and step": (sliced, (BOX, 1, slice(1, None, 2)), Layout((2, 1, 4), (12, 8, 1), 9)),
    "sliced, step": (sliced, (BOX, -1, slice(None, None, 3)), Layout((2, 3, 2), (12, 4, 3), 5)),
    "sliced, from the back": (sliced, (BOX, 2, slice(-3, -1)), Layout((2, 3, 2), (12, 4, 1), 6)),
    "sliced, to nothing": (sliced, (BOX, 1, slice(9, None)), Layout((2, 0, 4), (12, 4, 1), 17)),
    "expand": (expand, (COLUMN, (3, 4)), Layout((3, 4), (2, 0), 5)),
    "expand, axes in front": (expand, (COLUMN, (6, 5, 3, 4)), Layout((6, 5, 3, 4), (0, 0, 2, 0), 5)),
    "expand, to the same shape": (expand, (COLUMN, (3, 1)), COLUMN),
    "squeeze": (squeeze, (COLUMN, 1), Layout((3,), (2,), 5)),
    "squeeze, an axis of size 3": (squeeze, (COLUMN, 0), COLUMN),
    "unsqueeze, first": (unsqueeze, (TURNED, 0), Layout((1, 4, 6), (4, 1, 4), 5)),
    "unsqueeze, between": (unsqueeze, (TURNED, 1), Layout((4, 1, 6), (1, 24, 4), 5)),
    "unsqueeze, last": (unsqueeze, (TURNED, 2), Layout((4, 6, 1), (1, 4, 1), 5)),
}


@pytest.mark.parametrize(("move", "arguments", "expected"), MOVED.values(), ids=MOVED)
def test_other_axes_are_another_layout_of_the_same_memory(move, arguments, expected):
    """Axes move with their strides, and the offset moves where elements are cut off in front."""
    assert move(*arguments) == expected
