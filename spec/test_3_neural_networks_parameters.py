"""Section 3 of the notes, "Define the network": what print(net) and net.parameters() show."""

import functools

import pytest
import torch
from torch import nn

from blitz.training.nets import Net
from spec.harness import broken_by, claim

TEXT = """\
Net(
  (conv1): Conv2d(1, 6, kernel_size=(3, 3), stride=(1, 1))
  (conv2): Conv2d(6, 16, kernel_size=(3, 3), stride=(1, 1))
  (fc1): Linear(in_features=576, out_features=120, bias=True)
  (fc2): Linear(in_features=120, out_features=84, bias=True)
  (fc3): Linear(in_features=84, out_features=10, bias=True)
)"""

SHAPES = {
    "conv1.weight": (6, 1, 3, 3),
    "conv1.bias": (6,),
    "conv2.weight": (16, 6, 3, 3),
    "conv2.bias": (16,),
    "fc1.weight": (120, 576),
    "fc1.bias": (120,),
    "fc2.weight": (84, 120),
    "fc2.bias": (84,),
    "fc3.weight": (10, 84),
    "fc3.bias": (10,),
}


class TestPrintAndParameters:
    """What print(net) and net.parameters() show."""

    @claim("nn.net-print", notes="3 define the network, output")
    @broken_by(nn.Conv2d, "extra_repr", lambda real: lambda layer: real(layer) + ", padding=(0, 0)")
    @broken_by(nn.Linear, "extra_repr", lambda real: lambda layer: real(layer).replace("_features", ""))
    @broken_by(Net, "__init__", lambda real: lambda net: real(net) or net.add_module("relu", nn.ReLU()))
    def test_printed_net_lists_its_five_layers(self):
        """print(net) shows the notes' five layers to the letter, and neither relu nor pooling."""
        assert str(Net()) == TEXT

    @claim("nn.parameters-is-an-iterator", notes="3 define the network, footnote 1")
    @broken_by(nn.Module, "parameters", lambda real: lambda net: [*real(net)])
    @broken_by(nn.Module, "parameters", lambda real: lambda net: real(net, recurse=False))
    def test_parameters_is_an_iterator_that_ends_after_one_pass(self):
        """net.parameters() is a generator: ten tensors, then nothing more, and neither len() nor an index."""
        parameters = Net().parameters()

        assert iter(parameters) is parameters
        assert len(list(parameters)) == 10
        assert list(parameters) == []
        with pytest.raises(TypeError, match="has no len"):
            len(parameters)
        with pytest.raises(TypeError, match="not subscriptable"):
            parameters[0]

    @claim("nn.parameters-is-an-iterator-exhausted", notes="3 define the network, footnote 1")
    @broken_by(nn.Module, "parameters", lambda real: lambda net: [*real(net)])
    def test_optimizer_refuses_exhausted_parameters(self):
        """An optimizer that gets parameters() after a pass over it has nothing left: a ValueError."""
        parameters = Net().parameters()
        sum(parameter.numel() for parameter in parameters)

        with pytest.raises(ValueError, match="optimizer got an empty parameter list"):
            torch.optim.SGD(parameters, lr=0.01)

    @claim("nn.parameters-is-an-iterator-order", notes="3 define the network, footnote 1")
    @broken_by(nn.Module, "parameters", lambda real: lambda net: (p.clone() for p in real(net)))
    @broken_by(nn.Module, "parameters", lambda real: lambda net: (p for p in real(net) if p.requires_grad))
    @broken_by(nn.Module, "parameters", lambda real: lambda net: iter([*real(net), *net.buffers()]))
    @broken_by(
        nn.Module,
        "named_parameters",
        lambda real: lambda net, **options: real(net, **{**options, "remove_duplicate": False}),
    )
    @broken_by(
        nn.Module,
        "named_modules",
        lambda real: lambda net, *seen, **options: reversed([*real(net, *seen, **options)]),
    )
    def test_parameters_are_those_of_all_submodules_once_and_in_order(self):
        """parameters() gives the tensors themselves, depth first, each once, frozen ones too, no buffers."""
        block = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
        head = nn.Linear(2, 1)
        net = nn.Sequential(block, head, block)
        block[0].weight.requires_grad_(False)

        found = [id(parameter) for parameter in net.parameters()]

        layers = [block[0], block[1], head]
        assert found == [id(tensor) for layer in layers for tensor in (layer.weight, layer.bias)]

    @claim("nn.parameter-count-and-shape", notes="notebook nn")
    @broken_by(nn, "Conv2d", lambda real: functools.partial(real, bias=False))
    @broken_by(nn, "Linear", lambda real: lambda rows, columns: real(columns, rows))
    def test_net_has_ten_parameters_and_81194_values(self):
        """Net has ten parameters, first the weight (6, 1, 3, 3) of conv1, with 81,194 values in all."""
        parameters = dict(Net().named_parameters())

        assert {name: tuple(parameter.shape) for name, parameter in parameters.items()} == SHAPES
        assert list(parameters) == list(SHAPES)
        assert sum(parameter.numel() for parameter in parameters.values()) == 81_194
