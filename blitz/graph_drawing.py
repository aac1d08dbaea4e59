"""A picture of the graph that autograd records, as SVG, in the manner of the tutorial's figure."""

from collections.abc import Mapping
from html import escape
from unicodedata import east_asian_width

from torch import Tensor

from blitz.graph import Node, walk
from blitz.graph_layout import Edge, layout

_LETTER, _LINE, _PADDING = 7.9, 16.0, 12.0  # of text of 13 pixels in letters of a fixed width

# Boxes bring their own background, and the grey of the edges stands out from white and from black alike.
_EDGE, _TEXT = "#7d8590", "#1f2328"
_FILLS = {
    "leaf": ("#b6dcfe", "#0a5cb0"),
    "operation": ("#eaecef", "#6e7781"),
    "result": ("#bfe8c3", "#1a7f37"),
}


def draw(tensor: Tensor, *, params: Mapping[str, Tensor] | None = None, title: str = "Autograd graph") -> str:
    """Draw the graph behind a tensor, as the text of an SVG file.

    Leaves stand at the top, in blue, the tensor's own node at the bottom, in green; the arrows point as the
    computation ran. The picture can be read on a light and on a dark page.

    Args:
        tensor: any shape and type; it requires a gradient.
        params: leaves by name, such as `dict(net.named_parameters())`.
        title: what the picture shows, as a tooltip and for those who cannot see it.

    Raises:
        TypeError: it is no tensor.
        ValueError: it has no graph, or one of more than 20,000 boxes and bends.

    Source: notes 2.6, the picture of the graph.

    >>> import torch
    >>> a = torch.tensor([2.0, 3.0], requires_grad=True)
    >>> print(draw(3 * a**3, params={"a": a}, title="3a³"))
    <svg ...
    <title>3a³</title>
    ...
    """
    nodes = walk(tensor, params=params)
    texts = [[node.label] if node.shape is None else [node.label, node.kind] for node in nodes]
    sizes = [(max(map(_width, lines)) + 2 * _PADDING, _LINE * len(lines) + _PADDING) for lines in texts]
    picture = layout(sizes, [node.inputs for node in nodes])
    leaves = [node.label for node in nodes if node.shape is not None]
    description = (
        f"Leaves, in blue: {', '.join(leaves)}. The arrows point as the computation ran, down to "
        f"{nodes[0].label}; backward() goes against them."
    )
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" width="{picture.width:.0f}" '
        f'height="{picture.height:.0f}" viewBox="0 0 {picture.width:.0f} {picture.height:.0f}">',
        f"<title>{_text(title)}</title>",
        f"<desc>{_text(description)}</desc>",
        f'<g fill="none" stroke="{_EDGE}" stroke-width="1.5">',
        *(_arrow(edge) for edge in picture.edges),
        "</g>",
        f"<g font-family=\"ui-monospace, Menlo, Consolas, 'DejaVu Sans Mono', monospace\" "
        f'text-anchor="middle" fill="{_TEXT}">',
    ]
    for place, node in enumerate(nodes):
        parts.append(_drawn(place, node, texts[place], picture.middles[place], sizes[place]))
    return "\n".join([*parts, "</g>", "</svg>", ""])


def _width(line: str) -> float:
    # Chinese letters are twice as wide as others in a font of a fixed width.
    return _LETTER * sum(2 if east_asian_width(letter) in ("W", "F") else 1 for letter in line)


def _text(words: str) -> str:
    """Return words as XML, which has no place for control characters, not even escaped."""
    return escape(
        "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in words)
    )


def _arrow(edge: Edge) -> str:
    (x, y), (_, below), *points = edge.points
    line = [f"M{x:.1f} {y:.1f}V{below:.1f}"]
    for (to, above), (_, y) in zip(points[::2], points[1::2], strict=True):
        between = (below + above) / 2
        line.append(f"C{x:.1f} {between:.1f} {to:.1f} {between:.1f} {to:.1f} {above:.1f}V{y:.1f}")
        x, below = to, y
    head = f"M{x:.1f} {y:.1f}l-4 -8h8z"
    return (
        f'<g data-from="{edge.source}" data-to="{edge.target}"><path d="{"".join(line)}"/>'
        f'<path d="{head}" fill="{_EDGE}" stroke="none"/></g>'
    )


def _drawn(
    place: int, node: Node, lines: list[str], middle: tuple[float, float], size: tuple[float, float]
) -> str:
    """Return the box of a node with its text."""
    (x, y), (width, height) = middle, size
    kind = "leaf" if node.shape is not None else "operation" if place else "result"
    fill, stroke = _FILLS[kind]
    baseline = y - _LINE * (len(lines) - 1) / 2 + 4.5  # letters stand a little below the middle of a line
    texts = []
    for line, font_size in zip(lines, (13, 11), strict=False):
        texts.append(f'<text x="{x:.1f}" y="{baseline:.1f}" font-size="{font_size}">{_text(line)}</text>')
        baseline += _LINE
    return (
        f'<g class="{kind}" data-node="{place}"><rect x="{x - width / 2:.1f}" y="{y - height / 2:.1f}" '
        f'width="{width:.1f}" height="{height:.1f}" rx="6" fill="{fill}" stroke="{stroke}"/>'
        f"{''.join(texts)}</g>"
    )
