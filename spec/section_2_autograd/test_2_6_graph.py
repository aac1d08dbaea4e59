"""Notes 2.6, "Computational graph": its nodes, its edges and its leaves."""

import torch
from torch import Tensor, nn

from blitz.explained.graph import walk
from blitz.training import nets
from blitz.training.nets import Net
from spec.harness import fault, statement


def make_leaves(device="cpu"):
    """Return a and b of the worked example."""
    a = torch.tensor([2.0, 3.0], device=device, requires_grad=True)
    return a, torch.tensor([6.0, 4.0], device=device, requires_grad=True)


def inputs(node):
    """Return the nodes that a node leads back to."""
    return [following for following, _ in node.next_functions if following is not None]


def worked_example():
    """Return Q = 3a³ - b² and its leaves."""
    a, b = make_leaves()
    return 3 * a**3 - b**2, {"a": a, "b": b}


# Faults


def of_a_twin(x):
    """Return a leaf of its own with the same values."""
    return x.detach().requires_grad_()


def without_a_graph_before_the_last_layer(real):
    """Return a relu() that detaches what goes into the last layer of the Net."""
    return lambda x: real(x.detach()) if x.shape[1] == 84 else real(x)


@statement("autograd.graph-structure", notes="2.6; notebook autograd; 3 loss function", graph=worked_example)
@fault("the subtrahend is detached", Tensor, "__sub__", lambda real: lambda x, y: real(x, y.detach()))
@fault("the operands are exchanged", Tensor, "__sub__", lambda real: lambda x, y: real(y, x).neg())
@fault("a factor gets a gradient", Tensor, "__mul__", lambda real: lambda x, y: real(x, of_a_twin(y)))
@fault("exp works on a leaf of its own", Tensor, "exp", lambda real: lambda x: real(of_a_twin(x)))
@fault("exp gives a leaf", Tensor, "exp", lambda real: lambda x: of_a_twin(real(x)))
@fault("the Net loses its graph", nets, "relu", without_a_graph_before_the_last_layer)
@fault("the image gets a gradient", Net, "forward", lambda real: lambda net, x: real(net, of_a_twin(x)))
class TestGraphStructure:
    """The graph has a node for each operation, with an edge to the node of each operand. Its root is the
    result; its leaves are the tensors that require a gradient and that no operation made.
    """

    def test_graph_of_q_leads_back_to_a_and_b(self, device):
        a, b = make_leaves(device)

        Q = 3 * a**3 - b**2

        assert [(node.label, node.inputs) for node in walk(Q, params={"a": a, "b": b})] == [
            ("SubBackward0", (1, 4)),
            ("MulBackward0", (2,)),
            ("PowBackward0", (3,)),
            ("a (2)", ()),
            ("PowBackward0", (5,)),
            ("b (2)", ()),
        ]

    def test_what_requires_no_gradient_is_no_node(self, device):
        a, _ = make_leaves(device)
        data = torch.ones(2, device=device)

        result = a * data + 1

        assert [node.label for node in walk(result, params={"a": a})] == [
            "AddBackward0",
            "MulBackward0",
            "a (2)",
        ]

    def test_what_is_used_twice_is_one_node(self, device):
        a, _ = make_leaves(device)
        h = a**2

        product = h.exp() * h

        assert inputs(product.grad_fn)[1:] == inputs(inputs(product.grad_fn)[0]) == [h.grad_fn]
        assert inputs(a.exp().grad_fn) == inputs(h.grad_fn)
        assert inputs(h.grad_fn)[0].variable is a

    def test_leaves_have_no_grad_fn_and_results_have_one(self):
        a, _ = make_leaves()
        data = torch.ones(2)

        leaves, results = [a, data, 2 * data], [3 * a, a.exp()]

        assert [(x.is_leaf, x.grad_fn is None) for x in leaves] == [(True, True)] * 3
        assert [(x.is_leaf, x.grad_fn is None) for x in results] == [(False, False)] * 2

    def test_leaves_behind_the_loss_of_the_net_are_its_parameters(self, device):
        net = Net().to(device)
        image, target = torch.randn(1, 1, 32, 32, device=device), torch.randn(1, 10, device=device)

        loss = nn.MSELoss()(net(image), target)

        leaves = [node for node in walk(loss, params=dict(net.named_parameters())) if not node.inputs]
        assert sorted(leaf.name for leaf in leaves) == sorted(name for name, _ in net.named_parameters())
