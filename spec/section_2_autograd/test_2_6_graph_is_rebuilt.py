"""The notebook on autograd: the graph is built anew in every iteration, and may change."""

import pytest
import torch

from spec.harness import QUALIFIED, fault, statement


def raised_until(w, limit):
    """Multiply w by itself until it reaches a limit."""
    y = w
    while y < limit:
        y = y * w
    return y


def branch(x):
    """Return 2x for a positive x, else 5x."""
    return 2 * x if x > 0 else 5 * x


def passes(result, **options):
    """Return how many times, up to three, backward() of a result works."""
    for number in range(3):
        try:
            result.backward(**options)
        except RuntimeError:
            return number
    return 3


# Faults


def first_again(real):
    """Return a function that gives every call the result of its first."""
    results = []

    def function(*args, **options):
        if not results:
            results.append(real(*args, **options))
        return results[0]

    return function


def keeps_the_graph(real):
    """Return a backward() that retains the graph whatever it is told."""
    return lambda result, **options: real(result, retain_graph=True)


@statement(
    "autograd.graph-is-rebuilt",
    notes="notebook autograd",
    verdict=QUALIFIED,
    says="after each backward() call, autograd starts populating a new graph",
)
@fault("all squares have one graph", torch.Tensor, "square", first_again)
@fault("backward runs once", torch.Tensor, "backward", first_again)
@fault("backward ignores retain_graph", torch.Tensor, "backward", lambda real: lambda y, **options: real(y))
@fault("backward keeps every graph", torch.Tensor, "backward", keeps_the_graph)
class TestGraphIsRebuilt:
    """Each forward pass builds a new graph, whether or not backward() ran in between. backward() frees the
    values that the forward pass kept, so that a second one through them is an error, unless the first is told
    retain_graph=True.
    """

    def test_each_forward_pass_builds_a_graph_of_its_own(self, device):
        x = torch.tensor([3.0], device=device, requires_grad=True)

        first, second = x.square(), x.square()
        assert first.grad_fn is not second.grad_fn
        for result in (second, first, x.square()):
            result.backward()

        assert x.grad.item() == 3 * (2 * 3)

    def test_second_backward_is_an_error_where_values_were_kept(self, device):
        result = torch.tensor([3.0], device=device, requires_grad=True).square()
        result.backward()

        with pytest.raises(RuntimeError, match="Trying to backward through the graph a second time"):
            result.backward()

    @pytest.mark.parametrize(
        ("function", "slope", "options"),
        [(torch.square, 2 * 3, {"retain_graph": True}), (lambda x: x + 1, 1, {})],
        ids=["retained", "no values kept"],
    )
    def test_graph_can_be_used_again_if_no_value_is_freed(self, function, slope, options, device):
        x = torch.tensor([3.0], device=device, requires_grad=True)

        assert passes(function(x), **options) == 3

        assert x.grad.item() == 3 * slope


@statement("autograd.dynamic-control-flow", notes="notebook autograd")
@fault("a condition is never met", torch.Tensor, "__bool__", lambda real: lambda condition: False)
@fault("a factor is a constant", torch.Tensor, "__mul__", lambda real: lambda x, y: real(x, y.detach()))
@fault("all batches are the first", torch, "ones", first_again)
class TestDynamicControlFlow:
    """The gradient follows what the forward pass did: the passes of a loop, the branch that was taken, and
    the length of the batch may differ in every iteration.
    """

    @pytest.mark.asks_the_device
    def test_gradient_follows_the_passes_of_a_loop(self, device):
        gradients = []
        for limit in (4, 16):
            w = torch.tensor(2.0, device=device, requires_grad=True)
            raised_until(w, limit).backward()
            gradients.append(w.grad.item())

        assert gradients == [2 * 2, 4 * 2**3]  # of w w and of w w w w

    @pytest.mark.asks_the_device
    def test_gradient_follows_the_branch_taken(self, device):
        gradients = []
        for value in (3.0, -3.0, 1.0):
            x = torch.tensor(value, device=device, requires_grad=True)
            branch(x).backward()
            gradients.append(x.grad.item())

        assert gradients == [2, 5, 2]

    def test_gradient_follows_the_length_of_the_batch(self, device):
        gradients = []
        for rows in (1, 4, 2):
            w = torch.tensor(5.0, device=device, requires_grad=True)
            (w * torch.ones(rows, device=device)).sum().backward()
            gradients.append(w.grad.item())

        assert gradients == [1, 4, 2]
