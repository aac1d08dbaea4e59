"""blitz/explained/freezing.py: which parameters are trained, and which hold a gradient.

What an optimizer makes of that is proved in spec/section_2_autograd/test_2_7_requires_grad_false.py.
"""

import pytest
import torch
from torch import nn

from blitz.explained.freezing import freeze, unfreeze


@pytest.fixture
def net():
    """Three layers, 3 to 5 to 2, the last of them a net of its own; each parameter has a gradient."""
    net = nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Sequential(nn.Linear(5, 2)))
    net(torch.ones(4, 3)).sum().backward()
    return net


def trained(net):
    """Return the names of the parameters that require a gradient."""
    return [name for name, parameter in net.named_parameters() if parameter.requires_grad]


def with_gradient(net):
    """Return the names of the parameters that hold a gradient."""
    return [name for name, parameter in net.named_parameters() if parameter.grad is not None]


FIRST, LAST = ["0.weight", "0.bias"], ["2.0.weight", "2.0.bias"]
PARTS = {  # what of the net, its parameters, and the others
    "a layer": (lambda net: net[0], FIRST, LAST),
    "a net in the net": (lambda net: net[2], LAST, FIRST),
    "the whole net": (lambda net: net, FIRST + LAST, []),
    "a layer without parameters": (lambda net: net[1], [], FIRST + LAST),
}


@pytest.mark.parametrize(("choose", "its", "others"), PARTS.values(), ids=PARTS)
def test_parameters_of_the_part_are_frozen_and_trained_again_and_no_others(net, choose, its, others):
    """At every depth of it; the gradients from before are dropped, and begin with the next backward pass."""
    freeze(choose(net))
    assert trained(net) == with_gradient(net) == others

    freeze(net)
    unfreeze(choose(net))

    assert trained(net) == its
    assert with_gradient(net) == []


def test_what_is_no_module_is_refused_in_a_sentence():
    """A wrong argument says what was expected and what came."""
    message = "^expected a net or a layer, got Parameter; for one tensor set requires_grad itself$"

    with pytest.raises(TypeError, match=message):
        freeze(nn.Linear(3, 2).weight)
