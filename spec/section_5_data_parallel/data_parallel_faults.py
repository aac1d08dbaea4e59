"""Faults of nn.DataParallel that several statements plant: in how it cuts, and in its own methods."""

import copy

import torch


def near_equal(chunk):
    """Cut into shares that differ by one row at most."""
    return torch.Tensor.tensor_split


def whole(chunk):
    """Give every device the whole batch."""
    return lambda self, count, dim: [self] * count


def last_rows_first(chunk):
    """Give the first device the last rows."""
    return lambda self, count, dim: chunk(self, count, dim)[::-1]


def one_call(forward):
    """Call the net once, with the whole batch."""
    return lambda self, *inputs, **kwargs: self.module(*inputs, **kwargs)


def of_a_copy(replicate):
    """Make the replicas of a copy, which the gradients reach instead of the net."""
    return lambda self, net, ids: replicate(self, copy.deepcopy(net), ids)


def calling_the_net(replicate):
    """Have the net itself do the work of the first replica."""
    return lambda self, net, ids: [net, *replicate(self, net, ids)[1:]]


def of_the_first(parallel_apply):
    """Let the gradients of the first share alone reach the net."""

    def apply(self, replicas, inputs, kwargs):
        first, *others = parallel_apply(self, replicas, inputs, kwargs)
        return [first, *(other.detach() for other in others)]

    return apply


def in_this_thread(parallel_apply):
    """Call the replicas one after the other, with their errors as they are."""
    return lambda self, replicas, inputs, kwargs: [
        replica(*args, **options) for replica, args, options in zip(replicas, inputs, kwargs, strict=True)
    ]


def backwards(gather):
    """Join the outputs in the opposite order."""
    return lambda self, outputs, device: gather(self, outputs[::-1], device)


def onto(number):
    """Return a fault: outputs are joined on the device of this number."""
    return lambda gather: lambda self, outputs, device: gather(self, outputs, number)
