"""Notes 4, "Training on GPU": what speed-up to expect of so small a net."""

import statistics
import time

import pytest
import torch
from torch import nn
from torch.optim import SGD

from blitz.training.nets import CifarNet
from spec.harness import QUALIFIED, broken_by, claim
from spec.harness.accelerator.devices import accelerator

SMALL = "there is no massive speed-up on a GPU, because the net is small"

# A step of this net launches some dozens of kernels, which costs about what the arithmetic costs a CPU core:
# a ratio of a few is expected (not measured yet). An accelerator that is kept busy gains a hundredfold.
NO_MASSIVE_SPEEDUP = 10

# Each is 16 times the one before. The CPU's time grows as much, an accelerator's hardly while it is not busy.
BATCHES = 4, 64, 1024


def wait_on_the_cpu(images):
    """Fault: a pass on the CPU takes a fifth of a second longer."""
    if images.device.type == "cpu":
        time.sleep(0.2)


def wait_for_many(images):
    """Fault: an accelerator takes a time that grows with the square of the batch, to a second."""
    if images.device.type != "cpu":
        time.sleep((len(images) / max(BATCHES)) ** 2)


def waiting(how):
    """Return a fault: each pass of the net waits."""
    return lambda real: lambda net, images: (how(images), real(net, images))[1]


@pytest.mark.gpu
@pytest.mark.timed
@claim("cifar.small-net-no-speedup", notes="notebook cifar", verdict=QUALIFIED, says=SMALL)
@broken_by(CifarNet, "forward", waiting(wait_on_the_cpu))
def test_small_net_trains_less_than_ten_times_faster_on_an_accelerator(measured):
    """At a batch of four an accelerator takes a training step less than ten times as fast as one CPU core."""
    measured["cpu_over_accelerator"] = speedup(4)

    assert measured["cpu_over_accelerator"] < NO_MASSIVE_SPEEDUP


@pytest.mark.gpu
@pytest.mark.timed
@claim("cifar.small-net-no-speedup-batch", notes="notebook cifar", verdict=QUALIFIED, says=SMALL)
@broken_by(CifarNet, "forward", waiting(wait_for_many))
def test_speedup_of_the_small_net_grows_with_the_batch(measured):
    """The larger the batch, the more an accelerator gains over one CPU core: from 4 images to 64, to 1024."""
    speedups = {batch: speedup(batch) for batch in BATCHES}

    for batch, ratio in speedups.items():
        measured[f"ratio at batch {batch}"] = ratio
    wins = [batch for batch, ratio in speedups.items() if ratio > 1]
    measured["batch from which the accelerator wins"] = wins[0] if wins else f"none up to {max(BATCHES)}"
    assert speedups[4] < speedups[64] < speedups[1024]


def speedup(batch):
    """Return how many times as long as an accelerator one CPU core takes for a step on so many images."""
    places = torch.device("cpu"), accelerator()
    seconds = seconds_a_step(*places, batch=batch, steps=5 if batch < 100 else 1)
    return seconds[places[0]] / seconds[places[1]]


def seconds_a_step(*places, batch, rounds=4, steps=5):
    """Return the median seconds of a training step on each device, measured in turns of `steps` steps."""
    trainings = {place: make_step(place, batch) for place in places}
    seconds = {place: [] for place in places}
    for turn in range(rounds + 1):
        for place in places if turn % 2 else reversed(places):
            begin = time.perf_counter()
            for _ in range(steps):
                trainings[place]()
            synchronize(place)
            seconds[place].append((time.perf_counter() - begin) / steps)
    return {place: statistics.median(turns[1:]) for place, turns in seconds.items()}  # the first one warms up


def make_step(place, batch):
    """Return a function that trains the net on so many images on the device `place` for a step."""
    net, criterion = CifarNet().to(place), nn.CrossEntropyLoss()
    optimizer = SGD(net.parameters(), lr=0.001, momentum=0.9)
    inputs, labels = torch.rand(batch, 3, 32, 32, device=place), torch.arange(batch, device=place) % 10

    def step():
        optimizer.zero_grad()
        criterion(net(inputs), labels).backward()
        optimizer.step()

    return step


def synchronize(place):
    """Wait for what is queued on the device `place`."""
    if place.type != "cpu":
        torch.accelerator.synchronize(place)
