"""The graph that autograd records: its nodes in order, an outline for a terminal, and a picture.

A node stands for one operation; its inputs are the nodes of the tensors that the operation took. An
AccumulateGrad node has none: it stands for a leaf, and adds what reaches it to the leaf's gradient.
Tensors without a gradient, such as images and targets, are not in the graph.
"""

import io
import typing
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

if typing.TYPE_CHECKING:  # a graph is drawn from its nodes without PyTorch, which takes seconds to import
    from torch import Tensor


class Node(NamedTuple):
    """One node of a graph, as `walk` lists it.

    Attributes:
        kind: PyTorch's name of it, such as "MulBackward0"; the digit tells overloads of an operation apart.
        inputs: places of its inputs in the list, in PyTorch's order; an input taken twice stands twice.
        shape: of an AccumulateGrad node the shape of its leaf, of any other None.
        name: the leaf's name, if it was given one.
    """

    kind: str
    inputs: tuple[int, ...]
    shape: tuple[int, ...] | None = None
    name: str = ""

    @property
    def label(self) -> str:
        """What outlines and drawings call it: a leaf by name and shape, any other by its kind."""
        if self.shape is None:
            return self.kind
        return f"{self.name or 'leaf'} ({', '.join(map(str, self.shape))})"


def walk(tensor: "Tensor", *, params: "Mapping[str, Tensor] | None" = None) -> list[Node]:
    """List the graph behind a tensor, each node once, from the tensor's own node back to the leaves.

    Every node stands before its inputs, and first inputs stand first where that leaves a choice: the order is
    settled by the graph alone.

    Args:
        tensor: any shape and type, computed from leaves that require a gradient.
        params: leaves by name, such as `dict(net.named_parameters())`.

    Raises:
        ValueError: it has no graph.

    Source: notes 2.6, the picture of the graph.

    >>> import torch
    >>> a = torch.tensor([2.0, 3.0], requires_grad=True)
    >>> for node in walk(3 * a**3, params={"a": a}):
    ...     print(node.label, node.inputs)
    MulBackward0 (1,)
    PowBackward0 (2,)
    a (2) ()
    """
    if tensor.grad_fn is None:
        raise ValueError(
            "expected a tensor with a graph, got one that was not computed from leaves that require "
            "a gradient; was it detached, or computed under torch.no_grad()?"
        )
    names = {id(leaf): name for name, leaf in (params or {}).items()}
    inputs: dict[Any, list[Any]] = {}  # holds each node itself: PyTorch makes a new object for one let go
    finished: dict[Any, None] = {}  # in the order in which all inputs of a node were
    stack: list[Any] = [tensor.grad_fn]  # a recursion would end at a thousand operations
    while stack:
        node = stack[-1]
        if node in inputs:
            finished[stack.pop()] = None
        else:
            inputs[node] = [following for following, _ in node.next_functions if following is not None]
            stack += [following for following in inputs[node] if following not in inputs]

    order = list(reversed(finished))
    places = {node: place for place, node in enumerate(order)}
    nodes = []
    for node in order:
        kind, leads_to = type(node).__name__, tuple(places[following] for following in inputs[node])
        if kind == "AccumulateGrad":
            leaf = node.variable
            nodes.append(Node(kind, leads_to, tuple(leaf.shape), names.get(id(leaf), "")))
        else:
            nodes.append(Node(kind, leads_to))
    return nodes


def outline(tensor: "Tensor", *, params: "Mapping[str, Tensor] | None" = None) -> str:
    """Tell the graph behind a tensor in lines of text, as `git log --graph` tells a history.

    Under a node (○) stand its inputs: the shorter branches first, set in, then the longest in the node's own
    column, down to a leaf (●). A node with several users stands under the last of them, numbered; the others
    point to it. So the way through a net runs down the left margin, and a deep graph needs no wide terminal.

    Takes and raises what `walk` does.

    >>> import torch
    >>> a, b = torch.tensor([2.0, 3.0], requires_grad=True), torch.tensor([6.0, 4.0], requires_grad=True)
    >>> print(outline(3 * a**3 - b**2, params={"a": a, "b": b}))
    ○ SubBackward0
    ├─○ PowBackward0
    │ ● b (2)
    ○ MulBackward0
    ○ PowBackward0
    ● a (2)
    """
    nodes = walk(tensor, params=params)
    height: dict[int, int] = {}  # of each node the number of steps on the longest way from it to a leaf
    for place in reversed(range(len(nodes))):  # inputs first
        height[place] = max((height[one] + 1 for one in nodes[place].inputs), default=0)
    users = Counter(one for node in nodes for one in node.inputs)
    to_come = users.copy()
    numbers: dict[int, int] = {}
    lines = []
    stack = [(0, "", "")]
    while stack:
        place, before, margin = stack.pop()
        node = nodes[place]
        line = f"{before}{'○' if node.shape is None else '●'} {node.label}"
        if users[place] > 1:
            line += f" [{numbers.setdefault(place, len(numbers) + 1)}]"
        to_come[place] -= 1
        if to_come[place] > 0:
            lines.append(f"{line} below")
            continue
        lines.append(line)
        branches = sorted(node.inputs, key=height.__getitem__)
        stack += [(one, margin, margin) for one in branches[-1:]]
        stack += [(one, f"{margin}├─", f"{margin}│ ") for one in reversed(branches[:-1])]
    return "\n".join(lines)


def draw(
    tensor: "Tensor", *, params: "Mapping[str, Tensor] | None" = None, title: str = "Autograd graph"
) -> str:
    """Draw the graph behind a tensor, as the text of an SVG file that carries the title.

    The arrows point as the computation ran, from the leaves, which are blue, down to the tensor's own node at
    the bottom. An input that is taken twice has one arrow.

    Takes and raises what `walk` does.

    >>> import torch
    >>> a = torch.tensor([2.0, 3.0], requires_grad=True)
    >>> "PowBackward0</text>" in draw(3 * a**3, params={"a": a})
    True
    """
    return draw_nodes(walk(tensor, params=params), title=title)


def draw_nodes(nodes: Sequence[Node], *, title: str) -> str:
    """Draw the nodes that `walk` listed, as `draw` does.

    >>> nodes = [Node("ExpBackward0", (1,)), Node("AccumulateGrad", (), (3,), "b")]
    >>> "b (3)</text>" in draw_nodes(nodes, title="")
    True
    """
    import networkx  # it and matplotlib take a second to import
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    graph = networkx.DiGraph((user, one) for user, node in enumerate(nodes) for one in node.inputs)
    rows = list(networkx.topological_generations(graph))  # each node in the row above its highest user
    row_of = {place: number for number, row in enumerate(rows) for place in row}
    networkx.set_node_attributes(graph, row_of, "row")
    places = networkx.multipartite_layout(graph, subset_key="row", align="horizontal")

    # Text stays text, which can be searched and read aloud, and the file is the same in every run.
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "blitz", "font.family": "monospace"}):
        box_width = 0.1 * max(len(node.label) for node in nodes) + 0.4  # in inches
        figure = Figure(figsize=(box_width * max(map(len, rows)), 0.8 * len(rows)))
        axes = figure.add_axes((0, 0, 1, 1))
        axes.axis("off")
        axes.update_datalim(list(places.values()))  # as far as these points reach
        axes.autoscale_view()
        boxes = {}
        for place, node in enumerate(nodes):
            box = {"boxstyle": "round", "facecolor": "#eaecef" if node.shape is None else "#b6dcfe"}
            x, y = places[place]
            text = axes.text(x, y, node.label, ha="center", va="center", bbox=box)
            boxes[place] = text.get_bbox_patch()
        for user, one in graph.edges:
            bend = 0 if row_of[one] == row_of[user] + 1 else 0.3  # around the boxes of the rows between
            arrow: dict[str, Any] = {
                "arrowstyle": "-|>",
                "color": "#7d8590",  # stands out from a light page and from a dark one
                "connectionstyle": f"arc3,rad={bend}",
                "patchA": boxes[one],
                "patchB": boxes[user],
            }
            axes.annotate("", places[user], places[one], arrowprops=arrow)
        file = io.StringIO()
        metadata: dict[str, Any] = {"Title": title, "Date": None}
        figure.savefig(file, format="svg", transparent=True, bbox_inches="tight", metadata=metadata)
    return file.getvalue()
