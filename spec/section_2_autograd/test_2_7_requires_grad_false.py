"""Notes 2.7, what is left out of the graph: requires_grad = False, and what is frozen midway."""

import pytest
import torch
from torch import nn
from torch.optim import SGD, Optimizer

from spec.harness import ANSWERED, QUALIFIED, each_row, fault, since, statement
from spec.section_2_autograd.faults import by_zeroing, ignored
from spec.sgd_faults import skip_frozen
from spec.zero_grads import removes, spares_frozen, writes_zeros_by_default

BY = {
    "requires_grad_": lambda leaf: leaf.requires_grad_(False),
    "assignment": lambda leaf: setattr(leaf, "requires_grad", False),
}


def make_leaves(device):
    """Return two leaves that require a gradient."""
    return [torch.tensor(values, device=device, requires_grad=True) for values in ([2.0, 3.0], [5.0, 7.0])]


# Faults


def dropping_the_gradient(real):
    """Drop the gradient of what is frozen."""
    return lambda leaf, flag=True: setattr(leaf, "grad", leaf.grad if flag else None) or real(leaf, flag)


def assigning_true(real):
    """Return an attribute requires_grad that cannot be set to False."""
    return property(real.__get__, lambda leaf, flag: real.__set__(leaf, True))


def detaching(real):
    """Freeze a computed tensor by detaching it."""
    return lambda tensor, flag=True: real(tensor, flag) if tensor.is_leaf else tensor.detach()


def freezing_modules(real):
    """Have an assignment to the requires_grad of a module freeze its parameters."""
    return lambda net, name, value: (
        net.requires_grad_(value) if name == "requires_grad" else real(net, name, value)
    )


def loading_frozen(real):
    """Return a load_state_dict() that freezes what it loads."""
    return lambda net, state: real(net, state) and net.requires_grad_(False)


def graph_or_nothing(real):
    """Return a backward() that does nothing without a graph."""
    return lambda loss: real(loss) if loss.requires_grad else None


@statement(
    "autograd.requires-grad-false-excludes",
    notes="2.7; notebook autograd",
    verdict=QUALIFIED,
    says="requires_grad=False takes a tensor out of the graph, and no gradient is computed for the tensor",
)
@fault("requires_grad_ freezes nothing", torch.Tensor, "requires_grad_", ignored)
@fault("freezing makes the gradient zero", torch.Tensor, "requires_grad_", by_zeroing)
@fault("freezing drops the gradient", torch.Tensor, "requires_grad_", dropping_the_gradient)
@fault("assignment freezes nothing", torch.Tensor, "requires_grad", assigning_true)
@fault("freezing detaches what is computed", torch.Tensor, "requires_grad_", detaching)
@fault("backward does nothing without a graph", torch.Tensor, "backward", graph_or_nothing)
@fault("a module is frozen by assignment", nn.Module, "__setattr__", freezing_modules)
@fault("loading freezes", nn.Module, "load_state_dict", loading_frozen)
class TestRequiresGradFalse:
    """A leaf tensor, such as a weight, counts as a constant if its requires_grad is False. backward() does
    not change the .grad of this leaf, and still computes the gradients of the other leaves. A module is
    frozen by module.requires_grad_(False), but not by module.requires_grad = False.
    """

    @pytest.mark.parametrize("freeze", BY.values(), ids=BY)
    def test_frozen_leaf_gets_no_gradient_and_the_others_get_theirs(self, device, freeze):
        a, b = make_leaves(device)
        freeze(b)

        (a * a * b).sum().backward()

        assert b.grad is None
        assert a.grad.tolist() == [2 * 2 * 5, 2 * 3 * 7]

    def test_gradient_from_before_freezing_stays_until_the_leaf_is_freed_again(self, device):
        a, b = make_leaves(device)
        (a * b).sum().backward()

        b.requires_grad_(False)
        (a * b).sum().backward()
        assert b.grad is not None
        assert b.grad.tolist() == [2, 3]

        b.requires_grad = True
        (a * b).sum().backward()
        assert b.grad.tolist() == [4, 6]

    def test_computed_tensor_cannot_be_frozen_but_detached(self, device):
        result = 2 * torch.ones(2, device=device, requires_grad=True)

        with pytest.raises(RuntimeError, match="only change requires_grad flags of leaf variables"):
            result.requires_grad_(False)
        assert not result.detach().requires_grad
        assert result.detach().data_ptr() == result.data_ptr()

    def test_backward_raises_where_everything_is_frozen(self, device):
        loss = nn.Linear(3, 2).requires_grad_(False).to(device)(torch.ones(1, 3, device=device)).sum()

        with pytest.raises(RuntimeError, match="does not require grad and does not have a grad_fn"):
            loss.backward()

    def test_module_is_frozen_by_its_method_and_not_by_an_attribute(self):
        net = nn.Sequential(nn.Linear(3, 5), nn.Linear(5, 2))

        net.requires_grad = False
        flags = [parameter.requires_grad for parameter in net.parameters()]
        net.requires_grad_(False)

        assert flags == [True] * 4
        assert [parameter.requires_grad for parameter in net.parameters()] == [False] * 4

    def test_state_dict_has_frozen_weights_but_not_that_they_are_frozen(self):
        frozen, layer = nn.Linear(3, 2).requires_grad_(False), nn.Linear(3, 2)

        layer.load_state_dict(frozen.state_dict())

        assert layer.weight.equal(frozen.weight)
        assert layer.weight.requires_grad
        frozen.load_state_dict(layer.state_dict())
        assert not frozen.weight.requires_grad


def keeping(optimizer):
    """Leave the gradients as they are."""


def setting_none(optimizer):
    """Clear the gradients as PyTorch does by default since 2.0."""
    optimizer.zero_grad()


def writing_zeros(optimizer):
    """Clear the gradients as PyTorch did before."""
    optimizer.zero_grad(set_to_none=False)


MIDWAY = {
    # the options of SGD, what clears the gradients; then a weight when it is frozen, and after two steps more
    "None": pytest.param(
        {"momentum": 0.9, "weight_decay": 0.1}, setting_none, [0.89, 0.89, 0.89], marks=since("2.0")
    ),
    "zeros": ({}, writing_zeros, [0.9, 0.9, 0.9]),
    "zeros, momentum": ({"momentum": 0.9}, writing_zeros, [0.9, 0.81, 0.729]),
    "zeros, weight decay": ({"weight_decay": 0.1}, writing_zeros, [0.89, 0.8811, 0.872289]),
    "the last gradient": ({}, keeping, [0.9, 0.8, 0.7]),
}


@statement(
    "autograd.freeze-midway-drift",
    notes="2.7; footnote 1",
    verdict=ANSWERED,
    says="frozen parameters are not updated; what becomes of a parameter that is frozen midway is left open",
)
@fault("zero_grad writes zeros by default", Optimizer, "zero_grad", writes_zeros_by_default)
@fault("zero_grad spares what is frozen", Optimizer, "zero_grad", spares_frozen)
@fault("zero_grad always sets to None", Optimizer, "zero_grad", removes)
@fault("freezing drops the gradient", torch.Tensor, "requires_grad_", dropping_the_gradient)
@fault("SGD skips what is frozen", SGD, "step", skip_frozen)
@each_row
@pytest.mark.parametrize(("options", "clear", "expected"), MIDWAY.values(), ids=MIDWAY)
def test_gradient_that_is_left_moves_it_on(device, options, clear, expected):
    """A parameter that is frozen (requires_grad=False) during training still moves if SGD finds an old
    gradient in .grad. Even if .grad holds zeros, the momentum of earlier gradients moves the parameter, and
    so does weight decay. Since PyTorch 2.0, zero_grad() sets .grad to None by default, which keeps the
    parameter where it is.
    """
    weight = torch.ones(1, dtype=torch.float64, device=device, requires_grad=True)
    optimizer = SGD([weight], lr=0.1, **options)
    weight.sum().backward()
    optimizer.step()

    weight.requires_grad_(False)
    values = [weight.item()]
    for _ in range(2):
        clear(optimizer)
        optimizer.step()
        values.append(weight.item())

    assert values == pytest.approx(expected)
