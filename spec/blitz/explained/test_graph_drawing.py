"""blitz/explained/graph_drawing.py: the SVG shows each node, edge and leaf that there is, and can be read."""

import re
from itertools import combinations
from xml.etree import ElementTree

import pytest
import torch
from torch import nn

from blitz.explained import graph_drawing
from blitz.explained.graph import walk
from blitz.explained.graph_drawing import draw
from blitz.training.nets import Net

SVG = "{http://www.w3.org/2000/svg}"


def make_q():
    """Return Q = 3a³ - b² of the notes, and its leaves by name."""
    a = torch.tensor([2.0, 3.0], requires_grad=True)
    b = torch.tensor([6.0, 4.0], requires_grad=True)
    return 3 * a**3 - b**2, {"a": a, "b": b}


def make_loss():
    """Return the loss of the Net for one image, and the parameters by name."""
    net = Net()
    return nn.MSELoss()(net(torch.randn(1, 1, 32, 32)), torch.randn(1, 10)), dict(net.named_parameters())


def make_detour():
    """Return x² + exp(exp(x²)), in which one edge passes two rows and an input is taken twice."""
    x = torch.tensor([2.0], requires_grad=True)
    square = x * x
    return square + square.exp().exp(), {"x": x}


@pytest.fixture(params=[make_q, make_loss, make_detour], ids=["Q", "loss of the Net", "a detour"])
def graph(request):
    """Each graph in turn: its nodes, and the picture of it."""
    tensor, params = request.param()
    return walk(tensor, params=params), ElementTree.fromstring(draw(tensor, params=params))


def groups(picture, kind):
    """Return the groups of a picture whose id begins with `kind`, with the numbers in their ids."""
    found = [group for group in picture.iter(f"{SVG}g") if group.get("id", "").startswith(f"{kind}-")]
    return [(tuple(map(int, group.get("id").split("-")[1:])), group) for group in found]


def points(path):
    """Return the points (x, y) of a path."""
    numbers = [float(number) for number in re.findall(r"-?[\d.]+", path.get("d"))]
    return list(zip(numbers[::2], numbers[1::2], strict=True))


def frames(picture):
    """Return the left, upper, right and lower border of each node's box, by the node's place."""
    found = {}
    for (place,), group in groups(picture, "node"):
        across, down = zip(*points(group.find(f".//{SVG}path")), strict=True)
        found[place] = (min(across), min(down), max(across), max(down))
    return found


def test_picture_shows_each_node_and_edge_of_the_walk(graph):
    """The boxes are the nodes that `walk` lists, the arrows point from each input to its user."""
    nodes, picture = graph

    labels = [[node.label] if node.shape is None else [node.label, "AccumulateGrad"] for node in nodes]
    shown = {
        place: [text.text for text in group.iter(f"{SVG}text")] for (place,), group in groups(picture, "node")
    }
    assert shown == dict(enumerate(labels))
    inputs = [(one, user) for user, node in enumerate(nodes) for one in node.inputs]
    assert [ends for ends, _ in groups(picture, "edge")] == inputs


def test_boxes_lie_inside_the_picture_without_overlap(graph):
    """Every box lies in the picture, and meets no other."""
    _, picture = graph
    _, _, width, height = map(float, picture.get("viewBox").split())

    boxes = frames(picture).values()

    for left, upper, right, lower in boxes:
        assert min(left, upper, width - right, height - lower) > 0
    for one, other in combinations(boxes, 2):
        assert one[0] > other[2] or other[0] > one[2] or one[1] > other[3] or other[1] > one[3]


def test_inputs_stand_above_their_users(graph):
    """A computation is read from the leaves at the top down to its result."""
    _, picture = graph
    boxes = frames(picture)

    for (one, user), _ in groups(picture, "edge"):
        assert boxes[one][3] < boxes[user][1]


def test_arrows_end_at_the_box_of_their_user(graph):
    """The tip of the head lies on the border of the user's box, no more than two points off."""
    _, picture = graph
    boxes = frames(picture)

    for (_, user), group in groups(picture, "edge"):
        x, y = points(group.findall(f"{SVG}path")[1])[1]
        left, upper, right, lower = boxes[user]
        assert left - 2 < x < right + 2
        assert upper - 2 < y < lower + 2
        assert min(abs(x - left), abs(x - right), abs(y - upper)) < 2


def test_two_arrows_from_one_box_are_apart():
    """An input taken twice has two arrows, which do not lie on each other."""
    x = torch.tensor([2.0], requires_grad=True)

    picture = ElementTree.fromstring(draw(x * x))

    (first, one), (second, other) = groups(picture, "edge")
    assert first == second == (1, 0)
    assert points(one.find(f"{SVG}path"))[1] != points(other.find(f"{SVG}path"))[1]


def style(element, name):
    """Return a colour of an SVG element's style, or None."""
    found = re.search(rf"{name}: (#\w+)", element.get("style", ""))
    return found and found[1]


def test_leaves_operations_and_the_result_differ():
    """The tensor's own node is the result, AccumulateGrad nodes are leaves; each kind has its colour."""
    tensor, params = make_q()

    picture = ElementTree.fromstring(draw(tensor, params=params))

    fills = [style(group.find(f".//{SVG}path"), "fill") for _, group in groups(picture, "node")]
    kinds = {colours[0]: kind for kind, colours in graph_drawing._FILLS.items()}
    assert [kinds[fill] for fill in fills] == [
        "result",
        "operation",
        "operation",
        "leaf",
        "operation",
        "leaf",
    ]


def brightness(colour):
    """Return the relative luminance of "#rrggbb", as the guidelines for accessible pages define it."""
    parts = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    red, green, blue = (((part + 0.055) / 1.055) ** 2.4 if part > 0.04 else part / 12.92 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one, other):
    """Return the contrast of two colours, from 1 to 21."""
    dark, light = sorted((brightness(one), brightness(other)))
    return (light + 0.05) / (dark + 0.05)


def test_picture_can_be_read_on_a_light_and_on_a_dark_page():
    """Arrows stand out 3 to 1 from white and from near black, black letters 7 to 1 from their box."""
    tensor, params = make_q()
    picture = ElementTree.fromstring(draw(tensor, params=params))

    for _, group in groups(picture, "edge"):
        for page in "#ffffff", "#0d1117":
            assert contrast(style(group.find(f"{SVG}path"), "stroke"), page) >= 3
    for _, group in groups(picture, "node"):
        box = group.find(f".//{SVG}path")
        assert contrast("#000000", style(box, "fill")) >= 7
        assert contrast(style(box, "stroke"), style(box, "fill")) >= 3
        assert not any(style(text, "fill") for text in group.iter(f"{SVG}text"))  # black is the default


def test_a_picture_is_the_same_in_every_run():
    """No date and no random number goes into the file."""
    tensor, params = make_q()

    assert draw(tensor, params=params) == draw(tensor, params=params)


def test_title_and_names_stand_as_they_are():
    """Marks of XML and of mathematics are text like any other."""
    a = torch.zeros(1, requires_grad=True)

    picture = ElementTree.fromstring(draw(2 * a, params={"<x> & $x$": a}, title="a < b & 3a³"))

    assert picture.find(f"{SVG}title").text == "a < b & 3a³"
    assert [text.text for text in picture.iter(f"{SVG}text")][1] == "<x> & $x$ (1)"


def test_a_graph_too_large_to_look_at_is_refused(monkeypatch):
    """The sentence says how many nodes there are, and what tells them instead."""
    monkeypatch.setattr(graph_drawing, "LARGEST", 3)
    a = torch.zeros(1, requires_grad=True)

    assert draw(a.exp().exp())
    with pytest.raises(ValueError, match=r"at most 3 nodes to draw, got 4; blitz\.explained\.graph\.outline"):
        draw(a.exp().exp().exp())


REFUSED = {
    "detached": (torch.ones(2), ValueError, "with a graph"),
    "grad_fn": (
        torch.ones(2, requires_grad=True).exp().grad_fn,
        TypeError,
        "expected a tensor, got ExpBackward0",
    ),
}


@pytest.mark.parametrize(("what", "error", "message"), REFUSED.values(), ids=REFUSED)
def test_what_has_no_graph_is_refused_in_a_sentence(what, error, message):
    """A wrong argument says what was expected and what came, as `walk` does."""
    with pytest.raises(error, match=message):
        draw(what)
