"""Notes 2.2 and 2.3: a training step is forward, loss, backward() and step()."""

import warnings

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.optim import SGD

from spec.faults import then, with_options
from spec.harness import QUALIFIED, fault, statement
from spec.section_2_autograd.faults import leaves_of
from spec.sgd_faults import clear_after, zeros_for_none

# Faults


def with_gradient(tensor):
    """Return a tensor with a gradient of zeros."""
    tensor.grad = torch.zeros_like(tensor)
    return tensor


def does_nothing(real):
    """Return a method that does nothing."""
    return lambda *args: None


def descending(real):
    """Return a backward() that moves the weights, too."""

    def backward(loss):
        real(loss)
        with torch.no_grad():
            for leaf in leaves_of(loss):
                leaf -= leaf.grad

    return backward


@statement("autograd.training-step", notes="2.2; 2.3; notebook autograd")
@fault("the step does nothing", SGD, "step", does_nothing)
@fault("the step goes uphill", SGD, "__init__", with_options(maximize=True))
@fault("biases get no gradient", F, "linear", lambda real: lambda x, w, b: real(x, w, b.detach()))
def test_round_moves_weight_and_bias_against_their_gradients(device):
    """One round of training consists of the forward pass, the loss, backward() and the step() of the
    optimizer. backward() stores the gradient of each parameter in .grad. The first step() of SGD with
    momentum subtracts the learning rate times this gradient from the parameter.
    """
    layer = nn.Linear(2, 1, device=device)
    layer.load_state_dict({"weight": torch.tensor([[2.0, -1.0]]), "bias": torch.tensor([1.0])})
    optimizer = SGD(layer.parameters(), lr=1 / 64, momentum=0.9)

    prediction = layer(torch.tensor([[3.0, 5.0]], device=device))  # 2 * 3 - 1 * 5 + 1 = 2
    loss = (prediction - 4).square().sum()  # so ∂loss/∂prediction = 2 * (2 - 4) = -4
    assert (layer.weight.grad, layer.bias.grad) == (None, None)
    loss.backward()
    optimizer.step()

    assert layer.weight.grad.tolist() == [[-4 * 3, -4 * 5]]
    assert layer.weight.tolist() == [[2 + 4 * 3 / 64, -1 + 4 * 5 / 64]]
    assert layer.bias.tolist() == [1 + 4 / 64]


@statement(
    "autograd.backward-alone-moves-no-weight",
    notes="2.2",
    verdict=QUALIFIED,
    says="backpropagation updates the parameters according to the error",
)
@fault("backward moves the weights", torch.Tensor, "backward", descending)
@fault("the square is the absolute value", torch.Tensor, "square", lambda real: torch.Tensor.abs)
@pytest.mark.parametrize(("target", "gradient"), [(5, 2 * 3), (-4, 20 * 3), (7, -2 * 3)])
def test_backward_stores_what_the_error_asks_for_and_moves_nothing(target, gradient, device):
    """backward() changes no weight. backward() stores the gradient of each weight in .grad, for the step() of
    the optimizer. The gradient of a squared error is proportional to the error.
    """
    weight = torch.tensor(2.0, device=device, requires_grad=True)

    (3 * weight - target).square().backward()

    assert weight.item() == 2
    assert weight.grad.item() == gradient


@statement(
    "autograd.error-of-the-notebook-ignores-labels",
    notes="notebook autograd",
    verdict=QUALIFIED,
    says="the error of a prediction is (prediction - labels).sum()",
)
@fault("a difference is squared", torch.Tensor, "__sub__", lambda real: lambda x, y: real(x, y).square())
def test_error_of_the_notebook_has_one_gradient_whatever_the_labels(device):
    """The notebook on autograd calls backward() on (prediction - labels).sum(). The gradient of this sum does
    not depend on the labels, so the sum is no loss with which a net can learn the labels.
    """
    weight = torch.tensor([2.0, -1.0], device=device, requires_grad=True)
    gradients = []
    for labels in ([0.0, 0.0], [6.0, -5.0], [100.0, 7.0]):
        weight.grad = None
        prediction = weight * torch.tensor([3.0, 5.0], device=device)
        (prediction - torch.tensor(labels, device=device)).sum().backward()
        gradients.append(weight.grad.tolist())

    assert gradients == [[3, 5]] * 3


@statement(
    "autograd.backward-fills-grad",
    notes="2.3",
    verdict=QUALIFIED,
    says="loss.backward() stores the gradient of each model parameter in the parameter's grad attribute",
)
@fault(
    "every tensor requires a gradient",
    torch,
    "tensor",
    lambda real: lambda data, **options: real(data, **{**options, "requires_grad": True}),
)
@fault("unused leaves get zeros", torch, "zeros", lambda real: lambda *n, **o: with_gradient(real(*n, **o)))
@fault(
    "results keep their gradients",
    torch.Tensor,
    "__rmul__",
    lambda real: lambda x, n: (y := real(x, n)).retain_grad() or y,
)
@fault("retain_grad does nothing", torch.Tensor, "retain_grad", lambda real: lambda x: None)
@fault(
    "backward does nothing under no_grad",
    torch.Tensor,
    "backward",
    lambda real: lambda loss: real(loss) if torch.is_grad_enabled() else None,
)
class TestBackwardFillsGrad:
    """backward() fills the .grad of each leaf tensor that was used and requires a gradient. A leaf, such as a
    weight, is a tensor that no recorded operation made. The .grad of a computed tensor stays None, and
    reading it gives a warning, unless retain_grad() was called.
    """

    def test_leaf_that_took_part_alone_gets_a_gradient(self, device):
        used = torch.ones(2, device=device, requires_grad=True)
        frozen = torch.tensor([3.0, 5.0], device=device)
        unused = torch.zeros(2, device=device, requires_grad=True)
        computed = 7 * used

        (computed * frozen).sum().backward()

        assert used.grad.tolist() == [7 * 3, 7 * 5]
        assert (frozen.grad, unused.grad) == (None, None)
        with pytest.warns(UserWarning, match="that is not a leaf Tensor is being accessed"):
            assert computed.grad is None

    def test_computed_tensor_keeps_its_gradient_after_retain_grad(self, device):
        x = torch.tensor([3.0, 4.0], device=device, requires_grad=True)
        computed = 7 * x
        computed.retain_grad()

        computed.square().sum().backward()

        assert computed.retains_grad
        assert computed.grad.tolist() == [2 * 21, 2 * 28]

    def test_backward_works_under_no_grad(self, device):
        x = torch.tensor([3.0, 4.0], device=device, requires_grad=True)
        loss = x.square().sum()

        with torch.no_grad():
            loss.backward()

        assert x.grad is not None
        assert x.grad.tolist() == [6, 8]


@statement(
    "autograd.step-uses-grad-attribute",
    notes="2.3",
    verdict=QUALIFIED,
    says="optimizer.step() adjusts each parameter by the gradient that is stored in .grad",
)
@fault("the step does nothing", SGD, "step", does_nothing)
@fault("None counts as zeros", SGD, "step", zeros_for_none)
@fault("a step without gradients warns", SGD, "step", then(lambda _: warnings.warn("none", stacklevel=1)))
@fault("the step clears the gradients", SGD, "step", clear_after)
class TestStepUsesGrad:
    """The step() of SGD uses whatever gradient is in .grad, even one that backward() did not compute. The
    step leaves this gradient in .grad. SGD skips a parameter whose .grad is None, without a warning.
    """

    def test_step_follows_what_stands_in_grad_and_leaves_it(self, device):
        weight = torch.full((2,), 8.0, device=device, requires_grad=True)
        (weight**3).sum().backward()
        weight.grad = written = torch.tensor([2.0, -6.0], device=device)

        assert SGD([weight], lr=0.5, weight_decay=0.5).step() is None

        assert weight.tolist() == [8 - 0.5 * (2 + 0.5 * 8), 8 - 0.5 * (-6 + 0.5 * 8)]
        assert weight.grad is written
        assert written.tolist() == [2, -6]

    def test_step_before_any_backward_does_nothing_silently(self, device):
        weight = torch.tensor([8.0, -2.0], device=device, requires_grad=True)
        optimizer = SGD([weight], lr=0.5, momentum=0.9, weight_decay=0.5)

        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            optimizer.step()

        assert weight.tolist() == [8, -2]
        assert not optimizer.state
        assert not warned


@statement(
    "autograd.optimizer-is-made-once",
    notes="2.3",
    verdict=QUALIFIED,
    says="each round of training loads an optimizer",
)
@fault("there is no momentum", SGD, "__init__", with_options(momentum=0))
def test_optimizer_that_is_made_anew_each_round_has_no_momentum(device):
    """An optimizer is made once, before training. If SGD is made anew in each round, its momentum is lost."""
    once, anew = (torch.ones(1, dtype=torch.float64, device=device, requires_grad=True) for _ in range(2))
    once.grad, anew.grad = torch.ones_like(once), torch.ones_like(anew)
    optimizer = SGD([once], lr=0.1, momentum=0.9)

    seen = []
    for _ in range(3):
        optimizer.step()
        SGD([anew], lr=0.1, momentum=0.9).step()
        seen.append((round(once.item(), 9), round(anew.item(), 9)))

    assert seen == [(0.9, 0.9), (0.71, 0.8), (0.439, 0.7)]
