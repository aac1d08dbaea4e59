"""What the checks on net.zero_grad() and optimizer.zero_grad() share: a net, and faults in either method."""

import gc

import torch
from torch import nn
from torch.optim import Optimizer


class TwoLayers(nn.Module):
    """A net of two layers with the weights first.weight, first.bias, second.weight and second.bias."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(3, 3), nn.Linear(3, 3)

    def forward(self, x):
        """Return rows (N, 3) for rows (N, 3)."""
        return self.second(torch.tanh(self.first(x)))


def make_net(device):
    """Return a net of two layers in float64, the same one at each call."""
    torch.manual_seed(0)
    return TwoLayers().double().to(device)


def make_weights(*values, device):
    """Return a net that is nothing but weights of one number each."""
    return nn.ParameterList(torch.tensor(value, dtype=torch.float64, device=device) for value in values)


def loss_of(net):
    """Return the loss of a net on four rows, the same ones at each call."""
    weight = next(net.parameters())
    rows = torch.linspace(-1, 2, 12, dtype=weight.dtype, device=weight.device).view(4, 3)
    return net(rows).square().sum()


def backward(*nets):
    """Add to the gradients of the nets those of their losses, the same ones at each call."""
    for net in nets:
        loss_of(net).backward()


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


def times(factors, gradients):
    """Return the gradients multiplied by each factor."""
    return [[factor * gradient for gradient in gradients] for factor in factors]


# Faults: what may stand in place of Module.zero_grad or Optimizer.zero_grad


def held(owner):
    """Return the parameters of a net, or of an optimizer."""
    if isinstance(owner, nn.Module):
        return [*owner.parameters()]
    return [weight for group in owner.param_groups for weight in group["params"]]


def every_weight():
    """Return the parameters of all nets and optimizers that there are, each of them once."""
    owners = [thing for thing in gc.get_objects() if issubclass(type(thing), (nn.Module, Optimizer))]
    return {id(weight): weight for owner in owners for weight in held(owner)}.values()


def clears_nothing(real):
    """Return a zero_grad() that does nothing."""
    return lambda owner, set_to_none=True: None


def sparing(spared):
    """Return a replacement for zero_grad() that leaves the gradients where spared(index, weight) is true."""

    def replace(real):
        def zero_grad(owner, set_to_none=True):
            weights = [weight for index, weight in enumerate(held(owner)) if spared(index, weight)]
            kept = [weight.grad if weight.grad is None else weight.grad.clone() for weight in weights]
            real(owner, set_to_none)
            for weight, gradient in zip(weights, kept, strict=True):
                weight.grad = gradient

        return zero_grad

    return replace


spares_frozen = sparing(lambda index, weight: not weight.requires_grad)
spares_the_first = sparing(lambda index, weight: index == 0)
spares_the_second = sparing(lambda index, weight: index == 1)
spares_biases = sparing(lambda index, weight: weight.dim() == 1)


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


def clears_one_group(index):
    """Return a replacement for Optimizer.zero_grad that clears one group of parameters alone."""

    def replace(real):
        def zero_grad(optimizer, set_to_none=True):
            for weight in optimizer.param_groups[index]["params"]:
                weight.grad = None

        return zero_grad

    return replace


def shallow(real):
    """Return a Module.zero_grad that does not go deeper than the layers of a net."""

    def zero_grad(net, set_to_none=True):
        for layer in (net, *net.children()):
            for weight in layer.parameters(recurse=False):
                weight.grad = None

    return zero_grad


def in_training_alone(real):
    """Return a Module.zero_grad that does nothing for a net in evaluation mode."""
    return lambda net, set_to_none=True: real(net, set_to_none) if net.training else None


def clears_everything(real):
    """Return a zero_grad() that clears every parameter there is, whoever holds it."""

    def zero_grad(owner, set_to_none=True):
        real(owner, set_to_none)
        for weight in every_weight():
            weight.grad = None

    return zero_grad
