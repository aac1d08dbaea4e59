"""Faults of DistributedDataParallel that several sections plant."""

import torch
import torch.distributed as dist

from spec.faults import then


def local(real):
    """Fault: the ranks keep their gradients for themselves."""
    return lambda ddp, *inputs: ddp.module(*inputs)


def hooked(collective):
    """Return a fault: gradients are combined by `collective` instead of averaged."""

    def hook(state, bucket):
        buffer = bucket.buffer()
        return collective(buffer).get_future().then(lambda done: buffer)

    return then(lambda ddp: ddp.register_comm_hook(None, hook))


SUMMED = hooked(lambda buffer: dist.all_reduce(buffer, async_op=True))
FIRST_ONLY = hooked(lambda buffer: dist.broadcast(buffer, 0, async_op=True))


def by_rank(tensors, amount=1):
    """Make tensors of each rank others."""
    with torch.no_grad():
        for tensor in tensors:
            tensor += amount * (dist.get_rank() if dist.is_initialized() else 0)
