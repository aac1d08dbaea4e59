"""Notes 2.7, fine-tuning: a new head on a frozen body, and what changes in spite of that."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.optim import SGD

from spec.counters import graph_nodes
from spec.harness import QUALIFIED, each_row, fault, statement
from spec.sgd_faults import zeros_for_none

HEAD = ["fc.weight", "fc.bias"]
AVERAGES = ["norm.running_mean", "norm.running_var", "norm.num_batches_tracked"]
MODES = {
    # what is called on the net, and what then changes
    "train": (lambda net: net.train(), AVERAGES + HEAD),
    "eval": (lambda net: net.eval(), HEAD),
    "train after eval of the body": (lambda net: net.norm.eval() and net.train(), AVERAGES + HEAD),
}
CORNERS = [[-1.0, -1.0], [-1.0, 1.0], [1.0, -1.0], [1.0, 1.0]]
WHICH_CORNER, ON_WHICH_DIAGONAL = [0, 1, 2, 3], [0, 1, 1, 0]


class Classifier(nn.Module):
    """A body with batch norm, and a head `fc` of seven classes, as resnet18 has one of a thousand."""

    def __init__(self):
        super().__init__()
        self.layer, self.norm, self.fc = nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 7)

    def forward(self, x):
        """Return scores (N, classes) for rows (N, 3)."""
        return self.fc(self.norm(self.layer(x)).relu())


class Corners(nn.Module):
    """A body and a head `fc` that tell the four corners of a square from each other."""

    def __init__(self):
        super().__init__()
        self.layer, self.fc = nn.Linear(2, 16), nn.Linear(16, 4)

    def forward(self, points):
        """Return scores (N, classes) for points (N, 2)."""
        return self.fc(self.layer(points).tanh())


def fine_tuned(net, classes):
    """Freeze a net by the loop of the notebook, and give it a new head."""
    for parameter in net.parameters():
        parameter.requires_grad = False
    net.fc = nn.Linear(net.fc.in_features, classes)
    return net


def trained_on(net, points, labels):
    """Train a net for 100 steps; return what it then takes the points for."""
    optimizer = SGD(net.parameters(), lr=0.1, momentum=0.9)
    for _ in range(100):
        optimizer.zero_grad()
        F.cross_entropy(net(points), torch.tensor(labels, device=points.device)).backward()
        optimizer.step()
    return net(points).argmax(1).tolist()


# Faults


def flag(change):
    """Return a replacement for Parameter.requires_grad where setting it does `change` instead."""
    return lambda real: property(real.__get__, change)


never_set = flag(lambda parameter, value: None)
by_zeroing = flag(lambda parameter, value: parameter.register_hook(lambda gradient: gradient * 0) and None)


def averages_only_if(condition):
    """Return a batch norm whose averages follow only under a condition on its weight."""

    def replace(real):
        def batch_norm(x, mean, var, weight, bias, training, *rest):
            averages = (mean, var) if condition(weight) or not training else (None, None)
            return real(x, *averages, weight, bias, training, *rest)

        return batch_norm

    return replace


def train_without_effect(real):
    """Return a train() that does not end eval()."""
    return lambda net, mode=True: net if mode else real(net, mode)


def only_where_all_is_free(real):
    """Return a step() that does nothing if a parameter is frozen."""

    def step(optimizer):
        if all(parameter.requires_grad for parameter in optimizer.param_groups[0]["params"]):
            real(optimizer)

    return step


@statement("autograd.finetune-head-only-gradients", notes="2.7; notebook autograd")
@fault("assignment freezes nothing", nn.Parameter, "requires_grad", never_set)
@fault("freezing makes the gradient zero", nn.Parameter, "requires_grad", by_zeroing)
def test_two_of_the_62_parameters_of_resnet18_get_gradients():
    """If a net is frozen (requires_grad=False) and its last layer is then replaced, only the new layer gets
    gradients. Only the new layer has nodes in the graph. In resnet18, the weight and the bias of the new
    layer are 2 of the 62 parameters.
    """
    from torchvision.models import resnet18  # takes a second to import

    with torch.device("meta"):  # shapes and graphs without values, in a tenth of the time
        net = fine_tuned(resnet18(), 10)
        scores = net(torch.rand(2, 3, 64, 64))
    nodes = graph_nodes(scores)
    scores.sum().backward()

    assert scores.shape == (2, 10)
    assert len([*net.parameters()]) == 62
    assert [name for name, parameter in net.named_parameters() if parameter.grad is not None] == HEAD
    assert nodes == {"AddmmBackward0": 1, "TBackward0": 1, "AccumulateGrad": 2}


@statement(
    "autograd.finetune-only-head-changes",
    notes="notebook autograd; 2.7",
    verdict=QUALIFIED,
    says="fine-tuning updates only the weight and the bias of the classifier",
)
@fault("averages never move", F, "batch_norm", averages_only_if(lambda weight: False))
@fault("averages of frozen layers stay", F, "batch_norm", averages_only_if(lambda w: w.requires_grad))
@fault("assignment freezes nothing", nn.Parameter, "requires_grad", never_set)
@fault("SGD takes a missing gradient for zeros", SGD, "step", zeros_for_none)
@fault("train() does not end eval()", nn.Module, "train", train_without_effect)
@each_row
@pytest.mark.parametrize(("call", "names"), MODES.values(), ids=MODES)
def test_averages_of_batch_norm_change_in_train_mode(device, call, names):
    """If a frozen net (requires_grad=False) gets a new last layer, training updates only the parameters of
    the new layer. Each forward pass in train() mode still changes the running averages of batch norm. In
    eval() mode, these averages stay the same.
    """
    net = fine_tuned(Classifier(), 2).to(device)
    start = copy.deepcopy(net.state_dict())
    optimizer = SGD(net.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1)

    call(net)
    for batch in torch.randn(6, 3, device=device).split(3):
        optimizer.zero_grad()
        net(batch).square().sum().backward()
        optimizer.step()

    changed = [name for name, value in net.state_dict().items() if not value.cpu().equal(start[name].cpu())]
    assert changed == names


@statement("autograd.finetuned-head-learns", notes="2.7; notebook autograd")
@fault("assignment freezes nothing", nn.Parameter, "requires_grad", never_set)
@fault("SGD does nothing if a parameter is frozen", SGD, "step", only_where_all_is_free)
def test_new_head_learns_labels_that_the_net_was_not_trained_for(device):
    """A frozen net (requires_grad=False) with a new last layer can learn new labels. Training changes only
    the new layer. The frozen layers keep the weights that they learned for the old labels.
    """
    net, points = Corners().to(device), torch.tensor(CORNERS, device=device)
    assert trained_on(net, points, WHICH_CORNER) == WHICH_CORNER
    body = [parameter.tolist() for parameter in net.layer.parameters()]

    fine_tuned(net, 2).to(device)

    assert trained_on(net, points, ON_WHICH_DIAGONAL) == ON_WHICH_DIAGONAL
    assert [parameter.tolist() for parameter in net.layer.parameters()] == body
