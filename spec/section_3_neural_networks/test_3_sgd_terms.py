"""3 "Update the weights": what each option of SGD does, worked out by hand."""

import pytest
import torch
from torch.optim import SGD, Optimizer, sgd

from spec.harness import fault, statement
from spec.sgd_faults import (
    all_by_the_first_group,
    decay_apart,
    decay_upside_down,
    first_buffer_damped,
    forgetting,
    keeps_zeros_for_buffers,
    with_formula,
    zeros_for_none,
)


def make_weight(value, device, *, grad=None):
    """Return a weight of one number."""
    weight = torch.tensor([value], dtype=torch.float64, device=device, requires_grad=True)
    weight.grad = None if grad is None else torch.tensor([grad], dtype=torch.float64, device=device)
    return weight


def values_after_each_step(optimizer, weight, gradients):
    """Step once for each of the gradients, numbers or None; return the values of the weight."""
    values = []
    for gradient in gradients:
        weight.grad = None if gradient is None else torch.full_like(weight, gradient)
        optimizer.step()
        values.append(weight.item())
    return values


@statement("nn.sgd-terms", notes="3 update the weights")
@fault("the first buffer is damped", sgd, "sgd", first_buffer_damped)
@fault("dampening is ignored", sgd, "sgd", with_formula(dampening=0))
@fault("momentum is ignored", sgd, "sgd", with_formula(momentum=0))
@fault(
    "there is always momentum",
    SGD,
    "__init__",
    lambda real: lambda o, w, **rest: real(o, w, momentum=0.5, **rest),
)
@fault(
    "dampening shortens every step",
    sgd,
    "sgd",
    with_formula(lr=lambda options: options["lr"] * (1 - options["dampening"])),
)
@fault("a buffer is kept without momentum", SGD, "step", keeps_zeros_for_buffers)
@fault("weights decay apart", sgd, "sgd", decay_apart)
@fault("weight decay is ignored", sgd, "sgd", with_formula(weight_decay=0))
@fault("Nesterov is ignored", sgd, "sgd", with_formula(nesterov=False))
@fault(
    "Nesterov makes every step longer",
    sgd,
    "sgd",
    with_formula(lr=lambda options: options["lr"] * (1 + options["momentum"])),
)
@fault("momentum is halved", sgd, "sgd", with_formula(momentum=0.25))
@fault("maximize is ignored", sgd, "sgd", with_formula(maximize=False))
@fault(
    "weight decay changes its sign with maximize", sgd, "sgd", with_formula(weight_decay=decay_upside_down)
)
@fault("a step takes None for zeros", SGD, "step", zeros_for_none)
@fault("a buffer is forgotten without a gradient", SGD, "step", forgetting)
@fault(
    "zeros are no gradient",
    sgd,
    "sgd",
    lambda real: lambda w, grads, *rest, **o: any(g.item() for g in grads) and real(w, grads, *rest, **o),
)
class TestSgdTerms:
    """The buffer of momentum begins with the first gradient and dampens later ones, weight decay is a part of
    the gradient, Nesterov looks one step ahead, and maximize climbs. A gradient of None stops all of them,
    and one of zeros does not.
    """

    def test_first_gradient_enters_the_buffer_undamped(self, device):
        weight = make_weight(16.0, device)
        optimizer = SGD([weight], lr=1.0, momentum=0.5, dampening=0.75)

        values = values_after_each_step(optimizer, weight, [4.0, 4.0])

        assert values == [16 - 4, 12 - (0.5 * 4 + 0.25 * 4)]
        assert optimizer.state[weight]["momentum_buffer"].tolist() == [3]

    def test_dampening_without_momentum_does_nothing(self, device):
        weight = make_weight(16.0, device)
        optimizer = SGD([weight], lr=1.0, dampening=0.75)

        assert values_after_each_step(optimizer, weight, [4.0, 4.0]) == [12, 8]
        assert optimizer.state[weight].get("momentum_buffer") is None

    def test_momentum_remembers_the_weight_decay(self, device):
        weight = make_weight(16.0, device)
        optimizer = SGD([weight], lr=0.5, momentum=0.5, weight_decay=0.25)

        values = values_after_each_step(optimizer, weight, [0.0, 0.0])

        assert values == [16 - 0.5 * 4, 14 - 0.5 * (0.5 * 4 + 0.25 * 14)]

    def test_nesterov_adds_momentum_times_the_new_buffer_to_the_gradient(self, device):
        weight = make_weight(16.0, device)
        optimizer = SGD([weight], lr=1.0, momentum=0.5, nesterov=True)

        values = values_after_each_step(optimizer, weight, [4.0, -2.0])

        assert values == [16 - (4 + 0.5 * 4), 10 - (-2 + 0.5 * (0.5 * 4 - 2))]

    def test_maximize_climbs_while_weights_still_decay(self, device):
        weight = make_weight(16.0, device)
        optimizer = SGD([weight], lr=1.0, weight_decay=0.25, maximize=True)

        assert values_after_each_step(optimizer, weight, [6.0, 0.0]) == [16 - (-6 + 4), 18 - 4.5]

    def test_missing_gradient_stops_momentum_and_decay(self, device):
        weight = make_weight(16.0, device)
        optimizer = SGD([weight], lr=1.0, momentum=0.5, weight_decay=0.25)

        values = values_after_each_step(optimizer, weight, [4.0, None, 4.0])

        assert values == [16 - 8, 8, 8 - (0.5 * 8 + 4 + 2)]

    def test_zero_gradient_leaves_momentum_and_decay_at_work(self, device):
        weight = make_weight(16.0, device)
        optimizer = SGD([weight], lr=1.0, momentum=0.5, weight_decay=0.25)

        values = values_after_each_step(optimizer, weight, [4.0, 0.0])

        assert values == [16 - 8, 8 - (0.5 * 8 + 2)]


@statement("nn.sgd-groups", notes="3 update the weights")
@fault("all groups are stepped by the first", SGD, "step", all_by_the_first_group)
@fault(
    "a group loses its options",
    Optimizer,
    "add_param_group",
    lambda real: lambda o, g: real(o, {"params": g["params"]}),
)
@fault("momentum is ignored", sgd, "sgd", with_formula(momentum=0))
def test_each_group_is_stepped_by_options_of_its_own(device):
    """Each group of weights is stepped by its own options, and by the common ones where it has none."""
    plain, other = make_weight(16.0, device), make_weight(16.0, device)
    groups = [{"params": [plain]}, {"params": [other], "lr": 0.5, "momentum": 0.5}]
    optimizer = SGD(groups, lr=1.0, weight_decay=0.25)

    for _ in range(2):
        plain.grad, other.grad = torch.full_like(plain, 4.0), torch.full_like(other, 2.0)
        optimizer.step()

    assert plain.item() == 8 - (4 + 0.25 * 8)
    assert other.item() == 13 - 0.5 * (0.5 * 6 + 2 + 0.25 * 13)


@statement("nn.sgd-options-refused", notes="3 update the weights")
@fault(
    "momentum loses its sign",
    SGD,
    "__init__",
    lambda real: lambda o, w, momentum=0.0, **rest: real(o, w, momentum=abs(momentum), **rest),
)
@fault(
    "weight decay loses its sign",
    SGD,
    "__init__",
    lambda real: lambda o, w, weight_decay=0.0, **rest: real(o, w, weight_decay=abs(weight_decay), **rest),
)
@fault(
    "Nesterov is ignored",
    SGD,
    "__init__",
    lambda real: lambda o, w, nesterov=False, **rest: real(o, w, **rest),
)
@fault(
    "dampening is ignored",
    SGD,
    "__init__",
    lambda real: lambda o, w, dampening=0.0, **rest: real(o, w, **rest),
)
def test_sgd_refuses_options_that_do_not_fit():
    """SGD refuses a negative momentum or weight decay, and Nesterov momentum without momentum or with
    dampening.
    """
    weights = [torch.zeros(1, requires_grad=True)]

    with pytest.raises(ValueError, match="Invalid momentum value"):
        SGD(weights, lr=0.1, momentum=-0.5)
    with pytest.raises(ValueError, match="Invalid weight_decay value"):
        SGD(weights, lr=0.1, weight_decay=-0.5)
    with pytest.raises(ValueError, match="Nesterov momentum requires a momentum"):
        SGD(weights, lr=0.1, nesterov=True)
    with pytest.raises(ValueError, match="and zero dampening"):
        SGD(weights, lr=0.1, momentum=0.5, nesterov=True, dampening=0.5)
