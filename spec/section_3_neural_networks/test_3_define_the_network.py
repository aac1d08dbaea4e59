"""3.1 to 3.3 and "Define the network": layers, modules, forward() and what autograd makes of it."""

import inspect

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from blitz.training import nets
from blitz.training.nets import Net
from spec.harness import QUALIFIED, fault, statement


def make_images(device, count=2):
    """Return grey images (count, 1, 32, 32), float64, so that TF32 plays no part on a GPU.

    Drawn on the CPU, so that every device sees the same numbers.
    """
    return torch.randn(count, 1, 32, 32, dtype=torch.float64).to(device)


def first_function(layer, x, monkeypatch):
    """Return the name of the first function of torch.nn.functional that `layer` calls for `x`, or None."""
    called = []

    def recorded(name, real):
        return lambda *inputs, **options: called.append(name) or real(*inputs, **options)

    with monkeypatch.context() as patch:
        for name, real in list(vars(F).items()):
            if inspect.isroutine(real) and not name.startswith("_"):
                patch.setattr(F, name, recorded(name, real))
        layer(x)
    return called[0] if called else None


class OneOfEach(nn.Module):
    """A module that holds parameters in every way, and in two ways that are none."""

    def __init__(self):
        super().__init__()
        self.whole = nn.Linear(2, 1)
        self.parts = nn.ModuleList([nn.Linear(2, 1)])
        self.scale = nn.Parameter(torch.ones(1))
        self.register_buffer("count", torch.zeros(1))
        self.plain_list = [nn.Linear(2, 1)]
        self.plain_tensor = torch.ones(1, requires_grad=True)


def promoting(kind, container):
    """Return a replacement for __setattr__ that puts each value of `kind` in a `container` first."""

    def replace(real):
        return lambda module, name, value: real(
            module, name, container(value) if isinstance(value, kind) else value
        )

    return replace


class TooEarly(nn.Module):
    """A module that assigns a layer before Module.__init__ has run."""

    def __init__(self):
        self.layer = nn.Linear(2, 1)
        super().__init__()


class Doubling(nn.Module):
    """A module whose loop depends on the data."""

    def forward(self, x):
        """Double `x` until it is longer than 100."""
        while x.norm() < 100:
            x = x * 2
        return x


def straight_through(real):
    """Return a function with the values of `real`, and the derivative 1 wherever it is."""
    return lambda x, *rest: real(x, *rest).detach() + x - x.detach()


def slope(function, at, direction, step=1e-7):
    """Return the central difference of `function()` when the tensor `at` moves along `direction`."""
    with torch.no_grad():
        at.add_(direction, alpha=step)
        above = function()
        at.sub_(direction, alpha=2 * step)
        below = function()
        at.add_(direction, alpha=step)
    return (above - below) / (2 * step)


@statement(
    "nn.layers-call-functional",
    notes="3.1",
    verdict=QUALIFIED,
    says="the predefined layers of torch.nn call functions of torch.nn.functional",
)
@fault(
    "Conv2d calls torch.conv2d",
    nn.Conv2d,
    "_conv_forward",
    lambda real: lambda layer, *tensors: torch.conv2d(*tensors),
)
@fault(
    "Linear calls no function",
    nn.Linear,
    "forward",
    lambda real: lambda layer, x: x @ layer.weight.T + layer.bias,
)
@fault("GELU calls relu", nn.GELU, "forward", lambda real: lambda layer, x: F.relu(x))
@fault("Tanh calls a function", nn.Tanh, "forward", lambda real: lambda layer, x: F.tanh(x))
@fault("Conv2d ends in a relu", nn.Conv2d, "forward", lambda real: lambda layer, x: real(layer, x).relu())
@fault(
    "Linear forgets its bias", nn.Linear, "forward", lambda real: lambda layer, x: F.linear(x, layer.weight)
)
@fault(
    "MaxPool2d steps by one",
    nn.MaxPool2d,
    "forward",
    lambda real: lambda layer, x: F.max_pool2d(x, 2, stride=1),
)
@fault(
    "LeakyReLU takes another slope",
    nn.LeakyReLU,
    "forward",
    lambda real: lambda layer, x: F.leaky_relu(x, 0.1),
)
class TestLayersCallFunctional:
    """Most layers of torch.nn call a function of torch.nn.functional with their parameters, such as Conv2d,
    Linear and MaxPool2d. Some call none, such as Tanh, Flatten and LSTM.
    """

    def test_most_layers_call_their_function_and_some_call_none(self, monkeypatch):
        functions = {
            nn.Conv2d(4, 6, 3): "conv2d",
            nn.Linear(8, 3): "linear",
            nn.MaxPool2d(2): "max_pool2d",
            nn.ReLU(): "relu",
            nn.LeakyReLU(): "leaky_relu",
            nn.GELU(): "gelu",
            nn.Softmax(dim=0): "softmax",
            nn.BatchNorm1d(8): "batch_norm",
            nn.LayerNorm(8): "layer_norm",
            nn.Dropout(): "dropout",
            nn.Upsample(scale_factor=2): "interpolate",
            nn.Sigmoid(): None,
            nn.Tanh(): None,
            nn.Flatten(): None,
            nn.LSTM(8, 3): None,
        }

        called = {layer: first_function(layer, torch.randn(4, 8, 8), monkeypatch) for layer in functions}

        assert called == functions

    def test_layer_gives_what_its_function_gives_with_its_parameters(self, device):
        x = torch.randn(2, 1, 32, 32, device=device)
        conv, linear = nn.Conv2d(1, 6, 3).to(device), nn.Linear(32, 5).to(device)

        assert conv(x).cpu().equal(F.conv2d(x, conv.weight, conv.bias).cpu())
        assert linear(x).cpu().equal(F.linear(x, linear.weight, linear.bias).cpu())
        assert nn.MaxPool2d(2)(x).cpu().equal(F.max_pool2d(x, 2).cpu())
        assert nn.LeakyReLU()(x).cpu().equal(F.leaky_relu(x, 0.01).cpu())


@statement(
    "nn.module-contains-layers",
    notes="3.2; notebook nn",
    verdict=QUALIFIED,
    says="nn.Module contains the layers",
)
@fault("nothing is registered", nn.Module, "__setattr__", lambda real: object.__setattr__)
@fault("lists are registered", nn.Module, "__setattr__", promoting(list, nn.ModuleList))
@fault("plain tensors are parameters", nn.Module, "__setattr__", promoting(torch.Tensor, nn.Parameter))
@fault(
    "children come in reverse",
    nn.Module,
    "named_children",
    lambda real: lambda module: reversed([*real(module)]),
)
@fault(
    "buffers are parameters",
    nn.Module,
    "register_buffer",
    lambda real: lambda module, name, value: module.register_parameter(name, nn.Parameter(value)),
)
@fault(
    "buffers are not saved",
    nn.Module,
    "register_buffer",
    lambda real: lambda module, name, value: real(module, name, value, persistent=False),
)
class TestModuleContainsLayers:
    """A Module registers the modules, Parameters and buffers that are assigned to it, in their order, once
    super().__init__() has run. It does not register lists and plain tensors.
    """

    def test_modules_and_parameters_register_when_assigned(self):
        module = OneOfEach()

        children = [name for name, _ in module.named_children()]
        parameters = [name for name, _ in module.named_parameters()]

        assert children == ["whole", "parts"]
        assert parameters == ["scale", "whole.weight", "whole.bias", "parts.0.weight", "parts.0.bias"]

    def test_buffers_are_saved_but_are_not_parameters(self):
        module = OneOfEach()

        assert "count" in module.state_dict()
        assert "count" not in dict(module.named_parameters())

    def test_assigning_a_layer_before_module_init_is_refused(self):
        with pytest.raises(AttributeError, match=r"cannot assign module before Module.__init__\(\) call"):
            TooEarly()


@statement(
    "nn.forward-returns-output", notes="3.3", verdict=QUALIFIED, says="forward(input) returns the output"
)
@fault(
    "a call runs no hooks",
    nn.Module,
    "__call__",
    lambda real: lambda module, *inputs: module.forward(*inputs),
)
@fault(
    "a call adds one", nn.Module, "__call__", lambda real: lambda module, *inputs: real(module, *inputs) + 1
)
@fault(
    "forward runs the hooks",
    Net,
    "forward",
    lambda real: lambda net, x: net.seen.append(real(net, x)) or net.seen[-1],
)
@fault(
    "forward returns its input by default", nn.Module, "forward", lambda real: lambda module, *inputs: inputs
)
class TestForwardReturnsOutput:
    """net(input) returns what net.forward(input) returns, and runs the hooks besides, which forward() alone
    does not. A Module that defines no forward() cannot be called.
    """

    def test_call_returns_what_forward_returns_and_runs_the_hooks(self, device):
        net, images = Net().double().to(device), make_images(device)
        net.seen = []
        net.register_forward_hook(lambda net, inputs, output: net.seen.append(output))

        by_forward = net.forward(images)
        seen_by_forward = len(net.seen)
        by_call = net(images)

        torch.testing.assert_close(by_call, by_forward)
        assert (seen_by_forward, len(net.seen)) == (0, 1)

    def test_module_without_forward_cannot_be_called(self):
        with pytest.raises(NotImplementedError, match='missing the required "forward" function'):
            nn.Module()(torch.ones(1))


@statement("nn.backward-is-automatic", notes="3 define the network; notebook nn")
@fault(
    "Conv2d detaches its result", nn.Conv2d, "forward", lambda real: lambda layer, x: real(layer, x).detach()
)
@fault("relu passes every gradient", nets, "relu", straight_through)
@fault(
    "pooling passes a little less",
    nets,
    "max_pool2d",
    lambda real: lambda x, size: real(x, size) + 1e-3 * real(x.detach(), size),
)
def test_forward_alone_gives_every_parameter_its_gradient(device):
    """Net defines forward() and no backward(), and all ten parameters get the right gradients."""
    net, images = Net().double().to(device), make_images(device)

    net(images).sum().backward()

    assert not hasattr(net, "backward")
    assert all(parameter.grad is not None for parameter in net.parameters())
    for parameter in net.parameters():
        direction = torch.randn(parameter.shape, dtype=torch.float64).to(device)
        expected = slope(lambda: net(images).sum(), parameter, direction)
        # a central difference in float64 with a step of 1e-7 is good to about eight digits
        torch.testing.assert_close((parameter.grad * direction).sum(), expected, rtol=1e-6, atol=1e-6)


@statement(
    "nn.any-tensor-op-in-forward",
    notes="3 define the network; notebook nn",
    verdict=QUALIFIED,
    says="any tensor operation may be used in forward()",
)
@fault("* forgets its factor in the gradient", torch.Tensor, "__mul__", straight_through)
@fault("norm is halved", torch.Tensor, "norm", lambda real: lambda x: real(x) / 2)
@fault("detach does not detach", torch.Tensor, "detach", lambda real: lambda x: x * 1)
@fault("argmax has a gradient", torch.Tensor, "argmax", lambda real: lambda x: real(x) + 0 * x.sum())
@fault(
    "tensor requires a gradient", torch, "tensor", lambda real: lambda value: real(value, requires_grad=True)
)
@fault(
    "from_numpy requires a gradient",
    torch,
    "from_numpy",
    lambda real: lambda array: real(array).requires_grad_(),
)
@fault("round passes every gradient", torch.Tensor, "round", straight_through)
class TestAnyTensorOpInForward:
    """forward() may use any tensor operation, loops and conditions on the data. Gradients end where a value
    leaves the graph, as by detach(), item(), tolist(), numpy() or argmax(), and those through round() are
    zero.
    """

    @pytest.mark.asks_the_device
    def test_forward_may_loop_and_branch_on_its_data(self, device):
        x = torch.tensor([3.0, 4.0], device=device, requires_grad=True)

        output = Doubling()(x)  # lengths 5, 10, 20, 40, 80, 160
        output.sum().backward()

        assert output.tolist() == [96, 128]
        assert x.grad.tolist() == [32, 32]

    def test_detach_item_tolist_numpy_and_argmax_lose_the_gradient(self):
        x = torch.randn(3, requires_grad=True)

        results = {
            "detach": x.detach(),
            "item": torch.tensor(x.sum().item()),
            "tolist": torch.tensor(x.tolist()),
            "numpy": torch.from_numpy(x.numpy(force=True)),
            "argmax": x.argmax(),
        }

        assert not {name for name, result in results.items() if result.requires_grad}

    def test_round_passes_zeros_back(self, device):
        x = torch.tensor([0.4, 1.6], device=device, requires_grad=True)

        x.round().sum().backward()

        assert x.grad.tolist() == [0, 0]
