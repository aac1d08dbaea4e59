"""3 "Define the network": the printed net, and its parameters."""

import functools

import pytest
import torch
from torch import nn

from blitz.training.nets import Net
from spec.harness import fault, statement

PRINTED = """\
Net(
  (conv1): Conv2d(1, 6, kernel_size=(3, 3), stride=(1, 1))
  (conv2): Conv2d(6, 16, kernel_size=(3, 3), stride=(1, 1))
  (fc1): Linear(in_features=576, out_features=120, bias=True)
  (fc2): Linear(in_features=120, out_features=84, bias=True)
  (fc3): Linear(in_features=84, out_features=10, bias=True)
)"""
SHAPES = [
    ("conv1.weight", (6, 1, 3, 3)),
    ("conv1.bias", (6,)),
    ("conv2.weight", (16, 6, 3, 3)),
    ("conv2.bias", (16,)),
    ("fc1.weight", (120, 576)),
    ("fc1.bias", (120,)),
    ("fc2.weight", (84, 120)),
    ("fc2.bias", (84,)),
    ("fc3.weight", (10, 84)),
    ("fc3.bias", (10,)),
]


def trained_alone(real):
    """Return a parameters() that leaves out what is frozen."""
    return lambda net: (parameter for parameter in real(net) if parameter.requires_grad)


@statement("nn.net-print", notes="3 define the network; notebook nn")
@fault("Conv2d prints no stride", nn.Conv2d, "extra_repr", lambda real: lambda conv: real(conv)[:-16])
@fault(
    "relu is a layer", Net, "__init__", lambda real: lambda net: real(net) or setattr(net, "relu", nn.ReLU())
)
def test_printed_net_lists_its_five_layers():
    """print(net) shows the five layers of Net, the net of the notes. The printed text does not show relu and
    pooling, because Net calls them as functions.
    """
    assert str(Net()) == PRINTED


@statement("nn.parameters-is-an-iterator", notes="3 define the network; footnote 1; notebook nn")
@fault("parameters are a list", nn.Module, "parameters", lambda real: lambda net: [*real(net)])
@fault("submodules are left out", nn.Module, "parameters", lambda real: lambda net: real(net, recurse=False))
@fault("parameters are copies", nn.Module, "parameters", lambda real: lambda net: map(torch.clone, real(net)))
@fault("frozen ones are left out", nn.Module, "parameters", trained_alone)
class TestParametersIsAnIterator:
    """net.parameters() returns an iterator over the parameters of all submodules of the net. The iterator
    yields each parameter once. After one pass the iterator is empty, and SGD raises a ValueError for an empty
    iterator.
    """

    def test_parameters_is_an_iterator_that_ends_after_one_pass(self):
        parameters = Net().parameters()

        assert iter(parameters) is parameters
        assert len(list(parameters)) == 10
        assert list(parameters) == []
        with pytest.raises(ValueError, match="optimizer got an empty parameter list"):
            torch.optim.SGD(parameters, lr=0.01)

    def test_parameters_are_those_of_all_submodules_once_and_in_order(self):
        block = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
        head = nn.Linear(2, 1)
        net = nn.Sequential(block, head, block)
        block[0].weight.requires_grad_(False)

        found = [id(parameter) for parameter in net.parameters()]

        layers = [block[0], block[1], head]
        assert found == [id(tensor) for layer in layers for tensor in (layer.weight, layer.bias)]


@statement("nn.parameter-count-and-shape", notes="notebook nn")
@fault("convolutions have no bias", nn, "Conv2d", lambda real: functools.partial(real, bias=False))
@fault("linear layers are turned round", nn, "Linear", lambda real: lambda rows, columns: real(columns, rows))
def test_net_has_ten_parameters_and_81194_values():
    """Net, the net of the notes, has ten parameters with 81,194 elements in all. The first parameter, the
    weight of the layer conv1, has the shape (6, 1, 3, 3).
    """
    parameters = list(Net().named_parameters())

    assert [(name, parameter.shape) for name, parameter in parameters] == SHAPES
    assert sum(parameter.numel() for _, parameter in parameters) == 81_194
