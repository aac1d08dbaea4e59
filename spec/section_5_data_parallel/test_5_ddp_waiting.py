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
    gradient_alone,
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


def change_after():
    """In each rank: the error of what is frozen after wrapping, and the gradient of what is unfrozen then."""
    nets = [make_net(), make_net()]
    nets[1][0].requires_grad_(False)
    frozen, unfrozen = ddps = [DDP(net) for net in nets]
    for ddp in ddps:
        layer = ddp.module[0]
        layer.requires_grad_(not layer.weight.requires_grad)
    error = attempt(lambda: [loss_of(frozen).backward() for _ in range(2)])
    loss_of(unfrozen).backward()
    return error, gradient(nets[1])


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

    def test_what_is_frozen_or_freed_after_wrapping_is_treated_as_before(self, ranks):
        alone = gradients_alone()
        layer = len(alone[0]) - 5  # the second one has 4 weights and a bias

        for rank, (error, grads) in enumerate(ranks(2, change_after)):
            assert error == MISSED
            torch.testing.assert_close(grads[:layer], alone[rank][:layer], **ROUNDING)
            torch.testing.assert_close(grads[layer:], mean(alone)[layer:], **ROUNDING)


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
    error = attempt(lambda: dist.all_reduce(torch.ones(1)))
    return error and time.monotonic() - begin


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

    def test_rank_that_has_left_is_noticed_at_once(self, ranks):
        seconds, _ = ranks(2, lose_a_rank)

        assert seconds is not None
        assert seconds < 10  # the timeout is a minute


OWN_BACKENDS = {"cuda": "nccl", "xpu": "xccl"}
ON_AN_ACCELERATOR = {"rtol": 1e-10, "atol": 1e-12}  # it adds in another order than the CPU


@pytest.fixture
def backend():
    """The backend of the accelerator's own kind."""
    kind = accelerator().type
    if kind not in OWN_BACKENDS:
        not_checked("not-implemented", f"PyTorch sends tensors on {kind} between processes by no backend")
    return OWN_BACKENDS[kind]


def backward():
    """In a rank: backward through DDP on the accelerator; return the gradient, what sent it, and where."""
    device, sent = accelerator(), []
    net = make_net().to(device)
    ddp = DDP(net)

    def average(state, bucket):
        sent.append((dist.get_backend(), str(bucket.buffer().device)))
        return default_hooks.allreduce_hook(None, bucket)

    ddp.register_comm_hook(None, average)
    inputs, targets = (tensor.to(device) for tensor in make_batch())
    F.mse_loss(ddp(inputs), targets).backward()
    return gradient(net).cpu(), sent, str(device)


def train(steps=10):
    """In a rank: train on ten batches by DDP on the accelerator; return the weights."""
    device = accelerator()
    net = make_net().to(device)
    ddp, optimizer = DDP(net), SGD(net.parameters(), lr=0.1, momentum=0.9)
    for number in range(steps):
        inputs, targets = (tensor.to(device) for tensor in make_batch(number))
        optimizer.zero_grad()
        F.mse_loss(ddp(inputs), targets).backward()
        optimizer.step()
    return nn.utils.parameters_to_vector(net.parameters()).detach().cpu()


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
class TestOnAnAccelerator:
    """On an accelerator DDP sends gradients by the accelerator's own backend, and a group of one process
    trains as the net alone does on the CPU.
    """

    def test_one_rank_has_the_gradient_of_the_net_alone(self, ranks, backend):
        [(gradient, sent, device)] = ranks(1, backward, backend=backend)

        assert sent == [(backend, device)]
        torch.testing.assert_close(gradient, gradient_alone(*make_batch()), **ON_AN_ACCELERATOR)

    def test_one_rank_trains_as_the_net_alone_on_the_cpu(self, ranks, backend):
        net = make_net()
        weights = list(net.parameters())
        momenta = [torch.zeros_like(weight) for weight in weights]
        for number in range(10):
            inputs, targets = make_batch(number)
            gradients = torch.autograd.grad(F.mse_loss(net(inputs), targets), weights)
            with torch.no_grad():
                for weight, momentum, slope in zip(weights, momenta, gradients, strict=True):
                    weight -= 0.1 * momentum.mul_(0.9).add_(slope)

        [by_ddp] = ranks(1, train, backend=backend)

        alone = nn.utils.parameters_to_vector(weights).detach()
        torch.testing.assert_close(by_ddp, alone, **ON_AN_ACCELERATOR)
