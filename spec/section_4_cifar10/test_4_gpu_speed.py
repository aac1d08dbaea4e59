"""Notes 4, "Training on GPU": what speed-up to expect of so small a net."""

import time

import pytest
import torch
from torch import nn
from torch.optim import SGD
from torch.utils.benchmark import Timer

from blitz.training.nets import CifarNet
from spec.faults import then
from spec.harness import QUALIFIED, fault, statement
from spec.harness.accelerator.devices import accelerator
from spec.harness.statements.contract import not_checked

# A step of this net launches some dozens of kernels, which costs about what the arithmetic costs a CPU core:
# a ratio of a few is expected (not measured yet). An accelerator that is kept busy gains a hundredfold.
NO_MASSIVE_SPEEDUP = 10

BUSY = 10**9  # cycles of a GPU's clock, which is below 3 GHz: a third of a second or more


def waiting(place, seconds):
    """Let each pass of the net on the CPU, or on the accelerator, wait for `seconds(batch)`."""

    def replace(real):
        def forward(net, images):
            if (images.device.type == "cpu") == (place == "cpu"):
                time.sleep(seconds(len(images)))
            return real(net, images)

        return forward

    return replace


def seconds_of_a_step(place, batch):
    """Return how long the net trains for a step on so many images: on a CPU one core of it."""
    net, criterion = CifarNet().to(place), nn.CrossEntropyLoss()
    optimizer = SGD(net.parameters(), lr=0.001, momentum=0.9)
    inputs, labels = torch.rand(batch, 3, 32, 32, device=place), torch.arange(batch, device=place) % 10

    def step():
        optimizer.zero_grad()
        loss = criterion(net(inputs), labels)
        loss.backward()
        optimizer.step()
        loss.item()  # waits for the device

    return Timer("step()", globals={"step": step}).blocked_autorange().median


def speedup(batch):
    """Return how many times as long as an accelerator one CPU core takes for a step on so many images."""
    return seconds_of_a_step(torch.device("cpu"), batch) / seconds_of_a_step(accelerator(), batch)


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
@fault("an operation is waited for", torch.Tensor, "add", then(lambda tensor: torch.cuda.synchronize()))
class TestSmallNetNoSpeedup:
    """With batches of four images, an accelerator trains the CIFAR-10 net less than ten times as fast as one
    CPU core. With larger batches the speed-up grows. A CUDA operation returns before it is done, so a clock
    has to wait, for example with `item()`.
    """

    def test_batch_of_four_is_less_than_ten_times_faster(self, measured):
        measured["cpu_over_accelerator"] = speedup(4)

        assert measured["cpu_over_accelerator"] < NO_MASSIVE_SPEEDUP

    def test_speedup_grows_with_the_batch(self, measured):
        speedups = {f"batch {batch}": speedup(batch) for batch in (4, 64, 1024)}

        measured["cpu_over_accelerator"] = speedups
        assert list(speedups.values()) == sorted(speedups.values())

    def test_operation_on_cuda_returns_before_it_is_done_and_item_waits(self):
        if accelerator().type != "cuda":
            not_checked("not-implemented", "what returns before it is done is shown on CUDA devices alone")
        ones = torch.ones(2**20, device=accelerator())
        ones.add(1).sum().item()  # the first time, memory and kernels are made ready

        torch.cuda._sleep(BUSY)
        total = ones.add(1).sum()
        returned_early = not torch.cuda.current_stream().query()
        number = total.item()

        assert returned_early
        assert torch.cuda.current_stream().query()
        assert number == 2 * 2**20
