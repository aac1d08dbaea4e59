"""Footnote 2 of the notes: torch.optim.lr_scheduler.ExponentialLR, and what its user needs around it."""

import io
import warnings

import pytest
import torch
from torch import nn
from torch.optim import SGD, Optimizer
from torch.optim.lr_scheduler import ExponentialLR, LRScheduler

from spec.harness import each_row, fault, statement


def make_weight(device="cpu"):
    """Return a weight of one number, 16, with a gradient of 1."""
    weight = nn.Parameter(torch.tensor(16.0, dtype=torch.float64, device=device))
    weight.grad = torch.ones_like(weight)
    return weight


def make_scheduled(*rates, gamma):
    """Return an SGD with a group of its own for each rate, and its ExponentialLR."""
    optimizer = SGD([{"params": [make_weight()], "lr": rate} for rate in rates], lr=1.0)
    return optimizer, ExponentialLR(optimizer, gamma=gamma)


def rates_of(optimizer):
    """Return the rate of each group."""
    return [group["lr"] for group in optimizer.param_groups]


def rates_of_epochs(optimizer, scheduler, *, epochs):
    """Return the rates of each group at which each epoch steps."""
    rates = []
    for _ in range(epochs):
        rates.append(rates_of(optimizer))
        optimizer.step()
        scheduler.step()
    return rates


def through_a_file(owners):
    """Return the states of the owners as they come back from a file."""
    file = io.BytesIO()
    torch.save([owner.state_dict() for owner in owners], file)
    file.seek(0)
    return torch.load(file)


RESUMED = {
    # whose states are loaded after two epochs; then the last rate that is told, and those of the next two
    "both": (["optimizer", "scheduler"], 2, [2, 1]),
    "the scheduler alone": (["scheduler"], 2, [8, 4]),
    "the optimizer alone": (["optimizer"], 8, [2, 0.5]),
}


def schedule(rate):
    """Return a get_lr() that gives each group `rate(start, gamma, epoch)`."""
    return lambda real: lambda s: [rate(start, s.gamma, s.last_epoch) for start in s.base_lrs]


additive = schedule(lambda start, gamma, epoch: start * max(0, 1 - epoch * (1 - gamma)))
one_early = schedule(lambda start, gamma, epoch: start * gamma ** (epoch + 1))
exact = schedule(lambda start, gamma, epoch: start * gamma**epoch)


def first_alone(real):
    """Return a get_lr() that lets the first group alone decay."""
    return lambda s: [*real(s)[:1], *rates_of(s.optimizer)[1:]]


def decaying_itself(real):
    """Return a step() of the optimizer that halves the rates, one batch after another."""

    def step(optimizer):
        real(optimizer)
        for group in optimizer.param_groups:
            group["lr"] /= 2

    return step


def loads_nothing(real):
    """Return a load_state_dict() that does nothing."""
    return lambda owner, state: None


@statement("footnote.exponential-lr", notes="7; footnote 2")
@fault("the rate falls by a constant", ExponentialLR, "get_lr", additive)
@fault("the rate is one epoch early", ExponentialLR, "get_lr", one_early)
@fault("the first group alone decays", ExponentialLR, "get_lr", first_alone)
@fault("the rate is computed from the first one", ExponentialLR, "get_lr", exact)
@fault("the optimizer decays the rate at each batch", SGD, "step", decaying_itself)
@fault("get_last_lr returns the first rates", LRScheduler, "get_last_lr", lambda real: lambda s: s.base_lrs)
@fault("the scheduler does not warn", warnings, "warn", lambda real: lambda *said, **options: None)
@fault("the optimizer loads nothing", Optimizer, "load_state_dict", loads_nothing)
@fault("the scheduler loads nothing", LRScheduler, "load_state_dict", loads_nothing)
class TestExponentialLr:
    """ExponentialLR multiplies every learning rate of an optimizer by gamma at each scheduler.step(). This
    call should come once per epoch, after the calls of optimizer.step(). Resumed training takes the
    current learning rates from optimizer.state_dict(), not from scheduler.state_dict().
    """

    def test_rate_is_the_first_times_a_power_of_gamma(self):
        halved = rates_of_epochs(*make_scheduled(1.0, gamma=0.5), epochs=12)
        lowered = rates_of_epochs(*make_scheduled(0.1, gamma=0.9), epochs=4)

        assert halved == [[1 / 2**epoch] for epoch in range(12)]
        assert [rate for [rate] in lowered] == pytest.approx([0.1, 0.09, 0.081, 0.0729])

    def test_batches_of_an_epoch_share_the_rate(self, device):
        weight = make_weight(device)
        optimizer = SGD([weight], lr=1.0)
        scheduler = ExponentialLR(optimizer, gamma=0.5)
        values = []

        for _epoch in range(3):
            for _batch in range(2):
                optimizer.step()
                values.append(weight.item())
            scheduler.step()

        assert values == [15, 14, 13.5, 13, 12.75, 12.5]

    def test_last_rates_are_those_of_the_groups(self):
        optimizer, scheduler = make_scheduled(8.0, 1.0, gamma=0.5)

        seen = [(scheduler.get_last_lr(), rates_of(optimizer))]
        for _ in range(2):
            rates_of_epochs(optimizer, scheduler, epochs=1)
            seen.append((scheduler.get_last_lr(), rates_of(optimizer)))

        assert seen == [([8, 1], [8, 1]), ([4, 0.5], [4, 0.5]), ([2, 0.25], [2, 0.25])]

    def test_wrong_order_warns_once_and_shifts_every_epoch(self):
        optimizer, scheduler = make_scheduled(1.0, gamma=0.5)
        rates, warned = [], []

        for _ in range(3):
            with warnings.catch_warnings(record=True) as seen:
                warnings.simplefilter("always")
                scheduler.step()
            warned.append([warning.category for warning in seen])
            rates += rates_of(optimizer)
            optimizer.step()

        assert rates == [0.5, 0.25, 0.125]
        assert warned == [[UserWarning], [], []]

    @each_row
    @pytest.mark.parametrize(("loaded", "last", "rates"), RESUMED.values(), ids=RESUMED)
    def test_rates_resume_with_the_state_of_the_optimizer(self, loaded, last, rates):
        stopped = make_scheduled(8.0, gamma=0.5)
        rates_of_epochs(*stopped, epochs=2)
        states = dict(zip(("optimizer", "scheduler"), through_a_file(stopped), strict=True))
        optimizer, scheduler = make_scheduled(8.0, gamma=0.25)

        for owner in loaded:
            {"optimizer": optimizer, "scheduler": scheduler}[owner].load_state_dict(states[owner])

        assert scheduler.get_last_lr() == [last]
        assert rates_of_epochs(optimizer, scheduler, epochs=2) == [[rates[0]], [rates[1]]]
