"""Notes 5, the hint at DistributedDataParallel (DDP), left open: a group of one, on an accelerator.

The group's tensors travel by the accelerator's own backend, nccl on CUDA. What more ranks do with each other
is shown by gloo on the CPU.
"""

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.algorithms.ddp_comm_hooks import default_hooks
from torch.nn import functional as F
from torch.optim import SGD

from spec.distributed_shares import gradient, gradient_alone, make_batch, make_net
from spec.faults import then
from spec.harness import ANSWERED, broken_by, claim
from spec.harness.accelerator.devices import accelerator
from spec.harness.statements.contract import not_checked

DDP = nn.parallel.DistributedDataParallel
UNKNOWN = "how DistributedDataParallel is used is not known yet"

OWN_BACKENDS = {"cuda": "nccl", "xpu": "xccl"}

# In float64: a GPU multiplies and adds in another order than the CPU.
ON_AN_ACCELERATOR = {"rtol": 1e-10, "atol": 1e-12}


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
    take_steps(ddp, optimizer, device, steps)
    return nn.utils.parameters_to_vector(net.parameters()).detach().cpu()


def take_steps(net, optimizer, device, steps):
    """Train on so many batches."""
    for number in range(steps):
        inputs, targets = (tensor.to(device) for tensor in make_batch(number))
        optimizer.zero_grad()
        F.mse_loss(net(inputs), targets).backward()
        optimizer.step()


# Faults


def without_sending(real):
    """Fault: the gradients are not handed over to be averaged."""
    return lambda ddp, inputs: ddp.module(inputs)


def doubling(real):
    """Fault: what is averaged comes back twice as large."""
    return lambda state, bucket: real(state, bucket).then(lambda done: done.value() * 2)


def forgetful(ddp):
    """Fault: gradients are halved on their way into .grad."""
    for parameter in ddp.module.parameters():
        parameter.register_hook(lambda gradient: gradient / 2)


class TestOneRank:
    """A group of one."""

    @pytest.mark.gpu
    @claim("parallel.ddp-usage-on-an-accelerator", notes="5", verdict=ANSWERED, says=UNKNOWN)
    @broken_by(DDP, "forward", without_sending)
    @broken_by(DDP, "__init__", then(forgetful))
    @broken_by(default_hooks, "allreduce_hook", doubling)
    def test_one_rank_has_the_gradient_of_the_net_alone(self, ranks, backend):
        """On an accelerator DDP in one process sends the gradient by its backend, and it stays as it was."""
        alone = gradient_alone(*make_batch())

        [(gradient, sent, device)] = ranks(1, backward, backend=backend)

        assert sent == [(backend, device)]
        torch.testing.assert_close(gradient, alone, **ON_AN_ACCELERATOR)

    @pytest.mark.gpu
    @claim("parallel.ddp-usage-on-an-accelerator-training", notes="5", verdict=ANSWERED, says=UNKNOWN)
    @broken_by(DDP, "__init__", then(forgetful))
    @broken_by(SGD, "step", lambda real: lambda optimizer: None)
    def test_one_rank_trains_as_the_net_alone_on_the_cpu(self, ranks, backend):
        """Ten steps by DDP in one process on an accelerator leave the weights that the CPU has without it."""
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
