"""Where the boxes and edges of a picture of a graph stand: row by row, few crossings, no edge behind a box.

The layout has two steps: a row for each box, below its inputs (`_routes`); then, from the result up, a place
in each row as near above its users as its neighbours leave room (`_placed`). An edge over several rows has a
bend, an item of width 0, in each row between, and runs straight through that row: so it meets no box.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import accumulate, islice, pairwise
from statistics import fmean
from typing import NamedTuple

LARGEST = 20_000  # boxes and bends: more than anyone can look at

_BESIDE, _BETWEEN, _MARGIN, _PORTS, _ARROW = 26.0, 38.0, 12.0, 16.0, 10.0

Point = tuple[float, float]
Route = list[int]  # an edge: the items it runs over, from the input's box down to the user's


class Edge(NamedTuple):
    """An edge from the lower side of the box of an input to the upper side of its user's.

    Attributes:
        source: the input.
        target: its user.
        points: from one to the other, in pairs: from the first of a pair to its second the edge is vertical,
            from there to the next pair it crosses the space between two rows. The last pair is 10 pixels
            apart or more, for an arrowhead.
    """

    source: int
    target: int
    points: list[Point]


class Layout(NamedTuple):
    """A picture of `width` x `height`: the middle of each box, and the edges."""

    width: float
    height: float
    middles: list[Point]
    edges: list[Edge]


def layout(sizes: Sequence[tuple[float, float]], inputs: Sequence[Sequence[int]]) -> Layout:
    """Lay out a graph with its inputs at the top and its result, box 0, at the bottom.

    Lengths are pixels, x to the right and y down from the upper left corner.

    Args:
        sizes: width and height of each box.
        inputs: for each box its inputs, each further on in the list than it is, as `blitz.graph.walk` gives.

    Raises:
        ValueError: there are more than 20,000 boxes and bends.

    >>> picture = layout([(100, 28), (100, 28)], [[1], []])
    >>> picture.middles
    [(62.0, 92.0), (62.0, 26.0)]
    >>> picture.edges[0].points[0], picture.edges[0].points[-1]
    ((62.0, 40.0), (62.0, 78.0))
    """
    routes = _routes(inputs)
    widths = defaultdict(float, enumerate(width for width, _ in sizes))  # of bends, too
    rows, x = _placed(routes, widths)
    left = min(at - widths[item] / 2 for item, at in x.items()) - _MARGIN
    right = max(at + widths[item] / 2 for item, at in x.items()) + _MARGIN
    x = {item: at - left for item, at in x.items()}

    span: dict[int, tuple[float, float]] = {}  # of each item the upper and lower border of its row
    y = _MARGIN
    for row in reversed(rows):
        height = max(sizes[item][1] for item in row if item < len(sizes))  # no row holds bends alone
        span |= dict.fromkeys(row, (y, y + height))
        y += height + _BETWEEN
    middles = [(x[item], sum(span[item]) / 2) for item in range(len(sizes))]

    leaves, arrives = _ports(routes, x, widths), _ports([route[::-1] for route in routes], x, widths)
    edges = []
    for number, (source, *bends, target) in enumerate(routes):
        start, end = x[source] + leaves[number], x[target] + arrives[number]
        points = [(start, middles[source][1] + sizes[source][1] / 2), (start, span[source][1])]
        points += [(x[bend], border) for bend in bends for border in span[bend]]
        points += [(end, span[target][0] - _ARROW), (end, middles[target][1] - sizes[target][1] / 2)]
        edges.append(Edge(source, target, points))
    return Layout(right - left, y - _BETWEEN + _MARGIN, middles, edges)


def _routes(inputs: Sequence[Sequence[int]]) -> list[Route]:
    """Put every box right above the highest of its users; return the edges, a bend for each row they pass.

    An item is a box, by its place in the list, or a bend, by a number from the length of the list on.
    """
    row = [0] * len(inputs)
    edges = [(one, place) for place, its in enumerate(inputs) for one in its]
    for one, place in edges:  # users come before their inputs, so row[place] is settled
        row[one] = max(row[one], row[place] + 1)
    lengths = [row[one] - row[place] - 1 for one, place in edges]
    size = len(inputs) + sum(lengths)
    if size > LARGEST:
        raise ValueError(
            f"expected a graph of at most {LARGEST:,} boxes and bends to draw, got {size:,}; "
            "blitz.graph.outline tells one of any size"
        )
    bends = iter(range(len(inputs), size))
    return [[one, *islice(bends, length), place] for (one, place), length in zip(edges, lengths, strict=True)]


def _placed(routes: Sequence[Route], widths: Mapping[int, float]) -> tuple[list[list[int]], dict[int, float]]:
    """Return the rows from the result up, in order, and where the middle of each item stands along its row.

    Each item is drawn to the mean place of its users, the more the longer the way that leads up from there:
    so the steps of a net stand in a column, and its parameters make room. Items stand in the order of these
    means, too: so a graph without shared boxes has no crossings, and others have few.
    """
    steps = dict.fromkeys(widths, 1)  # boxes on the longest way up from each, itself included
    for source, *_, target in reversed(routes):
        steps[target] = max(steps[target], steps[source] + 1)
    weights: dict[int, int] = {}
    above = defaultdict(list)
    for route in routes:
        weights |= dict.fromkeys(route[:-1], steps[route[0]] ** 2)
        for upper, lower in pairwise(route):
            above[lower].append(upper)

    rows, x = [[0]], {0: 0.0}
    for _ in range(steps[0] - 1):
        pulls = defaultdict(list)
        for item in rows[-1]:
            for one in above[item]:
                pulls[one].append(x[item])
        wanted = {item: fmean(places) for item, places in pulls.items()}
        row = sorted(wanted, key=wanted.__getitem__)
        distances = [(widths[one] + widths[other]) / 2 + _BESIDE for one, other in pairwise(row)]
        places = _apart([(wanted[item], weights[item]) for item in row], distances)
        x.update(zip(row, places, strict=True))
        rows.append(row)
    return rows, x


def _ports(routes: Sequence[Route], x: Mapping[int, float], widths: Mapping[int, float]) -> dict[int, float]:
    """Return for each edge, by its number, how far from the middle of its first box it meets that.

    Edges at one side of a box lie next to each other, in the order of where they go to.
    """
    meeting = defaultdict(list)
    for number, route in enumerate(routes):
        meeting[route[0]].append((x[route[1]], number))
    offsets = {}
    for box, edges in meeting.items():
        apart = min(_PORTS, widths[box] / (len(edges) + 1))
        for rank, (_, number) in enumerate(sorted(edges)):
            offsets[number] = (rank - (len(edges) - 1) / 2) * apart
    return offsets


def _apart(wanted: Sequence[tuple[float, float]], distances: Sequence[float]) -> list[float]:
    """Return the places nearest to the wanted ones, by least squares, that keep the distances.

    Neighbours that want to be too close form a block, which stands where its members want it on average
    (the pool-adjacent-violators algorithm).

    Args:
        wanted: for each item, from the left, its place and how much that weighs.
        distances: the least distance of each item but the last to the next.
    """
    offsets = [0.0, *accumulate(distances)]
    blocks: list[tuple[float, float, int]] = []
    for (place, weight), offset in zip(wanted, offsets, strict=True):
        start, count = place - offset, 1
        while blocks and blocks[-1][0] > start:
            other, more, members = blocks.pop()
            start = (start * weight + other * more) / (weight + more)
            weight, count = weight + more, count + members
        blocks.append((start, weight, count))
    starts = [start for start, _, count in blocks for _ in range(count)]
    return [start + offset for start, offset in zip(starts, offsets, strict=True)]
