"""blitz/explained/freezing.py: which parameters are trained, and what goes on all the same."""

from re import escape

import pytest
import torch
from torch import nn
from torch.optim import SGD

from blitz.explained.freezing import freeze, unfreeze


def make_net():
    """Return three layers, 3 to 5 to 2, the last of them a net of its own: 4 parameters."""
    return nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Sequential(nn.Linear(5, 2)))


def backward(net):
    """Add the gradients of a batch of ones to those of `net`."""
    net(torch.ones(4, 3)).sum().backward()


def trained(net):
    """Return the names of the parameters that require a gradient."""
    return [name for name, parameter in net.named_parameters() if parameter.requires_grad]


def with_gradient(net):
    """Return the names of the parameters that hold a gradient."""
    return [name for name, parameter in net.named_parameters() if parameter.grad is not None]


def snapshot(part):
    """Return a copy of all parameters and buffers of `part`, as lists."""
    return {name: tensor.tolist() for name, tensor in part.state_dict().items()}


PARTS = {  # what of the net, the parameters left to train
    "a layer": (lambda net: net[0], ["2.0.weight", "2.0.bias"]),
    "a net in the net": (lambda net: net[2], ["0.weight", "0.bias"]),
    "the whole net": (lambda net: net, []),
    "a layer without parameters": (lambda net: net[1], ["0.weight", "0.bias", "2.0.weight", "2.0.bias"]),
}
each_part = pytest.mark.parametrize(("choose", "left"), PARTS.values(), ids=PARTS)


class TestFreeze:
    """What freeze stops, and what goes on."""

    @each_part
    def test_parameters_of_the_part_are_frozen_and_no_others(self, choose, left):
        """At every depth of the part they require no gradient, and the one from before is dropped."""
        net = make_net()
        backward(net)

        freeze(choose(net))

        assert trained(net) == left
        assert with_gradient(net) == left

    def test_optimizer_leaves_frozen_parameters_where_they_are(self):
        """Neither a stale gradient nor momentum nor weight decay moves what is frozen; the others move."""
        net = make_net()
        optimizer = SGD(net.parameters(), lr=0.5, momentum=0.5, weight_decay=0.5)
        backward(net)
        optimizer.step()
        freeze(net[0])
        first, last = snapshot(net[0]), snapshot(net[2])

        backward(net)
        optimizer.step()

        assert snapshot(net[0]) == first
        assert snapshot(net[2]) != last

    def test_statistics_of_batch_norm_still_move_in_train_mode(self):
        """Only parameters are frozen: mode and buffers go on as before, and eval() keeps the buffers."""
        layer = nn.BatchNorm1d(2, momentum=0.5)
        batch = torch.tensor([[2.0, 5.0], [4.0, 9.0]])

        freeze(layer)
        layer(batch)
        layer.eval()(batch)

        assert layer.running_mean.tolist() == [1.5, 3.5]
        assert layer.num_batches_tracked.item() == 1
        assert trained(layer) == []


class TestUnfreeze:
    """What unfreeze begins anew."""

    @each_part
    def test_parameters_of_the_part_are_trained_again_and_no_others(self, choose, left):
        """Unfrozen are the parameters of the part at every depth; the rest of the net stays frozen."""
        net = make_net()
        freeze(net)

        unfreeze(choose(net))

        assert trained(net) == [name for name, _ in net.named_parameters() if name not in left]

    def test_gradients_begin_with_the_next_forward_pass(self):
        """They are None until then, and not made up for."""
        net = make_net()
        freeze(net[0])

        backward(net)
        unfreeze(net[0])
        before = with_gradient(net)
        backward(net)

        assert before == ["2.0.weight", "2.0.bias"]
        assert with_gradient(net) == ["0.weight", "0.bias", "2.0.weight", "2.0.bias"]

    def test_what_was_not_frozen_keeps_its_gradient(self):
        """Unfreezing a part that trains changes nothing."""
        layer = nn.Linear(3, 2)
        backward(layer)

        unfreeze(layer)

        assert trained(layer) == ["weight", "bias"]
        assert layer.bias.grad.tolist() == [4, 4]

    def test_momentum_from_before_counts_again(self):
        """The optimizer's buffer outlives the freezing: a gradient of 4 and half of the old 4 make 6."""
        layer = nn.Linear(3, 2)
        optimizer = SGD(layer.parameters(), lr=0.5, momentum=0.5)
        backward(layer)
        optimizer.step()
        freeze(layer)
        optimizer.step()
        unfreeze(layer)

        backward(layer)
        optimizer.step()

        assert optimizer.state[layer.bias]["momentum_buffer"].tolist() == [6, 6]


MODULE = "expected a net or a layer, got {}; for one tensor set requires_grad itself"
REFUSED = {
    "freeze a parameter": (lambda: freeze(nn.Linear(3, 2).weight), "Parameter"),
    "freeze a class": (lambda: freeze(nn.ReLU), "type"),
    "unfreeze a list": (lambda: unfreeze([nn.ReLU()]), "list"),
}


@pytest.mark.parametrize(("act", "kind"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_module_is_refused_in_a_sentence(act, kind):
    """A wrong argument says what was expected and what came."""
    with pytest.raises(TypeError, match=f"^{escape(MODULE.format(kind))}$"):
        act()
