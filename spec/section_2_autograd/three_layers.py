"""What freezing and no_grad are shown on: three linear layers with ReLU between them, and faults."""

import torch
from torch import nn


def make_net(device, *frozen):
    """Return three linear layers, 3 to 5 to 7 to 2, those of the given numbers (1, 2, 3) frozen."""
    net = nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 2)).to(device)
    for number in frozen:
        net[2 * number - 2].requires_grad_(False)
    return net


def make_batch(device):
    """Return a batch of 11 rows for make_net()."""
    return torch.randn(11, 3, device=device)


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


def graph_or_nothing(real):
    """Do nothing without a graph."""
    return lambda loss: real(loss) if loss.requires_grad else None


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
