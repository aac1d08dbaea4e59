"""Notes 2.6, "Computational graph": its nodes, its edges and its leaves."""

import torch
from torch import Tensor

from blitz.explained.graph import walk
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


@statement("autograd.graph-structure", notes="2.6; notebook autograd", graph=worked_example)
@fault("the subtrahend is detached", Tensor, "__sub__", lambda real: lambda x, y: real(x, y.detach()))
@fault("the operands are exchanged", Tensor, "__sub__", lambda real: lambda x, y: real(y, x).neg())
@fault("a factor gets a gradient", Tensor, "__mul__", lambda real: lambda x, y: real(x, of_a_twin(y)))
@fault("exp works on a leaf of its own", Tensor, "exp", lambda real: lambda x: real(of_a_twin(x)))
@fault("exp gives a leaf", Tensor, "exp", lambda real: lambda x: of_a_twin(real(x)))
class TestGraphStructure:
    """The graph of a result has one node for each operation that led to the result. Each node has an edge to
    the node of every operand that requires a gradient. The graph ends at its leaves, the tensors that no
    recorded operation made.
    """

    def test_graph_of_q_leads_back_to_a_and_b(self, device, measured):
        a, b = make_leaves(device)

        Q = 3 * a**3 - b**2

        measured["nodes"] = walk(Q, params={"a": a, "b": b})
        assert [(node.label, node.inputs) for node in measured["nodes"]] == [
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

        nodes = walk(a * data + 1, params={"a": a})

        assert [node.label for node in nodes] == ["AddBackward0", "MulBackward0", "a (2)"]

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
