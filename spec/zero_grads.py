"""What the checks on net.zero_grad() and optimizer.zero_grad() share: a net, and faults in either method."""

import gc
from collections import OrderedDict

import torch
from torch import nn
from torch.optim import Optimizer


def make_net(device):
    """Return a net of the layers `first` and `second` in float64, the same one at each call."""
    torch.manual_seed(0)
    layers = OrderedDict(first=nn.Linear(3, 3), between=nn.Tanh(), second=nn.Linear(3, 3))
    return nn.Sequential(layers).double().to(device)


def make_weights(*values, device):
    """Return a net that is nothing but weights of one number each."""
    return nn.ParameterList(torch.tensor(value, dtype=torch.float64, device=device) for value in values)


def backward(net):
    """Add to the gradients of a net those of its loss on four rows, the same ones at each call."""
    weight = next(net.parameters())
    rows = torch.linspace(-1, 2, 12, dtype=weight.dtype, device=weight.device).view(4, 3)
    net(rows).square().sum().backward()


def both_ways(net, optimizer):
    """Return the two methods, by the name of their owner."""
    return {"net": net.zero_grad, "optimizer": optimizer.zero_grad}


def copies(weights):
    """Return copies of the values of weights."""
    return [weight.detach().clone() for weight in weights]


def gradients(net):
    """Return copies of the gradients of a net, zeros where there is none."""
    return [
        torch.zeros_like(weight) if weight.grad is None else weight.grad.clone()
        for weight in net.parameters()
    ]


# Faults: what may stand in place of Module.zero_grad or Optimizer.zero_grad


def held(owner):
    """Return the parameters of a net, or of an optimizer."""
    if isinstance(owner, nn.Module):
        return [*owner.parameters()]
    return [weight for group in owner.param_groups for weight in group["params"]]


def every_weight(owner):
    """Return the parameters of all nets and optimizers that there are, whatever the owner."""
    owners = [thing for thing in gc.get_objects() if issubclass(type(thing), (nn.Module, Optimizer))]
    return [weight for owner in owners for weight in held(owner)]


def clearing(chosen):
    """Return a replacement for zero_grad() that clears the gradients of `chosen(owner)` alone."""

    def replace(real):
        def zero_grad(owner, set_to_none=True):
            for weight in chosen(owner):
                weight.grad = None

        return zero_grad

    return replace


clears_nothing = clearing(lambda owner: [])
clears_everything = clearing(every_weight)
clears_the_first_group = clearing(lambda optimizer: optimizer.param_groups[0]["params"])
clears_direct_layers = clearing(lambda net: [w for layer in net for w in layer.parameters(recurse=False)])
clears_in_training = clearing(lambda net: held(net) if net.training else [])
spares_frozen = clearing(lambda owner: [weight for weight in held(owner) if weight.requires_grad])
spares_the_first = clearing(lambda owner: held(owner)[1:])
spares_the_second = clearing(lambda owner: held(owner)[:1] + held(owner)[2:])
spares_biases = clearing(lambda owner: [weight for weight in held(owner) if weight.dim() != 1])


def writes_zeros(real):
    """Return a zero_grad() that writes zeros, whatever it is asked for."""
    return lambda owner, set_to_none=True: real(owner, False)


def writes_zeros_by_default(real):
    """Return a zero_grad() with the default of PyTorch 1."""
    return lambda owner, set_to_none=False: real(owner, set_to_none)


def removes(real):
    """Return a zero_grad() that removes gradients, whatever it is asked for."""
    return lambda owner, set_to_none=True: real(owner, True)


def makes_zeros(real):
    """Return a zero_grad() that leaves a new tensor of zeros at every parameter, also where nothing was."""

    def zero_grad(owner, set_to_none=True):
        for weight in held(owner):
            weight.grad = torch.zeros_like(weight)

    return zero_grad
