"""Footnote 1 of the notes: the parameters that an optimizer holds are those of the net."""

import torch
from torch.optim import SGD, Optimizer

from spec.harness import fault, statement
from spec.zero_grads import held, make_net, make_weights


def stores_copies(real):
    """Return an add_param_group() that stores copies of the weights."""

    def add(optimizer, group):
        copies = [weight.detach().clone().requires_grad_() for weight in group["params"]]
        real(optimizer, {**group, "params": copies})

    return add


def follows_the_list(real):
    """Return an __init__() that keeps the caller's list, and so sees what is put there later."""
    return lambda optimizer, weights, lr: (
        real(optimizer, weights, lr=lr) or optimizer.param_groups[0].update(params=weights)
    )


@statement("footnote.parameters-by-reference", notes="footnote 1")
@fault("the optimizer stores copies", Optimizer, "add_param_group", stores_copies)
@fault("the optimizer keeps the list that it was given", SGD, "__init__", follows_the_list)
class TestParametersByReference:
    """An optimizer holds the parameters of the net themselves, not copies. optimizer.step() therefore uses
    the gradients of the net and changes the net. If a parameter is replaced by a new tensor, the optimizer
    keeps the old parameter and never changes the new tensor.
    """

    def test_optimizer_holds_the_very_parameters_of_the_net(self, device):
        net = make_net(device)

        optimizer = SGD(net.parameters(), lr=0.1)

        assert list(map(id, held(optimizer))) == list(map(id, net.parameters()))

    def test_gradient_of_a_parameter_is_found_by_either_name(self, device):
        [weight] = make_weights(16.0, device=device)
        [same] = held(SGD([weight], lr=1.0))

        (4 * weight).backward()
        assert same.grad is weight.grad
        same.grad = torch.full_like(same, 2.0)
        assert weight.grad.item() == 2

    def test_name_bound_to_a_new_tensor_leaves_the_optimizer_the_old_one(self, device):
        weights = [*make_weights(16.0, device=device)]
        [old], optimizer = weights, SGD(weights, lr=1.0)
        (4 * old).backward()

        weights[0] = make_weights(32.0, device=device)[0]
        optimizer.step()

        assert [old.item(), weights[0].item()] == [16 - 4, 32]
