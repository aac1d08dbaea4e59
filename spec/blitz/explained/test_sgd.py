"""What blitz.sgd_step promises: one step of SGD, and what it refuses.

The numbers are worked out by hand; spec/test_3_training_step_sgd.py holds torch.optim.SGD against it.
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


def step(weight, gradient, buffer=None, *, lr=0.5, **options):
    """Take a step with one weight; return it and its buffer as numbers."""
    weights, buffers = sgd_step(tensors(weight), tensors(gradient), tensors(buffer), lr=lr, **options)
    return (*numbers(weights), *numbers(buffers))


class TestFormula:
    """A step by hand, term by term."""

    def test_plain_step_goes_against_the_gradient(self):
        """Without options a weight loses the learning rate times its gradient, and no buffer comes up."""
        assert step(8.0, 4.0) == (6.0, None)

    def test_learning_rate_zero_changes_nothing_but_the_buffer(self):
        """A learning rate of 0 is allowed."""
        assert step(8.0, 4.0, lr=0, momentum=0.5) == (8.0, 4.0)

    def test_first_buffer_is_the_gradient_undamped(self):
        """The first step takes the whole gradient into the buffer, whatever the dampening."""
        assert step(8.0, 4.0, momentum=0.5, dampening=0.75) == (6.0, 4.0)

    def test_later_buffers_keep_a_share_and_take_a_damped_gradient(self):
        """The second buffer is momentum * 2 + (1 - dampening) * 4, and the weight follows it."""
        assert step(8.0, 4.0, 2.0, momentum=0.5) == (8 - 0.5 * 5, 5.0)
        assert step(8.0, 4.0, 2.0, momentum=0.5, dampening=0.75) == (8 - 0.5 * 2, 2.0)

    def test_dampening_without_momentum_does_nothing(self):
        """Without momentum the whole gradient is taken, and a buffer is left as it is."""
        assert step(8.0, 4.0, 2.0, dampening=0.75) == (6.0, 2.0)

    def test_weight_decay_enters_the_gradient_before_momentum(self):
        """The buffer holds the gradient with the decay in it: 4 + 0.25 * 8."""
        assert step(8.0, 4.0, weight_decay=0.25) == (8 - 0.5 * 6, None)
        assert step(8.0, 4.0, momentum=0.5, weight_decay=0.25) == (8 - 0.5 * 6, 6.0)

    def test_nesterov_looks_ahead_by_one_step_of_the_buffer(self):
        """The weight follows gradient + momentum * buffer, from the first step on."""
        assert step(8.0, 4.0, momentum=0.5, nesterov=True) == (8 - 0.5 * (4 + 0.5 * 4), 4.0)
        assert step(8.0, 4.0, 2.0, momentum=0.5, nesterov=True) == (8 - 0.5 * (4 + 0.5 * 5), 5.0)

    def test_maximize_climbs_and_still_decays(self):
        """The sign of the gradient turns, that of the decay does not."""
        assert step(8.0, 4.0, maximize=True) == (10.0, None)
        assert step(8.0, 4.0, maximize=True, weight_decay=0.25) == (8 - 0.5 * (-4 + 2), None)

    def test_missing_gradient_leaves_weight_and_buffer(self):
        """A gradient None means neither decay nor momentum; a gradient of zeros means both."""
        options = {"momentum": 0.5, "weight_decay": 0.25}

        assert step(8.0, None, 2.0, **options) == (8.0, 2.0)
        assert step(8.0, 0.0, 2.0, **options) == (8 - 0.5 * (1 + 2), 3.0)


class TestSeveralWeights:
    """Lists of weights of any shapes."""

    def test_each_weight_meets_its_own_gradient_and_buffer(self):
        """The order stays, and a weight without a gradient stays among the others."""
        weights, buffers = sgd_step(
            tensors(1.0, 2.0, 3.0), tensors(8.0, None, 4.0), tensors(None, 5.0, 6.0), lr=0.25, momentum=0.5
        )

        assert numbers(weights) == [-1.0, 2.0, 3 - 0.25 * 7]
        assert numbers(buffers) == [8.0, 5.0, 7.0]

    def test_shape_type_and_device_stay(self, device):
        """A step is made where the weight lies, in its type."""
        weight = torch.ones(2, 3, dtype=torch.float16, device=device)

        weights, buffers = sgd_step([weight], [weight], [None], lr=0.5, momentum=0.5)

        for tensor in (*weights, *buffers):
            assert (tensor.shape, tensor.dtype, tensor.device) == (weight.shape, weight.dtype, weight.device)

    def test_nothing_is_changed_in_place(self):
        """Weights, gradients and buffers that were given keep their values."""
        given = tensors(1.0), tensors(2.0), tensors(4.0)

        sgd_step(*given, lr=0.5, momentum=0.5, weight_decay=0.5, nesterov=True, maximize=True)

        assert [numbers(part) for part in given] == [[1.0], [2.0], [4.0]]

    def test_no_weights_are_no_step(self):
        """Empty lists give empty lists."""
        assert sgd_step([], [], [], lr=0.5) == ([], [])


def test_infinite_weight_stays_infinite_without_a_decay():
    """As in torch.optim.SGD: no decay is no term, not one of infinity times 0."""
    weight = torch.nn.Parameter(torch.tensor([float("inf")]))
    weight.grad = torch.ones(1)

    (stepped,), _ = sgd_step([weight.detach().clone()], [weight.grad], [None], lr=0.1)

    torch.optim.SGD([weight], lr=0.1).step()
    assert stepped.tolist() == weight.tolist() == [float("inf")]


REFUSED = {
    "lr": ({"lr": -0.1}, r"expected lr of 0 or more, got -0\.1; to climb, give maximize=True"),
    "momentum": ({"momentum": -0.5}, r"expected momentum of 0 or more, got -0\.5"),
    "weight decay": ({"weight_decay": -2}, "expected weight_decay of 0 or more, got -2"),
    "Nesterov without momentum": (
        {"nesterov": True},
        r"Nesterov momentum, got momentum 0\.0 and dampening 0\.0",
    ),
    "Nesterov with dampening": (
        {"nesterov": True, "momentum": 0.5, "dampening": 0.25},
        r"expected momentum above 0 and dampening 0 for Nesterov momentum, "
        r"got momentum 0\.5 and dampening 0\.25",
    ),
}

MISFITS = {
    "too few gradients": ([None], [None, None], "expected one gradient or None for each of 2 weights, got 1"),
    "too many buffers": (
        [None, None],
        [None] * 3,
        "expected one buffer or None for each of 2 weights, got 3",
    ),
    "a gradient that would broadcast": (
        [None, torch.ones(1)],
        [None, None],
        r"expected gradient 1 in the shape of its weight, \(3,\), got \(1,\)",
    ),
    "a buffer of another weight": (
        [None, None],
        [None, torch.ones(2, 3)],
        r"expected buffer 1 in the shape of its weight, \(3,\), got \(2, 3\)",
    ),
}


class TestRefusals:
    """What makes no step, refused before any weight has moved."""

    @pytest.mark.parametrize(("options", "message"), REFUSED.values(), ids=REFUSED)
    def test_option_out_of_range_is_refused_in_a_sentence(self, options, message):
        """A wrong option says what was expected and what came, as torch.optim.SGD refuses it, too."""
        with pytest.raises(ValueError, match=f"{message}$"):
            sgd_step(tensors(1.0), tensors(1.0), [None], **{"lr": 0.1} | options)
        with pytest.raises(ValueError, match=r"Invalid|Nesterov"):
            torch.optim.SGD(tensors(1.0), **{"lr": 0.1} | options)

    @pytest.mark.parametrize(("gradients", "buffers", "message"), MISFITS.values(), ids=MISFITS)
    def test_what_does_not_fit_the_weights_is_refused(self, gradients, buffers, message):
        """Gradients and buffers come one for each weight, in its shape."""
        with pytest.raises(ValueError, match=f"^{message}$"):
            sgd_step([torch.ones(2), torch.ones(3)], gradients, buffers, lr=0.1)
