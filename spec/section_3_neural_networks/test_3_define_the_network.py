"""3.1 to 3.3 and "Define the network": layers, modules, forward() and what autograd makes of it."""

import inspect

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from blitz.training import nets
from blitz.training.nets import CifarNet, Net, shapes
from spec.harness import QUALIFIED, WRONG, fault, statement

# What the picture says of its layers, C1 to OUTPUT: channels and pixels, then features
PICTURE = [(6, 28, 28), (6, 14, 14), (16, 10, 10), (16, 5, 5), (120,), (84,), (10,)]
NETS = {
    "of section 3": (Net, (3, 3), [(6, 30, 30), (6, 15, 15), (16, 13, 13), (16, 6, 6), (120,), (84,), (10,)]),
    "of section 4": (CifarNet, (5, 5), PICTURE),
}


class OneOfEach(nn.Module):
    """A module that is assigned whatever a Module registers, and a list and a tensor, which it does not."""

    def __init__(self):
        super().__init__()
        self.whole = nn.Linear(2, 1)
        self.parts = nn.ModuleList([nn.Linear(2, 1)])
        self.scale = nn.Parameter(torch.ones(1))
        self.register_buffer("count", torch.zeros(1))
        self.plain_list = [nn.Linear(2, 1)]
        self.plain_tensor = torch.ones(1, requires_grad=True)


def registers_lists(real):
    """Return a __setattr__ that makes a ModuleList of a list of layers."""
    return lambda module, name, x: real(module, name, nn.ModuleList(x) if isinstance(x, list) else x)


def registers_buffers_as_parameters(real):
    """Return a register_buffer that makes a Parameter of the buffer."""
    return lambda module, name, buffer: module.register_parameter(name, nn.Parameter(buffer))


def kernels_of_5(real):
    """Return an __init__ that gives Net the kernels of the picture."""

    def init(net):
        real(net)
        net.conv1, net.conv2 = nn.Conv2d(1, 6, 5), nn.Conv2d(6, 16, 5)
        net.fc1 = nn.Linear(16 * 5 * 5, 120)

    return init


def straight_through(real):
    """Return a function with the values of `real`, and the derivative 1 wherever it is."""
    return lambda x, *rest: real(x, *rest).detach() + x - x.detach()


@statement(
    "nn.layers-call-functional",
    notes="3.1",
    verdict=QUALIFIED,
    says="the predefined layers of torch.nn call functions of torch.nn.functional",
)
@fault("GELU calls relu", nn.GELU, "forward", lambda real: lambda layer, x: F.relu(x))
@fault("Tanh calls a function", nn.Tanh, "forward", lambda real: lambda layer, x: F.tanh(x))
@fault("Linear forgets its bias", nn.Linear, "forward", lambda real: lambda fc, x: F.linear(x, fc.weight))
@fault("LeakyReLU is steeper", nn.LeakyReLU, "forward", lambda real: lambda layer, x: F.leaky_relu(x, 0.1))
class TestLayersCallFunctional:
    """Many layers of torch.nn, such as Conv2d and Linear, call a function of torch.nn.functional with their
    own weights. Other layers, such as Tanh and LSTM, call no function of torch.nn.functional.
    """

    def test_most_layers_call_their_function_and_some_call_none(self, monkeypatch):
        layers = {
            nn.Conv2d(4, 6, 3): ["conv2d"],
            nn.Linear(8, 3): ["linear"],
            nn.MaxPool2d(2): ["max_pool2d"],
            nn.GELU(): ["gelu"],
            nn.Softmax(dim=0): ["softmax"],
            nn.BatchNorm1d(8): ["batch_norm"],
            nn.Dropout(): ["dropout"],
            nn.Sigmoid(): [],
            nn.Tanh(): [],
            nn.Flatten(): [],
            nn.LSTM(8, 3): [],
        }
        called = []

        def recorded(name, real):
            return lambda *inputs, **options: called.append(name) or real(*inputs, **options)

        for name, real in list(vars(F).items()):
            if inspect.isroutine(real) and not name.startswith("_"):
                monkeypatch.setattr(F, name, recorded(name, real))

        for layer, function in layers.items():
            called.clear()
            layer(torch.randn(4, 8, 8))
            assert called[:1] == function, layer

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
@fault("lists are registered", nn.Module, "__setattr__", registers_lists)
@fault("buffers are parameters", nn.Module, "register_buffer", registers_buffers_as_parameters)
class TestModuleContainsLayers:
    """An nn.Module registers every layer and every Parameter that is assigned to one of its attributes. It
    does not register a plain tensor, or the layers in a plain list. Assigning a layer before
    `super().__init__()` has run raises an AttributeError.
    """

    def test_modules_parameters_and_buffers_register_and_lists_and_tensors_do_not(self):
        module = OneOfEach()

        children = [name for name, _ in module.named_children()]
        parameters = [name for name, _ in module.named_parameters()]

        assert children == ["whole", "parts"]
        assert parameters == ["scale", "whole.weight", "whole.bias", "parts.0.weight", "parts.0.bias"]
        assert module.state_dict().keys() == {"count", *parameters}

    def test_assigning_a_layer_before_module_init_is_refused(self):
        class TooEarly(nn.Module):
            def __init__(self):
                self.layer = nn.Linear(2, 1)
                super().__init__()

        with pytest.raises(AttributeError, match=r"cannot assign module before Module.__init__\(\) call"):
            TooEarly()


@statement(
    "nn.forward-returns-output", notes="3.3", verdict=QUALIFIED, says="forward(input) returns the output"
)
@fault("a call runs no hooks", nn.Module, "__call__", lambda real: lambda net, x: net.forward(x))
@fault(
    "forward runs the hooks", Net, "forward", lambda real: lambda net, x: net.seen.append(x) or real(net, x)
)
@fault("a Module returns its input", nn.Module, "forward", lambda real: lambda module, x: x)
class TestForwardReturnsOutput:
    """net(input) returns the same output as net.forward(input). Functions that are registered with
    net.register_forward_hook() run only in net(input). Calling a Module without a forward() raises a
    NotImplementedError.
    """

    def test_call_returns_what_forward_returns_and_runs_the_hooks(self, device):
        net = Net().double().to(device)
        images = torch.randn(2, 1, 32, 32, dtype=torch.float64).to(device)
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
@fault("Conv2d detaches its maps", nn.Conv2d, "forward", lambda real: lambda conv, x: real(conv, x).detach())
@fault("relu passes every gradient", nets, "relu", straight_through)
def test_forward_alone_gives_every_parameter_its_gradient(device):
    """Net, the net of the notes, defines forward() and does not define backward(). Autograd computes the
    right gradients for all ten parameters of Net.
    """
    net = Net().double().to(device)
    images = torch.randn(2, 1, 32, 32, dtype=torch.float64).to(device)

    net(images).sum().backward()

    assert not hasattr(net, "backward")
    assert all(parameter.grad is not None for parameter in net.parameters())
    for parameter in net.parameters():
        step = 1e-9 * torch.randn(parameter.shape, dtype=torch.float64).to(device)
        with torch.no_grad():
            parameter.add_(step)
            above = net(images).sum()
            parameter.sub_(2 * step)
            below = net(images).sum()
            parameter.add_(step)
        # so small a step crosses no corner of relu, and leaves about seven digits of a float64
        torch.testing.assert_close((parameter.grad * step).sum(), (above - below) / 2, rtol=1e-5, atol=1e-14)


@statement(
    "nn.picture-is-another-net",
    notes="3 define the network; notebook nn",
    verdict=WRONG,
    says="the picture of a convnet shows the network that the code defines",
)
@fault("Net has the kernels of the picture", Net, "__init__", kernels_of_5)
@pytest.mark.parametrize(("make", "kernel", "sizes"), NETS.values(), ids=NETS)
def test_picture_has_the_sizes_of_section_4_and_not_those_of_section_3(make, kernel, sizes, device):
    """The picture beside Net, the net of the notes, shows LeNet. LeNet has 5x5 kernels, which lead to 16 maps
    of 5x5. Net has 3x3 kernels, which lead to 16 maps of 6x6. CifarNet, the notes' net for CIFAR-10, has the
    sizes of the picture.
    """
    net = make().to(device)

    steps = shapes(net, torch.zeros(1, *net.image_shape, device=device))

    assert net.conv1.kernel_size == net.conv2.kernel_size == kernel
    assert list(dict.fromkeys(shape[1:] for step, shape in steps if step != "view")) == sizes


@statement(
    "nn.any-tensor-op-in-forward",
    notes="3 define the network; notebook nn",
    verdict=QUALIFIED,
    says="any tensor operation may be used in forward()",
)
@fault("* forgets its factor in the gradient", torch.Tensor, "__mul__", straight_through)
@fault("detach does not detach", torch.Tensor, "detach", lambda real: lambda x: x * 1)
@fault("argmax has a gradient", torch.Tensor, "argmax", lambda real: lambda x: real(x) + 0 * x.sum())
class TestAnyTensorOpInForward:
    """forward() may contain loops and conditions that depend on the data. Autograd still computes the right
    gradients. No gradient flows back through detach(), item(), tolist(), numpy() or argmax().
    """

    @pytest.mark.asks_the_device
    def test_forward_may_loop_and_branch_on_its_data(self, device):
        class Doubling(nn.Module):
            def forward(self, x):
                while x.norm() < 100:
                    x = x * 2
                return x

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
