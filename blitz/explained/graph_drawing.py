"""A picture of the graph that autograd records, as SVG, in the manner of the tutorial's figure."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch
from torch import Tensor

from blitz.explained.graph import Node, walk

LARGEST = 1_000  # nodes: more than anyone can look at

# Boxes bring their own background, and the grey of the edges stands out from white and from black alike.
_EDGE = "#7d8590"
_FILLS = {
    "leaf": ("#b6dcfe", "#0a5cb0"),
    "operation": ("#eaecef", "#6e7781"),
    "result": ("#bfe8c3", "#1a7f37"),
}
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text, which can be searched and read aloud
    "svg.hashsalt": "blitz",  # the same file in every run
    "font.family": "monospace",
    "font.size": 10,
}


def draw(tensor: Tensor, *, params: Mapping[str, Tensor] | None = None, title: str = "Autograd graph") -> str:
    """Draw the graph behind a tensor, as the text of an SVG file.

    Leaves are blue, and the tensor's own node, at the bottom, is green; the arrows point as the computation
    ran. The picture can be read on a light and on a dark page.

    Args:
        tensor: any shape and type; it requires a gradient.
        params: leaves by name, such as `dict(net.named_parameters())`.
        title: what the picture shows.

    Raises:
        TypeError: it is no tensor.
        ValueError: it has no graph, or one of more than a thousand nodes.

    Source: notes 2.6, the picture of the graph.

    >>> import torch
    >>> a = torch.tensor([2.0, 3.0], requires_grad=True)
    >>> draw(3 * a**3, params={"a": a}).count("AccumulateGrad")
    1
    """
    nodes = walk(tensor, params=params)
    if len(nodes) > LARGEST:
        raise ValueError(
            f"expected a graph of at most {LARGEST:,} nodes to draw, got {len(nodes):,}; "
            "blitz.explained.graph.outline prints a graph of any size"
        )
    rows = _rows(nodes)
    columns = max(map(len, rows))
    places = {
        place: (column - (len(row) - 1) / 2, height)
        for height, row in enumerate(rows)
        for column, place in enumerate(row)
    }
    texts = [node.label if node.shape is None else f"{node.label}\n{node.kind}" for node in nodes]
    widest = max(len(line) for text in texts for line in text.split("\n"))
    with rc_context(_STYLE):
        size = columns * (0.09 * widest + 0.4), 0.8 * len(rows)  # inches
        figure = Figure(figsize=size, dpi=72)  # as SVG has it, or the arrows would miss their boxes
        axes = figure.add_axes((0, 0, 1, 1), xlim=(-columns / 2, columns / 2), ylim=(-0.5, len(rows) - 0.5))
        axes.axis("off")
        boxes = []
        for place, node in enumerate(nodes):
            kind = "leaf" if node.shape is not None else "operation" if place else "result"
            fill, stroke = _FILLS[kind]
            box = {"boxstyle": "round", "facecolor": fill, "edgecolor": stroke}
            text = axes.text(*places[place], texts[place], ha="center", va="center", bbox=box)
            text.set(parse_math=False, gid=f"node-{place}")
            boxes.append(text.get_bbox_patch())
        figure.draw_without_rendering()  # only now have the boxes a size, so that arrows can meet them
        for user, node in enumerate(nodes):
            for turn, one in enumerate(node.inputs):
                # an input taken twice has two arrows; one over several rows bends around the boxes between
                bend = 0.3 * node.inputs[:turn].count(one) + 0.25 * (places[one][1] - places[user][1] > 1)
                arrow = FancyArrowPatch(
                    places[one],
                    places[user],
                    patchA=boxes[one],
                    patchB=boxes[user],
                    shrinkA=0,
                    shrinkB=0,
                    arrowstyle="-|>",
                    mutation_scale=10,
                    connectionstyle=f"arc3,rad={bend}",
                    color=_EDGE,
                    zorder=0,
                    gid=f"edge-{one}-{user}",
                )
                axes.add_patch(arrow)
        file = io.BytesIO()
        figure.savefig(file, format="svg", transparent=True, metadata={"Title": title, "Date": None})
    return file.getvalue().decode()


def _rows(nodes: Sequence[Node]) -> list[list[int]]:
    """Return the nodes from the result up, each in the row above the highest of its users.

    Leaves stand at both sides of a row, so that the operations of a net form a column.
    """
    above = [0] * len(nodes)
    for place, node in enumerate(nodes):  # users come before their inputs
        for one in node.inputs:
            above[one] = max(above[one], above[place] + 1)
    rows: list[list[int]] = [[] for _ in range(max(above) + 1)]
    for place, row in enumerate(above):
        rows[row].append(place)
    for number, row_nodes in enumerate(rows):
        leaves = [place for place in row_nodes if nodes[place].shape is not None]
        operations = [place for place in row_nodes if nodes[place].shape is None]
        rows[number] = leaves[::2] + operations + leaves[1::2]
    return rows
