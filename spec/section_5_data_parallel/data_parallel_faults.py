"""Faults of nn.DataParallel that several statements plant; most replace one of its methods."""

import copy

import torch
from torch.nn.parallel import comm


def tensor_split(real):
    """Cut into shares that differ by one row at most."""
    return torch.Tensor.tensor_split


def chunk_backwards(real):
    """Give the first device the last rows."""
    return lambda self, count, dim: real(self, count, dim)[::-1]


def one_call(real):
    """Call the net once, with the whole batch."""
    return lambda self, *inputs, **kwargs: self.module(*inputs, **kwargs)


def in_parts(real):
    """Cut the batch where there is one device or none."""
    return lambda self, x: torch.cat([self.module(part) for part in x.chunk(2)])


def to_all(real):
    """Give every device the whole batch."""

    def scatter(self, inputs, kwargs, ids):
        copies = comm.broadcast_coalesced([inputs[0]], list(ids))
        return tuple((copy,) for (copy,) in copies), ({},) * len(ids)

    return scatter


def shares_of(tensor, ids, sizes=None):
    """Return what scatter() gives for a single argument, cut along the first axis."""
    parts = comm.scatter(tensor, list(ids), sizes, 0)
    return tuple((part,) for part in parts), ({},) * len(parts)


def in_fixed_sizes(real):
    """Round the size of a share down, and give the last device the rest."""

    def scatter(self, inputs, kwargs, ids):
        rows, size = len(inputs[0]), len(inputs[0]) // len(ids)
        sizes = [size] * (len(ids) - 1) + [rows - size * (len(ids) - 1)]
        return shares_of(inputs[0], ids, sizes)

    return scatter


def in_turns(real):
    """Deal the rows out in turns, as a DistributedSampler does."""

    def scatter(self, inputs, kwargs, ids):
        turns = [inputs[0][index :: len(ids)] for index in ids]
        return shares_of(torch.cat(turns), ids, [len(turn) for turn in turns])

    return scatter


def backwards(real):
    """Put the outputs together in the opposite order."""
    return lambda self, outputs, device: real(self, outputs[::-1], device)


def of_one(real):
    """Return the first output only."""
    return lambda self, outputs, device: real(self, outputs[:1], device)


def onto_the_second(real):
    """Put the outputs together on device 1."""
    return lambda self, outputs, device: real(self, outputs, 1)


def of_a_copy(real):
    """Make the replicas of a copy, which the gradients reach instead of the net."""
    return lambda self, net, ids: real(self, copy.deepcopy(net), ids)


def calling_the_net(real):
    """Have the net itself do the work of the first replica."""
    return lambda self, net, ids: [net, *real(self, net, ids)[1:]]


def with_copies_of_all_buffers(real):
    """Have the first replica copy the buffers, too."""

    def replicate(self, net, ids):
        replicas = real(self, net, ids)
        for module in replicas[0].modules():
            module._buffers = {name: value.clone() for name, value in module._buffers.items()}
        return replicas

    return replicate


def of_the_first(real):
    """Let the gradients of the first share alone reach the net."""

    def apply(self, replicas, inputs, kwargs):
        first, *others = real(self, replicas, inputs, kwargs)
        return [first, *(other.detach() for other in others)]

    return apply


def in_this_thread(real):
    """Call the replicas one after the other, with their errors as they are."""
    return lambda self, replicas, inputs, kwargs: [
        replica(*args, **options) for replica, args, options in zip(replicas, inputs, kwargs, strict=True)
    ]
