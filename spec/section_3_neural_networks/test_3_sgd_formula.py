"""3 "Update the weights": SGD in each of its forms against its formula, blitz/explained/sgd.py."""

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.optim import SGD, sgd

from blitz.explained.sgd import sgd_step
from spec.harness import fault, statement
from spec.sgd_faults import (
    decay_apart,
    decay_upside_down,
    first_buffer_damped,
    forgetting,
    with_formula,
    zeros_for_none,
)

# Of the largest weight: each step rounds some six times, and the errors of one go through those that follow.
A_FEW_ULP = 16 * torch.finfo(torch.float64).eps


@st.composite
def options(draw):
    """Options that SGD takes together."""
    share = st.floats(0, 1)
    drawn = {"lr": draw(share), "weight_decay": draw(share), "maximize": draw(st.booleans())}
    form = draw(st.sampled_from(["plain", "momentum", "nesterov"]))
    if form == "momentum":
        drawn |= {"momentum": draw(share), "dampening": draw(share)}
    if form == "nesterov":
        drawn |= {"momentum": draw(st.floats(0.1, 1)), "nesterov": True}
    return drawn


SIZES = (3, 1, 2)
STEPS = 4
CELLS = st.tuples(st.integers(0, STEPS - 1), st.integers(0, len(SIZES) - 1))


@st.composite
def runs(draw, *, late_gradients=True):
    """Options, weights, and their gradients in each step, some of them None."""
    numbers = torch.Generator().manual_seed(draw(st.integers(0, 999)))
    rows = [
        [torch.randn(size, generator=numbers, dtype=torch.float64) for size in SIZES]
        for _ in range(1 + STEPS)
    ]
    weights, *gradients = rows
    for step, index in draw(st.sets(CELLS, max_size=4)):
        if step > 0 or late_gradients:
            gradients[step][index] = None
    return draw(options()), weights, gradients


def path_of_torch(run, device, **form):
    """Return the weights, all in a row, after each step of torch.optim.SGD."""
    options, starts, gradients = run
    weights = [start.to(device, copy=True).requires_grad_() for start in starts]
    optimizer = SGD(weights, **options, **form)
    path = []
    for row in gradients:
        for weight, gradient in zip(weights, row, strict=True):
            weight.grad = None if gradient is None else gradient.to(device, copy=True)
        optimizer.step()
        path.append(torch.cat([weight.detach().clone() for weight in weights]))
    return torch.stack(path)


def path_of_formula(run, device):
    """Return the weights, all in a row, after each step of blitz.sgd_step."""
    options, weights, gradients = run
    buffers, path = [None] * len(weights), []
    for row in gradients:
        weights, buffers = sgd_step(weights, row, buffers, **options)
        path.append(torch.cat(weights))
    return torch.stack(path).to(device)


@statement("nn.sgd-follows-its-formula", notes="3 update the weights")
@fault("weights decay apart", sgd, "sgd", decay_apart)
@fault("the first buffer is damped", sgd, "sgd", first_buffer_damped)
@fault("dampening is ignored", sgd, "sgd", with_formula(dampening=0))
@fault("Nesterov is ignored", sgd, "sgd", with_formula(nesterov=False))
@fault(
    "the rate is rounded to float32",
    sgd,
    "sgd",
    with_formula(lr=lambda drawn: float(torch.tensor(drawn["lr"]))),
)
@fault(
    "weight decay changes its sign with maximize", sgd, "sgd", with_formula(weight_decay=decay_upside_down)
)
@fault("a step takes None for zeros", SGD, "step", zeros_for_none)
@fault("a buffer is forgotten without a gradient", SGD, "step", forgetting)
@fault("foreach does not negate", torch, "_foreach_neg", lambda real: list)
@fault(
    "fused ignores maximize",
    torch,
    "_fused_sgd_",
    lambda real: lambda *lists, **o: real(*lists, **o | {"maximize": False}),
)
class TestSgdFollowsItsFormula:
    """SGD computes the same weights as the formula in blitz.sgd_step(). The formula covers momentum,
    dampening, Nesterov momentum, weight decay and maximize. SGD follows the formula one weight at a time,
    with foreach=True and with fused=True.
    """

    @given(run=runs())
    def test_sgd_follows_its_formula(self, device, run):
        actual, expected = path_of_torch(run, device, foreach=False), path_of_formula(run, device)

        largest = expected.abs().max().item()
        torch.testing.assert_close(actual, expected, rtol=0, atol=A_FEW_ULP * largest)

    @given(run=runs())
    def test_sgd_over_all_weights_at_once_follows_the_formula(self, device, run):
        actual, expected = path_of_torch(run, device, foreach=True), path_of_formula(run, device)

        largest = expected.abs().max().item()
        torch.testing.assert_close(actual, expected, rtol=0, atol=A_FEW_ULP * largest)

    @given(run=runs(late_gradients=False))
    def test_sgd_in_one_kernel_follows_the_formula(self, device, run):
        actual, expected = path_of_torch(run, device, fused=True), path_of_formula(run, device)

        largest = expected.abs().max().item()
        torch.testing.assert_close(actual, expected, rtol=0, atol=A_FEW_ULP * largest)
