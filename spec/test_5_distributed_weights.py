"""Notes 5, DistributedDataParallel (DDP): weights that are frozen, unused, changed, trained and saved."""

import copy

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.optim import SGD

from spec.distributed_faults import by_rank, local
from spec.distributed_shares import (
    ROUNDING,
    attempt,
    gradient,
    gradients_alone,
    loss_of,
    make_batch,
    make_net,
    mean,
)
from spec.faults import then, with_options
from spec.harness import ANSWERED, broken_by, claim

DDP = nn.parallel.DistributedDataParallel
UNKNOWN = "how DistributedDataParallel is used is not known yet"

# Faults


def expecting_all(real):
    """Fault: a frozen parameter is waited for as if it were none."""

    def wrap(ddp, net):
        frozen = [parameter for parameter in net.parameters() if not parameter.requires_grad]
        net.requires_grad_(True)
        real(ddp, net)
        for parameter in frozen:
            parameter.requires_grad_(False)

    return wrap


def weights_from_rank_0(real):
    """Fault: each forward pass begins with the weights of rank 0."""

    def forward(ddp, inputs):
        for parameter in ddp.parameters():
            dist.broadcast(parameter.detach(), 0)
        return real(ddp, inputs)

    return forward


# Frozen and unused parameters


def freeze_before():
    """In each rank: freeze the first layer, wrap, and take two steps; return error, weights, gradients."""
    net = make_net(seed=dist.get_rank())
    net[0].requires_grad_(False)
    ddp = DDP(net)
    error = attempt(lambda: [loss_of(ddp).backward() for _ in range(2)])
    return error, net[0].state_dict(), [parameter.grad for parameter in net.parameters()]


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


class Idle(nn.Module):
    """A net with a layer that it never uses."""

    def __init__(self):
        super().__init__()
        self.net, self.idle = make_net(), nn.Linear(1, 1)

    def forward(self, x):
        """Leave the layer out."""
        return self.net(x)


def leave_out():
    """In each rank: three steps of a net with an idle layer and a static graph; return error and .grad."""
    net = Idle()
    ddp = DDP(net, static_graph=True)
    error = attempt(lambda: [(ddp.zero_grad(), loss_of(ddp).backward()) for _ in range(3)])
    return error, net.idle.weight.grad, [parameter.grad for parameter in net.net.parameters()]


class TestFrozenParameters:
    """What takes no part in backward."""

    @claim("parallel.ddp-usage-frozen", notes="5", verdict=ANSWERED, says=UNKNOWN)
    @broken_by(DDP, "__init__", expecting_all)
    @broken_by(DDP, "__init__", then(lambda ddp: ddp.requires_grad_(True)))
    @broken_by(DDP, "__init__", then(lambda ddp: by_rank(ddp.module[0].parameters())))
    def test_what_is_frozen_before_wrapping_is_not_waited_for(self, ranks):
        """A parameter frozen before wrapping becomes that of rank 0, gets no gradient, and none is missed."""
        first = make_net(seed=0)[0].state_dict()

        for error, weights, (*frozen, _, _) in ranks(2, freeze_before):
            assert (error, frozen) == (None, [None, None])
            assert [weights[name].tolist() for name in first] == [value.tolist() for value in first.values()]

    @claim("parallel.ddp-usage-frozen-after", notes="5", verdict=ANSWERED, says=UNKNOWN)
    @broken_by(DDP, "__init__", with_options(find_unused_parameters=True))
    @broken_by(DDP, "__init__", expecting_all)
    def test_requires_grad_is_read_when_ddp_wraps(self, ranks):
        """DDP still waits for what is frozen after wrapping, and never averages what is unfrozen after it."""
        alone = gradients_alone()
        layer = len(alone[0]) - 5  # the second one has 4 weights and a bias

        for rank, (error, grads) in enumerate(ranks(2, change_after)):
            assert error == "Expected to have finished reduction in the prior iteration"
            torch.testing.assert_close(grads[:layer], alone[rank][:layer], **ROUNDING)
            torch.testing.assert_close(grads[layer:], mean(alone)[layer:], **ROUNDING)

    @claim("parallel.ddp-usage-static-graph", notes="5", verdict=ANSWERED, says=UNKNOWN)
    @broken_by(DDP, "__init__", with_options(static_graph=False))
    @broken_by(DDP, "forward", local)
    def test_static_graph_allows_what_is_never_used(self, ranks):
        """With static_graph=True a parameter that no step uses is no error, and the others are averaged."""
        for error, idle, grads in ranks(2, leave_out):
            assert (error, idle) == (None, None)
            averaged = torch.cat([grad.flatten() for grad in grads])
            torch.testing.assert_close(averaged, mean(gradients_alone()), **ROUNDING)


# Weights


def step(before):
    """In each rank: a step by an optimizer made before or after wrapping; return the weights."""
    net = make_net()
    optimizer = SGD(net.parameters(), lr=0.1) if before else None
    ddp = DDP(net)
    optimizer = optimizer or SGD(ddp.parameters(), lr=0.1)
    loss_of(ddp).backward()
    optimizer.step()
    return nn.utils.parameters_to_vector(net.parameters()).detach()


def change_by_rank():
    """In each rank: wrap, then add the rank to the last bias; return that bias and the gradient."""
    net = make_net()
    ddp = DDP(net)
    by_rank([net[2].bias])
    loss_of(ddp).backward()
    return net[2].bias.item(), gradient(net)


def save(path):
    """In each rank: train a step; rank 0 saves the weights; return what the net gives for some inputs."""
    net = make_net(seed=dist.get_rank() + 5)
    ddp, optimizer = DDP(net), SGD(net.parameters(), lr=0.1)
    loss_of(ddp).backward()
    optimizer.step()
    if dist.get_rank() == 0:
        torch.save(ddp.module.state_dict(), path)
    return ddp.module(make_batch()[0]).detach()


class TestWeights:
    """Which weights are trained, and saved."""

    @claim("parallel.ddp-usage-optimizer", notes="5", verdict=ANSWERED, says=UNKNOWN)
    @broken_by(DDP, "__init__", lambda real: lambda ddp, net: real(ddp, copy.deepcopy(net)))
    @broken_by(DDP, "forward", local)
    @pytest.mark.parametrize("before", [True, False])
    def test_optimizer_may_be_made_before_or_after_wrapping(self, ranks, before):
        """The DDP has the very parameters of the net: an optimizer of either trains both."""
        start = nn.utils.parameters_to_vector(make_net().parameters()).detach()

        seen = ranks(2, step, before)

        torch.testing.assert_close(seen, [start - 0.1 * mean(gradients_alone())] * 2, **ROUNDING)

    @claim("parallel.ddp-usage-changed-weights", notes="5", verdict=ANSWERED, says=UNKNOWN)
    @broken_by(DDP, "forward", weights_from_rank_0)
    @broken_by(DDP, "forward", local)
    def test_weights_are_not_compared_after_wrapping(self, ranks):
        """A weight changed in one rank after wrapping stays another one: only gradients are exchanged."""
        bias = make_net()[2].bias.item()

        seen = ranks(2, change_by_rank)

        assert [changed - bias for changed, _ in seen] == pytest.approx([0, 1])
        torch.testing.assert_close(seen[0][1], seen[1][1], **ROUNDING)
        assert seen[0][1][-1].item() == pytest.approx(mean(gradients_alone())[-1].item() + 1)  # (0 + 2) / 2

    @claim("parallel.ddp-usage-saving", notes="5", verdict=ANSWERED, says=UNKNOWN)
    @broken_by(DDP, "forward", local)
    @broken_by(nn.Module, "load_state_dict", lambda real: lambda net, state: None)
    def test_one_rank_saves_for_all(self, ranks, tmp_path):
        """What rank 0 saves as ddp.module.state_dict() loads into the bare net: it is what each rank has."""
        outputs = ranks(2, save, tmp_path / "net.pth")
        net = make_net()
        net.load_state_dict(torch.load(tmp_path / "net.pth"))

        torch.testing.assert_close(outputs, [net(make_batch()[0]).detach()] * 2, **ROUNDING)
