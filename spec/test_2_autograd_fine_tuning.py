"""Section 2.7 of the notes, fine-tuning: a new head on a frozen body, and what changes all the same."""

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.optim import SGD

from spec.counters import graph_nodes
from spec.frozen_body import HEAD, changed, freeze, make_net, make_rows, state_of, train, with_gradients
from spec.harness import QUALIFIED, broken_by, claim
from spec.sgd_faults import zeros_for_none

AVERAGES = ["running_mean", "running_var", "num_batches_tracked"]


# Faults


def flag(change):
    """Return a replacement for Parameter.requires_grad where setting it does `change` instead."""
    return lambda real: property(real.__get__, change)


never_set = flag(lambda parameter, value: None)
by_zeroing = flag(lambda parameter, value: parameter.register_hook(lambda gradient: gradient * 0) and None)


def without_averages(real):
    """Normalize by the batch, and leave the averages as they are."""
    return lambda x, mean, var, weight, bias, training, *rest: real(
        x, None if training else mean, None if training else var, weight, bias, training, *rest
    )


def with_averages(real):
    """Let the averages follow in eval() mode, too."""

    def batch_norm(x, mean, var, weight, bias, training, *rest):
        real(x, mean, var, weight, bias, True, *rest)
        return real(x, mean, var, weight, bias, training, *rest)

    return batch_norm


def only_if(condition):
    """Return a batch norm whose averages follow only under a condition on its weight."""

    def replace(real):
        follow = without_averages(real)
        return lambda x, mean, var, weight, *rest: (real if condition(weight) else follow)(
            x, mean, var, weight, *rest
        )

    return replace


only_unfrozen = only_if(lambda weight: weight.requires_grad)
only_tracked = only_if(lambda weight: torch.is_grad_enabled())


class TestHead:
    """Freeze everything, then replace the last layer: the notebook's way to fine-tune."""

    @claim("autograd.finetune-head-only-gradients", notes="2.7")
    @broken_by(nn.Parameter, "requires_grad", never_set)
    @broken_by(nn.Parameter, "requires_grad", by_zeroing)
    @broken_by(torch.Tensor, "backward", lambda real: lambda loss: None)
    @broken_by(F, "linear", lambda real: lambda x, weight, bias: real(x, weight, bias.detach()))
    def test_new_head_alone_gets_gradients(self, device):
        """After all is frozen and fc replaced, just fc.weight and fc.bias get gradients, the right ones."""
        net, x = make_net(device), make_rows(device)
        features = net.eval().body(x)

        net(x).sum().backward()

        assert with_gradients(net) == HEAD
        torch.testing.assert_close(net.fc.weight.grad, features.sum(0).expand(2, 4))
        assert net.fc.bias.grad.tolist() == [6, 6]

    @claim("autograd.finetune-head-only-gradients-resnet18", notes="notebook autograd")
    @broken_by(nn.Parameter, "requires_grad", never_set)
    @broken_by(nn.Parameter, "requires_grad", by_zeroing)
    @broken_by(torch.Tensor, "backward", lambda real: lambda loss: None)
    def test_two_of_the_62_parameters_of_resnet18_get_gradients(self):
        """In resnet18 with a new Linear(512, 10), 2 of 62 parameters train, and 4 nodes are the graph."""
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

    @claim("autograd.finetune-head-only-gradients-order", notes="notebook autograd")
    @broken_by(nn.Parameter, "requires_grad", never_set)
    @broken_by(nn.Module, "parameters", lambda real: lambda net: [*real(net)][:-2])
    @broken_by(torch.Tensor, "backward", lambda real: lambda y: real(y) if y.requires_grad else None)
    def test_head_that_is_replaced_before_the_freezing_is_frozen(self, device):
        """Freezing takes what is there: a head put in before is frozen as well, and backward() raises."""
        net = make_net(device)

        freeze(net)

        with pytest.raises(RuntimeError, match="does not require grad"):
            net(make_rows(device)).sum().backward()

    @claim("autograd.finetune-head-only-gradients-features", notes="2.7")
    @broken_by(nn.Parameter, "requires_grad", never_set)
    @broken_by(F, "batch_norm", with_averages)
    @broken_by(nn.Module, "eval", lambda real: lambda net: net)
    def test_features_of_a_frozen_body_may_be_computed_once(self, device):
        """With the body in eval() mode, its output computed once trains the head as the whole net does."""
        net, x = make_net(device), make_rows(device)
        net.body.eval()
        head = copy.deepcopy(net.fc)
        with torch.no_grad():
            features = net.body(x)

        train(net, *x.split(2))
        train(head, *features.split(2))

        torch.testing.assert_close(net.fc.state_dict(), head.state_dict())


CHANGES = {
    "notes": "notebook autograd",
    "verdict": QUALIFIED,
    "says": "only the weight and bias of the classifier are updated",
}


class TestWhatChanges:
    """The body is frozen; its batch norm has averages, which are no parameters."""

    @claim("autograd.finetune-only-head-changes", **CHANGES)
    @broken_by(F, "batch_norm", without_averages)
    @broken_by(F, "batch_norm", with_averages)
    @broken_by(F, "batch_norm", only_unfrozen)
    @broken_by(nn.Parameter, "requires_grad", never_set)
    @broken_by(SGD, "step", zeros_for_none)
    def test_averages_of_batch_norm_change_in_train_mode(self, device):
        """Of the parameters the head's alone change; in train() mode so do the averages of batch norm."""
        expected = {True: [f"body.1.{name}" for name in AVERAGES] + HEAD, False: HEAD}

        seen = {}
        for training in expected:
            net = make_net(device).train(training)
            start = state_of(net)
            train(net, *make_rows(device).split(3))
            seen[training] = changed(net, start)

        assert seen == expected

    @claim("autograd.finetune-only-head-changes-how-far", **CHANGES)
    @broken_by(F, "batch_norm", without_averages)
    @broken_by(F, "batch_norm", only_unfrozen)
    @broken_by(
        nn.BatchNorm1d, "__init__", lambda real: lambda layer, width: real(layer, width, momentum=None)
    )
    def test_averages_of_a_frozen_layer_go_a_tenth_of_the_way(self, device):
        """Each pass in train() mode moves the averages a tenth of the way to those of the batch."""
        net, x = make_net(device), make_rows(device)
        mean, var = np.zeros(5), np.ones(5)
        for batch in (x, 10 * x, 10 * x):
            values = net.body[0](batch).cpu().numpy()
            net(batch)
            mean, var = 0.9 * mean + 0.1 * values.mean(0), 0.9 * var + 0.1 * values.var(0, ddof=1)

        torch.testing.assert_close(net.body[1].running_mean.cpu(), torch.from_numpy(mean))
        torch.testing.assert_close(net.body[1].running_var.cpu(), torch.from_numpy(var))
        assert net.body[1].num_batches_tracked.item() == 3

    @claim("autograd.finetune-only-head-changes-without-a-step", **CHANGES)
    @broken_by(F, "batch_norm", without_averages)
    @broken_by(F, "batch_norm", only_unfrozen)
    @broken_by(F, "batch_norm", only_tracked)
    def test_net_all_frozen_and_under_no_grad_still_changes(self, device):
        """Passes in train() mode change later scores of a net that is all frozen, even under no_grad."""
        net, x = make_net(device), make_rows(device)
        freeze(net)
        before = net.eval()(x)

        with torch.no_grad():
            net.train()(10 * x)

        assert (net.eval()(x).cpu() - before.cpu()).abs().max() > 0.01  # rounding in float64 is 1e-15

    @claim("autograd.finetune-only-head-changes-neighbours", **CHANGES)
    @broken_by(F, "batch_norm", lambda real: lambda x, m, v, w, b, on, *r: real(x, m, v, w, b, False, *r))
    @broken_by(F, "batch_norm", lambda real: lambda x, m, v, w, b, on, *r: real(x, m, v, w, b, True, *r))
    @broken_by(nn.Module, "train", lambda real: lambda net, mode=True: real(net))
    def test_frozen_batch_norm_mixes_the_rows_in_train_mode(self, device):
        """In train() mode a row's score depends on its batch, in a frozen net, too; in eval() it does not."""
        net, x = make_net(device), make_rows(device)
        freeze(net)

        differences = {}
        for training in (True, False):
            net.train(training)
            differences[training] = (net(x)[:3].cpu() - net(x[:3]).cpu()).abs().max()

        assert differences[True] > 0.01
        assert differences[False] < 1e-12  # rounding, as fewer rows may take another kernel

    @claim("autograd.finetune-only-head-changes-train-again", **CHANGES)
    @broken_by(nn.Module, "train", lambda real: lambda net, mode=True: net if mode else real(net, mode))
    @broken_by(F, "batch_norm", without_averages)
    @broken_by(F, "batch_norm", only_unfrozen)
    def test_train_of_the_net_ends_eval_of_its_body(self, device):
        """net.train() ends an earlier body.eval(): the averages of the frozen body move again."""
        net, x = make_net(device), make_rows(device)
        net.body.eval()
        start = state_of(net)

        net(x)
        kept = changed(net, start)
        net.train()
        net(x)

        assert kept == []
        assert changed(net, start) == [f"body.1.{name}" for name in AVERAGES]
