"""A net and a batch in shares, for what is said of several processes."""

import torch
import torch.distributed as dist
from torch import nn
from torch.nn import functional as F

ROUNDING = {"rtol": 1e-12, "atol": 1e-14}  # float64, added in another order


def make_net(seed=0):
    """Return a small net in float64."""
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1)).double()


def make_batch(number=0):
    """Return a batch of 8 inputs (8, 3) and targets (8, 1), the same one in every process."""
    drawn = torch.randn(8, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(number))
    return drawn[:, :3], drawn[:, 3:]


def shares_of(batch, sizes):
    """Return the batch in parts of so many rows, one a rank."""
    return list(zip(*(part.split(list(sizes)) for part in batch), strict=True))


def own(batch, sizes):
    """Return the part of this rank."""
    return shares_of(batch, sizes)[dist.get_rank()]


def gradient(net):
    """Return the gradients of all parameters as one vector."""
    return torch.cat([parameter.grad.flatten() for parameter in net.parameters()])


def gradient_alone(inputs, targets):
    """Return the gradient as one process computes it, without DDP."""
    net = make_net()
    F.mse_loss(net(inputs), targets).backward()
    return gradient(net)


def loss_of(net):
    """In each of two ranks: the loss of its half of a batch, through a net or its DDP."""
    inputs, targets = own(make_batch(), (4, 4))
    return F.mse_loss(net(inputs), targets)


def mean(tensors):
    """Return the mean over the ranks."""
    return torch.stack(list(tensors)).mean(0)


def attempt(steps):
    """Return the error of `steps`, without what it goes on with, or None."""
    try:
        steps()
    except RuntimeError as error:
        return str(error).split(" before")[0]
    return None
