"""Notes 2.7, what is left out of the graph, and 4 step 5: net.eval() and torch.no_grad() are two things."""

from contextlib import nullcontext
from itertools import product

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from spec.faults import then
from spec.harness import ANSWERED, fault, statement
from spec.section_2_autograd.faults import tracked_anyway


def unless_grad_is_off(change):
    """Return a replacement for a function of layers that does `change` where nothing is tracked."""

    def replace(real):
        def function(x, *rest):
            return real(x, *rest) if torch.is_grad_enabled() else change(x)

        return function

    return replace


@statement(
    "autograd.eval-or-no-grad",
    notes="2.7; 4 step 5; notebook autograd",
    verdict=ANSWERED,
    says="torch.no_grad() turns tracking off; how net.eval() differs from it is left open",
)
@fault("eval does nothing", nn.Module, "eval", lambda real: lambda net: net)
@fault("eval freezes the parameters", nn.Module, "eval", then(lambda net: net.requires_grad_(False)))
@fault("a net is tracked under no_grad, too", nn.Sequential, "forward", tracked_anyway)
@fault("no_grad turns dropout off", F, "dropout", unless_grad_is_off(lambda x: x))
@fault("no_grad holds the averages", F, "batch_norm", unless_grad_is_off(lambda x: x))
@pytest.mark.parametrize(("mode", "tracked"), list(product(["train", "eval"], [True, False])))
def test_eval_is_about_layers_and_no_grad_about_the_graph(mode, tracked, device):
    """net.eval() turns dropout off and stops the running averages of batch norm. Autograd still tracks the
    net. torch.no_grad() alone turns this tracking off, but then dropout still drops elements, and the
    averages still change.
    """
    net = nn.Sequential(nn.BatchNorm1d(4), nn.Dropout(0.5)).to(device)
    getattr(net, mode)()

    with nullcontext() if tracked else torch.no_grad():
        output = net(torch.randn(16, 4, device=device))

    assert output.requires_grad == tracked
    assert (0 in output.flatten().tolist()) == (mode == "train")
    assert (net[0].running_mean.tolist() != [0, 0, 0, 0]) == (mode == "train")
