"""Notes 2.4 and the notebook: a graph anew in every iteration, and control flow that decides its shape."""

import weakref

import pytest
import torch
from torch.autograd.graph import saved_tensors_hooks

from spec.harness import QUALIFIED, broken_by, claim


def raised_until(w, limit):
    """Multiply w by itself until it reaches `limit`: as often as its value asks for."""
    y = w
    while y < limit:
        y = y * w
    return y


def branch(x):
    """Return 2x for a positive x, else 5x."""
    return 2 * x if x > 0 else 5 * x


class Kept:
    """What a forward pass keeps for backward(): a tensor in a box, whose end can be watched."""

    def __init__(self, tensor):
        self.tensor = tensor


def watched(forward):
    """Run `forward`; return its result, and a reference to each value that it keeps for backward()."""
    references = []

    def keep(tensor):
        box = Kept(tensor)
        references.append(weakref.ref(box))
        return box

    with saved_tensors_hooks(keep, lambda box: box.tensor):
        return forward(), references


# Faults


def first_answers_again(real):
    """Return a truth value of tensors that repeats the answers up to its first no, as a recording would."""
    answers, asked = [], []

    def answer(tensor):
        if False not in answers:
            answers.append(real(tensor))
            return answers[-1]
        asked.append(tensor)
        return answers[(len(asked) - 1) % len(answers)]

    return answer


def first_again(real):
    """Return a function that gives every call the result of its first."""
    results = []

    def function(*args, **options):
        if not results:
            results.append(real(*args, **options))
        return results[0]

    return function


def once(real):
    """Return a backward() that does nothing for a result whose backward() ran before."""
    done = []

    def backward(result, **options):
        if not any(result is other for other in done):
            done.append(result)
            real(result, **options)

    return backward


def keep_graph(real):
    """Return a backward() that retains the graph whatever it is told."""
    return lambda result, **options: real(result, retain_graph=True)


class TestGraphIsRebuilt:
    """The notebook: the graph is recreated from scratch; after each backward() a new one is populated."""

    @claim(
        "autograd.graph-is-rebuilt",
        notes="notebook autograd",
        verdict=QUALIFIED,
        says="after each backward() call, autograd starts populating a new graph",
    )
    @broken_by(torch.Tensor, "square", first_again)
    @broken_by(torch.Tensor, "backward", first_again)
    def test_each_forward_pass_builds_a_graph_of_its_own(self, device):
        """Each forward pass builds a new graph, backward() in between or not, and each has its backward()."""
        x = torch.tensor([3.0], device=device, requires_grad=True)

        first, second = x.square(), x.square()
        assert first.grad_fn is not second.grad_fn
        for result in (second, first, x.square()):
            result.backward()

        assert x.grad.item() == 3 * (2 * 3)

    @claim("autograd.graph-is-rebuilt-and-used-once", notes="notebook autograd")
    @broken_by(torch.Tensor, "backward", keep_graph)
    @broken_by(torch.Tensor, "backward", once)
    def test_second_backward_through_one_graph_is_an_error(self, device):
        """A second backward() through the values that one forward pass kept is a RuntimeError."""
        x = torch.tensor([3.0], device=device, requires_grad=True)
        result = x.square()
        result.backward()

        with pytest.raises(RuntimeError, match="Trying to backward through the graph a second time"):
            result.backward()

    @claim("autograd.graph-is-rebuilt-unless-retained", notes="notebook autograd")
    @broken_by(torch.Tensor, "backward", once)
    @broken_by(torch.Tensor, "square", lambda real: lambda x: x.abs())
    def test_retained_graph_has_a_second_backward(self, device):
        """After backward(retain_graph=True) a second one passes, and adds the same gradients again."""
        x = torch.tensor([3.0], device=device, requires_grad=True)
        result = x.square()

        result.backward(retain_graph=True)
        result.backward()

        assert x.grad.item() == 2 * (2 * 3)

    @claim("autograd.graph-is-rebuilt-unless-nothing-was-kept", notes="notebook autograd")
    @broken_by(torch.Tensor, "backward", once)
    @broken_by(torch.Tensor, "sum", lambda real: lambda x: x.mean())
    def test_graph_that_kept_nothing_can_be_used_again(self, device):
        """A graph that keeps no values, as that of (x + 1).sum(), has any number of backward() calls."""
        x = torch.tensor([3.0, 5.0], device=device, requires_grad=True)
        result, kept = watched(lambda: (x + 1).sum())

        for _ in range(3):
            result.backward()

        assert kept == []
        assert x.grad.tolist() == [3, 3]

    @claim("autograd.graph-is-rebuilt-and-freed", notes="notebook autograd")
    @broken_by(torch.Tensor, "backward", keep_graph)
    @broken_by(torch.Tensor, "backward", lambda real: lambda result, **options: real(result))
    @broken_by(torch.Tensor, "backward", lambda real: lambda result, **options: None)
    def test_backward_frees_what_forward_kept(self, device):
        """backward() lets go of every value that the forward pass kept; with retain_graph=True of none."""
        x = torch.tensor([3.0, 5.0], device=device, requires_grad=True)
        result, kept = watched(lambda: (x.exp() * x).square().sum())

        assert len(kept) >= 3  # exp keeps its result, a product both factors, a square its input
        result.backward(retain_graph=True)
        assert all(reference() is not None for reference in kept)
        result.backward()
        assert all(reference() is None for reference in kept)


class TestDynamicControlFlow:
    """The notebook: shape, size and operations may change at every iteration."""

    @claim("autograd.dynamic-control-flow", notes="notebook autograd")
    @broken_by(torch.Tensor, "__bool__", first_answers_again)
    @broken_by(torch.Tensor, "__mul__", lambda real: lambda x, y: real(x, y.detach()))
    @pytest.mark.asks_the_device
    def test_gradient_follows_the_number_of_passes(self, device):
        """A loop is recorded as often as it ran: at 2 the gradient of w w is 4, that of w w w w 32."""
        gradients = []
        for limit in (4, 16):
            w = torch.tensor(2.0, device=device, requires_grad=True)
            raised_until(w, limit).backward()
            gradients.append(w.grad.item())

        assert gradients == [2 * 2, 4 * 2**3]

    @claim("autograd.dynamic-control-flow-branch", notes="notebook autograd")
    @broken_by(torch.Tensor, "__bool__", first_again)
    @broken_by(torch.Tensor, "__gt__", lambda real: lambda x, y: real(y - x, 0))
    @pytest.mark.asks_the_device
    def test_gradient_follows_the_branch_taken(self, device):
        """Of `2 * x if x > 0 else 5 * x` the branch that the data takes is recorded: 2 or 5."""
        gradients = []
        for value in (3.0, -3.0, 1.0):
            x = torch.tensor(value, device=device, requires_grad=True)
            branch(x).backward()
            gradients.append(x.grad.item())

        assert gradients == [2, 5, 2]

    @claim("autograd.dynamic-control-flow-shapes", notes="notebook autograd")
    @broken_by(torch, "ones", first_again)
    @broken_by(torch.Tensor, "sum", lambda real: lambda x: x.mean())
    def test_gradient_follows_the_length_of_the_batch(self, device):
        """A batch may have another length in each iteration: Σ w over 1, 4 and 2 rows gives 1, 4 and 2."""
        w = torch.tensor(5.0, device=device, requires_grad=True)
        gradients = []
        for rows in (1, 4, 2):
            w.grad = None
            (w * torch.ones(rows, device=device)).sum().backward()
            gradients.append(w.grad.item())

        assert gradients == [1, 4, 2]
