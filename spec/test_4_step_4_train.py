"""Notes 4, step 4: the loop that trains the net."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.optim import SGD, Optimizer

from blitz.training.nets import CifarNet
from spec.harness import broken_by, claim


def make_batch(device="cpu"):
    """Return four normalised images in float64, and their labels."""
    images = torch.rand(4, 3, 32, 32, dtype=torch.float64, device=device) * 2 - 1
    return images, torch.tensor([3, 8, 8, 0], device=device)


def make_training(device):
    """Return the net of the notes in float64, its loss and its optimizer."""
    net = CifarNet().to(device).double()
    return net, nn.CrossEntropyLoss(), SGD(net.parameters(), lr=0.001, momentum=0.9)


def count_nodes(node, name):
    """Return how many nodes of the graph from `node` on have a name that begins with `name`."""
    nodes, todo = set(), [node]
    while todo:
        if (found := todo.pop()) is not None and found not in nodes:
            nodes.add(found)
            todo += [following for following, _ in found.next_functions]
    return sum(node.name().startswith(name) for node in nodes)


@claim("cifar.zero-grad-in-loop", notes="4 step 4")
@broken_by(Optimizer, "zero_grad", lambda real: lambda self, set_to_none=True: None)
def test_zero_grad_keeps_earlier_batches_out_of_the_gradient(device):
    """With zero_grad at the start of each iteration, the gradient is that of its own batch alone."""
    net, criterion, optimizer = make_training(device)

    for _ in range(2):
        inputs, labels = make_batch(device)
        alone = torch.autograd.grad(criterion(net(inputs), labels), list(net.parameters()))
        optimizer.zero_grad()
        criterion(net(inputs), labels).backward()

        torch.testing.assert_close([parameter.grad for parameter in net.parameters()], list(alone))
        optimizer.step()


@claim("cifar.loop-lowers-the-loss", notes="4 step 4")
@broken_by(SGD, "__init__", lambda real: lambda self, *args, **rest: real(self, *args, **rest, maximize=True))
@broken_by(SGD, "step", lambda real: lambda self: None)
@broken_by(torch.Tensor, "backward", lambda real: lambda loss: None)
def test_twenty_steps_on_one_batch_lower_its_loss(device):
    """Twenty rounds of zero_grad, forward, loss, backward and step on one batch lower its loss."""
    net, criterion, optimizer = make_training(device)
    inputs, labels = make_batch(device)
    losses = []

    for _ in range(20):
        optimizer.zero_grad()
        loss = criterion(net(inputs), labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())

    assert losses[-1] < losses[0]


@claim("cifar.loss-item", notes="4 step 4 code comments")
@broken_by(torch.Tensor, "item", lambda real: lambda loss: loss.detach())
@broken_by(torch.Tensor, "item", lambda real: lambda loss: int(real(loss)))
def test_item_of_the_loss_is_a_plain_number(device):
    """loss.item() is a Python float of the loss's value, so the running loss is a float as well."""
    running_loss = 0.0

    for k in (2, 7):
        loss = nn.CrossEntropyLoss()(torch.zeros(4, k, device=device), torch.zeros(4, device=device).long())
        running_loss += loss.item()

    assert type(running_loss) is float
    assert running_loss == pytest.approx(math.log(2 * 7), rel=1e-6)


@claim("cifar.loss-item-left-out", notes="4 step 4 code comments")
@broken_by(F, "cross_entropy", lambda real: lambda *args, **options: real(*args, **options).detach())
@broken_by(CifarNet, "forward", lambda real: lambda net, images: real(net, images).detach().requires_grad_())
def test_sum_of_losses_without_item_keeps_every_graph(device):
    """Losses summed without item() make a tensor that holds the graph of every batch, back to the net."""
    net, criterion, _ = make_training(device)

    running_loss = 0.0
    for _ in range(2):
        inputs, labels = make_batch(device)
        running_loss = running_loss + criterion(net(inputs), labels)

    assert isinstance(running_loss, torch.Tensor)
    assert running_loss.requires_grad
    assert count_nodes(running_loss.grad_fn, "NllLossBackward") == 2
    assert count_nodes(running_loss.grad_fn, "ConvolutionBackward") == 4
