"""Notes 5, DistributedDataParallel (DDP): ranks that do not do the same, and what becomes of the others."""

import time
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import nn
from torch.nn import functional as F

from spec.distributed_faults import SUMMED, local
from spec.distributed_shares import ROUNDING, gradient, gradient_alone, make_batch, make_net, own, shares_of
from spec.faults import with_options
from spec.harness import ANSWERED, broken_by, claim

DDP = nn.parallel.DistributedDataParallel
UNKNOWN = "how DistributedDataParallel is used is not known yet"
PATIENCE = 0.3  # seconds; a rank that never comes is waited for no longer


class TwoHeads(nn.Module):
    """A net of which a forward pass uses one half."""

    def __init__(self):
        super().__init__()
        self.heads = nn.ModuleList(nn.Linear(3, 1) for _ in range(2))

    def forward(self, x, head):
        """Compute with one of the heads."""
        return self.heads[head](x)


def use_one_head(**options):
    """In each rank: three forward passes, the last one by the other head; return .grad or the error."""
    torch.manual_seed(0)
    net = TwoHeads()
    ddp = DDP(net, **options)
    try:
        for head in (0, 0, 1):
            ddp(torch.full((1, 3), dist.get_rank() + 1.0), head).sum().backward()
    except RuntimeError as error:
        return str(error)
    return [head.weight.grad.tolist() for head in net.heads]


class TestUnusedParameters:
    """A forward pass that leaves parameters out."""

    @claim("parallel.ddp-usage-unused", notes="5", verdict=ANSWERED, says=UNKNOWN)
    @broken_by(DDP, "__init__", with_options(find_unused_parameters=True))
    @broken_by(DDP, "forward", local)
    def test_parameter_without_part_in_the_loss_is_an_error_at_the_next_forward(self, ranks):
        """DDP waits for every gradient: if a parameter has no part in the loss, the next forward raises."""
        errors = ranks(2, use_one_head)

        assert ["finished reduction in the prior iteration" in error for error in errors] == [True, True]

    @claim("parallel.ddp-usage-unused-found", notes="5", verdict=ANSWERED, says=UNKNOWN)
    @broken_by(DDP, "__init__", with_options(find_unused_parameters=False))
    @broken_by(DDP, "forward", local)
    def test_unused_parameters_are_looked_for_on_request(self, ranks):
        """With find_unused_parameters=True a forward pass may leave out parameters, whose .grad stays."""
        gradients = ranks(2, use_found_heads)

        assert gradients == [[[[3, 3, 3]], [[1.5, 1.5, 1.5]]]] * 2  # of inputs 1 and 2: twice 1.5, and once

    @claim("parallel.ddp-usage-unused-in-one-rank", notes="5", verdict=ANSWERED, says=UNKNOWN)
    @broken_by(DDP, "__init__", lambda real: lambda ddp, net, **how: SUMMED(real)(ddp, net, **how))
    @broken_by(DDP, "forward", local)
    def test_parameter_used_in_one_rank_alone_counts_as_zeros_in_the_others(self, ranks):
        """The mean is over all ranks: one that did not use a parameter adds zeros, and gets the mean, too."""
        gradients = ranks(2, use_own_head)

        assert gradients == [[[[0.5, 0.5, 0.5]], [[1, 1, 1]]]] * 2  # of inputs 1 and 2, halved


def use_own_head():
    """In each rank: a backward pass by a head of its own; return .grad."""
    net, rank = TwoHeads(), dist.get_rank()
    ddp = DDP(net, find_unused_parameters=True)
    ddp(torch.full((1, 3), rank + 1.0), rank).sum().backward()
    return [None if head.weight.grad is None else head.weight.grad.tolist() for head in net.heads]


def use_found_heads():
    """In each rank: use_one_head, with the option that allows it."""
    return use_one_head(find_unused_parameters=True)


def run_out():
    """In each rank: as many steps as its number plus one, under join(); return .grad after each."""
    net = make_net()
    ddp, seen = DDP(net), []
    with ddp.join():
        for number in range(dist.get_rank() + 1):
            net.zero_grad()
            inputs, targets = own(make_batch(number), (4, 4))
            F.mse_loss(ddp(inputs), targets).backward()
            seen.append(gradient(net).clone())
    return seen


class TestUnequalNumbersOfBatches:
    """Ranks that have more batches than others."""

    @claim("parallel.ddp-usage-join", notes="5", verdict=ANSWERED, says=UNKNOWN)
    @broken_by(DDP, "join", lambda real: lambda ddp: real(ddp, divide_by_initial_world_size=False))
    @broken_by(DDP, "forward", local)
    def test_under_join_a_rank_without_a_batch_counts_as_zeros(self, ranks):
        """Under join() ranks may have unequal numbers of batches: one that ran out adds zeros to the mean."""
        alone = [
            [gradient_alone(*share) for share in shares_of(make_batch(number), (4, 4))] for number in range(2)
        ]

        (first,), (same, rest) = ranks(2, run_out)

        torch.testing.assert_close([first, same], [(alone[0][0] + alone[0][1]) / 2] * 2, **ROUNDING)
        torch.testing.assert_close(rest, alone[1][1] / 2, **ROUNDING)


def wait_in_vain():
    """In rank 0: wait for a sum that rank 1 takes no part in; return the error and the seconds until it."""
    group = dist.new_group(timeout=timedelta(seconds=PATIENCE))
    begin, error = time.monotonic(), None
    if dist.get_rank() == 0:
        try:
            dist.all_reduce(torch.ones(1), group=group)
        except RuntimeError as raised:
            error = str(raised)
    seconds = time.monotonic() - begin
    dist.barrier()  # rank 1 stays until rank 0 has given up
    return error, seconds


def lose_a_rank():
    """In rank 0: wait for a sum after rank 1 has left the group; return the seconds until it raised."""
    dist.barrier()  # rank 1 may not leave while rank 0 is still connecting
    if dist.get_rank() == 1:
        time.sleep(0.2)  # nor while it is still in the barrier
        dist.destroy_process_group()
        return None
    begin = time.monotonic()
    try:
        dist.all_reduce(torch.ones(1))
    except RuntimeError:
        return time.monotonic() - begin
    return None


class TestLostRanks:
    """A rank that does not come, or is gone."""

    @claim("parallel.ddp-usage-timeout", notes="5", verdict=ANSWERED, says=UNKNOWN)
    @broken_by(dist, "new_group", lambda real: lambda timeout: real(timeout=10 * timeout))
    @broken_by(dist, "all_reduce", lambda real: lambda *tensors, group: None)
    def test_rank_that_never_comes_is_waited_for_until_the_timeout(self, ranks):
        """Whoever waits for a rank that takes no part gets a RuntimeError at the group's timeout."""
        (error, seconds), _ = ranks(2, wait_in_vain)

        assert error is not None
        assert "Timed out" in error
        assert PATIENCE <= seconds < 5 * PATIENCE

    @claim("parallel.ddp-usage-lost-rank", notes="5", verdict=ANSWERED, says=UNKNOWN)
    @broken_by(dist, "all_reduce", lambda real: lambda *tensors: None)
    def test_rank_that_has_left_is_noticed_at_once(self, ranks):
        """Whoever waits for a rank that has closed its connections gets a RuntimeError long before."""
        seconds, _ = ranks(2, lose_a_rank)

        assert seconds is not None
        assert seconds < 10  # the timeout is a minute
