"""Section 2 of the notes, "Computational graph"."""

import pytest
import torch
from torch import Tensor, nn

from blitz.explained.graph import walk
from blitz.training import nets
from blitz.training.nets import Net
from spec.harness import broken_by, claim


def make_leaves(device="cpu"):
    """Return a and b of the worked example."""
    a = torch.tensor([2.0, 3.0], device=device, requires_grad=True)
    return a, torch.tensor([6.0, 4.0], device=device, requires_grad=True)


def kind(node):
    """Return the name of a node's class, such as "MulBackward0"."""
    return type(node).__name__


def inputs(node):
    """Return the nodes that a node leads back to."""
    return [following for following, _ in node.next_functions if following is not None]


def through(change):
    """Return a fault that has an operation work on what `change` makes of its tensor."""
    return lambda real: lambda x, *rest: real(change(x), *rest)


def of_a_twin(x):
    """Return a leaf of its own with the same values."""
    return x.detach().requires_grad_()


def worked_example():
    """Return Q = 3a³ - b² and its leaves."""
    a, b = make_leaves()
    return 3 * a**3 - b**2, {"a": a, "b": b}


def used_twice():
    """Return a result that uses another one twice, and the leaf."""
    a, _ = make_leaves()
    h = a**2
    return h.exp() * h, {"a": a}


def squared_by_hand():
    """Return x · x, and x."""
    x = torch.tensor([2.0, 3.0], requires_grad=True)
    return x * x, {"x": x}


def loss_of_the_net():
    """Return the loss of the Net for one image, and the parameters."""
    net = Net()
    loss = nn.MSELoss()(net(torch.randn(1, 1, 32, 32)), torch.randn(1, 10))
    return loss, dict(net.named_parameters())


class TestNodesAndEdges:
    """The picture of the graph: a node for each operation, an edge to each input."""

    @claim("autograd.graph-structure", notes="2.6, picture; notebook autograd", graph=worked_example)
    @broken_by(Tensor, "__sub__", lambda real: lambda x, y: real(x, y.detach()))
    @broken_by(Tensor, "__sub__", lambda real: lambda x, y: real(y, x).neg())
    @broken_by(Tensor, "__pow__", through(Tensor.clone))
    @broken_by(Tensor, "__rmul__", lambda real: lambda x, n: x + x + x)
    def test_graph_of_q_has_one_node_an_operation(self, device):
        """Q = 3a³ - b² leads back from Sub to Mul, Pow and the leaf a first, then to Pow and the leaf b."""
        a, b = make_leaves(device)

        Q = 3 * a**3 - b**2

        nodes = walk(Q, params={"a": a, "b": b})
        assert [(node.label, node.inputs) for node in nodes] == [
            ("SubBackward0", (1, 4)),
            ("MulBackward0", (2,)),
            ("PowBackward0", (3,)),
            ("a (2)", ()),
            ("PowBackward0", (5,)),
            ("b (2)", ()),
        ]

    @claim("autograd.graph-structure-edges", notes="2.6, picture")
    @broken_by(Tensor, "__sub__", lambda real: lambda x, y: real(x.clone(), y))
    @broken_by(Tensor, "__sub__", lambda real: lambda x, y: real(x, y.clone()))
    @broken_by(Tensor, "__sub__", lambda real: lambda x, y: real(y, x))
    def test_edges_lead_to_the_nodes_of_the_operands(self, device):
        """The node of a result leads back to the very grad_fn of each operand, in their order."""
        a, b = make_leaves(device)
        minuend, subtrahend = a**3, b.exp()

        Q = minuend - subtrahend

        assert [following for following, _ in Q.grad_fn.next_functions] == [
            minuend.grad_fn,
            subtrahend.grad_fn,
        ]
        assert [kind(node) for node in inputs(minuend.grad_fn)] == ["AccumulateGrad"]

    @claim("autograd.graph-structure-constants", notes="2.6, picture")
    @broken_by(Tensor, "__mul__", lambda real: lambda x, y: real(x, y.clone().requires_grad_()))
    @broken_by(Tensor, "__mul__", lambda real: lambda x, y: real(y, x))
    @broken_by(Tensor, "__add__", lambda real: lambda x, n: real(x, torch.full_like(x, n).requires_grad_()))
    def test_what_requires_no_gradient_is_no_node(self, device):
        """A number, and a tensor that requires no gradient, leave an empty edge (None, 0) and no node."""
        a, _ = make_leaves(device)
        data = torch.ones(2, device=device)

        result = a * data + 1

        assert result.grad_fn.next_functions[1:] == ((None, 0),)
        (product,) = inputs(result.grad_fn)
        assert [(following and kind(following), n) for following, n in product.next_functions] == [
            ("AccumulateGrad", 0),
            (None, 0),
        ]

    @claim("autograd.graph-structure-fresh-nodes", notes="2.6, picture")
    @broken_by(Tensor, "__mul__", lambda real: lambda x, y, kept={}: kept.setdefault(id(x), real(x, y)))
    def test_every_operation_makes_a_node_of_its_own(self, device):
        """An expression computed twice makes two nodes of the same kind, which lead to the same leaves."""
        a, b = make_leaves(device)

        first, second = (a * b).grad_fn, (a * b).grad_fn

        assert kind(first) == kind(second) == "MulBackward0"
        assert first is not second
        assert first.next_functions == second.next_functions

    @claim("autograd.graph-structure-slice-assignment", notes="2.6, picture")
    @broken_by(Tensor, "__setitem__", lambda real: lambda y, place, value: real(y, place, value.detach()))
    @broken_by(Tensor, "__setitem__", lambda real: lambda y, place, value: real(y.detach(), place, value))
    @broken_by(Tensor, "__setitem__", lambda real: lambda y, place, value: y.copy_(value))
    def test_assignment_to_a_part_is_a_node_too(self, device):
        """After y[0] = value, y.grad_fn is a CopySlices node that leads to the former y and to the value."""
        a, b = make_leaves(device)
        y, value = 3 * a, b.sum()
        former = y.grad_fn

        y[0] = value

        assert kind(y.grad_fn) == "CopySlices"
        assert inputs(y.grad_fn) == [former, value.grad_fn]
        y.sum().backward()
        assert [a.grad.tolist(), b.grad.tolist()] == [[0, 3], [1, 1]]

    @claim("autograd.graph-structure-output-number", notes="2.6, picture")
    @broken_by(Tensor, "unbind", lambda real: lambda x: (x[0], x[1]))
    @broken_by(Tensor, "unbind", lambda real: lambda x: real(x)[::-1])
    @broken_by(Tensor, "unbind", lambda real: lambda x: (real(x)[0], real(x)[1]))
    def test_an_edge_tells_which_output_it_comes_from(self, device):
        """The results of one operation share its node, and the number of an edge tells them apart."""
        a, _ = make_leaves(device)

        two, three = a.unbind()

        assert two.grad_fn is three.grad_fn
        node = two.grad_fn
        assert (three - two).grad_fn.next_functions == ((node, 1), (node, 0))


class TestSharedNodes:
    """What is used several times is one node."""

    @claim("autograd.graph-structure-shared", notes="2.6, picture", graph=used_twice)
    @broken_by(Tensor, "exp", through(Tensor.clone))
    @broken_by(Tensor, "exp", through(Tensor.detach))
    @broken_by(Tensor, "__mul__", lambda real: lambda x, y: real(x, y.clone()))
    def test_a_result_used_twice_is_one_node_with_two_users(self, device):
        """Two operations that use one result lead to the same node: the graph is no tree."""
        a, _ = make_leaves(device)
        h = a**2

        product = h.exp() * h

        assert inputs(product.grad_fn)[1:] == [h.grad_fn]
        assert inputs(inputs(product.grad_fn)[0]) == [h.grad_fn]

    @claim("autograd.graph-structure-shared-leaf", notes="2.6, picture")
    @broken_by(Tensor, "exp", through(of_a_twin))
    @broken_by(Tensor, "exp", through(Tensor.clone))
    def test_operations_on_one_leaf_share_its_node(self, device):
        """All operations on a leaf lead to its one AccumulateGrad node, also those of different graphs."""
        a, _ = make_leaves(device)
        cube, exponential = a**3, a.exp()

        (of_cube,), (of_exponential,) = inputs(cube.grad_fn), inputs(exponential.grad_fn)

        assert kind(of_cube) == "AccumulateGrad"
        assert of_exponential is of_cube

    @claim("autograd.graph-structure-two-edges", notes="2.6, picture", graph=squared_by_hand)
    @broken_by(Tensor, "__mul__", lambda real: lambda x, y: x**2)
    @broken_by(Tensor, "__mul__", lambda real: lambda x, y: real(x, y.detach()))
    @broken_by(Tensor, "__mul__", lambda real: lambda x, y: real(x, of_a_twin(y)))
    @broken_by(Tensor, "backward", lambda real: lambda x, v: real(x, v / 2))
    def test_an_operand_taken_twice_has_two_edges(self, device):
        """The node of x · x leads to x twice, and backward() adds up what comes over both: 2x."""
        x = torch.tensor([2.0, 3.0], device=device, requires_grad=True)

        square = x * x

        assert len(inputs(square.grad_fn)) == 2
        assert len(set(inputs(square.grad_fn))) == 1
        square.backward(torch.ones_like(x))
        assert x.grad.tolist() == [4, 6]

    @claim("autograd.graph-structure-backward-order", notes="2.6, picture")
    @broken_by(Tensor, "backward", lambda real: lambda x: real(x, retain_graph=True) or real(x))
    @broken_by(Tensor, "backward", lambda real: lambda x: torch.autograd.grad(x, x))
    @broken_by(Tensor, "exp", through(Tensor.detach))
    def test_backward_runs_each_node_once_after_all_its_users(self, device):
        """backward() comes to a node once, with the sum of what all its users send: 1 + e² for h + exp(h)."""
        h = torch.tensor(2.0, dtype=torch.float64, device=device, requires_grad=True) * 1
        total = h.exp() + h
        seen = []
        handle = h.grad_fn.register_hook(lambda to_inputs, from_users: seen.append(from_users[0].item()))

        total.backward()
        handle.remove()

        assert seen == [pytest.approx(1 + 7.38905609893065)]


class TestLeaves:
    """Leaves are the inputs of the graph, roots its outputs."""

    @claim("autograd.graph-structure-leaf-variable", notes="2.6, picture")
    @broken_by(Tensor, "exp", through(of_a_twin))
    @broken_by(Tensor, "exp", through(Tensor.clone))
    def test_the_node_of_a_leaf_holds_the_leaf_itself(self, device):
        """The AccumulateGrad node of a leaf has the very tensor as its variable, and leads nowhere."""
        a, _ = make_leaves(device)

        node = a.exp().grad_fn.next_functions[0][0]

        assert kind(node) == "AccumulateGrad"
        assert node.variable is a
        assert node.next_functions == ()

    @claim("autograd.graph-structure-leaves", notes="2.6, picture; notebook autograd")
    @broken_by(Tensor, "__rmul__", through(Tensor.detach))
    @broken_by(Tensor, "exp", lambda real: lambda x: of_a_twin(real(x)))
    @broken_by(torch, "ones", lambda real: lambda n: real(n, requires_grad=True).exp())
    def test_leaves_have_no_grad_fn(self):
        """A tensor that no operation made, or none that autograd recorded, is a leaf and has no grad_fn."""
        a, _ = make_leaves()
        data = torch.ones(2)

        leaves, results = [a, data, 2 * data], [3 * a, a.exp()]

        assert [(x.is_leaf, x.grad_fn is None) for x in leaves] == [(True, True)] * 3
        assert [(x.is_leaf, x.grad_fn is None) for x in results] == [(False, False)] * 2

    @claim("autograd.graph-structure-net", notes="2.6; 3 loss function", graph=loss_of_the_net)
    @broken_by(nets, "relu", lambda real: lambda x: real(x.detach()) if x.shape[1] == 84 else real(x))
    @broken_by(nn.Linear, "forward", lambda real: lambda layer, x: x @ layer.weight.detach().T + layer.bias)
    @broken_by(nn.MSELoss, "forward", lambda real: lambda criterion, y, t: real(criterion, y, of_a_twin(t)))
    @broken_by(Net, "forward", lambda real: lambda net, x: real(net, of_a_twin(x)))
    def test_leaves_behind_the_loss_are_the_parameters_of_the_net(self, device):
        """The leaves of a loss's graph are the Net's ten parameters, once each: no image and no target."""
        net = Net().to(device)
        image, target = torch.randn(1, 1, 32, 32, device=device), torch.randn(1, 10, device=device)

        loss = nn.MSELoss()(net(image), target)

        leaves = [node for node in walk(loss, params=dict(net.named_parameters())) if not node.inputs]
        assert sorted(leaf.name for leaf in leaves) == sorted(name for name, _ in net.named_parameters())
