"""Notes 5, the hint at DistributedDataParallel (DDP), which they leave open: how it is used.

Every rank is a process of its own, on the CPU, and talks to the others by gloo.
"""

import copy

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
from spec.section_5_data_parallel.distributed_faults import FIRST_ONLY, SUMMED, by_rank, local
from spec.section_5_data_parallel.distributed_shares import (
    ROUNDING,
    gradient,
    gradient_alone,
    make_batch,
    make_net,
    mean,
    own,
    shares_of,
)

DDP = nn.parallel.DistributedDataParallel
UNKNOWN = "how DistributedDataParallel is used is not known yet"
TRAININGS = {"2 ranks, optimizer before DDP": (2, True), "4 ranks, optimizer after DDP": (4, False)}


def weights_of(net):
    """Return the parameters as one vector."""
    return nn.utils.parameters_to_vector(net.parameters()).detach()


def train(net, optimizer, batches):
    """Take a step for each of the batches."""
    for inputs, targets in batches:
        optimizer.zero_grad()
        F.mse_loss(net(inputs), targets).backward()
        optimizer.step()


def train_in_ranks(sizes, optimizer_first):
    """In each rank: train on its part of ten batches; return the weights at the start and at the end."""
    net = make_net(seed=dist.get_rank())
    optimizer = SGD(net.parameters(), lr=0.1, momentum=0.9) if optimizer_first else None
    ddp = DDP(net)
    start = weights_of(net)
    optimizer = optimizer or SGD(ddp.parameters(), lr=0.1, momentum=0.9)
    train(ddp, optimizer, [own(make_batch(number), sizes) for number in range(10)])
    return start, weights_of(net)


def save(path):
    """In each rank: train a step, and save in rank 0; return weights, names, and if layers show."""
    net = make_net(seed=dist.get_rank() + 5)
    ddp = DDP(net)
    train(ddp, SGD(net.parameters(), lr=0.1), [own(make_batch(), (4, 4))])
    if dist.get_rank() == 0:
        torch.save(ddp.module.state_dict(), path)
    return weights_of(net), list(ddp.state_dict()), hasattr(ddp, "0")


@statement("parallel.ddp-usage", notes="5", verdict=ANSWERED, says=UNKNOWN)
@fault("ranks keep their gradients", DDP, "forward", local)
@fault("wrapping leaves weights as they are", DDP, "__init__", then(lambda ddp: by_rank(ddp.parameters())))
@fault(
    "wrapping copies the net", DDP, "__init__", lambda real: lambda ddp, net: real(ddp, copy.deepcopy(net))
)
@fault("wrapping asks for no group", DDP, "__init__", lambda real: lambda ddp, net: nn.Module.__init__(ddp))
@fault("names stay as they are", DDP, "state_dict", lambda real: lambda ddp: ddp.module.state_dict())
class TestDDP:
    """To use DistributedDataParallel (DDP), each process joins a group of processes and wraps its net in DDP.
    Each process trains on an equal part of each batch. With a mean loss, all processes reach the weights that
    the first process alone would reach with the whole batches.
    """

    def test_ddp_needs_a_process_group(self):
        with pytest.raises((ValueError, RuntimeError), match="init_process_group"):
            DDP(make_net())

    @pytest.mark.parametrize(("size", "optimizer_first"), TRAININGS.values(), ids=TRAININGS)
    def test_ranks_train_from_the_weights_of_rank_0_as_one_process(self, ranks, size, optimizer_first):
        net = make_net(seed=0)
        start = weights_of(net)
        train(net, SGD(net.parameters(), lr=0.1, momentum=0.9), [make_batch(number) for number in range(10)])

        starts, ends = zip(*ranks(size, train_in_ranks, [8 // size] * size, optimizer_first), strict=True)

        assert [torch.equal(each, start) for each in starts] == [True] * size
        assert [torch.equal(each, ends[0]) for each in ends] == [True] * size
        torch.testing.assert_close(ends[0], weights_of(net), **ROUNDING)

    def test_one_rank_saves_the_net_inside_for_all(self, ranks, tmp_path):
        seen = ranks(2, save, tmp_path / "net.pth")
        net = make_net()
        net.load_state_dict(torch.load(tmp_path / "net.pth"))

        torch.testing.assert_close([each[0] for each in seen], [weights_of(net)] * 2, rtol=0, atol=0)
        names = [f"module.{name}" for name in net.state_dict()]
        assert [each[1:] for each in seen] == [(names, False)] * 2


MEANS = {"three ranks": (3, 3, 2), "unequal shares": (6, 2)}
WHOLE = {
    # the shares, and the weights of their losses
    "equal shares": ((4, 4), (1, 1)),
    "unequal shares, weighted by their rows": ((6, 2), (2 * 6 / 8, 2 * 2 / 8)),
}


def backward_in_ranks(sizes, weights=(1, 1, 1)):
    """In each rank: backward through DDP on its own part; return the gradient."""
    net = make_net()
    ddp = DDP(net)
    inputs, targets = own(make_batch(), sizes)
    loss = F.mse_loss(ddp(inputs), targets)
    (loss * weights[dist.get_rank()]).backward()
    return gradient(net)


@statement("parallel.ddp-averages-gradients", notes="5", verdict=ANSWERED, says=UNKNOWN)
@fault("ranks keep their gradients", DDP, "forward", local)
@fault("gradients are summed", DDP, "__init__", SUMMED)
@fault("all get the gradient of rank 0", DDP, "__init__", FIRST_ONLY)
class TestDDPAveragesGradients:
    """In a backward pass, DistributedDataParallel (DDP) replaces the gradient of each process with the mean
    over all processes. With a mean loss and equal shares of the batch, this mean is the gradient of the whole
    batch.
    """

    @pytest.mark.parametrize("sizes", MEANS.values(), ids=MEANS)
    def test_gradient_is_the_mean_over_the_ranks(self, ranks, sizes):
        alone = mean(gradient_alone(*share) for share in shares_of(make_batch(), sizes))

        torch.testing.assert_close(
            ranks(len(sizes), backward_in_ranks, sizes), [alone] * len(sizes), **ROUNDING
        )

    @pytest.mark.parametrize(("sizes", "weights"), WHOLE.values(), ids=WHOLE)
    def test_gradient_of_the_whole_batch_takes_equal_shares_or_weights(self, ranks, sizes, weights):
        whole = gradient_alone(*make_batch())

        seen = ranks(2, backward_in_ranks, sizes, weights)

        torch.testing.assert_close(seen, [whole] * 2, **ROUNDING)


def running_means():
    """In each rank: wrap a norm with a running mean of its own; return it then, and after two passes."""
    norm = nn.BatchNorm1d(3, momentum=0.5).double()
    norm.running_mean.fill_(dist.get_rank())
    ddp = DDP(norm)
    wrapped = norm.running_mean.clone()
    for number in range(2):
        ddp(own(make_batch(number), (4, 4))[0])
    return wrapped, norm.running_mean


@statement("parallel.ddp-sends-buffers", notes="5", verdict=ANSWERED, says=UNKNOWN)
@fault("wrapping leaves buffers as they are", DDP, "__init__", then(lambda ddp: by_rank(ddp.buffers())))
@fault("buffers are never sent", DDP, "__init__", with_options(broadcast_buffers=False))
@fault("ranks go on by themselves", DDP, "forward", local)
def test_running_mean_goes_on_from_that_of_rank_0(ranks):
    """DistributedDataParallel (DDP) copies the running mean of batch norm from the first process to all other
    processes. DDP does so when it wraps the net, and before each forward pass. In the pass, each process
    updates its running mean with its own share of the batch.
    """
    means = [[share[0].mean(0) for share in shares_of(make_batch(number), (4, 4))] for number in range(2)]

    wrapped, seen = zip(*ranks(2, running_means), strict=True)

    assert [each.tolist() for each in wrapped] == [[0, 0, 0]] * 2
    torch.testing.assert_close(list(seen), [0.25 * means[0][0] + 0.5 * own for own in means[1]], **ROUNDING)


OWN_BACKENDS = {"cuda": "nccl", "xpu": "xccl"}
ON_AN_ACCELERATOR = {"rtol": 1e-10, "atol": 1e-12}  # it adds in another order than the CPU


@pytest.fixture
def backend():
    """The backend of the accelerator's own kind."""
    kind = accelerator().type
    if kind not in OWN_BACKENDS:
        not_checked("not-implemented", f"PyTorch sends tensors on {kind} between processes by no backend")
    return OWN_BACKENDS[kind]


def train_on_the_accelerator():
    """In a rank: train on ten batches; return the weights, what sent gradients from where, and the device."""
    device, sent = accelerator(), []
    net = make_net().to(device)
    ddp = DDP(net)

    def average(state, bucket):
        sent.append((dist.get_backend(), str(bucket.buffer().device)))
        return default_hooks.allreduce_hook(None, bucket)

    ddp.register_comm_hook(None, average)
    batches = [[tensor.to(device) for tensor in make_batch(number)] for number in range(10)]
    train(ddp, SGD(net.parameters(), lr=0.1), batches)
    return weights_of(net).cpu(), sent, str(device)


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
    """On an accelerator, DistributedDataParallel (DDP) sends gradients by a library for this accelerator,
    such as NCCL for CUDA. With a single process, the trained weights equal those of the net without DDP on
    the CPU.
    """
    net = make_net()
    for number in range(10):
        inputs, targets = make_batch(number)
        net.zero_grad()
        F.mse_loss(net(inputs), targets).backward()
        with torch.no_grad():
            for weight in net.parameters():
                weight -= 0.1 * weight.grad

    [(by_ddp, sent, device)] = ranks(1, train_on_the_accelerator, backend=backend)

    assert sent == [(backend, device)] * 10
    torch.testing.assert_close(by_ddp, weights_of(net), **ON_AN_ACCELERATOR)
