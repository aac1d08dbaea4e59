"""3 "Update the weights": what each option of SGD does, worked out by hand."""

import pytest
import torch
from torch.optim import SGD, Optimizer, sgd

from spec.harness import each_row, fault, statement
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


# Options of SGD, the gradients of its steps, and the values of a weight after each of them, from 16 on.
TERMS = {
    "the first gradient enters the buffer undamped": (
        {"momentum": 0.5, "dampening": 0.75},
        [4.0, 4.0],
        [16 - 4, 12 - (0.5 * 4 + 0.25 * 4)],
    ),
    "dampening without momentum does nothing": ({"dampening": 0.75}, [4.0, 4.0], [12, 8]),
    "momentum remembers the weight decay": (
        {"lr": 0.5, "momentum": 0.5, "weight_decay": 0.25},
        [0.0, 0.0],
        [16 - 0.5 * 4, 14 - 0.5 * (0.5 * 4 + 0.25 * 14)],
    ),
    "Nesterov adds momentum times the new buffer to the gradient": (
        {"momentum": 0.5, "nesterov": True},
        [4.0, -2.0],
        [16 - (4 + 0.5 * 4), 10 - (-2 + 0.5 * (0.5 * 4 - 2))],
    ),
    "maximize climbs while weights still decay": (
        {"weight_decay": 0.25, "maximize": True},
        [6.0, 0.0],
        [16 - (-6 + 4), 18 - 4.5],
    ),
    "a missing gradient stops momentum and decay": (
        {"momentum": 0.5, "weight_decay": 0.25},
        [4.0, None, 4.0],
        [16 - 8, 8, 8 - (0.5 * 8 + 4 + 2)],
    ),
    "a zero gradient leaves momentum and decay at work": (
        {"momentum": 0.5, "weight_decay": 0.25},
        [4.0, 0.0],
        [16 - 8, 8 - (0.5 * 8 + 2)],
    ),
}


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
    """With momentum, SGD keeps a decaying sum of the gradients, which starts as the full first gradient. This
    sum includes the weight decay. Momentum and weight decay still move a weight whose gradient is zero, but
    not a weight whose gradient is None.
    """

    @each_row
    @pytest.mark.parametrize(("options", "gradients", "expected"), TERMS.values(), ids=TERMS)
    def test_values_of_a_weight_after_each_step_from_16(self, device, options, gradients, expected):
        weight = make_weight(16.0, device)
        optimizer = SGD([weight], **{"lr": 1.0, **options})

        assert values_after_each_step(optimizer, weight, gradients) == expected

    def test_buffer_is_kept_with_momentum_alone(self, device):
        left = {}
        for momentum in (0.5, 0):
            weight = make_weight(16.0, device)
            optimizer = SGD([weight], lr=1.0, momentum=momentum, dampening=0.75)
            values_after_each_step(optimizer, weight, [4.0, 4.0])
            buffer = optimizer.state[weight].get("momentum_buffer")
            left[momentum] = None if buffer is None else buffer.item()

        assert left == {0.5: 3, 0: None}


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
    """SGD updates each group of weights with the options of that group. If a group does not set an option,
    SGD uses the value that was passed to SGD() for all groups.
    """
    plain, other = make_weight(16.0, device), make_weight(16.0, device)
    groups = [{"params": [plain]}, {"params": [other], "lr": 0.5, "momentum": 0.5}]
    optimizer = SGD(groups, lr=1.0, weight_decay=0.25)

    for _ in range(2):
        plain.grad, other.grad = torch.full_like(plain, 4.0), torch.full_like(other, 2.0)
        optimizer.step()

    assert plain.item() == 8 - (4 + 0.25 * 8)
    assert other.item() == 13 - 0.5 * (0.5 * 6 + 2 + 0.25 * 13)
