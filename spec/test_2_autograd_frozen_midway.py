"""Section 2.7 of the notes and footnote 1: what becomes of a parameter that is frozen midway."""

import pytest
import torch
from torch.optim import SGD, Adam, AdamW, Optimizer, RMSprop, sgd

from spec.harness import ANSWERED, broken_by, claim
from spec.sgd_faults import skip_frozen, with_formula, zeros_for_none
from spec.zero_grads import removes, spares_frozen, writes_zeros_by_default

OPTIMIZERS = {
    "SGD": (SGD, {"lr": 0.1}),
    "SGD with momentum": (SGD, {"lr": 0.1, "momentum": 0.9}),
    "SGD with weight decay": (SGD, {"lr": 0.1, "weight_decay": 0.1}),
    "RMSprop": (RMSprop, {"lr": 0.1}),
    "Adam": (Adam, {"lr": 0.1}),
    "AdamW": (AdamW, {"lr": 0.1}),
}
DRIFT = {
    "notes": "2.7 and footnote 1",
    "verdict": ANSWERED,
    "says": "frozen parameters are not updated; what becomes of one frozen midway is left open",
}


def make_pair(device, kind=SGD, **options):
    """Return two weights after one step, the first of them frozen then, and their optimizer."""
    weights = [torch.tensor([1.0, 2.0], dtype=torch.float64, device=device) for _ in range(2)]
    optimizer = kind([weight.requires_grad_() for weight in weights], **options)
    step_on(weights, optimizer)
    weights[0].requires_grad_(False)
    return weights, optimizer


def step_on(weights, optimizer):
    """Take a step on the sum of all weights: each gradient is 1."""
    sum(weight.sum() for weight in weights).backward()
    optimizer.step()


def moving(device, **zeroing):
    """Return the names of the optimizers that move a frozen weight while the other trains."""
    found = []
    for name, (kind, options) in OPTIMIZERS.items():
        weights, optimizer = make_pair(device, kind, **options)
        before = [weight.detach().cpu().clone() for weight in weights]
        for _ in range(2):
            optimizer.zero_grad(**zeroing)
            step_on(weights, optimizer)
        assert not weights[1].cpu().equal(before[1])
        found += [] if weights[0].cpu().equal(before[0]) else [name]
    return found


def drop_gradient(frozen, optimizer):
    """Set the gradient to None."""
    frozen.grad = None


def take_out(frozen, optimizer):
    """Take the parameter out of the optimizer."""
    optimizer.param_groups[0]["params"] = [w for w in optimizer.param_groups[0]["params"] if w is not frozen]


def no_learning_rate(frozen, optimizer):
    """Give the parameter a group of its own, with learning rate 0."""
    take_out(frozen, optimizer)
    optimizer.add_param_group({"params": [frozen], "lr": 0.0})


def nothing_more(frozen, optimizer):
    """Leave it at requires_grad = False."""


def zero_gradient(frozen, optimizer):
    """Set the gradient to zero."""
    frozen.grad.zero_()


def forget_momentum(frozen, optimizer):
    """Drop the momentum."""
    optimizer.state.pop(frozen)


REMEDIES = {drop_gradient: True, take_out: True, no_learning_rate: True}
REMEDIES |= {nothing_more: False, zero_gradient: False, forget_momentum: False}


# Faults


def dropping_the_gradient(real):
    """Return a requires_grad_() that takes the gradient away when it freezes."""

    def requires_grad_(weight, on=True):
        weight.grad = weight.grad if on else None
        return real(weight, on)

    return requires_grad_


def spending_gradients(real):
    """Return a step() that uses gradients up."""
    return lambda optimizer: (real(optimizer), optimizer.zero_grad())[0]


class TestMidway:
    """A parameter is frozen when it has been trained, and its optimizer goes on holding it."""

    @claim("autograd.freeze-midway-drift", since="2.0", **DRIFT)
    @broken_by(Optimizer, "zero_grad", writes_zeros_by_default)
    @broken_by(Optimizer, "zero_grad", spares_frozen)
    @broken_by(torch.Tensor, "requires_grad_", lambda real: lambda weight, on=True: real(weight, True))
    def test_no_optimizer_moves_what_is_frozen_midway(self, device):
        """With zero_grad() before each pass no optimizer moves a frozen parameter, whatever it remembers."""
        assert moving(device) == []

    @claim("autograd.freeze-midway-drift-stale", **DRIFT)
    @broken_by(SGD, "step", skip_frozen)
    @broken_by(SGD, "step", spending_gradients)
    @broken_by(torch.Tensor, "requires_grad_", dropping_the_gradient)
    def test_last_gradient_moves_a_frozen_weight_on_until_it_is_cleared(self, device):
        """Without zero_grad() even plain SGD moves a frozen weight on by its last gradient, at each step."""
        (frozen, _), optimizer = make_pair(device, lr=0.1)
        values = [frozen[0].item()]
        for _ in range(2):
            optimizer.step()
            values.append(frozen[0].item())

        assert values == pytest.approx([0.9, 0.8, 0.7])

    @claim("autograd.freeze-midway-drift-zeros", **DRIFT)
    @broken_by(Optimizer, "zero_grad", removes)
    @broken_by(Optimizer, "zero_grad", spares_frozen)
    @broken_by(SGD, "step", skip_frozen)
    def test_all_but_plain_sgd_and_rmsprop_move_what_has_zeros(self, device):
        """On the zeros of zero_grad(set_to_none=False) momentum, decay and Adam move what is frozen."""
        assert moving(device, set_to_none=False) == [
            "SGD with momentum",
            "SGD with weight decay",
            "Adam",
            "AdamW",
        ]

    @claim("autograd.freeze-midway-drift-momentum", **DRIFT)
    @broken_by(SGD, "step", skip_frozen)
    @broken_by(Optimizer, "zero_grad", removes)
    @broken_by(Optimizer, "zero_grad", spares_frozen)
    @broken_by(sgd, "sgd", with_formula(momentum=0.8))
    def test_momentum_carries_nine_steps_further(self, device):
        """On zeros, momentum 0.9 carries a frozen weight nine times as far as its last step, and no more."""
        weights, optimizer = make_pair(device, lr=0.1, momentum=0.9)
        values = [weights[0].tolist()]
        for _ in range(400):
            optimizer.zero_grad(set_to_none=False)
            optimizer.step()
            values.append(weights[0].tolist())

        expected = [[0.9, 1.9], [0.9 - 0.09, 1.9 - 0.09], [0.9 - 0.9, 1.9 - 0.9]]
        torch.testing.assert_close(
            [torch.tensor(values[i]) for i in (0, 1, -1)], [*map(torch.tensor, expected)]
        )

    @claim("autograd.freeze-midway-drift-remedies", **DRIFT)
    @broken_by(SGD, "step", skip_frozen)
    @broken_by(SGD, "step", zeros_for_none)
    @broken_by(SGD, "add_param_group", lambda real: lambda o, group: real(o, {"params": group["params"]}))
    @broken_by(sgd, "sgd", with_formula(momentum=0, weight_decay=0))
    def test_none_or_out_of_the_optimizer_or_no_learning_rate_keeps_it(self, device):
        """What keeps it: no gradient, out of the optimizer, or lr 0; not a zero gradient, nor no momentum."""
        stays = {}
        for remedy in REMEDIES:
            (frozen, _), optimizer = make_pair(device, lr=0.1, momentum=0.9, weight_decay=0.1)
            before = frozen.clone()
            remedy(frozen, optimizer)
            for _ in range(2):
                optimizer.step()
                optimizer.zero_grad(set_to_none=False)
            stays[remedy] = frozen.cpu().equal(before.cpu())

        assert stays == REMEDIES

    @claim("autograd.freeze-midway-drift-part", **DRIFT)
    @broken_by(sgd, "sgd", with_formula(weight_decay=0))
    @broken_by(torch.Tensor, "register_hook", lambda real: lambda weight, hook: None)
    @broken_by(torch.Tensor, "requires_grad_", lambda real: lambda weight, on=True: weight.detach())
    def test_part_of_a_parameter_cannot_be_frozen(self, device):
        """One row cannot be frozen; a hook that zeroes its gradient leaves it to weight decay."""
        weight = torch.tensor([[4.0, 8.0], [4.0, 8.0]], device=device, requires_grad=True)
        mask = torch.tensor([[0.0], [1.0]], device=device)

        with pytest.raises(RuntimeError, match="only change requires_grad flags of leaf variables"):
            weight[0].requires_grad_(False)
        weight.register_hook(lambda gradient: gradient * mask)
        weight.sum().backward()
        SGD([weight], lr=0.5, weight_decay=0.25).step()

        assert weight.tolist() == [[4 - 0.5, 8 - 1.0], [4 - 0.5 - 0.5, 8 - 1.0 - 0.5]]
