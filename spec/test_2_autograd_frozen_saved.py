"""Section 2.7 of the notes: what a file or a copy of a net with frozen parameters holds."""

import copy
import io

import pytest
import torch
from torch import nn
from torch.optim import SGD, Optimizer

from spec.frozen_body import (
    HEAD,
    Classifier,
    changed,
    freeze,
    make_net,
    make_rows,
    state_of,
    train,
    with_gradients,
)
from spec.harness import broken_by, claim
from spec.sgd_faults import zeros_for_none


def flags(net):
    """Return the requires_grad of each parameter."""
    return [parameter.requires_grad for parameter in net.parameters()]


def pickled(net):
    """Return the net saved as a whole, and loaded."""
    file = io.BytesIO()
    torch.save(net, file)
    return torch.load(io.BytesIO(file.getvalue()), weights_only=False)


# Faults


def saving_what_trains(real):
    """Return a state_dict() without what is frozen."""
    return lambda net: {name: value for name, value in real(net).items() if name in HEAD}


def loading_what_trains(real):
    """Return a load_state_dict() that leaves what is frozen as it is."""
    return lambda net, state, **options: real(
        net, {name: state[name] if name in HEAD else own for name, own in state_of(net).items()}, **options
    )


def loading_unfrozen(real):
    """Return a load_state_dict() after which everything trains."""
    return lambda net, state, **options: real(net, state, **options) and net.requires_grad_()


def with_a_copy(real):
    """Return a requires_grad_() that gives the layer a weight of its own."""

    def requires_grad_(layer, on):
        layer.weight = nn.Parameter(layer.weight.detach(), on)
        return real(layer, on)

    return requires_grad_


COPIES = {
    "deepcopy": copy.deepcopy,
    "pickle": pickled,
    "float": lambda net: net.float(),
    "to": lambda net: net.to("cpu"),
}


class TestSaved:
    """What a file or a copy of a net with frozen parameters holds."""

    @claim("autograd.frozen-parameters-are-saved", notes="2.7")
    @broken_by(Classifier, "state_dict", saving_what_trains)
    @broken_by(torch, "save", lambda real: lambda state, path: real({k: state[k] for k in HEAD}, path))
    @broken_by(nn.Module, "load_state_dict", lambda real: lambda net, state: freeze(net) or real(net, state))
    @broken_by(nn.Module, "load_state_dict", lambda real: lambda net, state: None)
    def test_state_dict_has_frozen_weights_and_not_that_they_are_frozen(self, tmp_path):
        """state_dict() holds frozen parameters and averages; a new net that loads it has nothing frozen."""
        net, new = make_net(), Classifier().double()
        new.fc = nn.Linear(4, 2).double()
        train(net, make_rows())

        torch.save(net.state_dict(), tmp_path / "net.pth")
        state = torch.load(tmp_path / "net.pth")

        assert set(state) == {name for name, _ in [*net.named_parameters(), *net.named_buffers()]}
        new.load_state_dict(state)
        assert changed(new, net.state_dict()) == []
        assert flags(new) == [True] * 8

    @claim("autograd.frozen-parameters-are-loaded", notes="2.7")
    @broken_by(nn.Module, "load_state_dict", loading_what_trains)
    @broken_by(nn.Module, "load_state_dict", loading_unfrozen)
    @broken_by(nn.Module, "load_state_dict", lambda real: lambda net, state, **options: real(net, state))
    def test_loading_overwrites_frozen_weights_and_leaves_them_frozen(self):
        """load_state_dict() writes to frozen parameters as well, assign=True or not, and they stay frozen."""
        state = make_net().state_dict()
        for options in ({}, {"assign": True}):
            net = make_net()
            net.load_state_dict(state, **options)

            assert changed(net, state) == []
            assert flags(net) == [False] * 6 + [True] * 2
            assert (net.fc.bias.data_ptr() == state["fc.bias"].data_ptr()) is bool(options)

    @claim("autograd.frozen-parameters-are-copied", notes="2.7")
    @broken_by(nn.Parameter, "__deepcopy__", lambda real: lambda p, memo: nn.Parameter(p.detach().clone()))
    @broken_by(nn.Module, "float", lambda real: lambda net: real(net).requires_grad_())
    @broken_by(torch, "load", lambda real: lambda *file, **options: real(*file, **options).requires_grad_())
    def test_copies_and_conversions_of_a_net_stay_frozen(self):
        """A deep copy, a pickle of the whole net, and a conversion by float() or to() keep what is frozen."""
        seen = {name: flags(make(make_net())) for name, make in COPIES.items()}

        assert seen == dict.fromkeys(COPIES, [False] * 6 + [True] * 2)

    @claim("autograd.frozen-parameters-in-optimizer-state", notes="2.7")
    @broken_by(SGD, "step", zeros_for_none)
    @broken_by(Optimizer, "load_state_dict", lambda real: lambda optimizer, state: None)
    @broken_by(Optimizer, "state_dict", lambda real: lambda o: real(o) | {"state": {}})
    def test_state_of_an_optimizer_over_all_fits_no_optimizer_over_the_head(self):
        """An optimizer's state keeps an empty place for what is frozen, and fits no optimizer without it."""
        net = make_net()
        optimizer = SGD(net.parameters(), lr=0.1, momentum=0.9)
        net(make_rows()).sum().backward()
        optimizer.step()

        state = optimizer.state_dict()

        assert [*state["state"]] == [6, 7]  # fc.weight and fc.bias, of eight
        with pytest.raises(ValueError, match="doesn't match the size"):
            SGD(net.fc.parameters(), lr=0.1, momentum=0.9).load_state_dict(state)

    @claim("autograd.frozen-parameters-shared", notes="2.7")
    @broken_by(nn.Module, "requires_grad_", lambda real: lambda layer, on: layer)
    @broken_by(nn.Module, "requires_grad_", with_a_copy)
    @broken_by(torch.Tensor, "backward", lambda real: lambda loss: None)
    def test_weight_that_two_layers_share_is_frozen_in_both(self, device):
        """Freezing one of two layers that share a weight freezes it for the other; its bias still trains."""
        first, second = nn.Linear(3, 3, device=device), nn.Linear(3, 3, device=device)
        second.weight = first.weight

        first.requires_grad_(False)
        second(first(torch.ones(2, 3, device=device))).sum().backward()

        assert with_gradients(nn.ModuleList([first, second])) == ["1.bias"]
        assert second.bias.grad is not None
