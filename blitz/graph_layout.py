"""Where the boxes and edges of a picture of a graph stand: row by row, few crossings, no edge behind a box.

The layout has three steps: a row for each box, below its inputs (`_rows`); an order within the rows with few
crossings (`_untangled`); a place along its row for each (`_places`). An edge over several rows has a bend, an
item of width 0, in each row between, and runs straight through that row: so it meets no box.
"""

from bisect import bisect_right, insort
from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import accumulate, pairwise
from math import inf
from typing import NamedTuple

LARGEST = 20_000  # boxes and bends: some seconds, and more than anyone can look at

_BESIDE, _BETWEEN, _MARGIN, _PORTS, _ARROW = 26.0, 38.0, 12.0, 16.0, 10.0
_SWEEPS = 24

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
    rows, routes = _rows(inputs)
    rows = _untangled(rows, routes)
    widths = [width for width, _ in sizes]
    ports = _ports(rows, routes, widths)
    x = _places(rows, routes, ports, widths)
    reach = [(x[item], width / 2) for item, width in enumerate(widths)] + [(at, 0.0) for at in x.values()]
    left = min(at - half for at, half in reach) - _MARGIN
    right = max(at + half for at, half in reach) + _MARGIN
    x = {item: at - left for item, at in x.items()}

    span: dict[int, tuple[float, float]] = {}  # of each item the upper and lower border of its row
    y = _MARGIN
    for row in reversed(rows):
        height = max(sizes[item][1] for item in row if item < len(sizes))  # no row holds bends alone
        span |= dict.fromkeys(row, (y, y + height))
        y += height + _BETWEEN
    middles = [(x[item], sum(span[item]) / 2) for item in range(len(sizes))]

    edges = []
    for route, (leaves, arrives) in zip(routes, ports, strict=True):
        source, *bends, target = route
        start, end = x[source] + leaves, x[target] + arrives
        points = [(start, middles[source][1] + sizes[source][1] / 2), (start, span[source][1])]
        points += [(x[bend], border) for bend in bends for border in span[bend]]
        points += [(end, span[target][0] - _ARROW), (end, middles[target][1] - sizes[target][1] / 2)]
        edges.append(Edge(source, target, points))
    return Layout(right - left, y - _BETWEEN + _MARGIN, middles, edges)


def _rows(inputs: Sequence[Sequence[int]]) -> tuple[list[list[int]], list[Route]]:
    """Put every box right above the highest of its users; return the rows from the bottom, and the edges.

    An item is a box, by its place in the list, or a bend, by a number from the length of the list on.
    """
    row = [0] * len(inputs)
    edges = [(one, place) for place, its in enumerate(inputs) for one in its]
    for one, place in edges:  # users come before their inputs, so row[place] is settled
        row[one] = max(row[one], row[place] + 1)
    size = len(inputs) + sum(row[one] - row[place] - 1 for one, place in edges)
    if size > LARGEST:
        raise ValueError(
            f"expected a graph of at most {LARGEST:,} boxes and bends to draw, got {size:,}; "
            "blitz.graph.outline tells one of any size"
        )

    routes, above = [], defaultdict(list)
    for one, place in edges:
        bends = range(row[one] - 1, row[place], -1)
        routes.append([one, *range(len(row), len(row) + len(bends)), place])
        row += bends
        for upper, lower in pairwise(routes[-1]):
            above[lower].append(upper)

    rows: list[list[int]] = [[] for _ in range(max(row) + 1)]
    seen, stack = set(), [0]
    while stack:  # branch by branch: a graph without shared nodes has no crossings then
        item = stack.pop()
        if item not in seen:
            seen.add(item)
            rows[row[item]].append(item)
            stack += reversed(above[item])
    return rows, routes


def _untangled(rows: list[list[int]], routes: Sequence[Route]) -> list[list[int]]:
    """Return the rows in an order with fewer crossings: each item at the mean place of its neighbours."""
    below, above = defaultdict(list), defaultdict(list)
    for route in routes:
        for upper, lower in pairwise(route):
            below[upper].append(lower)
            above[lower].append(upper)
    best, fewest = rows, _crossings(rows, below)
    for sweep in range(_SWEEPS):
        if fewest == 0:
            break
        neighbours, order = (above, rows[::-1]) if sweep % 2 else (below, rows)
        place = _places_in_rows(rows)
        rows = []
        for row in order:
            means = {item: _mean([place[one] for one in neighbours[item]] or [place[item]]) for item in row}
            rows.append(sorted(row, key=means.__getitem__))
            place |= _places_in_rows(rows[-1:])
        rows = rows[::-1] if sweep % 2 else rows
        if (crossings := _crossings(rows, below)) < fewest:
            best, fewest = rows, crossings
    return best


def _places_in_rows(rows: Sequence[Sequence[int]]) -> dict[int, int]:
    return {item: place for row in rows for place, item in enumerate(row)}


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _crossings(rows: Sequence[Sequence[int]], below: Mapping[int, Sequence[int]]) -> int:
    """Count the pairs of edges that cross: those whose lower ends stand the other way round."""
    place, count = _places_in_rows(rows), 0
    for row in rows:
        passed: list[int] = []
        for upper in row:
            ends = sorted(place[lower] for lower in below.get(upper, ()))
            count += sum(len(passed) - bisect_right(passed, end) for end in ends)
            for end in ends:
                insort(passed, end)
    return count


def _ports(
    rows: Sequence[Sequence[int]], routes: Sequence[Route], widths: Sequence[float]
) -> list[tuple[float, float]]:
    """Return for each edge how far from the middle of a box it leaves it, and how far it arrives at one.

    Edges at one box lie side by side, in the order of where they come from or go to.
    """
    place = _places_in_rows(rows)
    leaving, arriving = defaultdict(list), defaultdict(list)
    for number, route in enumerate(routes):
        leaving[route[0]].append((place[route[1]], number))
        arriving[route[-1]].append((place[route[-2]], number))
    offsets = []
    for ends in leaving, arriving:
        offset = {}
        for item, edges in ends.items():
            apart = min(_PORTS, widths[item] / (len(edges) + 1))
            for rank, (_, number) in enumerate(sorted(edges)):
                offset[number] = (rank - (len(edges) - 1) / 2) * apart
        offsets.append(offset)
    return [(offsets[0][number], offsets[1][number]) for number in range(len(routes))]


def _places(
    rows: Sequence[Sequence[int]], routes: Sequence[Route], ports: Sequence[Point], widths: Sequence[float]
) -> dict[int, float]:
    """Return where the middle of each item stands along its row: edges near to straight, nothing too close.

    Each item is drawn to where its edges would be straight, the more the longer the way that leads up from
    there: so the steps of a net stand in a column, and its parameters make room.
    """
    ways = _longest_ways(rows, routes)
    links = defaultdict(list)
    for route, (leaves, arrives) in zip(routes, ports, strict=True):
        weight = ways[route[0]] ** 2
        shifts = [0.0] * (len(route) - 1)
        shifts[0] -= leaves
        shifts[-1] += arrives
        for (upper, lower), shift in zip(pairwise(route), shifts, strict=True):
            links[upper].append((lower, shift, weight))
            links[lower].append((upper, -shift, weight))
    x: dict[int, float] = {}
    for sweep in range(_SWEEPS):
        for row in reversed(rows) if sweep % 2 else rows:
            wanted = []
            for item in row:
                pulls = [(x[one] + shift, weight) for one, shift, weight in links[item] if one in x]
                pulls = pulls or [(0.0, 1)]  # the result, where all begins
                total = sum(weight for _, weight in pulls)
                wanted.append((sum(at * weight for at, weight in pulls) / total, total))
            x.update(zip(row, _apart(wanted, _distances(row, widths)), strict=True))
    _straighten(x, rows, routes, widths)
    return x


def _longest_ways(rows: Sequence[Sequence[int]], routes: Sequence[Route]) -> dict[int, int]:
    """Return for each box the number of boxes on the longest way up from it, itself included."""
    sources = defaultdict(list)
    for source, *_, target in routes:
        sources[target].append(source)
    ways: dict[int, int] = {}
    for row in reversed(rows):
        ways |= {item: 1 + max((ways[one] for one in sources[item]), default=0) for item in row}
    return ways


def _distances(row: Sequence[int], widths: Sequence[float]) -> list[float]:
    """Return how far apart the middles of neighbours have to be; a bend has no width."""
    half = [widths[item] / 2 if item < len(widths) else 0.0 for item in row]
    return [left + right + _BESIDE for left, right in pairwise(half)]


def _straighten(
    x: dict[int, float], rows: Sequence[Sequence[int]], routes: Sequence[Route], widths: Sequence[float]
) -> None:
    """Move the bends of an edge into one line as far as their neighbours leave room: one curve, not many."""
    left, right = {}, {}
    for row in rows:
        for (one, other), distance in zip(pairwise(row), _distances(row, widths), strict=True):
            left[other], right[one] = (one, distance), (other, distance)
    for _, *bends, _ in routes:
        lines: list[tuple[list[int], float, float]] = []
        for bend in bends:
            low = x[left[bend][0]] + left[bend][1] if bend in left else -inf
            high = x[right[bend][0]] - right[bend][1] if bend in right else inf
            line: list[int] = []
            if lines and max(low, lines[-1][1]) <= min(high, lines[-1][2]):
                line, lowest, highest = lines.pop()
                low, high = max(low, lowest), min(high, highest)
            line.append(bend)
            lines.append((line, low, high))
        for line, low, high in lines:
            x |= dict.fromkeys(line, min(max(_mean([x[bend] for bend in line]), low), high))


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
