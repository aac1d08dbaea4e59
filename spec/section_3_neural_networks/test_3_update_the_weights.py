"""3 "Update the weights": SGD, the training loop, and a scheduler."""

import copy
from contextlib import suppress
from itertools import pairwise

import pytest
import torch
from torch import nn
from torch.optim import SGD
from torch.optim.lr_scheduler import StepLR

from blitz.training.nets import Net
from spec.faults import with_options
from spec.harness import fault, since, statement


def make_step(device):
    """Return a net, an image and a target, float64, so that TF32 plays no part on a GPU."""
    image, target = torch.randn(1, 1, 32, 32), torch.randn(1, 10)
    return Net().double().to(device), image.double().to(device), target.double().to(device)


def in_list(weights):
    """Return `weights` in a list, if they are not in one."""
    return weights if isinstance(weights, list) else [weights]


def at_first_rate(step):
    """Return a step() that takes the learning rate of the start, whatever a scheduler says."""

    def stubborn(optimizer):
        group = optimizer.param_groups[0]
        scheduled, group["lr"] = group["lr"], optimizer.defaults["lr"]
        step(optimizer)
        group["lr"] = scheduled

    return stubborn


class SgdByHand:
    """SGD as the notebook writes it, with the interface of an optimizer."""

    def __init__(self, parameters, lr):
        self.weights, self.lr = list(parameters), lr

    def zero_grad(self):
        """Forget the gradients."""
        for weight in self.weights:
            weight.grad = None

    def step(self):
        """Move every weight against its gradient."""
        for weight in self.weights:
            weight.data.sub_(weight.grad * self.lr)


def train(net, optimizer, image, target, count):
    """Take `count` steps of the notes' loop on one image; return the losses."""
    losses = []
    for _ in range(count):
        optimizer.zero_grad()
        loss = nn.MSELoss()(net(image), target)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


@statement("nn.sgd-learning-rate", notes="3 update the weights")
@fault("the rate is 1", SGD, "__init__", with_options(lr=1.0))
@fault("the step climbs", SGD, "__init__", with_options(maximize=True))
@fault("weights decay", SGD, "__init__", with_options(weight_decay=0.01))
@fault("the default is 0.01", SGD, "__init__", with_options(lr=0.01))
@fault(
    "the rate loses its sign",
    SGD,
    "__init__",
    lambda real: lambda optimizer, weights, lr: real(optimizer, weights, lr=abs(lr)),
)
@fault(
    "one tensor is put into a list",
    SGD,
    "__init__",
    lambda real: lambda optimizer, weights, lr: real(optimizer, in_list(weights), lr=lr),
)
@fault(
    "results are detached",
    SGD,
    "__init__",
    lambda real: lambda optimizer, weights, lr: real(optimizer, [w.detach() for w in weights], lr=lr),
)
class TestSgdLearningRate:
    """A step of SGD replaces each weight by weight - learning rate * gradient. Since PyTorch 2.2, the default
    learning rate is 0.001. SGD raises an error for a negative learning rate.
    """

    def test_sgd_subtracts_learning_rate_times_gradient(self, device):
        weight = torch.tensor([1.0, 2.0], device=device, requires_grad=True)
        weight.grad = torch.tensor([3.0, -4.0], device=device)

        SGD([weight], lr=0.25).step()

        assert weight.tolist() == [1 - 0.25 * 3, 2 + 0.25 * 4]

    @since("2.2")
    def test_sgd_has_a_default_learning_rate(self):
        made = []
        with suppress(ValueError):  # of the releases that want one
            made.append(SGD([torch.zeros(1)]))

        assert [optimizer.param_groups[0]["lr"] for optimizer in made] == [1e-3]

    def test_sgd_refuses_what_it_cannot_train(self):
        weight = torch.zeros(1, requires_grad=True)

        with pytest.raises(ValueError, match="Invalid learning rate"):
            SGD([weight], lr=-0.1)
        with pytest.raises(ValueError, match="can't optimize a non-leaf Tensor"):
            SGD([2 * weight], lr=0.1)
        with pytest.raises(TypeError, match="should be an iterable of Tensors or dicts"):
            SGD(weight, lr=0.1)


@statement("nn.manual-sgd", notes="notebook nn")
@fault("there is momentum", SGD, "__init__", with_options(momentum=0.9))
@fault("there is Nesterov momentum", SGD, "__init__", with_options(momentum=0.9, nesterov=True))
@fault("weights decay", SGD, "__init__", with_options(weight_decay=5e-4))
def test_sgd_is_one_line_by_hand(device):
    """With only a learning rate, a step of SGD changes every weight just as
    `weight.data.sub_(weight.grad * lr)` does.
    """
    net, image, target = make_step(device)
    twin = copy.deepcopy(net)

    train(net, SGD(net.parameters(), lr=0.01), image, target, count=3)
    train(twin, SgdByHand(twin.parameters(), lr=0.01), image, target, count=3)

    torch.testing.assert_close([*net.parameters()], [*twin.parameters()])


@statement("nn.training-loop-order", notes="3 update the weights; notebook nn")
@fault(
    "a step clears the gradients first",
    SGD,
    "step",
    lambda real: lambda optimizer: optimizer.zero_grad() or real(optimizer),
)
@fault("zero_grad does nothing", torch.optim.Optimizer, "zero_grad", lambda real: lambda optimizer: None)
@fault("the step climbs", SGD, "__init__", with_options(maximize=True))
class TestTrainingLoopOrder:
    """On a single sample, each step of the training loop of the notes lowers the loss. If `zero_grad()` is
    called between `loss.backward()` and `optimizer.step()`, no weight changes.
    """

    def test_training_loop_lowers_the_loss_at_every_step(self, device):
        net, image, target = make_step(device)

        losses = train(net, SGD(net.parameters(), lr=0.01), image, target, count=30)

        assert all(after < before for before, after in pairwise(losses))

    def test_zero_grad_between_backward_and_step_prevents_learning(self, device):
        net, image, target = make_step(device)
        optimizer = SGD(net.parameters(), lr=0.01)
        before = [weight.detach().clone() for weight in net.parameters()]

        nn.MSELoss()(net(image), target).backward()
        optimizer.zero_grad()
        optimizer.step()

        torch.testing.assert_close([*net.parameters()], before, rtol=0, atol=0)


@statement("nn.lr-scheduler", notes="3 update the weights; footnote 2")
@fault("the scheduler does nothing", StepLR, "step", lambda real: lambda scheduler: None)
@fault(
    "gamma is ignored",
    StepLR,
    "__init__",
    lambda real: lambda scheduler, *rest, gamma: real(scheduler, *rest, gamma=1.0),
)
@fault("SGD keeps its first rate", SGD, "step", at_first_rate)
def test_scheduler_sets_the_learning_rate_of_the_next_step(device):
    """A learning rate scheduler writes a new learning rate into `optimizer.param_groups` when
    `scheduler.step()` is called. The next `optimizer.step()` uses the new learning rate.
    """
    weight = torch.zeros(1, device=device, requires_grad=True)
    weight.grad = torch.ones(1, device=device)
    optimizer = SGD([weight], lr=0.5)
    scheduler = StepLR(optimizer, 1, gamma=0.5)
    rates, weights = [], []

    for _ in range(3):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
        weights.append(weight.item())

    assert rates == [0.5, 0.25, 0.125]
    assert weights == [-0.5, -0.75, -0.875]
