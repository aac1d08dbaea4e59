"""Notes 4, "Training on GPU": what speed-up to expect of so small a net."""

import statistics
import time

import pytest
import torch
from torch import nn
from torch.optim import SGD

from blitz.training.nets import CifarNet
from spec.harness import QUALIFIED, fault, statement
from spec.harness.accelerator.devices import accelerator

# A step of this net launches some dozens of kernels, which costs about what the arithmetic costs a CPU core:
# a ratio of a few is expected (not measured yet). An accelerator that is kept busy gains a hundredfold.
NO_MASSIVE_SPEEDUP = 10


def waiting(place, seconds):
    """Let each pass of the net on the CPU, or on the accelerator, wait for `seconds(batch)`."""

    def replace(real):
        def forward(net, images):
            if (images.device.type == "cpu") == (place == "cpu"):
                time.sleep(seconds(len(images)))
            return real(net, images)

        return forward

    return replace


def speedup(batch):
    """Return how many times as long as an accelerator one CPU core takes for a step on so many images."""
    steps = {place: make_step(place, batch) for place in (torch.device("cpu"), accelerator())}
    seconds = {place: [] for place in steps}
    for turn in range(9):
        for place in sorted(steps, key=str, reverse=bool(turn % 2)):
            begin = time.perf_counter()
            steps[place]()
            if place.type != "cpu":
                torch.accelerator.synchronize(place)
            seconds[place].append(time.perf_counter() - begin)
    cpu, other = (statistics.median(turns[1:]) for turns in seconds.values())  # the first one warms up
    return cpu / other


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


@pytest.mark.gpu
@pytest.mark.timed
@statement(
    "cifar.small-net-no-speedup",
    notes="notebook cifar",
    verdict=QUALIFIED,
    says="there is no massive speed-up on a GPU, because the net is small",
)
@fault("the CPU is slow", CifarNet, "forward", waiting("cpu", lambda batch: 0.2))
@fault("large batches are slow", CifarNet, "forward", waiting("accelerator", lambda n: (n / 1024) ** 2))
class TestSmallNetNoSpeedup:
    """An accelerator trains on batches of four less than ten times as fast as one CPU core; the larger the
    batch, the more it gains.
    """

    def test_batch_of_four_is_less_than_ten_times_faster(self, measured):
        measured["cpu_over_accelerator"] = speedup(4)

        assert measured["cpu_over_accelerator"] < NO_MASSIVE_SPEEDUP

    def test_speedup_grows_with_the_batch(self, measured):
        speedups = {f"batch {batch}": speedup(batch) for batch in (4, 64, 1024)}

        measured["cpu_over_accelerator"] = speedups
        assert list(speedups.values()) == sorted(speedups.values())
