"""blitz/explained/graph.py: the nodes of a graph in order, and the outline of them."""

import pytest
import torch
from torch import nn

from blitz.explained.graph import Node, outline, walk
from blitz.training.nets import Net


def make_leaves():
    """Return a and b of the notes."""
    return torch.tensor([2.0, 3.0], requires_grad=True), torch.tensor([6.0, 4.0], requires_grad=True)


def test_walk_lists_each_node_before_its_inputs_first_inputs_first():
    """The graph of Q = 3a³ - b² as it stands in the tutorial, from the result back to the leaves."""
    a, b = make_leaves()

    nodes = walk(3 * a**3 - b**2, params={"a": a, "b": b})

    assert nodes == [
        Node("SubBackward0", (1, 4)),
        Node("MulBackward0", (2,)),
        Node("PowBackward0", (3,)),
        Node("AccumulateGrad", (), (2,), "a"),
        Node("PowBackward0", (5,)),
        Node("AccumulateGrad", (), (2,), "b"),
    ]


def test_walk_lists_a_shared_node_once_behind_all_its_users():
    """A result used by three operations, by one of them twice, is one node with as many mentions."""
    a, _ = make_leaves()
    h = a.exp()

    nodes = walk((h.sin() + h) + (h * h))

    kinds = [node.kind.removesuffix("Backward0") for node in nodes]
    assert kinds == ["Add", "Add", "Sin", "Mul", "Exp", "AccumulateGrad"]
    assert [node.inputs for node in nodes] == [(1, 3), (2, 4), (4,), (4, 4), (5,), ()]


def test_walk_leaves_out_what_requires_no_gradient():
    """Numbers, and tensors without a gradient, are no nodes, whatever they are called."""
    a, _ = make_leaves()
    c = torch.ones(2)

    assert walk(c * a + 1, params={"c": c}) == [
        Node("AddBackward0", (1,)),
        Node("MulBackward0", (2,)),
        Node("AccumulateGrad", (), (2,)),
    ]


def test_walk_names_nodes_as_python_does():
    """The kind is the name of the node's class, for a function of one's own as for C++'s in-place copies."""

    class Twice(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.variable = x  # as an AccumulateGrad node has it
            return 2 * x

    a, _ = make_leaves()
    changed = a.clone()
    changed[0] = 1

    assert walk(Twice.apply(a))[0] == Node("TwiceBackward", (1,))
    assert walk(changed)[0] == Node("CopySlices", (1,))


@pytest.mark.parametrize("grad_mode", [torch.enable_grad, torch.no_grad])
def test_walk_of_a_leaf_is_its_one_node(grad_mode):
    """A leaf that requires a gradient has a graph of one node, of whatever shape it is."""
    with grad_mode():
        assert walk(torch.zeros(3, 1, requires_grad=True)) == [Node("AccumulateGrad", (), (3, 1))]


def test_walk_goes_as_deep_as_the_graph():
    """Ten thousand operations in a row are ten thousand nodes and the leaf."""
    a, _ = make_leaves()
    deep = a
    for _ in range(10_000):
        deep = deep + a

    nodes = walk(deep)

    assert len(nodes) == 10_001
    assert nodes[-2:] == [Node("AddBackward0", (10_000, 10_000)), Node("AccumulateGrad", (), (2,))]
    assert len(outline(deep).splitlines()) == 20_001


def test_walk_keeps_apart_what_is_no_longer_held():
    """Nodes that nobody else holds are listed once each; their objects are not used again meanwhile."""
    a, _ = make_leaves()
    total = sum(a * n for n in range(1, 101))

    nodes = walk(total)

    assert len(nodes) == 100 + 100 + 1
    assert sum(node.kind == "MulBackward0" for node in nodes) == 100


REFUSED = {
    "detached": (
        torch.ones(2),
        ValueError,
        r"with a graph, got one .* no gradient; was it detached, or comp",
    ),
    "grad_fn": (
        torch.ones(2, requires_grad=True).exp().grad_fn,
        TypeError,
        "a tensor, got ExpBackward0$",
    ),
}


@pytest.mark.parametrize(("what", "error", "message"), REFUSED.values(), ids=REFUSED)
@pytest.mark.parametrize("function", [walk, outline])
def test_what_has_no_graph_is_refused_in_a_sentence(function, what, error, message):
    """A wrong argument says what was expected and what came."""
    with pytest.raises(error, match="^expected .*" + message):
        function(what)


LABELS = {
    "MulBackward0": Node("MulBackward0", (1, 2)),
    "leaf (2, 3)": Node("AccumulateGrad", (), (2, 3)),
    "fc1.bias (120)": Node("AccumulateGrad", (), (120,), "fc1.bias"),
    "w ()": Node("AccumulateGrad", (), (), "w"),
}


@pytest.mark.parametrize(("label", "node"), LABELS.items(), ids=LABELS)
def test_label_is_a_kind_or_a_leaf_with_its_shape(label, node):
    """An operation is called by its kind, a leaf by name and shape."""
    assert node.label == label


def test_outline_runs_down_the_margin_through_a_net():
    """Each step of the Net stands in the first column, its parameters set in below it."""
    net = Net()
    loss = nn.MSELoss()(net(torch.randn(1, 1, 32, 32)), torch.randn(1, 10))

    lines = outline(loss, params=dict(net.named_parameters())).splitlines()

    assert lines[:6] == [
        "○ MseLossBackward0",
        "○ AddmmBackward0",
        "├─● fc3.bias (10)",
        "├─○ TBackward0",
        "│ ● fc3.weight (10, 84)",
        "○ ReluBackward0",
    ]
    assert lines[-3:] == ["○ ConvolutionBackward0", "├─● conv1.weight (6, 1, 3, 3)", "● conv1.bias (6)"]
    assert sum(line.startswith("○") for line in lines) == 13


def test_outline_tells_a_shared_node_under_the_last_of_its_users():
    """Nodes with several users are numbered in order; each mention but the last points below."""
    a, b = make_leaves()
    h = a * b

    assert outline((h.sin() + h) * h, params={"a": a, "b": b}).splitlines() == [
        "○ MulBackward0",
        "├─○ MulBackward0 [1] below",
        "○ AddBackward0",
        "├─○ MulBackward0 [1] below",
        "○ SinBackward0",
        "○ MulBackward0 [1]",
        "├─● a (2)",
        "● b (2)",
    ]
    assert outline(h.exp() * a.sin() + a, params={"a": a, "b": b}).splitlines() == [
        "○ AddBackward0",
        "├─● a (2) [1] below",
        "○ MulBackward0",
        "├─○ SinBackward0",
        "│ ● a (2) [1] below",
        "○ ExpBackward0",
        "○ MulBackward0",
        "├─● a (2) [1]",
        "● b (2)",
    ]


def test_outline_numbers_shared_nodes_in_the_order_of_their_mention():
    """A second shared node is [2]; one taken twice by one operation is shared, too."""
    a, _ = make_leaves()
    h = a * a

    assert outline(h * h).splitlines() == [
        "○ MulBackward0",
        "├─○ MulBackward0 [1] below",
        "○ MulBackward0 [1]",
        "├─● leaf (2) [2] below",
        "● leaf (2) [2]",
    ]


def test_outline_sets_in_branches_within_branches():
    """A branch of a branch is set in twice, and lines lead past it to what follows."""
    a, b = make_leaves()
    c = torch.zeros(1, requires_grad=True)

    assert outline((a * b.exp()).sin() + c.exp().exp().exp().exp().exp()).splitlines()[:7] == [
        "○ AddBackward0",
        "├─○ SinBackward0",
        "│ ○ MulBackward0",
        "│ ├─● leaf (2)",
        "│ ○ ExpBackward0",
        "│ ● leaf (2)",
        "○ ExpBackward0",
    ]
