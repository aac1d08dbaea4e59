"""Sections 2.1 and 2.2 of the notes: what a net is, one step of training, and the notebook's resnet18."""

import warnings

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.optim import SGD

from spec.faults import then, with_options
from spec.harness import OUTDATED, broken_by, claim


def make_net():
    """Return a net of two layers, float64, so that TF32 plays no part on a GPU."""
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).double()


def resnet18(**options):
    """Return torchvision's resnet18, random unless told otherwise; torchvision takes a second to import."""
    from torchvision import models

    return models.resnet18(**options)


def offline_weights(monkeypatch, weights):
    """Have torchvision load `weights` where it would download; return the list of files that it asks for."""
    from torchvision.models import ResNet18_Weights

    asked = []
    monkeypatch.setattr(
        ResNet18_Weights,
        "get_state_dict",
        lambda entry, **options: asked.append(entry.url.rsplit("/", 1)[-1]) or weights,
    )
    return asked


# Faults


def with_weight(change):
    """Return a replacement for a layer's __init__ whose weight is `change(weight)`, and no Parameter."""

    def afterwards(layer):
        weight = layer.weight
        del layer.weight
        layer.weight = change(weight)

    return then(afterwards)


def weight_as_a_buffer(layer):
    """Make the weight of `layer` a buffer, which moves along and is not trained."""
    weight = layer.weight.detach()
    del layer.weight
    layer.register_buffer("weight", weight)


def with_gradient(tensor):
    """Return `tensor` with a gradient of zeros."""
    tensor.grad = torch.zeros_like(tensor)
    return tensor


def gradients_of_zero(module):
    """Give each parameter of `module` a gradient of zeros."""
    for parameter in module.parameters():
        with_gradient(parameter)


def only_the_head(real):
    """Return a load_state_dict() that fills `fc` and leaves the rest as it is."""
    return lambda net, weights, **options: real(
        net.fc, {"weight": weights["fc.weight"], "bias": weights["fc.bias"]}
    )


class TestNet:
    """Notes 2.2: a net is a function with weights and biases, which are stored in tensors."""

    @claim("autograd.parameters-are-tensors", notes="2.2")
    @broken_by(nn.Linear, "__init__", with_weight(lambda weight: weight.detach()))
    @broken_by(nn.Linear, "__init__", with_weight(lambda weight: 1 * weight))
    @broken_by(nn.Linear, "__init__", with_weight(lambda weight: weight.detach().requires_grad_()))
    @broken_by(nn.Linear, "__init__", then(gradients_of_zero))
    @broken_by(nn.Parameter, "__new__", lambda real: lambda cls, data: real(cls, data, False))
    def test_weight_and_bias_are_tensors_that_wait_for_a_gradient(self, device):
        """A layer's weight and bias are Parameters: leaf tensors that require grad and have none yet."""
        layer = nn.Linear(3, 2, device=device)

        for parameter in (layer.weight, layer.bias):
            assert isinstance(parameter, nn.Parameter)
            assert isinstance(parameter, torch.Tensor)
            assert parameter.is_leaf
            assert parameter.requires_grad
            assert parameter.grad is None

    @claim("autograd.parameters-are-tensors-and-decide-all", notes="2.2")
    @broken_by(F, "linear", lambda real: lambda x, weight, bias: real(x, weight))
    @broken_by(F, "linear", lambda real: lambda x, weight, bias: real(x, weight, bias.flip(0)))
    @broken_by(torch, "tanh", lambda real: torch.relu)
    def test_weights_and_biases_decide_what_a_net_computes(self):
        """A net of two Linear layers with tanh between them gives tanh(x W1ᵀ + b1) W2ᵀ + b2."""
        net, x = make_net(), torch.randn(5, 3).double()

        w1, b1, w2, b2 = (parameter.detach().numpy() for parameter in net.parameters())
        expected = np.tanh(x.numpy() @ w1.T + b1) @ w2.T + b2
        torch.testing.assert_close(net(x).detach(), torch.from_numpy(expected))

    @claim("autograd.parameters-are-tensors-under-no-grad", notes="2.2")
    @broken_by(
        nn.Parameter,
        "__new__",
        lambda real: lambda cls, data, **options: real(cls, data, torch.is_grad_enabled()),
    )
    @broken_by(nn.Parameter, "__new__", lambda real: lambda cls, data, **options: real(cls, data))
    def test_parameter_requires_a_gradient_wherever_it_is_made(self):
        """A Parameter requires a gradient even if made under no_grad, unless requires_grad=False is given."""
        with torch.no_grad():
            assert nn.Parameter(torch.zeros(2)).requires_grad
        assert not nn.Parameter(torch.zeros(2), requires_grad=False).requires_grad

    @claim("autograd.parameters-are-tensors-of-floats", notes="2.2")
    @broken_by(
        nn.Parameter,
        "__new__",
        lambda real: lambda cls, data, **options: real(cls, data, data.is_floating_point()),
    )
    @broken_by(
        nn.Parameter,
        "__new__",
        lambda real: lambda cls, data, **options: real(cls, data.float(), **options),
    )
    def test_parameter_of_integers_cannot_require_a_gradient(self):
        """A Parameter of integers is a RuntimeError unless it is made with requires_grad=False."""
        assert nn.Parameter(torch.arange(3), requires_grad=False).dtype == torch.int64
        with pytest.raises(RuntimeError, match="floating point and complex dtype can require gradients"):
            nn.Parameter(torch.arange(3))


class TestTrainingStep:
    """Notes 2.2 and 2.3: forward, loss, backward, step."""

    @claim("autograd.training-step", notes="2.2 and 2.3")
    @broken_by(SGD, "step", lambda real: lambda optimizer: None)
    @broken_by(SGD, "__init__", with_options(maximize=True))
    @broken_by(SGD, "__init__", with_options(nesterov=True))
    @broken_by(torch.Tensor, "backward", lambda real: lambda loss: real(loss.sqrt()))
    def test_one_step_moves_weight_and_bias_against_their_gradients(self, device):
        """The first forward, loss, backward, step makes p into p - lr ∂loss/∂p, even with momentum."""
        layer = nn.Linear(2, 1, device=device)
        layer.load_state_dict({"weight": torch.tensor([[2.0, -1.0]]), "bias": torch.tensor([1.0])})
        optimizer = SGD(layer.parameters(), lr=1 / 64, momentum=0.9)

        prediction = layer(torch.tensor([[3.0, 5.0]], device=device))  # 2 * 3 - 1 * 5 + 1 = 2
        loss = (prediction - 4).square().sum()  # so ∂loss/∂prediction = 2 * (2 - 4) = -4
        loss.backward()
        optimizer.step()

        assert layer.weight.tolist() == [[2 + 4 * 3 / 64, -1 + 4 * 5 / 64]]
        assert layer.bias.tolist() == [1 + 4 / 64]

    @claim("autograd.training-step-gradients", notes="2.2 and 2.3")
    @broken_by(nn.Sequential, "forward", then(gradients_of_zero))
    @broken_by(torch.Tensor, "backward", lambda real: lambda loss: None)
    @broken_by(F, "linear", lambda real: lambda x, weight, bias: real(x, weight, bias.detach()))
    def test_gradients_appear_at_backward(self, device):
        """No parameter has a gradient before backward(); then each has one of its own shape and dtype."""
        net = make_net().to(device)

        loss = net(torch.randn(5, 3).double().to(device)).square().sum()
        before = [parameter.grad for parameter in net.parameters()]
        loss.backward()

        assert before == [None] * 4
        for parameter in net.parameters():
            assert parameter.grad is not None
            assert (parameter.grad.shape, parameter.grad.dtype) == (parameter.shape, torch.float64)

    @claim("autograd.training-step-resnet18", notes="notebook autograd")
    @broken_by(SGD, "step", lambda real: lambda optimizer: None)
    @broken_by(nn.BatchNorm2d, "__init__", then(weight_as_a_buffer))
    def test_one_step_trains_all_of_resnet18(self, device):
        """The notebook's step gives all 62 parameters of resnet18 a gradient and moves each by -lr of it."""
        net = resnet18().to(device)
        before = [parameter.detach().clone() for parameter in net.parameters()]

        prediction = net(torch.rand(1, 3, 64, 64, device=device))
        (prediction - torch.rand(1, 1000, device=device)).sum().backward()
        SGD(net.parameters(), lr=1e-2, momentum=0.9).step()

        moved = [start - 1e-2 * p.grad for start, p in zip(before, net.parameters(), strict=True)]
        assert len(moved) == 62
        assert all(p.grad.cpu().any() for p in net.parameters())
        torch.testing.assert_close([p.detach() for p in net.parameters()], moved)


class TestResnet18:
    """The notebook's net. No claim here downloads anything."""

    @claim(
        "autograd.resnet18-pretrained",
        notes="notebook autograd",
        verdict=OUTDATED,
        since="1.12",
        says="resnet18(pretrained=True) loads the pretrained net",
    )
    @broken_by(warnings, "warn", lambda real: lambda *args, **options: None)
    @broken_by(nn.Module, "load_state_dict", lambda real: lambda net, weights, **options: None)
    @broken_by(nn.Module, "load_state_dict", only_the_head)
    def test_pretrained_is_deprecated_and_means_the_first_weights(self, monkeypatch):
        """resnet18(pretrained=True) warns, and takes resnet18-f37072fd.pth, the weights IMAGENET1K_V1."""
        weights = resnet18().state_dict()
        asked = offline_weights(monkeypatch, weights)

        with (
            pytest.warns(UserWarning, match="'pretrained' is deprecated since 0.13"),
            pytest.warns(UserWarning, match=r"passing `weights=ResNet18_Weights.IMAGENET1K_V1`"),
        ):
            net = resnet18(pretrained=True)

        assert asked == ["resnet18-f37072fd.pth"]
        assert all(value.equal(weights[name]) for name, value in net.state_dict().items())

    @claim("autograd.resnet18-pretrained-weights", notes="notebook autograd", since="1.12")
    @broken_by(nn.Module, "load_state_dict", lambda real: lambda net, weights, **options: None)
    @broken_by(nn.Module, "load_state_dict", then(lambda net: warnings.warn("deprecated", stacklevel=1)))
    @broken_by(nn.Module, "load_state_dict", only_the_head)
    def test_weights_names_what_to_load(self, monkeypatch):
        """resnet18(weights="IMAGENET1K_V1") takes the same file without a warning."""
        weights = resnet18().state_dict()
        asked = offline_weights(monkeypatch, weights)

        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            net = resnet18(weights="IMAGENET1K_V1")

        assert not warned
        assert asked == ["resnet18-f37072fd.pth"]
        assert all(value.equal(weights[name]) for name, value in net.state_dict().items())

    @claim("autograd.resnet18-shapes", notes="notebook autograd")
    @broken_by(nn.Linear, "__init__", lambda real: lambda layer, i, o: real(layer, i, 10))
    @broken_by(nn.Linear, "__init__", lambda real: lambda layer, i, o: real(layer, i + 1, o))
    @broken_by(nn.Linear, "__init__", lambda real: lambda layer, i, o: real(layer, i, o, bias=False))
    @broken_by(
        nn.BatchNorm2d,
        "__init__",
        lambda real: lambda layer, channels: real(layer, channels, track_running_stats=False),
    )
    def test_resnet18_has_62_parameters_and_gives_a_thousand_scores(self):
        """resnet18 has 62 parameters of 11,689,512 values and 60 buffers; an image gives (1, 1000)."""
        with torch.device("meta"):  # shapes without values, in a tenth of the time
            net, image = resnet18(), torch.rand(1, 3, 64, 64)

        assert len([*net.parameters()]) == 62
        assert sum(parameter.numel() for parameter in net.parameters()) == 11_689_512
        assert len([*net.buffers()]) == 60
        assert (net.fc.in_features, net.fc.out_features) == (512, 1000)
        assert net(image).shape == (1, 1000)

    @claim("autograd.resnet18-shapes-of-one-image", notes="notebook autograd")
    @broken_by(nn.BatchNorm2d, "forward", lambda real: lambda layer, x: real(layer.eval(), x))
    def test_one_small_image_is_too_little_to_train_on(self):
        """While training, one image of 33x33 is enough for resnet18, and one of 32x32 a ValueError."""
        with torch.device("meta"):
            net = resnet18().train()

            assert net(torch.rand(1, 3, 33, 33)).shape == (1, 1000)
            with pytest.raises(ValueError, match="Expected more than 1 value per channel when training"):
                net(torch.rand(1, 3, 32, 32))
