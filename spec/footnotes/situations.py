"""What an optimizer may hold of a net, and whose zero_grad() then leaves which gradients."""

import torch
from torch import nn
from torch.optim import SGD

from spec.zero_grads import backward, both_ways, make_net


def over_all(net):
    """Give the optimizer net.parameters()."""
    backward(net)
    return SGD(net.parameters(), lr=0.1), {}


def over_groups(net):
    """Give the optimizer the two layers in groups of their own."""
    backward(net)
    return SGD([{"params": net.first.parameters()}, {"params": net.second.parameters()}], lr=0.1), {}


def over_layers_of_layers(net):
    """Put the first layer into another, and that into one more."""
    net.first = nn.Sequential(nn.Sequential(net.first))
    return over_all(net)


def in_evaluation_mode(net):
    """Switch the net to evaluation."""
    return over_all(net.eval())


def frozen_from_the_start(net):
    """Freeze the first layer before any backward()."""
    net.first.requires_grad_(False)
    return over_all(net)


def frozen_midway(net):
    """Freeze the first layer when it has gradients."""
    optimizer, others = over_all(net)
    net.first.requires_grad_(False)
    return optimizer, others


def frozen_and_left_out(net):
    """Freeze the first layer when it has gradients, and give the optimizer the others alone."""
    backward(net)
    net.first.requires_grad_(False)
    return SGD([weight for weight in net.parameters() if weight.requires_grad], lr=0.1), {}


def over_the_second_layer(net):
    """Give the optimizer a part of the net."""
    backward(net)
    return SGD(net.second.parameters(), lr=0.1), {}


def one_of_two_optimizers(net):
    """Give each layer an optimizer; return the first layer's."""
    backward(net)
    SGD(net.second.parameters(), lr=0.1)
    return SGD(net.first.parameters(), lr=0.1), {}


def over_two_nets(net):
    """Give the optimizer another net, too."""
    other = make_net(net.first.weight.device)
    backward(net, other)
    return SGD([*net.parameters(), *other.parameters()], lr=0.1), {"another net": other.second.bias}


def over_an_extra_weight(net):
    """Give the optimizer a weight that is in no net."""
    optimizer, _ = over_all(net)
    extra = nn.Parameter(torch.ones(1))
    extra.grad = torch.ones(1)
    optimizer.add_param_group({"params": [extra]})
    return optimizer, {"one more": extra}


def first_layer_replaced(net):
    """Replace the first layer after the optimizer has been made."""
    optimizer, _ = over_all(net)
    old, net.first = net.first, make_net(net.first.weight.device).first
    backward(net)
    return optimizer, {"replaced": old.weight}


def one_weight_twice(net):
    """Give the optimizer the parameters of a net that has one of them under two names."""
    net.second.weight = net.first.weight
    return over_all(net)


def layer_in_a_list(net):
    """Keep a layer in a Python list, where neither the net nor the optimizer finds it."""
    net.others = [make_net(net.first.weight.device).first]
    net.others[0].weight.grad = torch.ones_like(net.others[0].weight)
    optimizer, _ = over_all(net)
    return optimizer, {"hidden": net.others[0].weight}


FIRST = ["first.weight", "first.bias"]
SECOND = ["second.weight", "second.bias"]
OVERVIEW = {
    # what the optimizer holds: situation, what net.zero_grad() leaves, what optimizer.zero_grad() leaves
    "the net's parameters": (over_all, [], []),
    "the net's parameters, in groups": (over_groups, [], []),
    "the net's parameters, in layers of layers": (over_layers_of_layers, [], []),
    "the net's parameters, in evaluation mode": (in_evaluation_mode, [], []),
    "the net's parameters, a layer frozen from the start": (frozen_from_the_start, [], []),
    "the net's parameters, a layer frozen midway": (frozen_midway, [], []),
    "the net's parameters, one of them shared by two layers": (one_weight_twice, [], []),
    "the net's parameters, where a Python list hides a layer": (layer_in_a_list, ["hidden"], ["hidden"]),
    "what is not frozen, a layer frozen midway": (frozen_and_left_out, [], FIRST),
    "a part of the net": (over_the_second_layer, [], FIRST),
    "a part of the net, another optimizer the rest": (one_of_two_optimizers, [], SECOND),
    "the net's parameters before a layer was replaced": (first_layer_replaced, ["replaced"], FIRST),
    "the parameters of two nets": (over_two_nets, ["another net"], []),
    "the net's parameters and one more": (over_an_extra_weight, ["one more"], []),
}


def left_by(owner, situation, device):
    """Return the names of what still has a gradient after the zero_grad() of `owner`."""
    net = make_net(device)
    optimizer, others = situation(net)
    both_ways(net, optimizer)[owner]()
    watched = dict(net.named_parameters()) | others
    return [name for name, weight in watched.items() if weight.grad is not None and weight.grad.cpu().any()]
