"""Section 5 of the notes, data parallelism: the principle, over any number of devices, all of them one.

nn.DataParallel, over stand-ins for its devices (see spec/data_parallel.py), and our data_parallel, which is
the same idea in other code, are held to the net alone; where shares matter, as for BatchNorm, to each other.
Between several GPUs the same is shown by spec/test_5_data_parallel_gpus.py.
"""

import copy

import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F
from torch.nn.parallel import DataParallel
from torch.optim import SGD

from blitz.explained import parallel
from blitz.explained.parallel import data_parallel, share_sizes
from spec.data_parallel import ROUNDING, Normed, stand_ins
from spec.data_parallel_faults import backwards, to_all
from spec.data_parallel_replica_faults import (
    of_a_copy,
    of_the_first,
    with_copies_of_all_buffers,
)
from spec.harness import QUALIFIED, broken_by, claim

SAYS = "a model written for one card needs only this wrapper, everything else stays as it was"

DEVICES = (1, 2, 3, 4, 8)
ROWS = (1, 5, 10, 30)  # fewer than devices, uneven, and even on most


def make_net(device):
    """Return a net without BatchNorm, one of whose layers is used twice."""
    twice = nn.Linear(4, 4)
    net = nn.Sequential(nn.Linear(5, 4), nn.Tanh(), twice, nn.Tanh(), twice, nn.Linear(4, 3))
    return net.to(device, torch.float64)


def make_batch(rows, device):
    """Return rows for a net."""
    return torch.randn(rows, 5, dtype=torch.float64).to(device)


def ways(devices):
    """Return what makes a call of nets alike: blitz.explained.parallel, and nn.DataParallel."""
    return [lambda net: lambda batch: data_parallel(net, batch, devices), nn.DataParallel]


def gradients(net, model, batch):
    """Return the gradients of the net's parameters, and of the batch, as `model` computes them from it."""
    net, batch = net.zero_grad() or net, batch.clone().requires_grad_()
    model(batch).square().sum().backward()
    nothing = torch.tensor(torch.nan)
    return [nothing if leaf.grad is None else leaf.grad.clone() for leaf in (*net.parameters(), batch)]


def train(net, model, batches):
    """Take a step of SGD with momentum for each batch."""
    optimizer = SGD(net.parameters(), lr=0.1, momentum=0.9)
    for batch in batches:
        optimizer.zero_grad()
        F.cross_entropy(model(batch), torch.arange(len(batch), device=batch.device) % 3).backward()
        optimizer.step()


# Faults of blitz.explained.parallel


def without_the_last_row(real):
    """Return share_sizes() that leave out the row that is over."""
    return lambda rows, devices: [rows // devices] * devices if rows > devices else real(rows, devices)


def the_other_way(real):
    """Return gather() of the outputs in the opposite order."""
    return lambda outputs, device, dim: real(outputs[::-1], device, dim=dim)


def weighted_alike(real):
    """Return apply() after which shares weigh alike in the gradient, as in a mean of means."""

    def apply(replicas, shares):
        outputs = real(replicas, shares)
        for output in outputs:
            output.register_hook(lambda gradient: gradient * len(outputs[0]) / len(gradient))
        return outputs

    return apply


def of_copies(real):
    """Return replicate() that copies the net, so that no gradient reaches it."""
    return lambda net, devices: [copy.deepcopy(net) for _ in devices]


def in_training_mode(real):
    """Return replicate() whose replicas train, as far as dropout is concerned."""

    def replicate(*net_and_devices):
        replicas = real(*net_and_devices)
        for module in [module for replica in replicas for module in replica.modules()]:
            module.training = isinstance(module, nn.Dropout)
        return replicas

    return replicate


def sharing_buffers(real):
    """Return replicate() whose replicas all have the net's own buffers."""

    def replicate(net, devices):
        replicas = real(net, devices)
        for replica in replicas:
            for module, original in zip(replica.modules(), net.modules(), strict=True):
                module._buffers = original._buffers
        return replicas

    return replicate


class TestPrinciple:
    """The parts of a batch go to the devices, and what comes out is what one device would give."""

    @claim("parallel.split-on-first-axis-merged", notes="5")
    @broken_by(parallel, "gather", the_other_way)
    @broken_by(parallel, "share_sizes", without_the_last_row)
    @broken_by(DataParallel, "gather", backwards)
    @broken_by(DataParallel, "scatter", to_all)
    def test_outputs_are_those_of_the_net_alone(self, device):
        """On 1 to 8 devices, with rows to spare or fewer rows than devices, outputs are the net's own."""
        net = make_net(device)
        for devices in DEVICES:
            for rows in ROWS:
                batch = make_batch(rows, device)
                with stand_ins(device, devices) as places:
                    outputs = [wrap(net)(batch) for wrap in ways(places)]

                torch.testing.assert_close(outputs, [net(batch)] * 2, **ROUNDING)

    @claim("parallel.rest-unchanged-eval", notes="5")
    @broken_by(parallel, "replicate", in_training_mode)
    @broken_by(DataParallel, "replicate", in_training_mode)
    def test_replicas_are_in_the_mode_of_the_net(self, device):
        """After eval() replicas neither drop out nor take averages: outputs are those of the net."""
        net = nn.Sequential(nn.BatchNorm1d(5), nn.Dropout(), nn.Linear(5, 3)).to(device, torch.float64).eval()
        before, batch = copy.deepcopy(net.state_dict()), make_batch(10, device)

        with stand_ins(device, 4) as places:
            outputs = [wrap(net)(batch) for wrap in ways(places)]

        torch.testing.assert_close(outputs, [net(batch)] * 2, **ROUNDING)
        torch.testing.assert_close(net.state_dict(), before)

    @claim("parallel.rest-unchanged-gradients", notes="5")
    @broken_by(parallel, "apply", weighted_alike)
    @broken_by(parallel, "replicate", of_copies)
    @broken_by(DataParallel, "replicate", of_a_copy)
    @broken_by(DataParallel, "parallel_apply", of_the_first)
    @broken_by(DataParallel, "forward", lambda real: lambda self, batch: real(self, batch.detach()))
    def test_gradients_of_all_shares_add_up_in_the_net(self, device):
        """Gradients of parameters and batch are the net's own: those of the shares add up in the one net."""
        net = make_net(device)
        for devices in DEVICES:
            for rows in ROWS:
                batch = make_batch(rows, device)
                with stand_ins(device, devices) as places:
                    found = [gradients(net, wrap(net), batch) for wrap in ways(places)]

                torch.testing.assert_close(found, [gradients(net, net, batch)] * 2, **ROUNDING)

    @claim("parallel.rest-unchanged-ten-steps", notes="5")
    @broken_by(parallel, "apply", weighted_alike)
    @broken_by(parallel, "replicate", of_copies)
    @broken_by(DataParallel, "replicate", of_a_copy)
    @broken_by(DataParallel, "parallel_apply", of_the_first)
    def test_ten_steps_end_at_the_same_weights(self, device):
        """After ten steps on uneven batches, with momentum, the weights are those of training alone."""
        for devices in (2, 3, 8):
            start, batches = make_net(device), [make_batch(rows, device) for rows in (10, 5, 9, 1, 11) * 2]
            alone, *nets = (copy.deepcopy(start) for _ in range(3))
            train(alone, alone, batches)
            with stand_ins(device, devices) as places:
                for net, wrap in zip(nets, ways(places), strict=True):
                    train(net, wrap(net), batches)

            for net in nets:
                torch.testing.assert_close(net.state_dict(), alone.state_dict(), **ROUNDING)


class TestShareByShare:
    """nn.DataParallel against blitz.explained.parallel."""

    @settings(max_examples=30)
    @given(st.integers(2, 60), st.integers(1, 12))
    @claim("parallel.rest-unchanged-share-by-share", notes="5", verdict=QUALIFIED, says=SAYS)
    @broken_by(parallel, "replicate", sharing_buffers)
    @broken_by(torch.Tensor, "chunk", lambda real: lambda self, count, dim: real(self, count, dim)[::-1])
    @broken_by(DataParallel, "parallel_apply", of_the_first)
    @broken_by(DataParallel, "replicate", with_copies_of_all_buffers)
    def test_net_with_batch_norm_is_computed_share_by_share(self, device, rows, devices):
        """Outputs, gradients and running averages of a net with BatchNorm are those of our data_parallel."""
        assume(min(share_sizes(rows, devices)) > 1)  # BatchNorm refuses a single row
        nets = [Normed().to(device, torch.float64)]
        nets.append(copy.deepcopy(nets[0]))
        batch = make_batch(rows, device)

        with stand_ins(device, devices) as places:
            wrapped = [wrap(net) for wrap, net in zip(ways(places), nets, strict=True)]
            outputs = [model(batch) for model in wrapped]
            found = [gradients(net, model, batch) for net, model in zip(nets, wrapped, strict=True)]

        torch.testing.assert_close(outputs[1], outputs[0], **ROUNDING)
        torch.testing.assert_close(found[1], found[0], **ROUNDING)
        torch.testing.assert_close(nets[1].state_dict(), nets[0].state_dict(), **ROUNDING)
