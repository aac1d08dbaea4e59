"""What blitz.sgd_step promises: one step of SGD, worked out by hand, and what it refuses.

spec/section_3_neural_networks/test_3_sgd_formula.py holds torch.optim.SGD to it.
"""

import pytest
import torch

from blitz.explained.sgd import sgd_step


def tensors(*numbers):
    """Return each number in a float64 tensor of its own, and each None as it is."""
    return [n if n is None else torch.tensor([n], dtype=torch.float64) for n in numbers]


def numbers(tensors):
    """Return what `tensors` was made of."""
    return [t if t is None else t.item() for t in tensors]


# The gradient, the buffer and the options of a step; the weight 8 and the buffer after it.
STEPS = {
    "plain": (4.0, None, {}, (8 - 0.5 * 4, None)),
    "a learning rate of 0": (4.0, None, {"lr": 0, "momentum": 0.5}, (8.0, 4.0)),
    "the first buffer is undamped": (4.0, None, {"momentum": 0.5, "dampening": 0.75}, (8 - 0.5 * 4, 4.0)),
    "a later buffer keeps a share": (4.0, 2.0, {"momentum": 0.5}, (8 - 0.5 * 5, 5.0)),
    "a later buffer is damped": (4.0, 2.0, {"momentum": 0.5, "dampening": 0.75}, (8 - 0.5 * 2, 2.0)),
    "dampening without momentum": (4.0, 2.0, {"dampening": 0.75}, (8 - 0.5 * 4, 2.0)),
    "weight decay": (4.0, None, {"weight_decay": 0.25}, (8 - 0.5 * (4 + 2), None)),
    "weight decay before momentum": (4.0, None, {"momentum": 0.5, "weight_decay": 0.25}, (8 - 0.5 * 6, 6.0)),
    "Nesterov": (4.0, 2.0, {"momentum": 0.5, "nesterov": True}, (8 - 0.5 * (4 + 0.5 * 5), 5.0)),
    "Nesterov, first": (4.0, None, {"momentum": 0.5, "nesterov": True}, (8 - 0.5 * (4 + 0.5 * 4), 4.0)),
    "uphill": (4.0, None, {"maximize": True}, (8 + 0.5 * 4, None)),
    "decay uphill": (4.0, None, {"maximize": True, "weight_decay": 0.25}, (8 - 0.5 * (-4 + 2), None)),
    "no gradient": (None, 2.0, {"momentum": 0.5, "weight_decay": 0.25}, (8.0, 2.0)),
    "a gradient of 0": (0.0, 2.0, {"momentum": 0.5, "weight_decay": 0.25}, (8 - 0.5 * (1 + 2), 3.0)),
}


@pytest.mark.parametrize(("gradient", "buffer", "options", "expected"), STEPS.values(), ids=STEPS)
def test_step_follows_the_formula(gradient, buffer, options, expected):
    """The weight is 8 and the learning rate 0.5, if nothing else is said."""
    weights, buffers = sgd_step(tensors(8.0), tensors(gradient), tensors(buffer), **{"lr": 0.5} | options)

    assert (*numbers(weights), *numbers(buffers)) == expected


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


RANGE = r"expected lr, momentum and weight_decay of 0 or more, got {}; to climb, give maximize=True"
NESTEROV = (
    r"expected momentum above 0 and dampening 0 for Nesterov momentum, got momentum {} and dampening {}"
)
REFUSED = {
    "lr": ({"lr": -0.5}, RANGE.format(r"-0\.5, 0\.0 and 0\.0")),
    "momentum": ({"momentum": -0.5}, RANGE.format(r"0\.1, -0\.5 and 0\.0")),
    "weight decay": ({"weight_decay": -2}, RANGE.format(r"0\.1, 0\.0 and -2")),
    "Nesterov without momentum": ({"nesterov": True}, NESTEROV.format(r"0\.0", r"0\.0")),
    "Nesterov with dampening": (
        {"nesterov": True, "momentum": 0.5, "dampening": 0.25},
        NESTEROV.format(r"0\.5", r"0\.25"),
    ),
}


@pytest.mark.parametrize(("options", "message"), REFUSED.values(), ids=REFUSED)
def test_option_out_of_range_is_refused_in_a_sentence(options, message):
    """A wrong option says what was expected and what came, as torch.optim.SGD refuses it, too."""
    with pytest.raises(ValueError, match=f"^{message}$"):
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
