"""Notes 2.7, fine-tuning: a new head on a frozen body, what changes in spite of that, and what is saved."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.optim import SGD, Adam

from spec.counters import graph_nodes
from spec.harness import QUALIFIED, fault, statement
from spec.section_2_autograd.frozen_body import (
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
from spec.section_2_autograd.three_layers import graph_or_nothing
from spec.sgd_faults import zeros_for_none

AVERAGES = ["body.1.running_mean", "body.1.running_var", "body.1.num_batches_tracked"]
MODES = {"train": AVERAGES + HEAD, "eval": HEAD}


# Faults


def flag(change):
    """Return a replacement for Parameter.requires_grad where setting it does `change` instead."""
    return lambda real: property(real.__get__, change)


never_set = flag(lambda parameter, value: None)
by_zeroing = flag(lambda parameter, value: parameter.register_hook(lambda gradient: gradient * 0) and None)


def averages_only_if(condition):
    """Return a batch norm whose averages follow only under a condition on its weight."""

    def replace(real):
        def batch_norm(x, mean, var, weight, bias, training, *rest):
            averages = (mean, var) if condition(weight) or not training else (None, None)
            return real(x, *averages, weight, bias, training, *rest)

        return batch_norm

    return replace


def train_without_effect(real):
    """Return a train() that does not end eval()."""
    return lambda net, mode=True: net if mode else real(net, mode)


@statement("autograd.finetune-head-only-gradients", notes="2.7; notebook autograd")
@fault("assignment freezes nothing", nn.Parameter, "requires_grad", never_set)
@fault("freezing makes the gradient zero", nn.Parameter, "requires_grad", by_zeroing)
@fault("backward does nothing without a graph", torch.Tensor, "backward", graph_or_nothing)
class TestNewHead:
    """Where a net is frozen and its last layer is then replaced, the parameters of the new layer alone get
    gradients.
    """

    def test_new_head_alone_gets_gradients(self, device):
        net, x = make_net(device), make_rows(device)
        features = net.eval().body(x)

        net(x).sum().backward()

        assert with_gradients(net) == HEAD
        torch.testing.assert_close(net.fc.weight.grad, features.sum(0).expand(2, 4))
        assert net.fc.bias.grad.tolist() == [6, 6]

    def test_two_of_the_62_parameters_of_resnet18_get_gradients(self):
        from torchvision.models import resnet18  # takes a second to import

        with torch.device("meta"):  # shapes and graphs without values, in a tenth of the time
            net = resnet18()
            freeze(net)
            net.fc = nn.Linear(512, 10)
            scores = net(torch.rand(2, 3, 64, 64))
        nodes = graph_nodes(scores)
        scores.sum().backward()

        assert scores.shape == (2, 10)
        assert len([*net.parameters()]) == 62
        assert with_gradients(net) == HEAD
        assert nodes == {"AddmmBackward0": 1, "TBackward0": 1, "AccumulateGrad": 2}

    def test_head_that_is_replaced_before_the_freezing_is_frozen_too(self, device):
        net = make_net(device)

        freeze(net)

        with pytest.raises(RuntimeError, match="does not require grad"):
            net(make_rows(device)).sum().backward()


@statement(
    "autograd.finetune-only-head-changes",
    notes="notebook autograd; 2.7",
    verdict=QUALIFIED,
    says="only the weight and bias of the classifier are updated",
)
@fault("averages never move", F, "batch_norm", averages_only_if(lambda weight: False))
@fault("averages of frozen layers stay", F, "batch_norm", averages_only_if(lambda w: w.requires_grad))
@fault("averages stay under no_grad", F, "batch_norm", averages_only_if(lambda _: torch.is_grad_enabled()))
@fault("assignment freezes nothing", nn.Parameter, "requires_grad", never_set)
@fault("SGD takes a missing gradient for zeros", SGD, "step", zeros_for_none)
@fault("train() does not end eval()", nn.Module, "train", train_without_effect)
class TestOnlyTheHeadChanges:
    """Of the parameters of a frozen net with a new head the head's alone are updated. In train() mode every
    forward pass also moves the averages of batch norm, frozen or not.
    """

    @pytest.mark.parametrize(("mode", "names"), MODES.items(), ids=MODES)
    def test_averages_of_batch_norm_change_in_train_mode(self, device, mode, names):
        net = make_net(device).train(mode == "train")
        start = state_of(net)

        train(net, *make_rows(device).split(3))

        assert changed(net, start) == names

    def test_averages_go_a_tenth_of_the_way_in_a_net_all_frozen_and_under_no_grad(self, device):
        net, x = make_net(device), make_rows(device)
        freeze(net)

        with torch.no_grad():
            net(x)

        norm, values = net.body[1], net.body[0](x).cpu().numpy()
        torch.testing.assert_close(norm.running_mean.cpu().numpy(), 0.1 * values.mean(0))
        torch.testing.assert_close(norm.running_var.cpu().numpy(), 0.9 + 0.1 * values.var(0, ddof=1))

    def test_train_of_the_net_ends_eval_of_its_body(self, device):
        net, x = make_net(device), make_rows(device)
        net.body.eval()
        start = state_of(net)

        net(x)
        kept = changed(net, start)
        net.train()
        net(x)

        assert kept == []
        assert changed(net, start) == AVERAGES


def flags(net):
    """Return the requires_grad of each parameter."""
    return [parameter.requires_grad for parameter in net.parameters()]


FROZEN = [False] * 6 + [True] * 2  # what make_net() makes


def saving_what_trains(real):
    """Return a state_dict() without what is frozen."""
    return lambda net: {name: value for name, value in real(net).items() if name in HEAD}


def loading_unfrozen(real):
    """Return a load_state_dict() after which everything trains."""
    return lambda net, state, **options: real(net, state, **options) and net.requires_grad_()


def copied_unfrozen(real):
    """Return a __deepcopy__() that frees a parameter."""
    return lambda parameter, memo: nn.Parameter(parameter.detach().clone())


@statement("autograd.frozen-parameters-are-saved", notes="2.7")
@fault("state_dict() leaves out what is frozen", Classifier, "state_dict", saving_what_trains)
@fault("loading does nothing", nn.Module, "load_state_dict", lambda real: lambda net, state: None)
@fault("loading frees", nn.Module, "load_state_dict", loading_unfrozen)
@fault("a deep copy frees", nn.Parameter, "__deepcopy__", copied_unfrozen)
@fault("Adam takes a missing gradient for zeros", Adam, "step", zeros_for_none)
class TestFrozenParametersAreSaved:
    """A state_dict holds frozen parameters like all others, and not that they are frozen; a copy of the net
    keeps them frozen.
    """

    def test_state_dict_has_frozen_weights_as_well(self, tmp_path):
        torch.save(make_net().state_dict(), tmp_path / "net.pth")

        state = torch.load(tmp_path / "net.pth")

        assert len(state) == 8 + 3  # parameters, and the averages of batch norm

    @pytest.mark.parametrize(
        "before", [FROZEN, [True] * 8], ids=["into a frozen net", "into one that trains"]
    )
    def test_loading_overwrites_all_weights_and_freezes_and_frees_none(self, before):
        net, state = make_net(), make_net().state_dict()
        for parameter, flag in zip(net.parameters(), before, strict=True):
            parameter.requires_grad = flag

        net.load_state_dict(state)

        assert changed(net, state) == []
        assert flags(net) == before

    @pytest.mark.parametrize("make", [copy.deepcopy, lambda net: net.float()], ids=["deepcopy", "float"])
    def test_copies_and_conversions_stay_frozen(self, make):
        assert flags(make(make_net())) == FROZEN

    def test_state_of_an_optimizer_over_all_fits_no_optimizer_over_the_head(self, device):
        net = make_net(device)
        optimizer = Adam(net.parameters())
        net(make_rows(device)).sum().backward()
        optimizer.step()

        state = optimizer.state_dict()

        assert [*state["state"]] == [6, 7]  # fc.weight and fc.bias, of eight
        with pytest.raises(ValueError, match="doesn't match the size"):
            Adam(net.fc.parameters()).load_state_dict(state)
