"""blitz/graph_drawing.py: the SVG is sound XML, and shows each node, edge and leaf that there is."""

import re
from xml.etree import ElementTree

import pytest
import torch
from torch import nn

from blitz.graph import walk
from blitz.graph_drawing import draw
from blitz.nets import Net

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


def boxes_of(picture):
    """Return for each node, in order, its class, its lines of text and its rectangle."""
    groups = [group for group in picture.iter(f"{SVG}g") if "data-node" in group.attrib]
    assert [int(group.get("data-node")) for group in groups] == [*range(len(groups))]
    return [
        (
            group.get("class"),
            [text.text for text in group.iter(f"{SVG}text")],
            {name: float(group.find(f"{SVG}rect").get(name)) for name in ("x", "y", "width", "height")},
        )
        for group in groups
    ]


def edges_of(picture):
    """Return for each edge its two nodes, and the numbers of its line and of its arrowhead."""
    groups = [group for group in picture.iter(f"{SVG}g") if "data-from" in group.attrib]
    return [
        (
            int(group.get("data-from")),
            int(group.get("data-to")),
            *(
                [float(n) for n in re.findall(r"-?[\d.]+", path.get("d"))]
                for path in group.iter(f"{SVG}path")
            ),
        )
        for group in groups
    ]


PICTURES = {"Q": make_q, "loss of the Net": make_loss}


@pytest.mark.parametrize("make", PICTURES.values(), ids=PICTURES)
def test_picture_shows_each_node_and_edge_of_the_walk(make):
    """The boxes are the nodes that `walk` lists, the arrows point from each input to its user."""
    tensor, params = make()
    nodes = walk(tensor, params=params)

    picture = ElementTree.fromstring(draw(tensor, params=params))

    labels = [[node.label] if node.shape is None else [node.label, "AccumulateGrad"] for node in nodes]
    assert [lines for _, lines, _ in boxes_of(picture)] == labels
    inputs = [(one, user) for user, node in enumerate(nodes) for one in node.inputs]
    assert [(source, target) for source, target, _, _ in edges_of(picture)] == inputs


@pytest.mark.parametrize("make", PICTURES.values(), ids=PICTURES)
def test_boxes_hold_their_text_inside_the_picture_without_overlap(make):
    """Every box lies in the picture, is as wide as its text in letters of 7.9 pixels, and meets no other."""
    tensor, params = make()
    picture = ElementTree.fromstring(draw(tensor, params=params))
    _, _, width, height = map(float, picture.get("viewBox").split())

    found = [
        (box["x"], box["y"], box["x"] + box["width"], box["y"] + box["height"], lines)
        for _, lines, box in boxes_of(picture)
    ]

    assert (picture.get("width"), picture.get("height")) == (f"{width:.0f}", f"{height:.0f}")
    for number, (left, upper, right, lower, lines) in enumerate(found):
        assert min(left, upper, width - right, height - lower) >= 11
        assert right - left == pytest.approx(7.9 * max(map(len, lines)) + 24, abs=0.11)
        for other_left, other_upper, other_right, other_lower, _ in found[:number]:
            assert left > other_right or other_left > right or upper > other_lower or other_upper > lower


@pytest.mark.parametrize("make", PICTURES.values(), ids=PICTURES)
def test_arrows_end_at_the_upper_side_of_their_box(make):
    """A line begins at the lower side of its input; the tip of its head stands on the user's upper side."""
    tensor, params = make()
    picture = ElementTree.fromstring(draw(tensor, params=params))
    boxes = [box for _, _, box in boxes_of(picture)]

    for source, target, line, head in edges_of(picture):
        above, below = boxes[source], boxes[target]
        assert line[1] == pytest.approx(above["y"] + above["height"], abs=0.11)
        assert above["x"] < line[0] < above["x"] + above["width"]
        assert line[-1] == head[1] == pytest.approx(below["y"], abs=0.11)
        assert line[-3] == head[0]
        assert below["x"] < head[0] < below["x"] + below["width"]
        assert head[2:] == [-4, -8, 8]


def test_a_curve_starts_and_ends_upright_half_way_between_rows():
    """The first edge of a chain of two, letter by letter; a second row of bends goes on from the first."""
    a = torch.zeros(2, requires_grad=True)

    straight = re.findall(r' d="(.*?)"', draw(a.exp()))
    around = re.findall(r' d="(.*?)"', draw(a.exp() + a))

    assert straight == ["M79.3 56.0V56.0C79.3 70.0 79.3 70.0 79.3 84.0V94.0", "M79.3 94.0l-4 -8h8z"]
    curves = re.findall(r"C(\S+) (\S+) (\S+) (\S+) (\S+) (\S+?)V(\S+?)(?=C|$)", around[2])
    assert len(curves) == 2
    first, second = ([float(number) for number in curve] for curve in curves)
    assert first[1] == first[3] == pytest.approx((56 + first[5]) / 2)
    assert second[1] == second[3] == pytest.approx((first[6] + second[5]) / 2, abs=0.11)
    assert (first[2], second[0]) == (first[4], first[4])
    assert first[0] == float(around[2][1:].split()[0])
    assert second[2] == second[4]
    assert second[6] - second[5] == pytest.approx(10)


def test_leaves_operations_and_the_result_differ():
    """The tensor's own node is the result, AccumulateGrad nodes are leaves; each kind has its colour."""
    tensor, params = make_q()
    picture = ElementTree.fromstring(draw(tensor, params=params))

    kinds = [kind for kind, _, _ in boxes_of(picture)]
    rectangles = [rectangle.get("fill") for rectangle in picture.iter(f"{SVG}rect")]

    assert kinds == ["result", "operation", "operation", "leaf", "operation", "leaf"]
    assert len(set(zip(kinds, rectangles, strict=True))) == len(set(rectangles)) == 3


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
    """Edges stand out 3 to 1 from white and from near black, letters 7 to 1 from their box."""
    tensor, params = make_q()
    picture = ElementTree.fromstring(draw(tensor, params=params))
    edges, letters = (group for group in picture if group.tag == f"{SVG}g")
    heads = {path.get("fill") for path in picture.iter(f"{SVG}path")} - {None}

    assert heads == {edges.get("stroke")}
    for page in "#ffffff", "#0d1117":
        assert contrast(edges.get("stroke"), page) >= 3
    for box in picture.iter(f"{SVG}rect"):
        assert contrast(letters.get("fill"), box.get("fill")) >= 7
        assert contrast(box.get("stroke"), box.get("fill")) >= 3


def test_picture_has_no_text_beside_that_of_its_nodes():
    """All text is title, description and labels; lines are thin and not filled, letters of a fixed width."""
    tensor, params = make_q()
    picture = ElementTree.fromstring(draw(tensor, params=params))
    edges, letters = (group for group in picture if group.tag == f"{SVG}g")

    labels = [line for _, lines, _ in boxes_of(picture) for line in lines]
    assert [text for text in picture.itertext() if text.strip()] == [
        picture[0].text,
        picture[1].text,
        *labels,
    ]
    assert (edges.get("fill"), edges.get("stroke-width")) == ("none", "1.5")
    assert letters.get("text-anchor") == "middle"
    assert letters.get("font-family").split(", ")[::4] == ["ui-monospace", "monospace"]


def test_a_graph_of_one_leaf_is_one_blue_box():
    """A leaf without operations is still a leaf."""
    picture = ElementTree.fromstring(draw(torch.zeros(2, 2, requires_grad=True)))

    assert [(kind, lines) for kind, lines, _ in boxes_of(picture)] == [
        ("leaf", ["leaf (2, 2)", "AccumulateGrad"])
    ]


def test_lines_of_text_stand_in_the_middle_of_their_box():
    """One line stands in the middle, two 16 pixels apart around it, the second in smaller letters."""
    picture = ElementTree.fromstring(draw(torch.zeros(2, requires_grad=True).exp()))

    texts = [(float(text.get("y")), text.get("font-size")) for text in picture.iter(f"{SVG}text")]
    (result, leaf) = (box for _, _, box in boxes_of(picture))

    assert texts == [
        (result["y"] + 14 + 4.5, "13"),
        (leaf["y"] + 22 - 8 + 4.5, "13"),
        (leaf["y"] + 22 + 8 + 4.5, "11"),
    ]
    assert {float(text.get("x")) for text in picture.iter(f"{SVG}text")} == {79.3}


def test_title_and_description_tell_the_picture_to_who_cannot_see_it():
    """The first elements are a title, one's own or a plain one, and a description with the leaves."""
    tensor, params = make_q()

    own, plain = (
        ElementTree.fromstring(text)
        for text in (draw(tensor, params=params, title="Q = 3a³ - b²"), draw(tensor))
    )

    assert own.get("role") == "img"
    assert [child.tag for child in own][:2] == [f"{SVG}title", f"{SVG}desc"]
    assert (own[0].text, plain[0].text) == ("Q = 3a³ - b²", "Autograd graph")
    assert own[1].text == (
        "Leaves, in blue: a (2), b (2). The arrows point as the computation ran, down to SubBackward0; "
        "backward() goes against them."
    )


def test_what_xml_cannot_hold_is_escaped():
    """Marks of XML in names and title are escaped, and control characters replaced."""
    a = torch.zeros(1, requires_grad=True)

    picture = ElementTree.fromstring(draw(2 * a, params={"<a> & \x00\"'": a}, title="a < b & \ud800"))

    assert picture[0].text == "a < b & \N{REPLACEMENT CHARACTER}"
    assert boxes_of(picture)[1][1][0] == "<a> & \N{REPLACEMENT CHARACTER}\"' (1)"


def test_chinese_names_have_the_room_of_two_letters_each():
    """A box is as wide for four Chinese letters as for eight Latin ones."""
    a = torch.zeros(1, requires_grad=True)

    widths = [
        boxes_of(ElementTree.fromstring(draw(a, params={name: a})))[0][2]["width"]
        for name in ("权重参数权重参数", "weightsofparams.", "ＷＥＩＧＨＴＳＳ")
    ]

    assert widths[0] == widths[1] == widths[2] == pytest.approx(7.9 * 20 + 24)


REFUSED = {
    "detached": (torch.ones(2), ValueError, "with a graph"),
    "grad_fn": (torch.ones(2, requires_grad=True).exp().grad_fn, TypeError, "is meant, got ExpBackward0"),
}


@pytest.mark.parametrize(("what", "error", "message"), REFUSED.values(), ids=REFUSED)
def test_what_has_no_graph_is_refused_in_a_sentence(what, error, message):
    """A wrong argument says what was expected and what came, as `walk` does."""
    with pytest.raises(error, match=message):
        draw(what)
