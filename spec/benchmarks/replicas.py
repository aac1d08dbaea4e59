"""What splitting a batch over devices costs, and saves where they are several: our data_parallel over n."""

import torch
from torch.nn.functional import cross_entropy

from blitz.explained.parallel import data_parallel
from spec.benchmarks.builders import Builder, Operation, batch, cifar_net, named, repeated


def data_parallel_over(count: int) -> Builder:
    """Return the builder of a forward and backward pass on 64 images in so many shares.

    They go to the accelerators in turn, the given one first, or all to the CPU.
    """

    def builder(device: torch.device) -> Operation:
        net, (inputs, labels) = cifar_net(device), batch(64, device)
        there_are = 1 if device.type == "cpu" else torch.accelerator.device_count()
        first = device.index or 0
        devices = [
            device if device.type == "cpu" else torch.device(device.type, (first + number) % there_are)
            for number in range(count)
        ]

        def work() -> None:
            net.zero_grad()
            cross_entropy(data_parallel(net, inputs, devices), labels).backward()

        return repeated(work, 2, device)

    return named(f"data_parallel_over_{count}", builder)


OPERATIONS = [data_parallel_over(count) for count in (1, 2, 4)]
