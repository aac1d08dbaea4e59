"""Faults of nn.DataParallel in making replicas, and in having them called."""

import copy

import torch


def of_the_mean(real):
    """The gradients of the shares are averaged, as DistributedDataParallel does."""

    def replicate(self, net, ids):
        replicas = real(self, net, ids)
        for replica in replicas:
            replica.weight.register_hook(lambda gradient: gradient / len(ids))
        return replicas

    return replicate


def of_a_copy(real):
    """The replicas are made of a copy, which the gradients reach instead of the net."""
    return lambda self, net, ids: real(self, copy.deepcopy(net), ids)


def of_the_first(real):
    """The gradients of the first share alone reach the net."""

    def apply(self, replicas, inputs, kwargs):
        first, *others = real(self, replicas, inputs, kwargs)
        return [first, *(other.detach() for other in others)]

    return apply


def with_parameters(real):
    """Give the replicas parameters."""

    def replicate(self, net, ids):
        replicas = real(self, net, ids)
        for module in [module for replica in replicas for module in replica.modules()]:
            module._parameters = dict(module._former_parameters)
        return replicas

    return replicate


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


def keeping_attributes(real):
    """Write the attributes of the first replica back to the net."""

    def apply(self, replicas, inputs, kwargs):
        outputs = real(self, replicas, inputs, kwargs)
        self.module.rows = replicas[0].rows
        return outputs

    return apply


def keeping_buffers(real):
    """Add up in the net what all replicas did to a buffer."""

    def apply(self, replicas, inputs, kwargs):
        outputs = real(self, replicas, inputs, kwargs)
        for replica in replicas[1:]:
            self.module.in_place += replica.in_place.to(self.module.in_place.device)
        return outputs

    return apply


def swallowing(real):
    """Take the input for the output where a replica fails."""

    def apply(self, replicas, inputs, kwargs):
        try:
            return real(self, replicas, inputs, kwargs)
        except ValueError:
            return [args[0] for args in inputs]

    return apply


def in_this_thread(real):
    """Call the replicas one after the other, with their errors as they are."""
    return lambda self, replicas, inputs, kwargs: [
        replica(*args, **options) for replica, args, options in zip(replicas, inputs, kwargs, strict=True)
    ]


def recording(real):
    """Have the replicas record for autograd, whatever the caller wants."""
    return torch.enable_grad()(real)


def recording_nothing(real):
    """Have no replica record for autograd, whatever the caller wants."""
    return torch.no_grad()(real)
