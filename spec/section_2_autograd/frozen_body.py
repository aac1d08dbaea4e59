"""What fine-tuning is shown on: a net of a frozen body and a head that trains."""

import copy

import torch
from torch import nn
from torch.optim import SGD

HEAD = ["fc.weight", "fc.bias"]


class Classifier(nn.Module):
    """A body with batch norm, and a head `fc` of seven classes, as resnet18 has one of a thousand."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(3, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 4))
        self.fc = nn.Linear(4, 7)

    def forward(self, x):
        """Return scores (N, classes) for rows (N, 3)."""
        return self.fc(self.body(x))


def freeze(net):
    """Freeze all there is in a net, by the loop of the notebook."""
    for parameter in net.parameters():
        parameter.requires_grad = False


def make_net(device="cpu"):
    """Return a frozen net with a new head of two classes, in float64."""
    net = Classifier()
    freeze(net)
    net.fc = nn.Linear(4, 2)
    return net.double().to(device)


def make_rows(device="cpu"):
    """Return six rows for the net."""
    return torch.randn(6, 3, dtype=torch.float64).to(device)


def train(net, *batches):
    """Take a step for each of the batches with an optimizer that holds every parameter of the net."""
    optimizer = SGD(net.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1)
    for batch in batches:
        optimizer.zero_grad()
        net(batch).square().sum().backward()
        optimizer.step()


def state_of(net):
    """Return a copy of the state_dict of a net."""
    return copy.deepcopy(net.state_dict())


def changed(net, start):
    """Return the names in the state_dict of a net of what is no longer as it was at the start."""
    return [name for name, value in net.state_dict().items() if not value.cpu().equal(start[name].cpu())]


def with_gradients(net):
    """Return the names of the parameters that have a gradient."""
    return [name for name, parameter in net.named_parameters() if parameter.grad is not None]
