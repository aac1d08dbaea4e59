"""What recording a graph costs, what freezing saves, and whether gradients should be None or zeros.

All on a batch of four, at which the cost of an operator is not hidden by its arithmetic.
"""

import torch
from torch.nn.functional import cross_entropy

from blitz.explained.freezing import freeze, unfreeze
from spec.benchmarks.builders import Builder, Operation, batch, cifar_net, named, repeated

BATCH = 4


def forward_with(mode: str) -> Builder:
    """Return the builder of twenty forward passes, which autograd records or not."""

    def builder(device: torch.device) -> Operation:
        net, (inputs, _) = cifar_net(device), batch(BATCH, device)
        run = torch.no_grad()(net) if mode == "no_grad" else net
        return repeated(lambda: run(inputs), 20, device)

    return named(f"forward_with_{mode}", builder)


def backward_with(what: str) -> Builder:
    """Return the builder of forty passes back through one graph of the notes' Net, to what is not frozen."""

    def builder(device: torch.device) -> Operation:
        net, (inputs, labels) = cifar_net(device), batch(BATCH, device)
        if what == "all_but_the_last_layer":
            freeze(net)
            unfreeze(net.fc3)
        trained = [parameter for parameter in net.parameters() if parameter.requires_grad]
        loss = cross_entropy(net(inputs), labels)
        return repeated(lambda: torch.autograd.grad(loss, trained, retain_graph=True), 40, device)

    return named(f"backward_with_{what}_frozen", builder)


def gradients_set_to(value: str) -> Builder:
    """Return the builder of ten passes forward and back; before each the gradients are None, or zeros."""

    def builder(device: torch.device) -> Operation:
        net, (inputs, labels) = cifar_net(device), batch(BATCH, device)

        def work() -> None:
            net.zero_grad(set_to_none=value == "none")
            cross_entropy(net(inputs), labels).backward()

        return repeated(work, 10, device)

    return named(f"gradients_set_to_{value}", builder)


OPERATIONS = [
    *map(forward_with, ("grad", "no_grad")),
    *map(backward_with, ("nothing", "all_but_the_last_layer")),
    *map(gradients_set_to, ("none", "zeros")),
]
