"""Notes 5, the hint at DistributedDataParallel (DDP): what it waits for."""

from datetime import timedelta

import torch
import torch.distributed as dist
from torch import nn

from spec.faults import then, with_options
from spec.harness import ANSWERED, fault, statement
from spec.section_5_data_parallel.distributed_faults import local
from spec.section_5_data_parallel.distributed_shares import (
    attempt,
    loss_of,
    make_batch,
    make_net,
)

DDP = nn.parallel.DistributedDataParallel
UNKNOWN = "how DistributedDataParallel is used is not known yet"
MISSED = "Expected to have finished reduction in the prior iteration"
PATIENCE = 0.3  # seconds; a rank that never comes is waited for no longer


class TwoHeads(nn.Module):
    """A net of which a forward pass uses one half."""

    def __init__(self):
        super().__init__()
        self.heads = nn.ModuleList(nn.Linear(3, 1) for _ in range(2))

    def forward(self, x, head):
        """Compute with one of the heads."""
        return self.heads[head](x)


def use_heads(numbers, options):
    """In each rank: forward passes by its heads of the given numbers; return the error, and .grad."""
    net, rank = TwoHeads(), dist.get_rank()
    ddp = DDP(net, **options)
    rows = torch.full((1, 3), rank + 1.0)
    error = attempt(lambda: [ddp(rows, head).sum().backward() for head in numbers[rank]])
    return error, [None if head.weight.grad is None else head.weight.grad[0].tolist() for head in net.heads]


def freeze_before():
    """In each rank: freeze the first layer, wrap, and take two steps; return error, weights, gradients."""
    net = make_net(seed=dist.get_rank())
    net[0].requires_grad_(False)
    ddp = DDP(net)
    error = attempt(lambda: [loss_of(ddp).backward() for _ in range(2)])
    return error, net[0].weight.tolist(), [parameter.grad is None for parameter in net.parameters()]


@statement("parallel.ddp-waits-for-every-gradient", notes="5", verdict=ANSWERED, says=UNKNOWN)
@fault("unused parameters are always looked for", DDP, "__init__", with_options(find_unused_parameters=True))
@fault("unused parameters are never looked for", DDP, "__init__", with_options(find_unused_parameters=False))
@fault("ranks keep their gradients", DDP, "forward", local)
@fault("wrapping frees what is frozen", DDP, "__init__", then(lambda ddp: ddp.requires_grad_(True)))
class TestWaitsForEveryGradient:
    """DistributedDataParallel (DDP) waits for the gradients of all weights, except those that were frozen
    before DDP wrapped the net. If such a gradient is missing because the weight has no part in the loss, the
    next forward pass raises a RuntimeError. With `find_unused_parameters=True`, the missing gradient of a
    process counts as zero.
    """

    def test_parameter_without_part_in_the_loss_is_an_error_at_the_next_forward(self, ranks):
        assert [error for error, _ in ranks(2, use_heads, [[0, 0]] * 2, {})] == [MISSED] * 2

    def test_unused_parameters_are_looked_for_on_request_and_count_as_zeros(self, ranks):
        heads = [0, 0, 1], [0, 0, 0]  # rank 1 with rows of 2 never uses the other head

        seen = ranks(2, use_heads, heads, {"find_unused_parameters": True})

        assert seen == [(None, [[1.5 + 1.5 + 2 / 2] * 3, [1 / 2] * 3])] * 2

    def test_what_is_frozen_before_wrapping_is_not_waited_for(self, ranks):
        first = make_net(seed=0)[0].weight.tolist()

        assert ranks(2, freeze_before) == [(None, first, [True, True, False, False])] * 2


def evaluate():
    """In rank 0: evaluate a net with a running mean by itself, and by its DDP; return the errors."""
    group = dist.new_group(timeout=timedelta(seconds=PATIENCE))
    ddp = DDP(nn.Sequential(make_net(), nn.BatchNorm1d(1).double()), process_group=group).eval()
    inputs, errors = make_batch()[0], []
    if dist.get_rank() == 0:
        with torch.no_grad():
            errors = [attempt(lambda each=each: each(inputs)) for each in (ddp.module, ddp)]
    dist.barrier()
    return errors


@statement("parallel.ddp-waits-for-every-rank", notes="5", verdict=ANSWERED, says=UNKNOWN)
@fault("ranks keep their gradients", DDP, "forward", local)
@fault("buffers are not sent", DDP, "__init__", with_options(broadcast_buffers=False))
def test_one_rank_evaluates_by_the_net_inside(ranks):
    """A forward pass through DistributedDataParallel (DDP) waits for all other processes if the net has
    buffers, such as the averages of batch norm. A process that evaluates the net alone should call
    `ddp.module`, the net inside DDP. This net does not wait.
    """
    [alone, by_ddp], _ = ranks(2, evaluate)  # of a net with buffers, in eval()

    assert alone is None
    assert by_ddp is not None
