"""blitz/explained/graph.py: the nodes of a graph in order, the outline of them, and the picture.

spec/section_2_autograd/test_2_6_graph.py has the graph of the notes, node by node.
"""

import re
from itertools import combinations
from xml.etree import ElementTree

import pytest
import torch
from torch import nn

from blitz.explained.graph import draw, outline, walk
from blitz.training.nets import Net


def make_leaves():
    """Return a and b of the notes."""
    return torch.tensor([2.0, 3.0], requires_grad=True), torch.tensor([6.0, 4.0], requires_grad=True)


def make_loss():
    """Return the loss of the Net for one image, and the parameters by name."""
    net = Net()
    return nn.MSELoss()(net(torch.randn(1, 1, 32, 32)), torch.randn(1, 10)), dict(net.named_parameters())


class TestWalk:
    """The nodes of a graph."""

    def test_shared_node_is_listed_once_behind_all_its_users(self):
        """A result used by three operations, by one of them twice, is one node with as many mentions."""
        a, _ = make_leaves()
        h = a.exp()

        nodes = walk((h.sin() + h) + (h * h))

        kinds = [node.kind.removesuffix("Backward0") for node in nodes]
        assert kinds == ["Add", "Add", "Sin", "Mul", "Exp", "AccumulateGrad"]
        assert [node.inputs for node in nodes] == [(1, 3), (2, 4), (4,), (4, 4), (5,), ()]

    def test_graph_may_be_deeper_than_a_recursion_and_held_by_nobody(self):
        """A sum of two thousand products is as many nodes twice, and the leaf."""
        a, _ = make_leaves()

        nodes = walk(sum(a * number for number in range(2000)))

        assert len(nodes) == 4001
        assert sum(node.kind == "MulBackward0" for node in nodes) == 2000

    @pytest.mark.parametrize("leaf", [torch.ones(2), torch.ones(2, requires_grad=True)])
    def test_what_has_no_graph_is_refused_in_a_sentence(self, leaf):
        """The sentence asks what may have happened."""
        with pytest.raises(ValueError, match=r"with a graph, got one .*; was it detached, or computed under"):
            walk(leaf)


OUTLINES = {
    "a node under the last of its users": (
        lambda a, b, h: (h.sin() + h) * h,
        [
            "○ MulBackward0",
            "├─○ MulBackward0 [1] below",
            "○ AddBackward0",
            "├─○ MulBackward0 [1] below",
            "○ SinBackward0",
            "○ MulBackward0 [1]",
            "├─● a (2)",
            "● b (2)",
        ],
    ),
    "shared nodes numbered in the order of their mention": (
        lambda a, b, h: (h * h) * a,
        [
            "○ MulBackward0",
            "├─● a (2) [1] below",
            "○ MulBackward0",
            "├─○ MulBackward0 [2] below",
            "○ MulBackward0 [2]",
            "├─● a (2) [1]",
            "● b (2)",
        ],
    ),
    "branches within branches": (
        lambda a, b, h: (a * b.exp()).sin() + torch.zeros(1, requires_grad=True).exp().exp().exp().exp(),
        [
            "○ AddBackward0",
            "├─○ SinBackward0",
            "│ ○ MulBackward0",
            "│ ├─● a (2)",
            "│ ○ ExpBackward0",
            "│ ● b (2)",
            "○ ExpBackward0",
            "○ ExpBackward0",
            "○ ExpBackward0",
            "○ ExpBackward0",
            "● leaf (1)",
        ],
    ),
}


@pytest.mark.parametrize(("function", "lines"), OUTLINES.values(), ids=OUTLINES)
def test_shared_nodes_and_branches_are_told(function, lines):
    """Every mention of a shared node but the last points below, and a branch is set in."""
    a, b = make_leaves()

    assert outline(function(a, b, a * b), params={"a": a, "b": b}).splitlines() == lines


def make_detour():
    """Return h + exp(exp(h)) of h = x², in which one arrow passes two rows and an input is taken twice."""
    x = torch.tensor([2.0], requires_grad=True)
    h = x * x
    return h + h.exp().exp(), {"<x> & y": x}


GRAPHS = {"the loss of the Net": make_loss, "a detour": make_detour}
SVG = "{http://www.w3.org/2000/svg}"


def drawn(picture, kind):
    """Return the elements of a kind, text or patch, that stand in the axes, with the points of their path."""
    found = []
    for element in picture.find(f".//{SVG}g[@id='axes_1']"):
        if element.get("id").startswith(kind):
            numbers = [
                float(number) for number in re.findall(r"-?[\d.]+", element.find(f".//{SVG}path").get("d"))
            ]
            found.append((element, list(zip(numbers[::2], numbers[1::2], strict=True))))
    return found


class TestDraw:
    """The picture."""

    @pytest.mark.parametrize("make", GRAPHS.values(), ids=GRAPHS)
    def test_picture_shows_each_node_as_a_box_and_each_input_as_an_arrow_down(self, make):
        """Boxes lie in the picture and apart; arrows lead from the border of one to that of a lower one."""
        tensor, params = make()

        picture = ElementTree.fromstring(draw(tensor, params=params))

        nodes = walk(tensor, params=params)
        texts = drawn(picture, "text")
        assert [text.find(f"{SVG}text").text for text, _ in texts] == [node.label for node in nodes]
        boxes = []
        for _, points in texts:
            across, down = zip(*points, strict=True)
            boxes.append((min(across), min(down), max(across), max(down)))
        _, _, width, height = map(float, picture.get("viewBox").split())
        for left, upper, right, lower in boxes:
            assert min(left, upper, width - right, height - lower) > 0
        for one, other in combinations(boxes, 2):
            assert one[0] > other[2] or other[0] > one[2] or one[1] > other[3] or other[1] > one[3]
        arrows = {
            (box_at(points[0], boxes), box_at(points[-1], boxes)) for _, points in drawn(picture, "patch")
        }
        assert arrows == {(one, user) for user, node in enumerate(nodes) for one in node.inputs}
        assert all(boxes[one][3] < boxes[user][1] for one, user in arrows)

    def test_title_and_names_stand_as_they_are_in_every_run(self):
        """They are text, and no date and no random number goes into the file."""
        tensor, params = make_detour()

        text = draw(tensor, params=params, title="a < b & 3a³")

        picture = ElementTree.fromstring(text)
        assert picture.find(f"{SVG}title").text == "a < b & 3a³"
        assert [one.text for one in picture.iter(f"{SVG}text")][-1] == "<x> & y (1)"
        assert draw(tensor, params=params, title="a < b & 3a³") == text


def box_at(point, boxes):
    """Return the number of the one box on whose border, or four points from it, the point is."""
    x, y = point
    (number,) = [
        number
        for number, (left, upper, right, lower) in enumerate(boxes)
        if left - 4 < x < right + 4
        and upper - 4 < y < lower + 4
        and min(abs(x - left), abs(x - right), abs(y - upper), abs(y - lower)) < 4
    ]
    return number
