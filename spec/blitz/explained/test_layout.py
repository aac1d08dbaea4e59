"""blitz/explained/layout.py: what is refused, what is contiguous, and layouts without steps or elements.

spec/section_1_tensor/test_1_4_1_strides.py holds all other layouts to PyTorch's, and the examples in the
module are worked out by hand.
"""

from re import escape

import pytest

from blitz.explained.layout import Layout, is_contiguous, reshape, unsqueeze, view

SCALAR = Layout((), (), 5)
TURNED = Layout((4, 6), (1, 4), 5)  # (6, 4) transposed
NONE = Layout((2, 0, 3), (7, 8, 9), 5)

CONTIGUOUS = {
    "row-major": (Layout((2, 3, 4), (12, 4, 1), 5), True),
    "axes of size 1 with other strides": (Layout((1, 2, 1, 3, 1), (7, 3, 0, 1, 9)), True),
    "no elements": (NONE, True),
    "transposed": (TURNED, False),
    "a gap between the rows": (Layout((2, 3), (4, 1)), False),
    "a gap between all": (Layout((3,), (2,)), False),
    "one row for all": (Layout((2, 3), (0, 1)), False),
}


@pytest.mark.parametrize(("layout", "expected"), CONTIGUOUS.values(), ids=CONTIGUOUS)
def test_contiguous_is_row_major_where_steps_are_taken(layout, expected):
    """Strides of axes of size 1 do not count, and without elements none do."""
    assert is_contiguous(layout) is expected


VIEWS = {
    "one number": (SCALAR, (1, -1), Layout((1, 1), (1, 1), 5)),
    "no elements, the same shape": (NONE, (2, 0, 3), NONE),
    "no elements, another shape": (NONE, (4, -1, 2), Layout((4, 0, 2), (2, 2, 1), 5)),
}


@pytest.mark.parametrize(("layout", "shape", "expected"), VIEWS.values(), ids=VIEWS)
def test_view_exists_where_no_steps_are_taken(layout, shape, expected):
    """One number, or none, can have every shape, and the view keeps the offset."""
    assert view(layout, shape) == expected
    assert reshape(layout, shape) == (expected, False)


def test_axis_of_size_1_can_come_last():
    """It gets the stride of a row-major tensor."""
    assert unsqueeze(TURNED, 2) == Layout((4, 6, 1), (1, 4, 1), 5)


SIZES = {
    "too many elements": (TURNED, (25,)),
    "-1 for no whole number": (TURNED, (5, -1)),
    "-1 twice": (SCALAR, (-1, -1)),
    "-2 twice": (TURNED, (-2, -2, 6)),
    "-1 that could be any number": (NONE, (0, -1)),
}


@pytest.mark.parametrize(("layout", "shape"), SIZES.values(), ids=SIZES)
def test_sizes_of_another_number_of_elements_are_refused_in_a_sentence(layout, shape):
    """The sentence tells the shape and the sizes."""
    message = f"elements of {layout.shape}, one of them perhaps -1, got {shape}"

    with pytest.raises(ValueError, match=escape(message)):
        view(layout, shape)
