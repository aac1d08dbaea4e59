"""Notes 5, the hint at DistributedDataParallel (DDP), which they leave open: what it does in each process.

Every rank is a process of its own, on the CPU, and talks to the others by gloo.
"""

import contextlib

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.nn import functional as F
from torch.optim import SGD

from spec.distributed_faults import FIRST_ONLY, SUMMED, by_rank, local
from spec.distributed_shares import (
    ROUNDING,
    gradient,
    gradient_alone,
    make_batch,
    make_net,
    own,
    shares_of,
)
from spec.faults import then, with_options
from spec.harness import ANSWERED, OUTDATED, broken_by, claim

DDP = nn.parallel.DistributedDataParallel
UNKNOWN = "how DistributedDataParallel is used is not known yet"
SHARES = {"two ranks": (4, 4), "three ranks": (3, 3, 2)}


def backward_in_ranks(sizes, weights=(1, 1, 1), reduction="mean"):
    """In each rank: backward through DDP on its own part; return the gradient."""
    net = make_net()
    ddp = DDP(net)
    inputs, targets = own(make_batch(), sizes)
    loss = F.mse_loss(ddp(inputs), targets, reduction=reduction)
    (loss * weights[dist.get_rank()]).backward()
    return gradient(net)


class TestGradients:
    """What backward leaves in .grad."""

    @claim("parallel.ddp-usage", notes="5", verdict=ANSWERED, says=UNKNOWN)
    @broken_by(DDP, "forward", local)
    @broken_by(DDP, "__init__", SUMMED)
    @broken_by(DDP, "__init__", FIRST_ONLY)
    @pytest.mark.parametrize("sizes", SHARES.values(), ids=SHARES)
    def test_gradient_is_the_mean_over_the_ranks(self, ranks, sizes):
        """After backward through DDP each rank's .grad is the mean of what the ranks would have alone."""
        alone = [gradient_alone(*share) for share in shares_of(make_batch(), sizes)]

        gradients = ranks(len(sizes), backward_in_ranks, sizes)

        assert len(gradients) == len(sizes)
        for each in gradients:
            torch.testing.assert_close(each, torch.stack(alone).mean(0), **ROUNDING)

    @claim("parallel.ddp-usage-equal-shares", notes="5", verdict=ANSWERED, says=UNKNOWN)
    @broken_by(DDP, "forward", local)
    @broken_by(DDP, "__init__", SUMMED)
    def test_with_equal_shares_the_gradient_is_that_of_the_whole_batch(self, ranks):
        """With a mean loss and equal shares each rank has the gradient of the whole batch in one process."""
        whole = gradient_alone(*make_batch())

        for each in ranks(2, backward_in_ranks, (4, 4)):
            torch.testing.assert_close(each, whole, **ROUNDING)

    @claim("parallel.ddp-usage-unequal-shares", notes="5", verdict=ANSWERED, says=UNKNOWN)
    @broken_by(F, "mse_loss", lambda real: lambda x, y, reduction: real(x, y, reduction="sum"))
    @broken_by(DDP, "forward", local)
    def test_with_unequal_shares_the_gradient_is_another_one(self, ranks):
        """With shares of 6 and 2 each of the 2 rows counts three times as much as each of the 6.

        Weighted by its share of the rows, times the number of ranks, each rank's loss gives the gradient of
        the whole batch again.
        """
        batch = make_batch()
        six, two = (gradient_alone(*share) for share in shares_of(batch, (6, 2)))
        whole = (6 * six + 2 * two) / 8

        plain = ranks(2, backward_in_ranks, (6, 2))
        weighted = ranks(2, backward_in_ranks, (6, 2), (2 * 6 / 8, 2 * 2 / 8))

        torch.testing.assert_close(plain, [(six + two) / 2] * 2, **ROUNDING)
        assert (plain[0] - whole).norm() > 0.1 * whole.norm()
        torch.testing.assert_close(weighted, [gradient_alone(*batch)] * 2, **ROUNDING)

    @claim("parallel.ddp-usage-sum", notes="5", verdict=ANSWERED, says=UNKNOWN)
    @broken_by(DDP, "forward", local)
    @broken_by(DDP, "__init__", SUMMED)
    def test_with_a_sum_loss_the_gradient_is_divided_by_the_ranks(self, ranks):
        """With a loss that sums over rows the gradient is the whole batch's, divided by the ranks."""
        batch, sizes = make_batch(), (5, 3)

        gradients = ranks(2, backward_in_ranks, sizes, (1, 1), "sum")

        torch.testing.assert_close(gradients, [gradient_alone(*batch, "sum") / 2] * 2, **ROUNDING)


def accumulate(whole_context):
    """In each rank: two backward passes, the first under no_sync(); return .grad after each of them."""
    net, (first, second) = make_net(), (own(make_batch(number), (4, 4)) for number in range(2))
    ddp, seen = DDP(net), []
    with ddp.no_sync() if whole_context else contextlib.nullcontext():
        output = ddp(first[0])
    with ddp.no_sync():
        F.mse_loss(output, first[1]).backward()
    seen.append(gradient(net).clone())
    F.mse_loss(ddp(second[0]), second[1]).backward()
    return [*seen, gradient(net)]


class TestNoSync:
    """Gradient accumulation without talking each time."""

    @claim("parallel.ddp-usage-no-sync", notes="5", verdict=ANSWERED, says=UNKNOWN)
    @broken_by(DDP, "no_sync", lambda real: lambda ddp: contextlib.nullcontext())
    @broken_by(DDP, "forward", local)
    @broken_by(DDP, "__init__", SUMMED)
    def test_gradients_under_no_sync_stay_own_until_the_next_backward(self, ranks):
        """Under no_sync() .grad stays the rank's own; the next backward leaves the mean of what is there."""
        batches = [shares_of(make_batch(number), (4, 4)) for number in range(2)]
        alone = [[gradient_alone(*share) for share in shares] for shares in batches]

        seen = ranks(2, accumulate, True)

        torch.testing.assert_close([first for first, _ in seen], alone[0], **ROUNDING)
        mean = (alone[0][0] + alone[0][1] + alone[1][0] + alone[1][1]) / 2
        torch.testing.assert_close([last for _, last in seen], [mean] * 2, **ROUNDING)

    @claim("parallel.ddp-usage-no-sync-forward", notes="5", verdict=ANSWERED, says=UNKNOWN)
    @broken_by(DDP, "forward", local)
    def test_no_sync_around_backward_alone_has_no_effect(self, ranks):
        """What counts is whether the forward pass ran under no_sync(): else backward leaves the mean."""
        alone = [gradient_alone(*share) for share in shares_of(make_batch(), (4, 4))]

        seen = ranks(2, accumulate, False)

        mean = (alone[0] + alone[1]) / 2
        torch.testing.assert_close([first for first, _ in seen], [mean] * 2, **ROUNDING)


def wrapped_state():
    """In each rank: a net with weights and a running mean of its own; return its state once DDP has it."""
    net = nn.Sequential(make_net(seed=dist.get_rank()), nn.BatchNorm1d(1).double())
    net[1].running_mean.fill_(dist.get_rank())
    DDP(net)
    return net.state_dict()


def running_means():
    """In each rank: two forward passes; return the running mean after them."""
    norm = nn.BatchNorm1d(3, momentum=0.5).double()
    ddp = DDP(norm)
    for number in range(2):
        ddp(own(make_batch(number), (4, 4))[0])
    return norm.running_mean


def train(sizes, steps=10):
    """In each rank: train on its part of ten batches; return the weights."""
    net = make_net(seed=dist.get_rank())
    ddp, optimizer = DDP(net), SGD(net.parameters(), lr=0.1, momentum=0.9)
    for number in range(steps):
        inputs, targets = own(make_batch(number), sizes)
        optimizer.zero_grad()
        F.mse_loss(ddp(inputs), targets).backward()
        optimizer.step()
    return torch.cat([parameter.detach().flatten() for parameter in net.parameters()])


class TestState:
    """Weights and buffers."""

    @claim("parallel.ddp-usage-initial-weights", notes="5", verdict=ANSWERED, says=UNKNOWN)
    @broken_by(DDP, "__init__", then(lambda ddp: by_rank(ddp.module[0].parameters())))
    @broken_by(DDP, "__init__", then(lambda ddp: by_rank(ddp.module[1].buffers())))
    def test_weights_and_buffers_become_those_of_rank_0(self, ranks):
        """Whatever a rank was initialised with, wrapping gives it the weights and buffers of rank 0."""
        first = make_net(seed=0).state_dict()

        states = ranks(3, wrapped_state)

        for state in states:
            assert {name: state[f"0.{name}"].tolist() for name in first} == {
                name: value.tolist() for name, value in first.items()
            }
            assert state["1.running_mean"].item() == 0

    @claim("parallel.ddp-usage-buffers", notes="5", verdict=ANSWERED, says=UNKNOWN)
    @broken_by(DDP, "__init__", with_options(broadcast_buffers=False))
    @broken_by(DDP, "forward", local)
    def test_running_mean_goes_on_from_that_of_rank_0(self, ranks):
        """Each forward pass begins with the buffers of rank 0, and adds to them what its own share gives."""
        means = [[share[0].mean(0) for share in shares_of(make_batch(number), (4, 4))] for number in range(2)]

        seen = ranks(2, running_means)

        torch.testing.assert_close(seen, [0.25 * means[0][0] + 0.5 * own for own in means[1]], **ROUNDING)

    @claim("parallel.ddp-usage-training", notes="5", verdict=ANSWERED, says=UNKNOWN)
    @broken_by(DDP, "forward", local)
    @broken_by(DDP, "__init__", then(lambda ddp: by_rank(ddp.parameters())))
    @broken_by(SGD, "step", then(lambda optimizer: by_rank(optimizer.param_groups[0]["params"], 1e-14)))
    @pytest.mark.parametrize("size", [2, 4])
    def test_weights_stay_identical_across_the_ranks(self, ranks, size):
        """After ten steps all ranks have the same weights, bit for bit; one process has them to rounding."""
        net = make_net()
        optimizer = SGD(net.parameters(), lr=0.1, momentum=0.9)
        for number in range(10):
            inputs, targets = make_batch(number)
            optimizer.zero_grad()
            F.mse_loss(net(inputs), targets).backward()
            optimizer.step()

        first, *others = ranks(size, train, [8 // size] * size)

        assert [torch.equal(first, other) for other in others] == [True] * (size - 1)
        torch.testing.assert_close(
            first, nn.utils.parameters_to_vector(net.parameters()).detach(), **ROUNDING
        )


def passing_on(real):
    """Fault: DDP has the attributes of the net."""
    return lambda ddp, name: getattr(real(ddp, "module"), name) if name == "0" else real(ddp, name)


def names():
    """In a rank: what a DDP calls the weights of a net, and whether it has the net and its attributes."""
    net = make_net()
    ddp = DDP(net)
    return list(ddp.state_dict()), ddp.module is net, hasattr(ddp, "0")


class Recorder(nn.Module):
    """Keeps the shapes of its inputs."""

    def __init__(self):
        super().__init__()
        self.layer, self.shapes = nn.Linear(3, 1), []

    def forward(self, x):
        """Note the shape, and compute."""
        self.shapes.append(tuple(x.shape))
        return self.layer(x)


def shapes():
    """In each rank: its number of rows plus two through DDP; return what the net saw, and what comes out."""
    net = Recorder()
    output = DDP(net)(torch.ones(dist.get_rank() + 2, 3))
    return net.shapes, tuple(output.shape)


class TestWrapping:
    """What wrapping asks for, and what it changes."""

    @claim("parallel.ddp-usage-needs-a-group", notes="5", verdict=ANSWERED, says=UNKNOWN)
    @broken_by(DDP, "__init__", lambda real: lambda ddp, net: nn.Module.__init__(ddp))
    def test_ddp_needs_a_process_group(self):
        """Without init_process_group, or torchrun and init_process_group, DDP refuses to wrap a net."""
        with pytest.raises((ValueError, RuntimeError), match="init_process_group"):
            DDP(make_net())

    @claim("parallel.ddp-usage-names", notes="5", verdict=ANSWERED, says=UNKNOWN)
    @broken_by(DDP, "state_dict", lambda real: lambda ddp: ddp.module.state_dict())
    @broken_by(DDP, "__getattr__", passing_on)
    def test_names_of_the_weights_begin_with_module(self, ranks):
        """DDP has the net as .module, where the net's attributes stay; names in its state_dict() begin so."""
        [(keys, same, passed_on)] = ranks(1, names)

        assert keys == [f"module.{name}" for name in make_net().state_dict()]
        assert (same, passed_on) == (True, False)

    @claim(
        "parallel.ddp-does-not-split",
        notes="5, its link",
        verdict=OUTDATED,
        says="DDP splits the input across the devices along the batch (documentation of 1.10)",
    )
    @broken_by(
        DDP,
        "forward",
        lambda real: lambda ddp, x: real(ddp, x.chunk(dist.get_world_size())[dist.get_rank()]),
    )
    def test_ddp_gives_the_net_the_whole_input_of_its_process(self, ranks):
        """DDP splits nothing: the net sees all that its process passes in, however many rows others have."""
        seen = ranks(2, shapes)

        assert seen == [([(2, 3)], (2, 1)), ([(3, 3)], (3, 1))]
