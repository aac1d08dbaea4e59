"""3 "Update the weights": the three forms of SGD, and where they differ."""

import pytest
import torch
from torch.optim import SGD

from spec.counters import operators
from spec.harness import QUALIFIED, fault, statement
from spec.sgd_faults import zeros_for_none


def make_weight(value, device, *, grad):
    """Return a weight of one number, and give it a gradient, if there is one."""
    weight = torch.tensor([value], dtype=torch.float64, device=device, requires_grad=True)
    weight.grad = None if grad is None else torch.tensor([grad], dtype=torch.float64, device=device)
    return weight


def forcing(**forced):
    """Return a replacement for SGD.__init__ that forces some options."""
    return lambda real: lambda optimizer, weights, **options: real(optimizer, weights, **options | forced)


def one_by_one(real):
    """Return a list operation that adds to one tensor at a time."""
    return lambda these, others, alpha: [
        this.add_(other, alpha=alpha) for this, other in zip(these, others, strict=True)
    ]


def calls(optimizer):
    """Return how often a step adds to one weight, to a list of them, and in a kernel of its own for SGD."""
    counts = operators(optimizer.step)
    return [counts[f"aten.{name}"] for name in ("add_.Tensor", "_foreach_add_.List", "_fused_sgd_.default")]


@statement(
    "nn.sgd-forms",
    notes="3 update the weights",
    verdict=QUALIFIED,
    says="optimizer.step() updates the weights",
)
@fault("neither foreach nor fused is used", SGD, "__init__", forcing(foreach=False, fused=False))
@fault("foreach is always used", SGD, "__init__", forcing(foreach=True, fused=False))
@fault("fused is the default", SGD, "__init__", forcing(fused=True))
@fault("foreach goes one by one", torch, "_foreach_add_", one_by_one)
@fault(
    "foreach adds out of place",
    torch,
    "_foreach_add_",
    lambda real: (
        lambda these, others, alpha: [
            t.data.add_(o, alpha=alpha) for t, o in zip(these, others, strict=True) if t.requires_grad
        ]
    ),
)
@fault("Nesterov is ignored", SGD, "__init__", forcing(nesterov=False))
@fault("weight decay is ignored", SGD, "__init__", forcing(weight_decay=0.0))
@fault("maximize is ignored", SGD, "__init__", forcing(maximize=False))
@fault("momentum is ignored", SGD, "__init__", forcing(momentum=0.0, nesterov=False))
@fault(
    "foreach negates in place", torch, "_foreach_neg", lambda real: lambda these: [t.neg_() for t in these]
)
@fault("a step takes None for zeros", SGD, "step", zeros_for_none)
class TestSgdForms:
    """A step of SGD updates the weights one by one, or all in one call with foreach=True or fused=True. By
    default, SGD uses foreach=True on CUDA, but not on the CPU. With foreach=True and Nesterov momentum, a
    step can change the gradient in .grad.
    """

    def test_step_takes_weights_one_by_one_or_all_at_once(self, device):
        found = {}
        for form in ("plain", "foreach", "fused"):
            weights = [make_weight(value, device, grad=4.0) for value in (16.0, 8.0, 32.0)]
            options = {"foreach": False} if form == "plain" else {form: True}
            found[form] = calls(SGD(weights, lr=1.0, **options))
            assert [weight.item() for weight in weights] == [12, 4, 28]

        assert found == {"plain": [3, 0, 0], "foreach": [0, 1, 0], "fused": [0, 0, 1]}

    def test_form_that_sgd_takes_by_default(self, device):
        weights = [make_weight(value, device, grad=4.0) for value in (16.0, 8.0, 32.0)]

        found = calls(SGD(weights, lr=1.0))

        # PyTorch lists the accelerators for which it takes foreach: CUDA, XPU and those of third parties.
        assert found == ([3, 0, 0] if device.type in ("cpu", "mps") else [0, 1, 0])

    @pytest.mark.parametrize(
        ("options", "value", "gradient"),
        [
            pytest.param({"foreach": False}, 10, 4, id="one by one"),
            pytest.param({"foreach": True}, 10, 6, id="foreach"),
            pytest.param({"foreach": True, "weight_decay": 0.25}, 16 - (8 + 0.5 * 8), 4, id="with decay"),
            pytest.param({"foreach": True, "maximize": True}, 16 + 4 + 0.5 * 4, 4, id="with maximize"),
        ],
    )
    def test_foreach_with_nesterov_changes_gradients(self, device, options, value, gradient):
        weight = make_weight(16.0, device, grad=4.0)

        SGD([weight], lr=1.0, momentum=0.5, nesterov=True, **options).step()

        assert (weight.item(), weight.grad.item()) == (value, gradient)

    def test_fused_momentum_refuses_a_first_gradient_that_comes_late(self, device):
        early, late = make_weight(16.0, device, grad=4.0), make_weight(16.0, device, grad=None)
        optimizer = SGD([early, late], lr=1.0, momentum=0.5, fused=True)
        optimizer.step()

        late.grad = torch.full_like(late, 4.0)

        assert (early.item(), late.item()) == (12, 16)
        with pytest.raises(TypeError, match="got NoneType"):
            optimizer.step()
