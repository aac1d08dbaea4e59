"""Footnote 1 of the notes: the parameters that an optimizer holds are those of the net."""

import pytest
import torch
from torch import nn
from torch.optim import SGD, Optimizer

from spec.harness import fault, statement
from spec.sgd_faults import clear_after
from spec.zero_grads import held, make_net


def make_weight(value, device):
    """Return a weight of one number, and a gradient of 4 with it."""
    weight = nn.Parameter(torch.tensor([value], dtype=torch.float64, device=device))
    weight.grad = torch.full_like(weight, 4.0)
    return weight


def stores(change):
    """Return an add_param_group() that takes `change(weights)` in place of the weights."""
    return lambda real: (
        lambda optimizer, group: real(optimizer, {**group, "params": change([*group["params"]])})
    )


stores_copies = stores(lambda weights: [weight.detach().clone().requires_grad_() for weight in weights])
stores_twins = stores(lambda weights: [weight.detach().requires_grad_() for weight in weights])


def follows_the_list(real):
    """Return an __init__() that keeps the caller's list, and so sees what is put there later."""
    return lambda optimizer, weights, lr: (
        real(optimizer, weights, lr=lr) or optimizer.param_groups[0].update(params=weights)
    )


def moves_to_new_memory(real):
    """Return a step() that leaves its result in the same parameters, but in new memory."""

    def step(optimizer):
        for weight in held(optimizer):
            weight.data = weight.data.clone()
        real(optimizer)

    return step


def makes_new_parameters(real):
    """Return a conversion of a net that puts new parameters in place of the old."""

    def convert(net, *args):
        real(net, *args)
        for layer in net.modules():
            layer._parameters.update({name: nn.Parameter(w.data) for name, w in layer._parameters.items()})
        return net

    return convert


@statement("footnote.parameters-by-reference", notes="footnote 1")
@fault("the optimizer stores copies", Optimizer, "add_param_group", stores_copies)
@fault("the optimizer stores other tensors of the same memory", Optimizer, "add_param_group", stores_twins)
@fault("the optimizer keeps the list that it was given", SGD, "__init__", follows_the_list)
@fault("a step clears the gradients", SGD, "step", clear_after)
@fault("a step writes to new memory", SGD, "step", moves_to_new_memory)
@fault("to() makes new parameters", nn.Module, "to", makes_new_parameters)
@fault("load_state_dict makes new parameters", nn.Module, "load_state_dict", makes_new_parameters)
class TestParametersByReference:
    """An optimizer holds the parameters of the net themselves. It shares their gradients, steps in their
    memory, and follows a net that is moved or loaded. A new tensor under an old name is another parameter,
    which it never moves.
    """

    def test_optimizer_holds_the_very_parameters_of_the_net(self, device):
        net = make_net(device)
        groups = [{"params": layer.parameters()} for layer in net.children()]

        for given, count in ((net.parameters(), 1), (groups, 2)):
            optimizer = SGD(given, lr=0.1)

            assert len(optimizer.param_groups) == count
            assert list(map(id, held(optimizer))) == list(map(id, net.parameters()))

    def test_gradient_of_a_parameter_is_found_by_either_name(self, device):
        weight = make_weight(16.0, device)
        optimizer = SGD([weight], lr=1.0)
        [same] = optimizer.param_groups[0]["params"]

        optimizer.step()

        assert weight.item() == 16 - 4
        assert same.grad is weight.grad is not None
        same.grad = torch.full_like(same, 2.0)
        assert weight.grad.tolist() == [2]

    def test_step_writes_into_the_memory_of_the_parameters(self, device):
        weight = make_weight(16.0, device)
        memory = weight.detach()

        SGD([weight], lr=1.0).step()

        assert memory.tolist() == weight.tolist() == [16 - 4]

    def test_name_bound_to_a_new_tensor_leaves_the_optimizer_the_old_one(self, device):
        weights = [make_weight(16.0, device)]
        old, optimizer = weights[0], SGD(weights, lr=1.0)

        weights[0] = make_weight(32.0, device)
        optimizer.step()

        assert [old.item(), weights[0].item()] == [16 - 4, 32]

    @pytest.mark.usefixtures("moved_in_place")
    def test_net_that_is_moved_converted_or_loaded_keeps_its_parameters(self, device):
        net = make_net("cpu")
        kept = SGD(net.parameters(), lr=0.1).param_groups[0]["params"]

        net.to(device)
        net.float()
        net.load_state_dict({name: torch.ones_like(weight) for name, weight in net.state_dict().items()})

        assert list(map(id, kept)) == list(map(id, net.parameters()))
        assert all((weight.cpu() == 1).all() for weight in kept)
        assert {(weight.device, weight.dtype) for weight in kept} == {(device, torch.float32)}
