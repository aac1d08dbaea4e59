"""Section 2.3 of the notes: what backward() does, and what step() does."""

import warnings

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.optim import SGD

from spec.faults import then, with_options
from spec.harness import QUALIFIED, broken_by, claim


def make_net():
    """Return a net of two layers, float64, so that TF32 plays no part on a GPU."""
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).double()


def central_differences(function, weight, step=1e-6):
    """Return the slope of `function()` along each entry of `weight`, by moving that entry alone."""
    slopes = torch.empty_like(weight)
    with torch.no_grad():
        for index in range(weight.numel()):
            entry = weight.view(-1)[index]
            value = entry.item()
            ends = []
            for moved in (value + step, value - step):
                entry.fill_(moved)
                ends.append(function().item())
            entry.fill_(value)
            slopes.view(-1)[index] = (ends[0] - ends[1]) / (2 * step)
    return slopes


# Faults


def with_gradient(tensor):
    """Return `tensor` with a gradient of zeros."""
    tensor.grad = torch.zeros_like(tensor)
    return tensor


def clear(optimizer):
    """Forget the gradients of all that `optimizer` trains."""
    for parameter in optimizer.param_groups[0]["params"]:
        parameter.grad = None


def spoil(optimizer):
    """Double the gradients of all that `optimizer` trains, where they stand."""
    for parameter in optimizer.param_groups[0]["params"]:
        parameter.grad.mul_(2)


def clear_without_momentum(optimizer):
    """Forget the gradients if `optimizer` has no momentum."""
    if not optimizer.param_groups[0]["momentum"]:
        clear(optimizer)


def keep_the_gradient_itself(optimizer):
    """Have the momentum that `optimizer` keeps be the gradient, which the next step then writes to."""
    for parameter, state in optimizer.state.items():
        if state.get("momentum_buffer") is not None:
            state["momentum_buffer"] = parameter.grad


def none_as_zeros(real):
    """Return a step() that takes a missing gradient for one of zeros."""

    def step(optimizer):
        for parameter in optimizer.param_groups[0]["params"]:
            if parameter.grad is None:
                with_gradient(parameter)
        real(optimizer)

    return step


def zero_as_none(real):
    """Return a step() that leaves out a parameter whose gradient is all zeros."""

    def step(optimizer):
        for parameter in optimizer.param_groups[0]["params"]:
            if parameter.grad is not None and not parameter.grad.cpu().any():
                parameter.grad = None
        real(optimizer)

    return step


class TestBackward:
    """loss.backward() stores the gradients of the parameters in their grad attribute."""

    @claim(
        "autograd.backward-fills-grad",
        notes="2.3",
        verdict=QUALIFIED,
        says="loss.backward() stores the gradients of the model's parameters in their grad attribute",
    )
    @broken_by(torch, "tensor", lambda real: lambda data, **options: real(data, **options).requires_grad_())
    @broken_by(torch, "zeros", lambda real: lambda size, **options: with_gradient(real(size, **options)))
    @broken_by(torch.Tensor, "backward", lambda real: lambda loss: real(2 * loss))
    def test_backward_fills_the_leaves_that_require_and_took_part(self, device):
        """backward() fills .grad of the leaves that require it and took part; frozen and unused keep None."""
        used = torch.ones(2, device=device, requires_grad=True)
        frozen = torch.tensor([3.0, 5.0], device=device)
        unused = torch.zeros(2, device=device, requires_grad=True)

        (used * frozen).sum().backward()

        assert used.grad is not None
        assert used.grad.tolist() == [3, 5]
        assert frozen.grad is None
        assert unused.grad is None

    @claim("autograd.backward-fills-grad-with-the-slope", notes="2.3")
    @broken_by(torch.Tensor, "backward", lambda real: lambda loss: real(2 * loss))
    @broken_by(torch, "tanh", lambda real: lambda x: x + (real(x) - x).detach())
    @broken_by(F, "linear", lambda real: lambda x, weight, bias: real(x, weight, (2 * bias - bias.detach())))
    def test_gradient_is_the_slope_of_the_loss(self, device):
        """The gradients of a net's parameters are what moving each entry alone does to the loss."""
        net, x = make_net().to(device), torch.randn(5, 3).double().to(device)

        net(x).square().sum().backward()

        for parameter in net.parameters():
            slopes = central_differences(lambda: net(x).square().sum(), parameter.detach())
            # the differences themselves are right to 1e-8 or so: 1e-16 of rounding over a step of 1e-6
            torch.testing.assert_close(parameter.grad, slopes, rtol=1e-6, atol=1e-7)

    @claim("autograd.backward-fills-grad-not-of-results", notes="2.3")
    @broken_by(torch.Tensor, "__rmul__", lambda real: lambda x, n: (y := real(x, n)).retain_grad() or y)
    @broken_by(torch.Tensor, "retain_grad", lambda real: lambda tensor: None)
    def test_result_keeps_no_gradient_unless_told_to(self, device):
        """The .grad of a computed tensor stays None, and reading it warns, unless retain_grad() is called."""
        x = torch.tensor([2.0, 7.0], device=device, requires_grad=True)
        kept, plain = 3 * x, 5 * x

        kept.retain_grad()
        (kept * plain).sum().backward()

        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            gradient = kept.grad
        assert not warned
        assert gradient.tolist() == [5 * 2, 5 * 7]
        with pytest.warns(UserWarning, match="that is not a leaf Tensor is being accessed"):
            assert plain.grad is None

    @claim("autograd.backward-fills-grad-needs-a-graph", notes="2.3")
    @broken_by(torch.Tensor, "detach", lambda real: lambda tensor: tensor)
    @broken_by(torch.Tensor, "backward", lambda real: lambda loss: real(loss) if loss.requires_grad else None)
    def test_backward_without_a_graph_is_an_error(self, device):
        """backward() of a tensor that nothing requiring a gradient led to is a RuntimeError."""
        x = torch.ones(2, device=device, requires_grad=True)

        with pytest.raises(RuntimeError, match="does not require grad and does not have a grad_fn"):
            x.detach().sum().backward()

    @claim("autograd.backward-fills-grad-under-no-grad", notes="2.3")
    @broken_by(
        torch.Tensor, "backward", lambda real: lambda loss: real(loss) if torch.is_grad_enabled() else None
    )
    def test_backward_works_under_no_grad(self, device):
        """backward() called under no_grad fills the gradients of what was recorded before."""
        x = torch.tensor([3.0, 4.0], device=device, requires_grad=True)
        loss = x.square().sum()

        with torch.no_grad():
            loss.backward()

        assert x.grad is not None
        assert x.grad.tolist() == [6, 8]


class TestStep:
    """optimizer.step() adjusts each parameter by its gradient, stored in .grad."""

    @claim(
        "autograd.step-uses-grad-attribute",
        notes="2.3",
        verdict=QUALIFIED,
        says="optimizer.step() adjusts each parameter by its gradient, stored in .grad",
    )
    @broken_by(SGD, "step", lambda real: lambda optimizer: None)
    @broken_by(SGD, "step", none_as_zeros)
    @broken_by(SGD, "__init__", with_options(maximize=True))
    def test_step_follows_what_stands_in_grad(self, device):
        """step() follows .grad as it stands, whoever wrote it, and leaves alone what has None there."""
        known, unknown = (torch.full((2,), 8.0, device=device, requires_grad=True) for _ in range(2))
        optimizer = SGD([known, unknown], lr=0.5, weight_decay=0.5)
        (known**3).sum().backward()

        known.grad = torch.tensor([2.0, -6.0], device=device)
        optimizer.step()

        assert known.tolist() == [8 - 0.5 * (2 + 0.5 * 8), 8 - 0.5 * (-6 + 0.5 * 8)]
        assert unknown.tolist() == [8, 8]

    @claim("autograd.step-uses-grad-attribute-or-does-nothing", notes="2.3")
    @broken_by(SGD, "step", none_as_zeros)
    @broken_by(SGD, "step", then(lambda optimizer: warnings.warn("no gradients", stacklevel=1)))
    @broken_by(SGD, "step", then(lambda optimizer: optimizer.state[optimizer.param_groups[0]["params"][0]]))
    def test_step_without_any_backward_does_nothing_silently(self, device):
        """step() before any backward() changes no weight, keeps no state and gives no warning."""
        weight = torch.tensor([8.0, -2.0], device=device, requires_grad=True)
        optimizer = SGD([weight], lr=0.5, momentum=0.9, weight_decay=0.5)

        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            optimizer.step()

        assert weight.tolist() == [8, -2]
        assert not optimizer.state
        assert not warned

    @claim("autograd.step-uses-grad-attribute-none-stops-momentum", notes="2.3")
    @broken_by(SGD, "step", none_as_zeros)
    @broken_by(SGD, "step", zero_as_none)
    @broken_by(SGD, "__init__", with_options(momentum=0))
    def test_momentum_moves_on_at_zero_and_stops_at_none(self, device):
        """With momentum a gradient of zero lets a weight move on; a gradient of None stops it."""
        weight = torch.ones(1, dtype=torch.float64, device=device, requires_grad=True)
        optimizer = SGD([weight], lr=0.1, momentum=0.9)

        seen = []
        for gradient in (1, 1, 0, None):
            weight.grad = None if gradient is None else torch.full_like(weight, gradient)
            optimizer.step()
            seen.append(round(weight.item(), 9))

        # the velocities are 1, 0.9 * 1 + 1 = 1.9 and 0.9 * 1.9 + 0 = 1.71
        assert seen == [0.9, 0.71, 0.539, 0.539]

    @claim("autograd.step-uses-grad-attribute-none-stops-weight-decay", notes="2.3")
    @broken_by(SGD, "step", none_as_zeros)
    @broken_by(SGD, "step", zero_as_none)
    def test_weight_decay_acts_at_zero_and_not_at_none(self, device):
        """Weight decay shrinks a weight whose gradient is zero, and not one whose gradient is None."""
        zero, none = (torch.full((1,), 4.0, device=device, requires_grad=True) for _ in range(2))
        zero.grad = torch.zeros(1, device=device)

        SGD([zero, none], lr=0.5, weight_decay=0.25).step()

        assert zero.item() == 4 - 0.5 * 0.25 * 4
        assert none.item() == 4

    @claim("autograd.step-uses-grad-attribute-keeps-it", notes="2.3")
    @broken_by(SGD, "step", then(clear))
    @broken_by(SGD, "step", then(spoil))
    @broken_by(SGD, "step", then(clear_without_momentum))
    @broken_by(SGD, "step", then(keep_the_gradient_itself))
    @broken_by(SGD, "step", lambda real: lambda optimizer: real(optimizer) or 0.0)
    def test_step_leaves_the_gradients_as_they_are(self, device):
        """Two steps return None and leave the gradient in place, weight decay and momentum or not."""
        for options in ({}, {"momentum": 0.9}, {"momentum": 0.9, "weight_decay": 0.1}):
            weight = torch.tensor([1.0, 2.0], device=device, requires_grad=True)
            weight.grad = gradient = torch.tensor([3.0, -4.0], device=device)
            optimizer = SGD([weight], lr=0.1, **options)

            assert [optimizer.step(), optimizer.step()] == [None, None]

            assert weight.grad is gradient
            assert gradient.tolist() == [3, -4]
