"""Footnote 2 of the notes: torch.optim.lr_scheduler.ExponentialLR, and what its user needs around it."""

import io
import warnings

import pytest
import torch
from torch import nn
from torch.optim import SGD, Optimizer
from torch.optim.lr_scheduler import ExponentialLR, LRScheduler

from spec.harness import fault, statement


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


# Faults


def schedule(rate):
    """Return a get_lr() that gives the group of each number `rate(start, gamma, epoch, number)`."""
    return lambda real: (
        lambda s: [rate(start, s.gamma, s.last_epoch, number) for number, start in enumerate(s.base_lrs)]
    )


additive = schedule(lambda start, gamma, epoch, number: start * max(0, 1 - epoch * (1 - gamma)))
inverse = schedule(lambda start, gamma, epoch, number: start / (1 + epoch * (1 / gamma - 1)))
never_below = schedule(lambda start, gamma, epoch, number: max(0.001, start * gamma**epoch))
one_late = schedule(lambda start, gamma, epoch, number: start * gamma ** max(0, epoch - 1))
one_early = schedule(lambda start, gamma, epoch, number: start * gamma ** (epoch + 1))
exact = schedule(lambda start, gamma, epoch, number: start * gamma**epoch)
first_alone = schedule(lambda start, gamma, epoch, number: start * (gamma**epoch if number == 0 else 1))


def decaying_itself(real):
    """Return a step() of the optimizer that halves the rates, one batch after another."""

    def step(optimizer):
        real(optimizer)
        for group in optimizer.param_groups:
            group["lr"] /= 2

    return step


def in_silence(real):
    """Return a step() of the scheduler that does not warn."""

    def step(scheduler):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            real(scheduler)

    return step


def warning_always(real):
    """Return a step() of the scheduler that warns each time."""

    def step(scheduler):
        scheduler._step_count = min(scheduler._step_count, 1)
        scheduler.optimizer._opt_called = False
        real(scheduler)

    return step


def without(name):
    """Return a replacement for state_dict() that leaves a name out."""
    return lambda real: lambda owner: {key: value for key, value in real(owner).items() if key != name}


def and_sets_the_rates(real):
    """Return a load_state_dict() of the scheduler that gives its optimizer the rates."""

    def load(scheduler, state):
        real(scheduler, state)
        for group, rate in zip(scheduler.optimizer.param_groups, state["_last_lr"], strict=True):
            group["lr"] = rate

    return load


@statement("footnote.exponential-lr", notes="7; footnote 2")
@fault("the rate falls by a constant", ExponentialLR, "get_lr", additive)
@fault("the rate falls as an inverse", ExponentialLR, "get_lr", inverse)
@fault("the rate is one epoch late", ExponentialLR, "get_lr", one_late)
@fault("the rate is one epoch early", ExponentialLR, "get_lr", one_early)
@fault("the rate never falls below 0.001", ExponentialLR, "get_lr", never_below)
@fault("the optimizer decays the rate at each batch", SGD, "step", decaying_itself)
@fault("the first group alone decays", ExponentialLR, "get_lr", first_alone)
@fault(
    "all groups get the rate of the first",
    ExponentialLR,
    "get_lr",
    lambda real: lambda s: real(s)[:1] * len(real(s)),
)
@fault("the rate is computed from the first one", ExponentialLR, "get_lr", exact)
@fault(
    "a gamma of a half or more is ignored",
    ExponentialLR,
    "get_lr",
    lambda real: lambda s: real(s) if s.gamma < 0.5 else rates_of(s.optimizer),
)
@fault("get_last_lr returns the first rates", LRScheduler, "get_last_lr", lambda real: lambda s: s.base_lrs)
@fault(
    "get_last_lr returns the next rates",
    LRScheduler,
    "get_last_lr",
    lambda real: lambda s: [rate * s.gamma for rate in real(s)],
)
@fault("get_last_lr returns one rate", LRScheduler, "get_last_lr", lambda real: lambda s: real(s)[:1])
@fault(
    "get_last_lr reads the optimizer",
    LRScheduler,
    "get_last_lr",
    lambda real: lambda s: rates_of(s.optimizer),
)
class TestExponentialLr:
    """ExponentialLR multiplies the rate of each group of parameters by gamma at each of its steps, which come
    once an epoch, after the steps of the optimizer. get_last_lr() returns the rates.
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

    def test_each_group_decays_from_its_own_rate(self):
        rates = rates_of_epochs(*make_scheduled(8.0, 1.0, gamma=0.5), epochs=3)

        assert rates == [[8, 1], [4, 0.5], [2, 0.25]]

    def test_two_schedulers_multiply(self):
        optimizer, halving = make_scheduled(64.0, gamma=0.5)
        quartering = ExponentialLR(optimizer, gamma=0.25)

        rates = []
        for _ in range(2):
            rates += rates_of_epochs(optimizer, halving, epochs=1)
            quartering.step()

        assert [*rates, rates_of(optimizer)] == [[64], [8], [1]]

    def test_last_rate_is_that_of_the_groups(self):
        optimizer, scheduler = make_scheduled(8.0, 1.0, gamma=0.5)

        seen = [(scheduler.get_last_lr(), rates_of(optimizer))]
        for _ in range(2):
            rates_of_epochs(optimizer, scheduler, epochs=1)
            seen.append((scheduler.get_last_lr(), rates_of(optimizer)))

        assert seen == [([8, 1], [8, 1]), ([4, 0.5], [4, 0.5]), ([2, 0.25], [2, 0.25])]

    def test_rate_set_by_hand_is_what_decays(self):
        optimizer, scheduler = make_scheduled(1.0, gamma=0.5)
        rates_of_epochs(optimizer, scheduler, epochs=1)

        optimizer.param_groups[0]["lr"] = 8.0

        assert scheduler.get_last_lr() == [0.5]
        assert rates_of_epochs(optimizer, scheduler, epochs=2) == [[8], [4]]
        assert scheduler.get_last_lr() == [2]


@statement("footnote.exponential-lr-order", notes="7; footnote 2")
@fault("the scheduler does not warn", LRScheduler, "step", in_silence)
@fault("the scheduler warns each time", LRScheduler, "step", warning_always)
@fault("the rate is one epoch late", ExponentialLR, "get_lr", one_late)
def test_wrong_order_warns_once_and_shifts_every_epoch():
    """A scheduler that is stepped before the optimizer in each epoch warns once, and each epoch then has the
    rate of the next one.
    """
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


@statement("footnote.exponential-lr-resumed", notes="7; footnote 2")
@fault(
    "the optimizer loads nothing", Optimizer, "load_state_dict", lambda real: lambda optimizer, state: None
)
@fault(
    "the scheduler loads nothing", LRScheduler, "load_state_dict", lambda real: lambda scheduler, state: None
)
@fault("the state of the scheduler lacks gamma", LRScheduler, "state_dict", without("gamma"))
@fault("the state of the scheduler lacks the last rates", LRScheduler, "state_dict", without("_last_lr"))
@fault("the scheduler sets the rates when it loads", LRScheduler, "load_state_dict", and_sets_the_rates)
@fault(
    "get_last_lr reads the optimizer",
    LRScheduler,
    "get_last_lr",
    lambda real: lambda s: rates_of(s.optimizer),
)
class TestExponentialLrResumed:
    """The states of the optimizer and of the scheduler together resume the rates. The rate itself is in the
    state of the optimizer: with the state of the scheduler alone, it starts anew.
    """

    def test_states_of_both_resume_the_rates(self):
        stopped = make_scheduled(8.0, 1.0, gamma=0.5)
        rates_of_epochs(*stopped, epochs=2)
        optimizer, scheduler = make_scheduled(7.0, 7.0, gamma=0.125)

        for owner, state in zip((optimizer, scheduler), through_a_file(stopped), strict=True):
            owner.load_state_dict(state)

        assert scheduler.get_last_lr() == [2, 0.25]
        assert rates_of_epochs(optimizer, scheduler, epochs=3) == [[2, 0.25], [1, 0.125], [0.5, 0.0625]]

    def test_state_of_the_scheduler_alone_leaves_the_rate(self):
        stopped = make_scheduled(8.0, gamma=0.5)
        rates_of_epochs(*stopped, epochs=2)
        optimizer, scheduler = make_scheduled(8.0, gamma=0.5)

        scheduler.load_state_dict(through_a_file(stopped)[1])

        assert scheduler.get_last_lr() == [2]
        assert rates_of_epochs(optimizer, scheduler, epochs=2) == [[8], [4]]

    def test_state_of_the_optimizer_alone_resumes_the_rate(self):
        stopped = make_scheduled(8.0, gamma=0.5)
        rates_of_epochs(*stopped, epochs=2)
        optimizer, scheduler = make_scheduled(8.0, gamma=0.5)

        optimizer.load_state_dict(through_a_file(stopped)[0])

        assert scheduler.get_last_lr() == [8]
        assert rates_of_epochs(optimizer, scheduler, epochs=2) == [[2], [1]]
        assert scheduler.get_last_lr() == [0.5]
