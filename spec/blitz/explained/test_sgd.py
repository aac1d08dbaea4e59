"""blitz/explained/sgd.py: what it does without momentum, which weight meets which gradient, what it refuses.

spec/section_3_neural_networks/test_3_sgd_formula.py holds the formula to torch.optim.SGD in all its forms.
"""

import re

import pytest
import torch

from blitz.explained.sgd import sgd_step


def tensors(*numbers):
    """Return each number in a float64 tensor of its own, and each None as it is."""
    return [n if n is None else torch.tensor([n], dtype=torch.float64) for n in numbers]


def numbers(tensors):
    """Return what `tensors` was made of."""
    return [t if t is None else t.item() for t in tensors]


def test_without_momentum_there_is_no_buffer():
    """Dampening does nothing then, and a buffer that there is stays."""
    options = {"lr": 0.5, "dampening": 0.75}

    (without,), none = sgd_step(tensors(8.0), tensors(4.0), [None], **options)
    (beside,), kept = sgd_step(tensors(8.0), tensors(4.0), tensors(2.0), **options)

    assert without.item() == beside.item() == 8 - 0.5 * 4
    assert numbers([*none, *kept]) == [None, 2.0]


def test_each_weight_meets_its_own_gradient_and_buffer():
    """The order stays, also around a weight without a gradient, and what was given is not changed."""
    given = tensors(1.0, 2.0, 3.0), tensors(8.0, None, 4.0), tensors(None, 5.0, 6.0)

    weights, buffers = sgd_step(*given, lr=0.25, momentum=0.5)

    assert numbers(weights) == [-1.0, 2.0, 3 - 0.25 * 7]
    assert numbers(buffers) == [8.0, 5.0, 7.0]
    assert list(map(numbers, given)) == [[1.0, 2.0, 3.0], [8.0, None, 4.0], [None, 5.0, 6.0]]


def test_shape_type_and_device_stay(device):
    """A step is made where the weight lies, in its type."""
    weight = torch.ones(2, 3, dtype=torch.float16, device=device)

    weights, buffers = sgd_step([weight], [weight], [None], lr=0.5, momentum=0.5)

    for tensor in (*weights, *buffers):
        assert (tensor.shape, tensor.dtype, tensor.device) == (weight.shape, weight.dtype, weight.device)


RANGE = "expected lr, momentum and weight_decay of 0 or more, got "
CLIMB = "; to climb, give maximize=True"
NESTEROV = "expected momentum above 0 and dampening 0 for Nesterov momentum, got momentum "
REFUSED = {
    "lr": ({"lr": -0.5}, f"{RANGE}-0.5, 0.0 and 0.0{CLIMB}"),
    "momentum": ({"momentum": -0.5}, f"{RANGE}0.1, -0.5 and 0.0{CLIMB}"),
    "weight decay": ({"weight_decay": -2}, f"{RANGE}0.1, 0.0 and -2{CLIMB}"),
    "Nesterov without momentum": ({"nesterov": True}, f"{NESTEROV}0.0 and dampening 0.0"),
    "Nesterov with dampening": (
        {"nesterov": True, "momentum": 0.5, "dampening": 0.25},
        f"{NESTEROV}0.5 and dampening 0.25",
    ),
}


@pytest.mark.parametrize(("options", "message"), REFUSED.values(), ids=REFUSED)
def test_option_out_of_range_is_refused_in_a_sentence(options, message):
    """A wrong option says what was expected and what came, as torch.optim.SGD refuses it, too."""
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        sgd_step(tensors(1.0), tensors(1.0), [None], **{"lr": 0.1} | options)
    with pytest.raises(ValueError, match=r"Invalid|Nesterov"):
        torch.optim.SGD(tensors(1.0), **{"lr": 0.1} | options)


@pytest.mark.parametrize("kind", ["gradient", "buffer"])
def test_what_would_fit_a_weight_by_broadcasting_alone_is_refused(kind):
    """Gradients and buffers come in the shape of their weight."""
    gradient, buffer = (torch.ones(1), None) if kind == "gradient" else (torch.ones(2), torch.ones(1))

    with pytest.raises(
        ValueError, match=rf"^expected a {kind} in the shape of its weight, \(2,\), got \(1,\)$"
    ):
        sgd_step([torch.ones(2)], [gradient], [buffer], lr=0.1)
