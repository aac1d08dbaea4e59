"""Section 3 of the notes, "Update the weights": what optim.SGD makes of a sequence of gradients."""

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.optim import SGD, sgd

from blitz.explained.sgd import sgd_step
from spec.harness import broken_by, claim
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


class TestFormula:
    """optim.SGD against blitz.sgd_step, on generated options and gradients, some of them None."""

    @claim("nn.sgd-follows-its-formula", notes="3 update the weights")
    @broken_by(sgd, "sgd", decay_apart)
    @broken_by(sgd, "sgd", first_buffer_damped)
    @broken_by(sgd, "sgd", with_formula(dampening=0))
    @broken_by(sgd, "sgd", with_formula(nesterov=False))
    @broken_by(sgd, "sgd", with_formula(lr=lambda drawn: float(torch.tensor(drawn["lr"]))))
    @broken_by(sgd, "sgd", with_formula(weight_decay=decay_upside_down))
    @broken_by(SGD, "step", zeros_for_none)
    @broken_by(SGD, "step", forgetting)
    @given(run=runs())
    def test_sgd_follows_its_formula(self, device, run):
        """SGD with momentum, dampening, Nesterov, decay and maximize is blitz.sgd_step to a few ulp."""
        actual, expected = path_of_torch(run, device, foreach=False), path_of_formula(run, device)

        largest = expected.abs().max().item()
        torch.testing.assert_close(actual, expected, rtol=0, atol=A_FEW_ULP * largest)

    @claim("nn.sgd-follows-its-formula-foreach", notes="3 update the weights")
    @broken_by(sgd, "sgd", decay_apart)
    @broken_by(sgd, "sgd", first_buffer_damped)
    @broken_by(sgd, "sgd", with_formula(dampening=0))
    @broken_by(sgd, "sgd", with_formula(nesterov=False))
    @broken_by(sgd, "sgd", with_formula(weight_decay=decay_upside_down))
    @broken_by(torch, "_foreach_neg", lambda real: list)
    @broken_by(SGD, "step", zeros_for_none)
    @broken_by(SGD, "step", forgetting)
    @given(run=runs())
    def test_sgd_over_all_weights_at_once_follows_the_formula(self, device, run):
        """SGD(foreach=True) moves weights to the same values, to a few ulp."""
        actual, expected = path_of_torch(run, device, foreach=True), path_of_formula(run, device)

        largest = expected.abs().max().item()
        torch.testing.assert_close(actual, expected, rtol=0, atol=A_FEW_ULP * largest)

    @claim("nn.sgd-follows-its-formula-fused", notes="3 update the weights")
    @broken_by(sgd, "sgd", decay_apart)
    @broken_by(sgd, "sgd", first_buffer_damped)
    @broken_by(sgd, "sgd", with_formula(dampening=0))
    @broken_by(sgd, "sgd", with_formula(nesterov=False))
    @broken_by(sgd, "sgd", with_formula(weight_decay=decay_upside_down))
    @broken_by(torch, "_fused_sgd_", lambda real: lambda *lists, **o: real(*lists, **o | {"maximize": False}))
    @broken_by(
        torch, "_fused_sgd_", lambda real: lambda *lists, **o: real(*lists, **o | {"is_first_step": False})
    )
    @broken_by(SGD, "step", zeros_for_none)
    @given(run=runs(late_gradients=False))
    def test_sgd_in_one_kernel_follows_the_formula(self, device, run):
        """SGD(fused=True) moves weights to the same values, if each has a gradient in the first step."""
        actual, expected = path_of_torch(run, device, fused=True), path_of_formula(run, device)

        largest = expected.abs().max().item()
        torch.testing.assert_close(actual, expected, rtol=0, atol=A_FEW_ULP * largest)
