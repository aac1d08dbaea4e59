"""Notes 4, steps 3 and 4: why a net learns little or nothing, on real CIFAR-10.

Each check changes one thing in the recipe of the notes, and trains for 6,000 of its 25,000 mini-batches.
"""

import functools

import pytest
import torch
from torch import nn
from torch.optim import SGD

from blitz.cifar10.data import batches
from blitz.training.evaluation import evaluate
from blitz.training.nets import CifarNet
from spec.faults import with_options
from spec.harness import fault, statement
from spec.sgd_faults import clear_after

MINI_BATCHES = 6000

# By the recipe of the notes four seeds reached 38 to 40 %; with one thing changed, 10 to 16 %.
BAD, GOOD = 0.25, 0.3


def train(cifar10, device, *, sort=False, zero_grad=True, softmax=False, momentum=0.9):
    """Train by the recipe of the notes, apart from what is said otherwise; return how the net does."""
    torch.manual_seed(0)
    net = CifarNet().to(device)
    criterion, optimizer = nn.CrossEntropyLoss(), SGD(net.parameters(), lr=0.001, momentum=momentum)
    order = torch.randperm(len(cifar10.train.labels))[: 4 * MINI_BATCHES]
    if sort:
        order = order[cifar10.train.labels[order].argsort()]
    for inputs, labels in batches(cifar10.train, 4, order=order, device=device):
        if zero_grad:
            optimizer.zero_grad()
        outputs = net(inputs)
        loss = criterion(outputs.softmax(1) if softmax else outputs, labels)
        loss.backward()
        optimizer.step()
    return evaluate(net, cifar10.test, device=device)


@pytest.fixture(scope="session")
def accuracy_of_notes(cifar10):
    """`accuracy_of_notes(device)`: what the unchanged recipe reaches there, trained once for all checks."""
    return functools.cache(lambda device: train(cifar10, device).accuracy)


@pytest.mark.slow
@pytest.mark.timeout(600)
@statement("cifar.bad-without-zero-grad", notes="4 step 4")
@fault("a step clears the gradients", SGD, "step", clear_after)
def test_net_learns_nothing_without_zero_grad(cifar10, device, accuracy_of_notes, measured):
    """Without `optimizer.zero_grad()`, the CIFAR-10 net does not learn. After 6,000 mini-batches, the net
    classifies at most 15 % of the test images correctly. With `optimizer.zero_grad()`, the accuracy is more
    than 30 %.
    """
    measured["accuracy"] = train(cifar10, device, zero_grad=False).accuracy

    assert measured["accuracy"] <= 0.15
    assert accuracy_of_notes(device) > GOOD


@pytest.mark.slow
@pytest.mark.timeout(600)
@statement("cifar.bad-if-sorted-by-class", notes="notebook cifar")
@fault(
    "argsort makes any order",
    torch.Tensor,
    "argsort",
    lambda real: lambda labels: torch.randperm(len(labels)),
)
def test_net_answers_the_last_class_alone_after_sorted_images(cifar10, device, accuracy_of_notes):
    """After 6,000 mini-batches of images that are sorted by class, the CIFAR-10 net takes every test image
    for the last class, so its accuracy is 10 %. With shuffled images, its accuracy is more than 30 %.
    """
    predicted = train(cifar10, device, sort=True).confusion.sum(0)

    assert predicted.tolist() == [0] * 9 + [10_000]
    assert accuracy_of_notes(device) > GOOD


@pytest.mark.slow
@pytest.mark.timeout(600)
@statement("cifar.bad-with-softmax-before-the-loss", notes="4 step 3")
@fault("softmax does nothing", torch.Tensor, "softmax", lambda real: lambda scores, dim: scores)
def test_net_learns_slowly_with_softmax_before_the_loss(cifar10, device, accuracy_of_notes, measured):
    """If the CIFAR-10 net ends in softmax, its accuracy is at most 25 % after 6,000 mini-batches with
    CrossEntropyLoss. Without softmax, the accuracy is more than 30 %.
    """
    measured["accuracy"] = train(cifar10, device, softmax=True).accuracy

    assert measured["accuracy"] <= BAD
    assert accuracy_of_notes(device) > GOOD


@pytest.mark.slow
@pytest.mark.timeout(600)
@statement("cifar.bad-without-momentum", notes="4 step 3")
@fault("momentum is always 0.9", SGD, "__init__", with_options(momentum=0.9))
def test_net_learns_slowly_without_momentum(cifar10, device, accuracy_of_notes, measured):
    """With the learning rate 0.001 and no momentum, the accuracy of the CIFAR-10 net is at most 25 % after
    6,000 mini-batches. With momentum 0.9, the accuracy is more than 30 %.
    """
    measured["accuracy"] = train(cifar10, device, momentum=0.0).accuracy

    assert measured["accuracy"] <= BAD
    assert accuracy_of_notes(device) > GOOD
