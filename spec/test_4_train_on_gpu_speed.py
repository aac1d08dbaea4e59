"""Notes 4, "Training on GPU": what speed-up to expect of so small a net."""

import statistics
import time

import pytest
import torch
from torch import nn
from torch.optim import SGD

from blitz.nets import CifarNet
from spec.harness import QUALIFIED, broken_by, claim
from spec.harness.devices import accelerator

# A step of this net launches some dozens of kernels, which costs about what the arithmetic costs a CPU core:
# a ratio of a few is expected (not measured yet). An accelerator that is kept busy gains a hundredfold.
NO_MASSIVE_SPEEDUP = 10


@pytest.mark.gpu
@claim(
    "cifar.small-net-no-speedup",
    notes="notebook cifar",
    verdict=QUALIFIED,
    says="there is no massive speed-up on a GPU, because the net is small",
)
@broken_by(
    CifarNet, "forward", lambda real: lambda net, images: (wait_on_the_cpu(images), real(net, images))[1]
)
def test_small_net_trains_less_than_ten_times_faster_on_an_accelerator(measured):
    """At a batch of four an accelerator takes a training step less than ten times as fast as one CPU core."""
    places = torch.device("cpu"), accelerator()

    seconds = seconds_a_step(*places)

    measured["cpu_over_accelerator"] = seconds[places[0]] / seconds[places[1]]
    assert measured["cpu_over_accelerator"] < NO_MASSIVE_SPEEDUP


def seconds_a_step(*places, rounds=4, steps=5):
    """Return the median seconds of a training step on each device, measured in turns of `steps` steps."""
    trainings = {place: make_step(place) for place in places}
    seconds = {place: [] for place in places}
    for turn in range(rounds + 1):
        for place in places if turn % 2 else reversed(places):
            begin = time.perf_counter()
            for _ in range(steps):
                trainings[place]()
            synchronize(place)
            seconds[place].append((time.perf_counter() - begin) / steps)
    return {place: statistics.median(turns[1:]) for place, turns in seconds.items()}  # the first one warms up


def make_step(place):
    """Return a function that trains the net on four images on the device `place` for a step."""
    net, criterion = CifarNet().to(place), nn.CrossEntropyLoss()
    optimizer = SGD(net.parameters(), lr=0.001, momentum=0.9)
    inputs, labels = torch.rand(4, 3, 32, 32, device=place), torch.tensor([3, 8, 8, 0], device=place)

    def step():
        optimizer.zero_grad()
        criterion(net(inputs), labels).backward()
        optimizer.step()

    return step


def synchronize(place):
    """Wait for what is queued on the device `place`."""
    if place.type != "cpu":
        torch.accelerator.synchronize(place)


def wait_on_the_cpu(images):
    """Fault: a pass on the CPU takes a fifth of a second longer."""
    if images.device.type == "cpu":
        time.sleep(0.2)
