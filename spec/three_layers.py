"""What the claims on freezing and on no_grad share: three linear layers, what they cost, and faults."""

from itertools import pairwise

import torch
from torch import nn

from spec.counters import operators

FLOAT = 4  # bytes
ROWS = 11
SIZES = (3, 5, 7, 2)

# FLOPs of each layer of make_net() for a batch: of its product, and of each of the two that its backward
# pass may need, for the gradient of the weight and for that of the input
FIRST, SECOND, THIRD = (2 * ROWS * wide * narrow for wide, narrow in pairwise(SIZES))


def make_net(device, *frozen):
    """Return three linear layers, 3 to 5 to 7 to 2, those of the given numbers (1, 2, 3) frozen."""
    net = nn.Sequential(*(nn.Linear(*sizes) for sizes in pairwise(SIZES))).to(device)
    for number in frozen:
        net[number - 1].requires_grad_(False)
    return net


def make_batch(device):
    """Return a batch for make_net()."""
    return torch.randn(ROWS, 3, device=device)


def forward_operators(net, x):
    """Return the operators of the forward pass, without those that hand a result to the graph."""
    counts = operators(lambda: net(x))
    del counts["aten.detach.default"]
    return counts


# Faults


def ignored(real):
    """Freeze nothing."""
    return lambda part, requires_grad=True: part


def by_zeroing(real):
    """Freeze by a hook that makes the gradient zero."""

    def freeze(part, requires_grad=True):
        for parameter in [part] if isinstance(part, torch.Tensor) else part.parameters():
            parameter.register_hook(lambda gradient: gradient * 0)
        return part

    return freeze


def tracked_anyway(real):
    """Record an operation under no_grad, too."""
    return torch.enable_grad()(real)


def if_grad_is_off(change):
    """Return a replacement for an operation whose result is changed while the grad mode is off."""

    def replace(real):
        def operation(*arguments, **options):
            result = real(*arguments, **options)
            return result if torch.is_grad_enabled() else change(result)

        return operation

    return replace
