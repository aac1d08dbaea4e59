"""What builders of operations share. A builder prepares a device; its operation returns a finite number.

An operation repeats what it is about until it takes 1 to 50 ms, so that a clock's own share is small and
twenty samples are quick; operations that are compared with one another repeat it as often.
"""

import functools
from collections.abc import Callable

import torch

from blitz.cifar10 import stand_in
from blitz.cifar10.data import Split, normalize
from blitz.training.nets import CifarNet

Operation = Callable[[], float]
Builder = Callable[[torch.device], Operation]


def synchronised(operation: Operation, device: torch.device) -> Operation:
    """Return `operation` as one that ends when the device has, so that a clock sees all of it."""
    if device.type == "cpu":
        return operation

    def ended() -> float:
        result = operation()
        torch.accelerator.synchronize()
        return result

    return ended


def repeated(work: Callable[[], object], times: int, device: torch.device) -> Operation:
    """Return an operation that does `work` so often."""

    def operation() -> float:
        for _ in range(times):
            work()
        return float(times)

    return synchronised(operation, device)


def named(name: str, builder: Builder) -> Builder:
    """Return `builder` under a name: that of its benchmark, by which two runs are compared."""
    builder.__name__ = builder.__qualname__ = name
    return builder


@functools.cache
def drawn(count: int) -> Split:
    """Return so many images of the stand-in, with labels."""
    return stand_in.draw(train=count, test=10).train


def batch(size: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Return a normalised batch, float32 (size, 3, 32, 32), and its labels, int64 (size,)."""
    images, labels = drawn(size)
    return normalize(images.to(device)), labels.to(device)


def cifar_net(device: torch.device) -> CifarNet:
    """Return the notes' Net with the same weights each time."""
    torch.manual_seed(0)
    return CifarNet().to(device)
