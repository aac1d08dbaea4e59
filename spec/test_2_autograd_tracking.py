"""Notes 2.4 and the notebooks: which operations are recorded, and whose results require a gradient."""

from itertools import product

import torch
import torch.nn.functional as F

from spec.harness import QUALIFIED, broken_by, claim

RECORDED = {
    "add": lambda x: x + 1,
    "index": lambda x: x[0],
    "matmul": lambda x: x @ x,
    "sum": lambda x: x.sum(),
    "transpose": lambda x: x.t(),
    "view": lambda x: x.view(9),
    "clone": lambda x: x.clone(),
    "to float64": lambda x: x.double(),
    "round": lambda x: x.round(),
    "largest": lambda x: x.max(0).values,
}
NOT_RECORDED = {
    "detach": lambda x: x.detach(),
    "compare": lambda x: x > 0,
    "argmax": lambda x: x.argmax(),
    "to int": lambda x: x.int(),
    "where the largest are": lambda x: x.max(0).indices,
    "zeros_like": lambda x: torch.zeros_like(x),
}
UNCHANGED = {
    "contiguous": lambda x: x.contiguous(),
    "to its own type": lambda x: x.float(),
    "to its own device": lambda x: x.to(x.device),
}


def inner_nodes(result):
    """Return the kinds of the nodes behind `result`, those that accumulate into leaves left out."""
    nodes, found = [result.grad_fn], []
    while nodes:
        node = nodes.pop()
        nodes += [following for following, _ in node.next_functions if following]
        found += [] if hasattr(node, "variable") else [type(node).__name__]
    return found


def leads_to(leaf, result):
    """Tell whether the graph of `result` gives `leaf` a gradient."""
    return torch.autograd.grad(result.sum(), leaf, allow_unused=True)[0] is not None


def only_if(condition):
    """Return a replacement that records an operation only if `condition` holds for its inputs' flags."""

    def replace(real):
        def function(*inputs):
            recorded = condition([x.requires_grad for x in inputs])
            result = real(*inputs)
            return result if recorded else result.detach()

        return function

    return replace


class TestRecording:
    """Every operation makes a node; a result requires a gradient if a single input does."""

    @claim(
        "autograd.every-op-makes-a-node",
        notes="notebook nn",
        verdict=QUALIFIED,
        says="every tensor operation creates at least one Function node",
    )
    @broken_by(torch.Tensor, "clone", lambda real: lambda x: real(x).detach())
    @broken_by(torch.Tensor, "view", lambda real: lambda x, *shape: real(x.data, *shape))
    @broken_by(torch.Tensor, "double", lambda real: lambda x: real(x).detach().requires_grad_())
    @broken_by(torch.Tensor, "t", lambda real: lambda x: real(x.detach().requires_grad_()))
    @broken_by(torch.Tensor, "__getitem__", lambda real: lambda x, index: torch.tensor(x.tolist()[index]))
    def test_differentiable_operations_leave_a_node(self, device):
        """A differentiable operation on what requires a gradient gives a grad_fn that leads back to it."""
        x = torch.randn(3, 3, device=device, requires_grad=True)

        results = {name: operation(x) for name, operation in RECORDED.items()}

        assert [name for name, result in results.items() if result.grad_fn is None] == []
        assert [name for name, result in results.items() if not leads_to(x, result)] == []

    @claim("autograd.every-op-makes-a-node-or-several", notes="notebook nn")
    @broken_by(F, "linear", lambda real: lambda x, weight, bias: torch.addmm(bias, x, weight.detach().t()))
    @broken_by(F, "linear", lambda real: lambda x, weight, bias: x @ weight.t() + bias)
    def test_linear_leaves_two_nodes(self):
        """One call may make several nodes: F.linear makes one that adds and multiplies, and one of Wᵀ."""
        weight = torch.randn(2, 3, requires_grad=True)
        bias = torch.randn(2, requires_grad=True)

        result = F.linear(torch.randn(4, 3), weight, bias)

        assert inner_nodes(result) == ["AddmmBackward0", "TBackward0"]

    @claim("autograd.every-op-makes-a-node-with-exceptions", notes="notebook nn")
    @broken_by(torch.Tensor, "detach", lambda real: lambda x: x.clone())
    @broken_by(torch.Tensor, "__gt__", lambda real: lambda x, y: x - y)
    @broken_by(
        torch.Tensor,
        "argmax",
        lambda real: lambda x: (x.flatten().softmax(0) * torch.arange(9, device=x.device)).sum(),
    )
    @broken_by(torch, "zeros_like", lambda real: lambda x: 0 * x)
    def test_other_results_have_no_node(self, device):
        """detach, comparisons, positions, casts to integers and factories make no node."""
        x = torch.randn(3, 3, device=device, requires_grad=True)

        results = {name: operation(x) for name, operation in NOT_RECORDED.items()}

        assert [name for name, result in results.items() if result.grad_fn is not None] == []
        assert [name for name, result in results.items() if result.requires_grad] == []

    @claim("autograd.every-op-makes-a-node-if-it-does-something", notes="notebook nn")
    @broken_by(torch.Tensor, "contiguous", lambda real: lambda x: x.clone())
    @broken_by(torch.Tensor, "float", lambda real: lambda x: x.clone())
    @broken_by(torch.Tensor, "to", lambda real: lambda x, device: real(x, device, copy=True))
    def test_operation_with_nothing_to_do_returns_its_input(self, device):
        """Where nothing changes, contiguous(), float() and to() return the tensor itself: no node is made."""
        x = torch.randn(3, 3, device=device, requires_grad=True)

        assert [name for name, operation in UNCHANGED.items() if operation(x) is not x] == []

    @claim("autograd.every-op-makes-a-node-if-an-input-requires", notes="notebook nn")
    @broken_by(torch.Tensor, "clone", lambda real: lambda x: real(x.requires_grad_()))
    @broken_by(torch.Tensor, "view", lambda real: lambda x, *shape: real(x, *shape).requires_grad_())
    def test_no_node_where_no_input_requires_a_gradient(self, device):
        """Of inputs that require no gradient nothing is recorded."""
        x = torch.randn(3, 3, device=device)

        results = {name: operation(x) for name, operation in RECORDED.items()}

        assert [name for name, result in results.items() if result.grad_fn is not None] == []
        assert [name for name, result in results.items() if result.requires_grad] == []

    @claim(
        "autograd.requires-grad-propagates",
        notes="notebook autograd",
        verdict=QUALIFIED,
        says="an operation's output requires gradients if only a single input does",
    )
    @broken_by(torch, "addcmul", only_if(all))
    @broken_by(torch, "addcmul", only_if(lambda flags: flags[0]))
    @broken_by(torch, "addcmul", only_if(lambda flags: flags[-1]))
    @broken_by(torch, "addcmul", only_if(lambda flags: sum(flags) != 2))
    def test_any_input_is_enough(self, device):
        """A differentiable operation's result requires a gradient exactly if one input or more does."""
        seen = {}
        for flags in product([False, True], repeat=3):
            inputs = [torch.ones(2, device=device, requires_grad=flag) for flag in flags]
            seen[flags] = torch.addcmul(*inputs).requires_grad

        assert seen.pop((False, False, False)) is False
        assert list(seen.values()) == [True] * 7

    @claim("autograd.requires-grad-propagates-as-printed", notes="notebook autograd")
    @broken_by(torch.Tensor, "__add__", only_if(all))
    @broken_by(torch.Tensor, "__add__", lambda real: lambda x, y: real(x, y).detach().requires_grad_())
    def test_sum_requires_a_gradient_if_one_summand_does(self):
        """The notebook's lines print False for a sum of two plain tensors and True where one requires it."""
        x, y = torch.rand(5, 5), torch.rand(5, 5)
        z = torch.rand((5, 5), requires_grad=True)

        a = x + y
        b = x + z

        assert f"{a.requires_grad} {b.requires_grad}" == "False True"

    @claim("autograd.requires-grad-propagates-through-steps", notes="notebook autograd")
    @broken_by(torch.Tensor, "round", lambda real: lambda x: x + (real(x) - x).detach())
    @broken_by(torch.Tensor, "round", lambda real: lambda x: real(x).detach())
    @broken_by(torch.Tensor, "sign", lambda real: lambda x: x.tanh())
    @broken_by(torch.Tensor, "sign", lambda real: lambda x: real(x).detach().requires_grad_())
    def test_round_and_sign_pass_on_zeros(self, device):
        """What round() and sign() return requires a gradient, and what comes back through them is zero."""
        x, y = (torch.tensor([0.4, -1.6, 2.5], device=device, requires_grad=True) for _ in range(2))

        for leaf, steps in ((x, x.round()), (y, y.sign())):
            assert steps.requires_grad
            steps.sum().backward()
            assert leaf.grad is not None
            assert leaf.grad.tolist() == [0, 0, 0]

    @claim("autograd.requires-grad-propagates-not-through-integers", notes="notebook autograd")
    @broken_by(torch.Tensor, "int", lambda real: lambda x: x.trunc())
    @broken_by(torch.Tensor, "float", lambda real: lambda x: real(x).requires_grad_())
    def test_way_through_integers_ends_the_record(self, device):
        """A cast to integers and back keeps whole values, and no longer requires a gradient."""
        x = torch.tensor([2.0, -3.0], device=device, requires_grad=True)

        there_and_back = x.int().float()

        assert there_and_back.tolist() == [2, -3]
        assert not there_and_back.requires_grad
