"""Notes 4, step 3: the loss and the optimizer."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.optim import SGD

from blitz.training.nets import CifarNet
from spec.harness import each_row, fault, since, statement
from spec.section_4_cifar10.faults import given

NEAR_LN_10 = 0.1  # a fresh net's loss on 64 images was off by 0.027 at most over 200 seeds

# targets for probabilities of 1/8, 2/8, 5/8 and 2/5, 2/5, 1/5, and the loss of each
TARGETS = {
    "indices": ([2, 0], [math.log(8 / 5), math.log(5 / 2)]),
    "probabilities": pytest.param(
        [[0.5, 0.5, 0.0], [0.0, 1.0, 0.0]], [math.log(8 * 4) / 2, math.log(5 / 2)], marks=since("1.10")
    ),
}

REFUSED = {
    "int32": (torch.tensor([3, 8], dtype=torch.int32), RuntimeError, r"Long.* Int"),
    "an eleventh class": (torch.tensor([3, 10]), IndexError, "out of bounds"),  # on CUDA: a lost process
    "one-hot integers": (F.one_hot(torch.tensor([3, 8]), 10), RuntimeError, "floating point type for target"),
}


def through(change):
    """Let the loss see changed scores."""
    return lambda real: lambda scores, target, **options: real(change(scores), target, **options)


def lenient_about_targets(real):
    """Round any target to a class that there is."""
    return lambda scores, y, **rest: real(
        scores, (y if y.dim() == 1 else y.argmax(1)).long().clamp(0, 9), **rest
    )


@statement("cifar.cross-entropy-takes-logits", notes="4 step 3")
@fault("the loss takes softmax of its scores", F, "cross_entropy", through(lambda scores: scores.softmax(1)))
@fault("the loss takes probabilities", F, "cross_entropy", through(lambda x: x.log().clamp(min=-100)))
@fault("the loss is a sum", nn.CrossEntropyLoss, "__init__", given(reduction="sum"))
@fault("any target is rounded to a class", F, "cross_entropy", lenient_about_targets)
class TestCrossEntropyTakesLogits:
    """CrossEntropyLoss accepts plain scores, so the net needs no softmax. The loss is the mean of -log
    softmax(scores) at the right classes. With a softmax in the net, even certain and right predictions of ten
    classes would have a loss of 1.46.
    """

    @each_row
    @pytest.mark.parametrize(("targets", "expected"), TARGETS.values(), ids=TARGETS)
    def test_loss_is_the_mean_of_minus_log_softmax(self, targets, expected, device):
        scores = torch.tensor([[1.0, 2.0, 5.0], [2.0, 2.0, 1.0]], device=device).log() + 7

        loss = nn.CrossEntropyLoss()(scores, torch.tensor(targets, device=device))

        assert loss.item() == pytest.approx(sum(expected) / 2, rel=1e-5)

    def test_loss_of_an_untrained_net_is_about_ln_10(self, device):
        images, labels = torch.rand(64, 3, 32, 32) * 2 - 1, torch.arange(64) % 10

        loss = nn.CrossEntropyLoss()(CifarNet().to(device)(images.to(device)), labels.to(device))

        assert loss.item() == pytest.approx(math.log(10), abs=NEAR_LN_10)

    def test_loss_of_certain_probabilities_is_stuck_at_1_46(self, device):
        labels = torch.tensor([3, 8, 8, 0], device=device)

        loss = nn.CrossEntropyLoss()(F.one_hot(labels, 10).double(), labels)

        assert loss.item() == pytest.approx(math.log(math.e + 9) - 1)

    @pytest.mark.parametrize(("targets", "error", "message"), REFUSED.values(), ids=REFUSED)
    def test_targets_that_are_no_classes_are_refused(self, targets, error, message):
        with pytest.raises(error, match=message):
            nn.CrossEntropyLoss()(torch.zeros(2, 10), targets)


@statement("cifar.sgd-momentum", notes="4 step 3; notebook autograd")
@fault("momentum is ignored", SGD, "__init__", given(momentum=0.0))
@fault("the gradient is dampened", SGD, "__init__", given(dampening=0.9))
@fault("momentum is Nesterov's", SGD, "__init__", given(nesterov=True))
def test_sgd_with_momentum_adds_nine_tenths_of_the_last_velocity(device):
    """In each step, SGD with momentum 0.9 computes the velocity v = 0.9 v + gradient. With the learning rate
    0.001, SGD then changes the parameter p to p - 0.001 v. In the first step, the velocity is the gradient.
    """
    p = torch.tensor([0.0, 0.0], dtype=torch.float64, device=device, requires_grad=True)
    optimizer = SGD([p], lr=0.001, momentum=0.9)

    for gradient in ([1.0, -2.0], [1.0, 0.0], [1.0, 0.0]):
        p.grad = torch.tensor(gradient, dtype=torch.float64, device=device)
        optimizer.step()

    # v is 1, 1.9 and 2.71 in the first place, and -2, -1.8 and -1.62 in the second
    assert p.tolist() == pytest.approx([-0.00561, 0.00542], rel=1e-12)
