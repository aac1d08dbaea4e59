"""spec/pictures.py: what the page of a run draws from what its checks measured."""

import pytest
from matplotlib.axes import Axes

from spec.pictures import pictures

MEASURED = {
    "autograd.graph-structure": {
        "nodes": [["ExpBackward0", [1], None, ""], ["AccumulateGrad", [], [2], "a"]]
    },
    "parallel.equal-shares": {
        "shares of 30 rows on 8 devices": [4, 4, 4, 4, 4, 4, 4, 2],
        "shares of 10 rows on 4 devices": [3, 3, 3, 1],
        "shares of 30 rows on 4 devices": [8, 8, 8, 6],
    },
    "cifar.reported-losses": {"losses": [2.2, 1.9]},
    "cifar.reported-per-class": {"per_class": {"cat": 0.23, "dog": 0.59}},
}


@pytest.fixture(scope="module")
def drawn():
    """The pictures of all that can be measured, and the height and length of each horizontal bar in them."""
    bars, draw = [], Axes.barh

    def noted(axes, height, length, **options):
        bars.append((height, length))
        return draw(axes, height, length, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Axes, "barh", noted)
        return pictures(MEASURED), bars


def test_a_statement_has_a_picture_only_if_it_was_measured(drawn):
    """The strides of a view need no measurement."""
    assert list(pictures({})) == ["tensor.strides"]
    assert drawn[0].keys() == {"tensor.strides", *MEASURED}


def test_shares_are_those_of_the_batch_of_the_notes_by_the_number_of_devices(drawn):
    """A bar for each share is as long as the share."""
    assert drawn[1] == [(0, 8), (0, 8), (0, 8), (0, 6), *[(1, 4)] * 7, (1, 2)]


def test_graph_names_its_nodes_and_leaves(drawn):
    """Text stays text, which can be searched and read aloud."""
    (picture,) = drawn[0]["autograd.graph-structure"]

    assert b"ExpBackward0</text>" in picture.data
    assert b"a (2)</text>" in picture.data
