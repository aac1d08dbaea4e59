"""Notes 2.7, what is left out of the graph: requires_grad = False, and what is frozen midway."""

import pytest
import torch
from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer, RMSprop, sgd

from spec.harness import ANSWERED, QUALIFIED, fault, since, statement
from spec.section_2_autograd.three_layers import by_zeroing, graph_or_nothing, ignored, make_batch, make_net
from spec.sgd_faults import skip_frozen, with_formula
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


def assigning(flag):
    """Return a replacement for the attribute requires_grad that assigns `flag`, whatever it is told."""
    return lambda real: property(real.__get__, lambda leaf, told: real.__set__(leaf, flag))


def detaching(real):
    """Freeze a computed tensor by detaching it."""
    return lambda tensor, flag=True: real(tensor, flag) if tensor.is_leaf else tensor.detach()


def freezing_modules(real):
    """Have an assignment to the requires_grad of a module freeze its parameters."""
    return lambda net, name, value: (
        net.requires_grad_(value) if name == "requires_grad" else real(net, name, value)
    )


@statement(
    "autograd.requires-grad-false-excludes",
    notes="2.7; notebook autograd",
    verdict=QUALIFIED,
    says="requires_grad=False takes a tensor out of the graph, and no gradient is computed for it",
)
@fault("requires_grad_ freezes nothing", torch.Tensor, "requires_grad_", ignored)
@fault("freezing makes the gradient zero", torch.Tensor, "requires_grad_", by_zeroing)
@fault("freezing drops the gradient", torch.Tensor, "requires_grad_", dropping_the_gradient)
@fault("assignment frees", torch.Tensor, "requires_grad", assigning(True))
@fault("assignment freezes", torch.Tensor, "requires_grad", assigning(False))
@fault("freezing detaches what is computed", torch.Tensor, "requires_grad_", detaching)
@fault("backward does nothing without a graph", torch.Tensor, "backward", graph_or_nothing)
@fault("a module is frozen by assignment", nn.Module, "__setattr__", freezing_modules)
class TestRequiresGradFalse:
    """A leaf with requires_grad=False is a constant: backward() leaves its .grad as it was, None at first,
    and gives the other leaves their gradients.
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
        loss = make_net(device, 1, 2, 3)(make_batch(device)).sum()

        with pytest.raises(RuntimeError, match="does not require grad"):
            loss.backward()

    def test_module_is_frozen_by_its_method_and_not_by_an_attribute(self):
        net = make_net("cpu")

        net.requires_grad = False
        flags = [parameter.requires_grad for parameter in net.parameters()]
        net.requires_grad_(False)

        assert flags == [True] * 6
        assert [parameter.requires_grad for parameter in net.parameters()] == [False] * 6


OPTIMIZERS = {
    "SGD": (SGD, {}),
    "SGD with momentum": (SGD, {"momentum": 0.9}),
    "SGD with weight decay": (SGD, {"weight_decay": 0.1}),
    "RMSprop": (RMSprop, {}),
    "Adam": (Adam, {}),
    "AdamW": (AdamW, {}),
}
ON_ZEROS = {
    # the options of SGD; then the weight when it is frozen, and after each of two steps more
    "plain": ({}, [0.9, 0.9, 0.9]),
    "momentum": ({"momentum": 0.9}, [0.9, 0.81, 0.729]),
    "weight decay": ({"weight_decay": 0.1}, [0.89, 0.8811, 0.872289]),
}


def make_pair(device, kind=SGD, **options):
    """Return two weights of 1 after a step on their sum, the first one frozen then, and their optimizer."""
    weights = [torch.ones(1, dtype=torch.float64, device=device, requires_grad=True) for _ in range(2)]
    optimizer = kind(weights, lr=0.1, **options)
    sum(weights).backward()
    optimizer.step()
    weights[0].requires_grad_(False)
    return weights, optimizer


def take_out(frozen, optimizer):
    """Take the parameter out of the optimizer."""
    optimizer.param_groups[0]["params"] = [w for w in optimizer.param_groups[0]["params"] if w is not frozen]


def no_learning_rate(frozen, optimizer):
    """Give the parameter a group of its own, with learning rate 0."""
    take_out(frozen, optimizer)
    optimizer.add_param_group({"params": [frozen], "lr": 0.0})


REMEDIES = {
    # what is done to the frozen weight, and whether it stays where it is
    "gradient None": (lambda frozen, optimizer: setattr(frozen, "grad", None), True),
    "out of the optimizer": (take_out, True),
    "learning rate 0": (no_learning_rate, True),
    "nothing": (lambda frozen, optimizer: None, False),
    "gradient zero": (lambda frozen, optimizer: frozen.grad.zero_(), False),
    "no momentum": (lambda frozen, optimizer: optimizer.state.pop(frozen), False),
}


@statement(
    "autograd.freeze-midway-drift",
    notes="2.7; footnote 1",
    verdict=ANSWERED,
    says="frozen parameters are not updated; what becomes of one frozen midway is left open",
)
@fault("zero_grad writes zeros by default", Optimizer, "zero_grad", writes_zeros_by_default)
@fault("zero_grad spares what is frozen", Optimizer, "zero_grad", spares_frozen)
@fault("zero_grad always sets to None", Optimizer, "zero_grad", removes)
@fault("freezing drops the gradient", torch.Tensor, "requires_grad_", dropping_the_gradient)
@fault("SGD skips what is frozen", SGD, "step", skip_frozen)
@fault("momentum is another", sgd, "sgd", with_formula(momentum=0.8))
class TestFreezeMidway:
    """A parameter that is frozen after some training, and that its optimizer still holds, stays where it is
    once zero_grad() has set its gradient to None. A gradient that is left, even one of zeros, can move it on.
    """

    @since("2.0")
    @pytest.mark.parametrize(("kind", "options"), OPTIMIZERS.values(), ids=OPTIMIZERS)
    def test_no_optimizer_moves_it_after_zero_grad(self, device, kind, options):
        (frozen, other), optimizer = make_pair(device, kind, **options)
        before = frozen.item(), other.item()

        optimizer.zero_grad()
        (frozen + other).backward()
        optimizer.step()

        assert frozen.item() == before[0]
        assert other.item() != before[1]

    def test_last_gradient_moves_it_on_until_it_is_cleared(self, device):
        (frozen, _), optimizer = make_pair(device)
        values = [frozen.item()]
        for _ in range(2):
            optimizer.step()
            values.append(frozen.item())

        assert values == pytest.approx([0.9, 0.8, 0.7])

    @pytest.mark.parametrize(("options", "expected"), ON_ZEROS.values(), ids=ON_ZEROS)
    def test_zeros_for_a_gradient_let_momentum_and_weight_decay_move_it_on(self, device, options, expected):
        (frozen, _), optimizer = make_pair(device, **options)
        values = [frozen.item()]
        for _ in range(2):
            optimizer.zero_grad(set_to_none=False)
            optimizer.step()
            values.append(frozen.item())

        assert values == pytest.approx(expected)

    @pytest.mark.parametrize(("remedy", "stays"), REMEDIES.values(), ids=REMEDIES)
    def test_no_gradient_or_no_learning_rate_or_no_optimizer_keeps_it(self, device, remedy, stays):
        (frozen, _), optimizer = make_pair(device, momentum=0.9, weight_decay=0.1)
        before = frozen.item()

        remedy(frozen, optimizer)
        for _ in range(2):
            optimizer.step()
            optimizer.zero_grad(set_to_none=False)

        assert (frozen.item() == before) is stays
