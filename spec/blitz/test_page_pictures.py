"""spec/pictures.py: what the page of a run draws from what its checks measured."""

from matplotlib.axes import Axes

from spec.pictures import pictures

SHARES = {
    "shares of 30 rows on 8 devices": [4, 4, 4, 4, 4, 4, 4, 2],
    "shares of 10 rows on 4 devices": [3, 3, 3, 1],
    "shares of 30 rows on 4 devices": [8, 8, 8, 6],
}
MEASURED = {
    "autograd.graph-structure": {
        "nodes": [["ExpBackward0", [1], None, ""], ["AccumulateGrad", [], [2], "a"]]
    },
    "parallel.equal-shares": SHARES,
    "cifar.reported-losses": {"losses": [2.2, 1.9]},
    "cifar.reported-per-class": {"per_class": {"cat": 0.23, "dog": 0.59}},
}


def test_a_statement_has_a_picture_only_if_it_was_measured():
    """The strides of a view need no measurement."""
    assert list(pictures({})) == ["tensor.strides"]
    assert pictures(MEASURED).keys() == {"tensor.strides", *MEASURED}


def test_shares_are_those_of_the_batch_of_the_notes_by_the_number_of_devices(monkeypatch):
    """A bar for each share is as long as the share."""
    bars = []
    draw = Axes.barh
    monkeypatch.setattr(
        Axes,
        "barh",
        lambda axes, y, size, **options: bars.append((y, size)) or draw(axes, y, size, **options),
    )

    pictures({"parallel.equal-shares": SHARES})

    assert bars == [(0, 8), (0, 8), (0, 8), (0, 6), *[(1, 4)] * 7, (1, 2)]


def test_graph_names_its_nodes_and_leaves():
    """Text stays text, which can be searched and read aloud."""
    (picture,) = pictures(MEASURED)["autograd.graph-structure"]

    assert b"ExpBackward0</text>" in picture.data
    assert b"a (2)</text>" in picture.data
