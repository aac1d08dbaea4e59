"""The notebook on autograd: the graph is built anew in every iteration, and may change."""

import pytest
import torch

from spec.harness import QUALIFIED, each_row, fault, statement


def raised_until(w, limit):
    """Multiply w by itself until it reaches a limit."""
    y = w
    while y < limit:
        y = y * w
    return y


def branch(w, x):
    """Return 2w for a positive x, else 5w."""
    return 2 * w if x > 0 else 5 * w


def batch(w, rows):
    """Return the sum of a batch of rows of w."""
    return (w * torch.ones(rows, device=w.device)).sum()


CHANGING = {
    # what a forward pass makes of a weight of 2 and a number, the number in each iteration, and the gradients
    "passes of a loop": (raised_until, [4, 16], [2 * 2, 4 * 2**3]),  # of w w and of w w w w
    "branch": (branch, [3.0, -3.0, 1.0], [2, 5, 2]),
    "length of the batch": (batch, [1, 4, 2], [1, 4, 2]),
}


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
    """Each forward pass builds a new graph, with or without backward() in between. backward() frees the
    values that the forward pass saved, unless retain_graph=True is passed. A second backward() that needs the
    freed values raises a RuntimeError.
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
@fault("a branch is taken always", torch.Tensor, "__gt__", lambda real: lambda x, limit: True)
@fault("all batches are the first", torch, "ones", first_again)
@pytest.mark.asks_the_device
@each_row
@pytest.mark.parametrize(("forward", "numbers", "gradients"), CHANGING.values(), ids=CHANGING)
def test_gradient_follows_what_the_forward_pass_did(forward, numbers, gradients, device):
    """The gradients are computed from the operations that the forward pass really ran. The number of loop
    passes, the branch that is taken and the length of the batch may therefore change in every iteration.
    """
    seen = []
    for number in numbers:
        w = torch.tensor(2.0, device=device, requires_grad=True)
        forward(w, torch.tensor(number)).backward()
        seen.append(w.grad.item())

    assert seen == gradients
