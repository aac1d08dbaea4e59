"""The notebook on autograd: torchvision's resnet18. Nothing is downloaded."""

import warnings

import pytest
import torch
from torch import nn

from spec.harness import OUTDATED, fault, since, statement


def resnet18(**options):
    """Return torchvision's resnet18, random unless told otherwise; torchvision takes a second to import."""
    from torchvision import models

    return models.resnet18(**options)


@pytest.fixture
def offline(monkeypatch):
    """Have torchvision load random weights where it would download; give them, and what it asks for."""
    from torchvision.models import ResNet18_Weights

    weights, asked = resnet18().state_dict(), []
    monkeypatch.setattr(
        ResNet18_Weights,
        "get_state_dict",
        lambda entry, **options: asked.append(entry.url.rsplit("/", 1)[-1]) or weights,
    )
    return weights, asked


FORMS = {
    # how resnet18 is asked for its weights, and the warnings that come
    "pretrained": ({"pretrained": True}, ["deprecated since 0.13", "weights=ResNet18_Weights.IMAGENET1K_V1"]),
    "weights": ({"weights": "IMAGENET1K_V1"}, []),
}


def only_the_head(real):
    """Return a load_state_dict() that fills `fc` and leaves the rest as it is."""
    return lambda net, weights, **options: real(
        net.fc, {"weight": weights["fc.weight"], "bias": weights["fc.bias"]}
    )


@since("1.12")
@statement(
    "autograd.resnet18-pretrained",
    notes="notebook autograd",
    verdict=OUTDATED,
    says="resnet18(pretrained=True) loads the pretrained net",
)
@fault("the deprecation is silent", warnings, "warn", lambda real: lambda *args, **options: None)
@fault("only the head is loaded", nn.Module, "load_state_dict", only_the_head)
@pytest.mark.parametrize(("options", "messages"), FORMS.values(), ids=FORMS)
def test_both_forms_load_the_same_file_and_the_old_one_warns(offline, options, messages):
    """In torchvision, resnet18(pretrained=True) still loads the pretrained weights, but gives two warnings.
    The argument pretrained has been deprecated since torchvision 0.13. The argument weights="IMAGENET1K_V1"
    loads the same weights without a warning.
    """
    weights, asked = offline

    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        net = resnet18(**options)

    assert asked == ["resnet18-f37072fd.pth"]
    assert all(value.equal(weights[name]) for name, value in net.state_dict().items())
    assert len(warned) == len(messages)
    assert all(message in str(warning.message) for message, warning in zip(messages, warned, strict=True))


@statement("autograd.resnet18-shapes", notes="notebook autograd")
@fault("the head has ten classes", nn.Linear, "__init__", lambda real: lambda layer, i, o: real(layer, i, 10))
@fault(
    "batch norm keeps no averages",
    nn.BatchNorm2d,
    "__init__",
    lambda real: lambda layer, channels: real(layer, channels, track_running_stats=False),
)
def test_image_of_64x64_gets_a_thousand_scores():
    """The net resnet18 of torchvision returns a thousand scores for each image. The net has 62 parameters
    with 11,689,512 elements in all. backward() gives each parameter a gradient.
    """
    with torch.device("meta"):  # shapes without values, in a tenth of the time
        net, image = resnet18(), torch.rand(1, 3, 64, 64)

    assert (net.fc.in_features, net.fc.out_features) == (512, 1000)
    assert len([*net.parameters()]) == 62
    assert sum(parameter.numel() for parameter in net.parameters()) == 11_689_512
    assert len([*net.buffers()]) == 60

    scores = net(image)
    scores.sum().backward()

    assert scores.shape == (1, 1000)
    assert [p.grad is not None and p.grad.shape == p.shape for p in net.parameters()] == [True] * 62
