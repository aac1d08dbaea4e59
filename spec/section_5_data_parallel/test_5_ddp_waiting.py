"""Notes 5, the hint at DistributedDataParallel (DDP): what it waits for, and on which device it runs."""

import time
from datetime import timedelta

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.algorithms.ddp_comm_hooks import default_hooks
from torch.nn import functional as F
from torch.optim import SGD

from spec.faults import then, with_options
from spec.harness import ANSWERED, fault, statement
from spec.harness.accelerator.devices import accelerator
from spec.harness.statements.contract import not_checked
from spec.section_5_data_parallel.distributed_faults import by_rank, local
from spec.section_5_data_parallel.distributed_shares import (
    ROUNDING,
    attempt,
    gradient,
    gradients_alone,
    loss_of,
    make_batch,
    make_net,
    mean,
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


# Faults


def expecting_all(real):
    """Fault: a frozen parameter is waited for as if it were none."""

    def wrap(ddp, net, **options):
        frozen = [parameter for parameter in net.parameters() if not parameter.requires_grad]
        net.requires_grad_(True)
        real(ddp, net, **options)
        for parameter in frozen:
            parameter.requires_grad_(False)

    return wrap


def first_layer_by_rank(ddp):
    """Fault: a rank keeps a first layer of its own."""
    by_rank(ddp.module[0].parameters() if isinstance(ddp.module, nn.Sequential) else ())


@statement("parallel.ddp-waits-for-every-gradient", notes="5", verdict=ANSWERED, says=UNKNOWN)
@fault("unused parameters are always looked for", DDP, "__init__", with_options(find_unused_parameters=True))
@fault("unused parameters are never looked for", DDP, "__init__", with_options(find_unused_parameters=False))
@fault("ranks keep their gradients", DDP, "forward", local)
@fault("what is frozen is waited for", DDP, "__init__", expecting_all)
@fault("what is frozen stays the rank's own", DDP, "__init__", then(first_layer_by_rank))
@fault("wrapping frees what is frozen", DDP, "__init__", then(lambda ddp: ddp.requires_grad_(True)))
class TestWaitsForEveryGradient:
    """DDP waits for the gradient of every parameter that required one when it was wrapped. One that has no
    part in the loss is an error at the next forward pass, unless find_unused_parameters=True.
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


def run_out():
    """In each rank: as many steps as its number plus one, under join(); return .grad after each."""
    net = make_net()
    ddp, seen = DDP(net), []
    with ddp.join():
        for number in range(dist.get_rank() + 1):
            net.zero_grad()
            loss_of(ddp, number).backward()
            seen.append(gradient(net).clone())
    return seen


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


def wait_in_vain():
    """In rank 0: wait for a sum that rank 1 takes no part in; return the error and the seconds until it."""
    group = dist.new_group(timeout=timedelta(seconds=PATIENCE))
    begin, error = time.monotonic(), None
    if dist.get_rank() == 0:
        error = attempt(lambda: dist.all_reduce(torch.ones(1), group=group))
    seconds = time.monotonic() - begin
    dist.barrier()  # rank 1 stays until rank 0 has given up
    return error, seconds


def keeping_the_divisor_small(real):
    """Fault: under join() the mean is over the ranks that still have batches."""
    return lambda ddp: real(ddp, divide_by_initial_world_size=False)


def ten_times_the_timeout(real):
    """Fault: a group waits longer than it is told."""
    return lambda timeout: real(timeout=10 * timeout)


@statement("parallel.ddp-waits-for-every-rank", notes="5", verdict=ANSWERED, says=UNKNOWN)
@fault("ranks keep their gradients", DDP, "forward", local)
@fault("the mean is over ranks with batches", DDP, "join", keeping_the_divisor_small)
@fault("buffers are not sent", DDP, "__init__", with_options(broadcast_buffers=False))
@fault("a group waits ten times as long", dist, "new_group", ten_times_the_timeout)
@fault("nobody waits", dist, "all_reduce", lambda real: lambda *tensors, group=None: None)
class TestWaitsForEveryRank:
    """What a rank does through DDP it does together with all others: a rank that does not come is waited for
    until the timeout. Under join() ranks may have unequal numbers of batches.
    """

    def test_under_join_a_rank_without_a_batch_counts_as_zeros(self, ranks):
        alone, later = gradients_alone(0), gradients_alone(1)

        (first,), (same, rest) = ranks(2, run_out)

        torch.testing.assert_close([first, same], [mean(alone)] * 2, **ROUNDING)
        torch.testing.assert_close(rest, later[1] / 2, **ROUNDING)

    def test_one_rank_evaluates_by_the_net_inside(self, ranks):
        [alone, by_ddp], _ = ranks(2, evaluate)  # of a net with buffers, in eval()

        assert alone is None
        assert by_ddp is not None

    def test_rank_that_never_comes_is_waited_for_until_the_timeout(self, ranks):
        (error, seconds), _ = ranks(2, wait_in_vain)

        assert "Timed out" in (error or "")
        assert PATIENCE <= seconds < 5 * PATIENCE


OWN_BACKENDS = {"cuda": "nccl", "xpu": "xccl"}
ON_AN_ACCELERATOR = {"rtol": 1e-10, "atol": 1e-12}  # it adds in another order than the CPU


@pytest.fixture
def backend():
    """The backend of the accelerator's own kind."""
    kind = accelerator().type
    if kind not in OWN_BACKENDS:
        not_checked("not-implemented", f"PyTorch sends tensors on {kind} between processes by no backend")
    return OWN_BACKENDS[kind]


def train(steps=10):
    """In a rank: train on ten batches by DDP on the accelerator; return weights, and what sent from where."""
    device, sent = accelerator(), []
    net = make_net().to(device)
    ddp, optimizer = DDP(net), SGD(net.parameters(), lr=0.1)

    def average(state, bucket):
        sent.append((dist.get_backend(), str(bucket.buffer().device)))
        return default_hooks.allreduce_hook(None, bucket)

    ddp.register_comm_hook(None, average)
    for number in range(steps):
        inputs, targets = (tensor.to(device) for tensor in make_batch(number))
        optimizer.zero_grad()
        F.mse_loss(ddp(inputs), targets).backward()
        optimizer.step()
    return nn.utils.parameters_to_vector(net.parameters()).detach().cpu(), sent, str(device)


def doubling(real):
    """Fault: what is averaged comes back twice as large."""
    return lambda state, bucket: real(state, bucket).then(lambda done: done.value() * 2)


def halving(ddp):
    """Fault: gradients are halved on their way into .grad."""
    for parameter in ddp.module.parameters():
        parameter.register_hook(lambda gradient: gradient / 2)


@pytest.mark.gpu
@statement("parallel.ddp-on-an-accelerator", notes="5", verdict=ANSWERED, says=UNKNOWN)
@fault("ranks keep their gradients", DDP, "forward", local)
@fault("gradients are halved", DDP, "__init__", then(halving))
@fault("what is averaged is doubled", default_hooks, "allreduce_hook", doubling)
def test_one_rank_trains_as_the_net_alone_on_the_cpu(ranks, backend):
    """On an accelerator DDP sends gradients by the accelerator's own backend, and a group of one process
    trains as the net alone does on the CPU.
    """
    net = make_net()
    for number in range(10):
        inputs, targets = make_batch(number)
        net.zero_grad()
        F.mse_loss(net(inputs), targets).backward()
        with torch.no_grad():
            for weight in net.parameters():
                weight -= 0.1 * weight.grad

    [(by_ddp, sent, device)] = ranks(1, train, backend=backend)

    assert sent == [(backend, device)] * 10
    alone = nn.utils.parameters_to_vector(net.parameters()).detach()
    torch.testing.assert_close(by_ddp, alone, **ON_AN_ACCELERATOR)
