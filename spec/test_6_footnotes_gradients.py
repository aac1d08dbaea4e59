"""Footnote 1 of the notes: the parameters that an optimizer holds, and clearing a single gradient."""

import gc

import pytest
import torch
from torch import autograd, nn
from torch.optim import SGD, Optimizer

from spec.harness import OUTDATED, QUALIFIED, broken_by, claim
from spec.sgd_faults import clear_after
from spec.zero_grads import (
    backward,
    both_ways,
    clears_nothing,
    copies,
    held,
    make_net,
    writes_zeros_by_default,
)

SINGLE = "a single variable is cleared by Variable.grad.data.zero_()"


def make_weight(value, device):
    """Return a weight of one number."""
    return nn.Parameter(torch.tensor([value], dtype=torch.float64, device=device))


def set_gradient(weight, value):
    """Make a gradient of one number."""
    weight.grad = torch.full_like(weight, value)


# Faults: in what the optimizer holds


def stores(change):
    """Return an add_param_group() that takes `change(weights)` in place of the weights."""
    return lambda real: (
        lambda optimizer, group: real(optimizer, {**group, "params": change([*group["params"]])})
    )


stores_copies = stores(lambda weights: [weight.detach().clone().requires_grad_() for weight in weights])
stores_twins = stores(lambda weights: [weight.detach().requires_grad_() for weight in weights])
stores_backwards = stores(lambda weights: weights[::-1])


def follows_the_list(real):
    """Return an __init__() that keeps the caller's list, and so sees what is put there later."""
    return lambda optimizer, weights, lr: (
        real(optimizer, weights, lr=lr) or optimizer.param_groups[0].update(params=weights)
    )


def moves_everything(real):
    """Return a step() that moves every parameter that has a gradient, whoever holds it."""

    def step(optimizer):
        found = [thing for thing in gc.get_objects() if type(thing) is nn.Parameter]
        optimizer.param_groups[0]["params"] = [weight for weight in found if weight.grad is not None]
        real(optimizer)

    return step


def moves_to_new_memory(real):
    """Return a step() that leaves its result in the same parameters, but in new memory."""

    def step(optimizer):
        for weight in held(optimizer):
            weight.data = weight.data.clone()
        real(optimizer)

    return step


def makes_new_parameters(real):
    """Return a conversion of a net that puts new parameters in place of the old."""

    def convert(net, *args):
        real(net, *args)
        for layer in net.modules():
            layer._parameters.update({name: nn.Parameter(w.data) for name, w in layer._parameters.items()})
        return net

    return convert


class TestParametersByReference:
    """The reason that the footnote gives: parameters() yields Tensors, passed by reference."""

    @claim("footnote.parameters-by-reference", notes="footnote 1")
    @broken_by(Optimizer, "add_param_group", stores_copies)
    @broken_by(Optimizer, "add_param_group", stores_twins)
    @broken_by(Optimizer, "add_param_group", stores_backwards)
    def test_optimizer_holds_the_very_parameters_of_the_net(self, device):
        """What an optimizer keeps in param_groups are the parameters themselves, in the order given."""
        net = make_net(device)

        kept = SGD(net.parameters(), lr=0.1).param_groups[0]["params"]

        assert list(map(id, kept)) == list(map(id, net.parameters()))

    @claim("footnote.parameters-by-reference-gradients", notes="footnote 1")
    @broken_by(Optimizer, "add_param_group", stores_copies)
    @broken_by(Optimizer, "add_param_group", stores_twins)
    @broken_by(SGD, "step", clear_after)
    def test_gradient_of_a_parameter_is_found_by_either_name(self, device):
        """Net and optimizer share the gradients, too: one written at the net is there in the optimizer."""
        weight = make_weight(16.0, device)
        optimizer = SGD([weight], lr=1.0)
        same = optimizer.param_groups[0]["params"][0]

        set_gradient(weight, 4.0)
        optimizer.step()

        assert weight.item() == 16 - 4
        assert same.grad is weight.grad is not None

    @claim("footnote.parameters-by-reference-in-place", notes="footnote 1")
    @broken_by(SGD, "step", moves_to_new_memory)
    @broken_by(Optimizer, "add_param_group", stores_copies)
    def test_step_writes_into_the_memory_of_the_parameters(self, device):
        """step() writes where the parameters lie: whoever holds their memory sees it change."""
        weight = make_weight(16.0, device)
        memory = weight.detach()
        set_gradient(weight, 4.0)

        SGD([weight], lr=1.0).step()

        assert memory.tolist() == weight.tolist() == [16 - 4]

    @claim("footnote.parameters-by-reference-rebinding", notes="footnote 1")
    @broken_by(SGD, "step", moves_everything)
    @broken_by(Optimizer, "add_param_group", stores_copies)
    @broken_by(SGD, "__init__", follows_the_list)
    def test_name_bound_to_a_new_tensor_leaves_the_optimizer_the_old_one(self, device):
        """A name or list entry bound to a new tensor is not followed: the optimizer moves the old one."""
        weights = [make_weight(16.0, device)]
        old, optimizer = weights[0], SGD(weights, lr=1.0)

        weights[0] = make_weight(32.0, device)
        for weight in (old, weights[0]):
            set_gradient(weight, 4.0)
        optimizer.step()

        assert [old.item(), weights[0].item()] == [16 - 4, 32]

    @claim("footnote.parameters-by-reference-conversion", notes="footnote 1")
    @broken_by(nn.Module, "to", makes_new_parameters)
    @broken_by(nn.Module, "float", makes_new_parameters)
    @broken_by(nn.Module, "load_state_dict", lambda real: lambda net, state: real(net, state, assign=True))
    @broken_by(Optimizer, "add_param_group", stores_twins)
    def test_net_that_is_moved_converted_or_loaded_keeps_its_parameters(self, device):
        """to(device), float() and load_state_dict() change the parameters that the optimizer holds."""
        net = make_net("cpu")
        kept = SGD(net.parameters(), lr=0.1).param_groups[0]["params"]

        net.to(device)
        net.float()
        net.load_state_dict({name: torch.ones_like(weight) for name, weight in net.state_dict().items()})

        assert list(map(id, kept)) == list(map(id, net.parameters()))
        assert all((weight == 1).all() for weight in kept)
        assert {(weight.device, weight.dtype) for weight in kept} == {(device, torch.float32)}

    @claim("footnote.parameters-by-reference-assign", notes="footnote 1")
    @broken_by(nn.Module, "load_state_dict", lambda real: lambda net, state, assign: real(net, state))
    @broken_by(SGD, "step", moves_everything)
    def test_assigned_state_leaves_the_optimizer_behind(self, device):
        """load_state_dict(assign=True) makes new parameters, which an optimizer made before never moves."""
        net = make_net(device)
        optimizer = SGD(net.parameters(), lr=0.1)
        net.load_state_dict(make_net(device).state_dict(), assign=True)
        before = copies(net.parameters())

        backward(net)
        optimizer.step()

        assert all(weight.grad.any() for weight in net.parameters())
        torch.testing.assert_close(copies(net.parameters()), before, rtol=0, atol=0)


# Faults: in a tensor's .grad and .data


def reading(change):
    """Return a replacement for an attribute that reads as `change(its value, tensor)`."""
    return lambda real: property(lambda x: change(real.__get__(x), x), real.__set__, real.__delete__)


reads_zeros_for_none = reading(lambda gradient, x: torch.zeros_like(x) if gradient is None else gradient)


def zeroes_every_gradient(real):
    """Return a zero_() that zeroes the gradient of every parameter there is."""

    def zero(x):
        for thing in gc.get_objects():
            if type(thing) is nn.Parameter and thing.grad is not None:
                real(thing.grad)
        return real(x)

    return zero


def variable_that(answer):
    """Return a Variable that makes of a tensor what `answer` does."""
    return lambda real: type(real)("Variable", (real,), {"__new__": lambda cls, x: answer(x)})


class TestSingleVariable:
    """Variable.grad.data.zero_()."""

    @claim("footnote.zero-single-variable", notes="footnote 1", verdict=OUTDATED, since="2.0", says=SINGLE)
    @broken_by(nn.Module, "zero_grad", writes_zeros_by_default)
    @broken_by(Optimizer, "zero_grad", writes_zeros_by_default)
    @broken_by(Optimizer, "zero_grad", clears_nothing)
    @broken_by(torch.Tensor, "grad", reads_zeros_for_none)
    def test_single_gradient_cannot_be_zeroed_after_zero_grad(self, device):
        """Since zero_grad() leaves None, weight.grad.data.zero_() after it is an AttributeError."""
        net = make_net(device)
        for clear in both_ways(net, SGD(net.parameters(), lr=0.1)).values():
            backward(net)

            clear()

            with pytest.raises(AttributeError, match="'NoneType' object has no attribute 'data'"):
                net.first.weight.grad.data.zero_()

    @claim("footnote.zero-single-variable-too-early", notes="footnote 1", verdict=QUALIFIED, says=SINGLE)
    @broken_by(torch.Tensor, "grad", reads_zeros_for_none)
    @broken_by(nn.Module, "requires_grad_", lambda real: lambda layer, requires_grad: layer)
    def test_single_gradient_cannot_be_zeroed_before_backward(self, device):
        """Before backward(), and where frozen by then, .grad.data.zero_() is an AttributeError, too."""
        net = make_net(device)
        net.first.requires_grad_(False)

        with pytest.raises(AttributeError, match="'NoneType' object has no attribute 'data'"):
            net.second.weight.grad.data.zero_()
        backward(net)
        with pytest.raises(AttributeError, match="'NoneType' object has no attribute 'data'"):
            net.first.weight.grad.data.zero_()

    @claim("footnote.zero-single-variable-alone", notes="footnote 1", verdict=QUALIFIED, says=SINGLE)
    @broken_by(torch.Tensor, "data", reading(lambda data, x: data.clone()))
    @broken_by(torch.Tensor, "zero_", lambda real: lambda x: torch.zeros_like(x))
    @broken_by(torch.Tensor, "zero_", lambda real: lambda x: real(x[:1]))
    @broken_by(torch.Tensor, "zero_", zeroes_every_gradient)
    def test_single_gradient_is_zeroed_where_there_is_one(self, device):
        """Where there is a gradient, .grad.data.zero_() fills it with zeros in place, and all others stay."""
        net = make_net(device)
        backward(net)
        first, *others = [weight.grad for weight in net.parameters()]
        before = copies(others)

        net.first.weight.grad.data.zero_()

        assert net.first.weight.grad is first
        assert not first.any()
        torch.testing.assert_close([weight.grad for weight in net.parameters()][1:], before, rtol=0, atol=0)

    @claim("footnote.zero-single-variable-hidden", notes="footnote 1", verdict=QUALIFIED, says=SINGLE)
    @broken_by(torch.Tensor, "data", reading(lambda data, x: x.detach()))
    @broken_by(torch.Tensor, "data", reading(lambda data, x: data.clone()))
    @broken_by(torch.Tensor, "zero_", lambda real: lambda x: real(x.data))
    def test_data_hides_the_zeros_from_autograd(self, device):
        """Autograd misses zeros written through .data: what used the gradient passes back wrong ones."""
        found = {}
        for way in ("grad.data", "grad"):
            weight, factor = make_weight(2.0, device), make_weight(3.0, device)
            set_gradient(weight, 5.0)
            result = factor * weight.grad
            (weight.grad.data if way == "grad.data" else weight.grad).zero_()
            try:
                result.backward()
            except RuntimeError as error:
                found[way] = str(error)
            else:
                found[way] = factor.grad.item()

        assert found["grad.data"] == 0  # and should be 5
        assert "has been modified by an inplace operation" in str(found["grad"])

    @claim("footnote.zero-single-variable-alias", notes="footnote 1", verdict=OUTDATED, says=SINGLE)
    @broken_by(autograd, "Variable", variable_that(torch.clone))
    @broken_by(autograd, "Variable", variable_that(nn.Parameter))
    @broken_by(
        type(autograd.Variable), "__instancecheck__", lambda real: lambda cls, x: type(x) is nn.Parameter
    )
    def test_variable_is_another_name_for_tensor(self, device):
        """Variable(t) is a plain Tensor in the memory of t, and every Tensor is an instance of Variable."""
        t = torch.tensor([1.0, 2.0], device=device)

        variable = autograd.Variable(t)

        assert type(variable) is torch.Tensor
        assert variable.data_ptr() == t.data_ptr()
        assert isinstance(t, autograd.Variable)
        assert isinstance(nn.Parameter(t), autograd.Variable)
