"""What recording a graph costs, what freezing saves, and whether gradients should be None or zeros.

All on a batch of four, at which the cost of an operator is not hidden by its arithmetic.
"""

import torch
from torch.nn.functional import cross_entropy

from blitz.explained.freezing import freeze, unfreeze
from spec.benchmarks.builders import Operation, batch, cifar_net, repeated

BATCH = 4


def forward_with_grad(device: torch.device) -> Operation:
    """Twenty forward passes that autograd records."""
    net, (inputs, _) = cifar_net(device), batch(BATCH, device)
    return repeated(lambda: net(inputs), 20, device)


def forward_with_no_grad(device: torch.device) -> Operation:
    """The same under no_grad."""
    net, (inputs, _) = cifar_net(device), batch(BATCH, device)
    return repeated(torch.no_grad()(lambda: net(inputs)), 20, device)


def backward_with_nothing_frozen(device: torch.device) -> Operation:
    """Forty passes back through one graph of the notes' Net, to all of its parameters."""
    return _backward(device, all_but_the_last_frozen=False)


def backward_with_all_but_the_last_layer_frozen(device: torch.device) -> Operation:
    """The same to the parameters of the last layer alone."""
    return _backward(device, all_but_the_last_frozen=True)


def _backward(device: torch.device, *, all_but_the_last_frozen: bool) -> Operation:
    net, (inputs, labels) = cifar_net(device), batch(BATCH, device)
    if all_but_the_last_frozen:
        freeze(net)
        unfreeze(net.fc3)
    trained = [parameter for parameter in net.parameters() if parameter.requires_grad]
    loss = cross_entropy(net(inputs), labels)
    return repeated(lambda: torch.autograd.grad(loss, trained, retain_graph=True), 40, device)


def gradients_set_to_none(device: torch.device) -> Operation:
    """Ten passes forward and back, gradients None before each."""
    return _gradients(device, set_to_none=True)


def gradients_set_to_zeros(device: torch.device) -> Operation:
    """The same with gradients of zeros before each, to which the pass adds."""
    return _gradients(device, set_to_none=False)


def _gradients(device: torch.device, *, set_to_none: bool) -> Operation:
    net, (inputs, labels) = cifar_net(device), batch(BATCH, device)

    def work() -> None:
        net.zero_grad(set_to_none=set_to_none)
        cross_entropy(net(inputs), labels).backward()

    return repeated(work, 10, device)


OPERATIONS = [
    forward_with_grad,
    forward_with_no_grad,
    backward_with_nothing_frozen,
    backward_with_all_but_the_last_layer_frozen,
    gradients_set_to_none,
    gradients_set_to_zeros,
]
