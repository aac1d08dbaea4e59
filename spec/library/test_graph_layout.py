"""blitz/graph_layout.py: nothing overlaps, no edge meets a box, and few edges cross."""

import random
from itertools import combinations, pairwise

import pytest

from blitz import graph_layout
from blitz.graph_layout import Edge, layout

BOX = (100.0, 28.0)
TINY = 1e-6  # what rounding may take from a distance


def make_graphs():
    """Return sizes and inputs of 64 graphs of up to eight boxes."""
    graphs = []
    for count in [*range(1, 9)] * 8:
        inputs = [[] for _ in range(count)]
        for one in range(1, count):
            for _ in range(random.randint(1, 3)):
                inputs[random.randrange(one)].append(one)
        graphs.append(
            ([(random.choice([20.0, 100, 250]), random.choice([28.0, 44])) for _ in inputs], inputs)
        )
    return graphs


def borders(picture, sizes):
    """Return left, upper, right and lower border of each box."""
    return [
        (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
        for (x, y), (width, height) in zip(picture.middles, sizes, strict=True)
    ]


def crossings(picture):
    """Count the pairs of curves between two rows whose ends stand the other way round."""
    curves = [
        (a, b) for edge in picture.edges for a, b in zip(edge.points[1::2], edge.points[2::2], strict=False)
    ]
    return sum(
        (upper[0] - other_upper[0]) * (lower[0] - other_lower[0]) < 0
        for (upper, lower), (other_upper, other_lower) in combinations(curves, 2)
        if upper[1] == other_upper[1]
    )


def test_boxes_keep_26_pixels_apart_in_a_row_and_12_from_the_border():
    """Boxes of one row stand 26 pixels apart or more, rows 38, and all 12 from the border at least."""
    for sizes, inputs in make_graphs():
        picture = layout(sizes, inputs)
        found = borders(picture, sizes)

        for one, other in combinations(found, 2):
            aside = max(one[0], other[0]) - min(one[2], other[2])
            above = max(one[1], other[1]) - min(one[3], other[3])
            assert aside >= 26 - TINY or above >= 38
        assert min(left for left, _, _, _ in found) >= 12 - TINY
        assert min(upper for _, upper, _, _ in found) == 12
        assert max(right for _, _, right, _ in found) <= picture.width - 12 + TINY
        assert max(lower for _, _, _, lower in found) <= picture.height - 12


def test_edges_run_from_box_to_box_and_meet_no_other():
    """An edge leaves its input's lower side, ends at its user's upper side, and meets no other box."""
    for sizes, inputs in make_graphs():
        picture = layout(sizes, inputs)
        found = borders(picture, sizes)

        expected = [(one, user) for user, its in enumerate(inputs) for one in its]
        assert [(edge.source, edge.target) for edge in picture.edges] == expected
        for source, target, points in picture.edges:
            (x, y), (last_x, last_y) = points[0], points[-1]
            assert found[source][0] < x < found[source][2]
            assert y == found[source][3]
            assert found[target][0] < last_x < found[target][2]
            assert last_y == found[target][1]
            others = [border for box, border in enumerate(found) if box not in (source, target)]
            for (x, y), (to, below) in pairwise(points):
                assert below >= y
                for left, upper, right, lower in others:
                    assert max(x, to) < left or min(x, to) > right or below <= upper or y >= lower


def test_edges_are_vertical_between_their_curves_and_stay_in_the_picture():
    """Every other stretch is vertical, the last one for ten pixels or more, which an arrowhead needs."""
    for graph in make_graphs():
        picture = layout(*graph)

        for edge in picture.edges:
            for (x, _), (to, _) in zip(edge.points[::2], edge.points[1::2], strict=True):
                assert x == to
                assert 12 - TINY <= x <= picture.width - 12 + TINY
            assert edge.points[-1][1] - edge.points[-2][1] >= 10


def test_every_box_stands_right_above_the_highest_of_its_users():
    """Rows count the steps of the longest way from the result."""
    for sizes, inputs in make_graphs():
        middles = layout(sizes, inputs).middles
        rows = sorted({y for _, y in middles}, reverse=True)
        row = [rows.index(y) for _, y in middles]

        assert row[0] == 0
        for one in range(1, len(inputs)):
            assert row[one] == 1 + max(row[user] for user, its in enumerate(inputs) if one in its)


def test_two_inputs_stand_side_by_side_over_the_middle():
    """Two alike inputs stand left and right of their user, the first on the left; all is exact."""
    picture = layout([BOX, BOX, (80.0, 44.0)], [[1, 2], [], []])

    assert (picture.width, picture.height) == (230, 134)
    assert picture.middles == [(120, 108), (62, 34), (178, 34)]
    assert picture.edges == [
        Edge(1, 0, [(62, 48), (62, 56), (112, 84), (112, 94)]),
        Edge(2, 0, [(178, 56), (178, 56), (128, 84), (128, 94)]),
    ]


def test_an_input_taken_twice_has_two_parallel_edges():
    """Multiplying x by itself gives two edges from x, 16 pixels apart, neither with a curve."""
    picture = layout([BOX, BOX], [[1, 1], []])

    lines = [{x for x, _ in edge.points} for edge in picture.edges]
    assert lines == [{54}, {70}]


def test_edges_at_a_narrow_box_share_its_width():
    """Nine edges at a box of 100 pixels stand 10 apart."""
    picture = layout([BOX] * 10, [[*range(1, 10)], *[[]] * 9])

    ends = [edge.points[-1][0] - picture.middles[0][0] for edge in picture.edges]
    assert ends == pytest.approx([-40, -30, -20, -10, 0, 10, 20, 30, 40])


def test_an_edge_over_several_rows_goes_around_what_it_passes():
    """A skip connection runs straight up, and aside where a wider box comes, 26 pixels from that."""
    widths = [100, 60, 250, 20, 100]
    picture = layout([(width, 28) for width in widths], [[1, 4], [2], [3], [4], []])

    skip = next(edge for edge in picture.edges if (edge.source, edge.target) == (4, 0))
    bends = [x for x, _ in skip.points[2:-2]]
    assert len(skip.points) == 4 + 2 * 3
    assert bends[:4] == [pytest.approx(picture.middles[2][0] + 125 + 26)] * 4
    assert bends[4:] == [pytest.approx(picture.middles[1][0] + 30 + 26)] * 2
    assert picture.width == pytest.approx(bends[0] + 12)


APART = {
    "room enough": ([(0, 1), (9, 1)], [5], [0, 9]),
    "two too close": ([(0, 1), (0, 3)], [4], [-3, 1]),
    "a third left alone": ([(0, 2), (0, 3), (10, 5)], [10, 1], [-6, 4, 10]),
    "a third pushed aside": ([(0, 2), (0, 3), (0, 5)], [10, 2], [-9, 1, 3]),
    "in the wrong order": ([(6, 1), (0, 2)], [3], [0, 3]),
}


@pytest.mark.parametrize(("wanted", "distances", "places"), APART.values(), ids=APART)
def test_neighbours_too_close_stand_where_they_want_on_average(wanted, distances, places):
    """The places are those of least weighted squares: by hand, from the derivative set to zero."""
    assert graph_layout._apart(wanted, distances) == pytest.approx(places)


def test_a_long_way_stands_straighter_than_a_short_one():
    """Of two inputs that have no room above their user both, the longer branch moves aside less."""
    middles = layout([BOX] * 4, [[1, 3], [2], [], []]).middles

    # The boxes stand 126 apart, and a branch of two boxes weighs 2²: so its distance d makes
    # 4d² + (126 - d)² least.
    assert middles[0][0] - middles[1][0] == pytest.approx(25.2)
    assert middles[3][0] - middles[0][0] == pytest.approx(126 - 25.2)
    assert middles[2][0] == pytest.approx(middles[1][0])


def test_the_longest_way_up_counts():
    """A branch that forks weighs as much as the longer of its ways, whichever of the two comes first."""
    for fork in [2, 4], [4, 2]:
        middles = layout([BOX] * 6, [[1, 5], fork, [3], [], [], []]).middles

        # Of 3 boxes, so its distance d makes 9d² + (126 - d)² least.
        assert middles[0][0] - middles[1][0] == pytest.approx(12.6)


CROSSED = {
    "5 boxes": [[1, 2, 3], [2, 4], [3, 4], [], []],
    "6 boxes": [[1, 2], [2, 3, 4, 5], [], [], [], []],
    "7 boxes": [[1, 2, 5], [2, 3, 4, 6], [5], [4], [6], [], []],
    "8 boxes": [[1, 2, 3, 4], [2, 6], [3, 5, 6], [4, 5, 7], [7], [], [], []],
}


@pytest.mark.parametrize("inputs", CROSSED.values(), ids=CROSSED)
def test_boxes_stand_in_the_order_of_their_users(inputs):
    """Graphs that have crossings in the order of their inputs are drawn without one."""
    assert crossings(layout([BOX] * len(inputs), inputs)) == 0


def test_a_tree_has_no_crossings():
    """A graph without shared boxes is drawn without a crossing, its branches from left to right."""
    picture = layout([BOX] * 11, [[1, 2, 3], [4, 5], [], [6], [7, 8], [], [9, 10], [], [], [], []])

    assert crossings(picture) == 0
    assert [x for x, _ in picture.middles[1:4]] == sorted(x for x, _ in picture.middles[1:4])


def test_a_single_box_has_a_margin_all_around():
    """The graph of a leaf is one box."""
    assert layout([BOX], [[]]) == (124, 52, [(62, 26)], [])


def test_a_graph_too_large_to_draw_is_refused(monkeypatch):
    """Boxes and bends are counted before they are made; the sentence names the way out."""
    skip = [[1, 3], [2], [3], []]
    assert graph_layout.LARGEST == 20_000
    monkeypatch.setattr(graph_layout, "LARGEST", 6)
    assert len(layout([BOX] * 4, skip).edges) == 4

    monkeypatch.setattr(graph_layout, "LARGEST", 5)
    with pytest.raises(
        ValueError,
        match=r"^expected a graph of at most 5 boxes and bends .* got 6; blitz\.graph\.outline tells one of",
    ):
        layout([BOX] * 4, skip)
