"""Notes 6, the link to PyTorch's ImageNet example: what blitz.derived.imagenet does as it trains a ResNet-18.

Most checks take a small net and few images; a real training is slow.
"""

import copy
import random
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR

from blitz.derived import imagenet
from blitz.derived.image_data import crops, normalized
from blitz.derived.imagenet import ImageNet
from spec.harness import fault, statement
from spec.section_6_derived.small_imagenet import make_training, shrink


@pytest.fixture
def small(monkeypatch):
    """Make every training a small one."""
    shrink(monkeypatch)


def pytorchs_rates(highest, warm_up, total):
    """Return the learning rates of PyTorch's schedulers, first LinearLR and then CosineAnnealingLR."""
    rates = []
    for make_scheduler, steps in (
        (lambda optimizer: LinearLR(optimizer, start_factor=1 / warm_up, total_iters=warm_up - 1), warm_up),
        (lambda optimizer: CosineAnnealingLR(optimizer, total - warm_up), total - warm_up),
    ):
        optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=highest)
        scheduler = make_scheduler(optimizer)
        for _ in range(steps):
            rates += scheduler.get_last_lr()
            optimizer.step()
            scheduler.step()
    return rates


@statement("derived.imagenet-warm-up", notes="6 ImageNet")
@fault("no warm-up", imagenet, "WARM_UP", lambda real: 0.0)
@fault("the rate stays", imagenet, "learning_rate", lambda real: lambda step, total: imagenet.HIGHEST)
@fault(
    "the rate lags", imagenet, "learning_rate", lambda real: lambda step, total: real(max(0, step - 1), total)
)
@fault(
    "the warm-up begins at 0",
    LinearLR,
    "__init__",
    lambda real: lambda self, optimizer, **o: real(self, optimizer, **o | {"start_factor": 1e-9}),
)
def test_rates_are_those_of_linear_and_cosine_schedulers(small, device):
    """In the first tenth of the training, the learning rate rises in equal steps to its highest value. Then
    it falls along half a cosine to nearly 0. PyTorch's LinearLR, followed by CosineAnnealingLR, sets the same
    rates.
    """
    training = make_training(device, steps=30)

    rates = [training.optimizer.param_groups[0]["lr"] for _ in training.steps()]

    highest = 0.0125
    assert rates[:3] == pytest.approx([highest / 3, highest * 2 / 3, highest])
    assert rates[3:] == sorted(rates[3:], reverse=True)
    assert rates[-1] < highest / 200
    assert rates == pytest.approx(pytorchs_rates(highest, warm_up=3, total=30))


def places(scores, labels):
    """Return at which place, from 0, each label is among the scores of its image, best first."""
    return [sorted(row, reverse=True).index(row[label]) for row, label in zip(scores, labels, strict=True)]


CLASSES = {"ten classes": 10, "five classes": 5, "three classes": 3}


def five_as_one(real):
    """Return what counts the best five guesses as the best one."""
    return lambda scores, labels: real(scores, labels)[[1, 1]]


@statement("derived.imagenet-top-5", notes="6 ImageNet")
@fault("top-5 counts as top-1", imagenet, "hits", five_as_one)
@fault("top-1 counts as top-5", imagenet, "hits", lambda real: lambda *pair: real(*pair)[[0, 0]])
@fault("topk takes the lowest", torch.Tensor, "topk", lambda real: lambda x, k: real(x, k, largest=False))
class TestTop5:
    """The top-1 accuracy is the share of images whose class has the highest score. The top-5 accuracy is the
    share of images whose class has one of the five highest scores, so it is never lower than the top-1
    accuracy.
    """

    @pytest.mark.parametrize("classes", CLASSES.values(), ids=CLASSES)
    def test_hits_are_those_of_a_sorted_list(self, device, classes):
        draw = random.Random(0)
        scores = [draw.sample(range(100), classes) for _ in range(50)]
        labels = [draw.randrange(classes) for _ in range(50)]

        best, five = imagenet.hits(
            torch.tensor(scores, device=device).float(), torch.tensor(labels, device=device)
        ).tolist()

        expected = places(scores, labels)
        assert best == sum(place == 0 for place in expected)
        assert five == sum(place < 5 for place in expected)
        assert 0 < best <= five

    def test_shares_are_over_all_validation_images(self, small, device):
        training = make_training(device)
        training.net[-1].bias.data[3] += 9  # which it then takes every image for
        labels = torch.tensor([label for _, label in training.data.val])

        best, five = training.validate()

        assert best == pytest.approx((labels == 3).float().mean().item()) == pytest.approx(0.1)
        assert best < five <= 1


@contextmanager
def forgotten(net):
    """Switch to evaluation and not back."""
    net.eval()
    with torch.no_grad():
        yield


@statement("derived.imagenet-validation", notes="6 ImageNet")
@fault("validation is in train mode", nn.Module, "eval", lambda real: lambda net: net)
@fault("the net stays in eval mode", imagenet, "evaluating", lambda real: forgotten)
@fault(
    "validation images are cropped at random",
    imagenet,
    "centres",
    lambda real: lambda data: crops(data._replace(train=data.val), seed=0, epoch=0),
)
class TestValidation:
    """Validation runs the net in evaluation mode on the centre of each image. In this mode, BatchNorm uses
    its running statistics and does not update them, so the scores of an image do not depend on the other
    images in its batch.
    """

    def test_scores_are_those_of_the_centre_of_each_image_alone(self, small, device):
        training = make_training(device, steps=4)
        list(training.steps())
        alone = copy.deepcopy(training.net).eval()
        expected = []
        for image, _ in training.data.val:
            middle = image.resize((18, 18), Image.Resampling.BILINEAR).crop((1, 1, 17, 17))
            pixels = torch.tensor(np.asarray(middle), device=device).permute(2, 0, 1)
            expected.append(alone(normalized(pixels[None])).detach().cpu())
        found = []
        training.net.register_forward_hook(lambda net, inputs, scores: found.append(scores.cpu()))

        training.validate()

        torch.testing.assert_close(torch.cat(found), torch.cat(expected))

    def test_nothing_in_the_net_changes(self, small, device):
        training = make_training(device, steps=2)
        list(training.steps())
        before = copy.deepcopy(training.net.state_dict())

        training.validate()

        torch.testing.assert_close(dict(training.net.state_dict()), dict(before), rtol=0, atol=0)
        assert training.net.training
        assert training.net[1].training


def unlearned(training, inputs, labels):
    """Count a step, and take none."""
    training.losses += 1
    training.step += 1


@pytest.mark.slow
@pytest.mark.timeout(1800)
@statement("derived.imagenet-learns", notes="6 ImageNet")
@fault("no step is taken", ImageNet, "_learn", lambda real: unlearned)
def test_resnet18_learns_the_stand_in(device):
    """A ResNet-18 trains on 2000 images of the stand-in for two epochs, on other random parts in each. It
    reaches a top-1 accuracy of 45 % and a top-5 accuracy of 95 % on 500 other images.
    """
    torch.manual_seed(0)
    training = ImageNet(None, seed=0, steps=124, device=device)

    list(training.steps())

    last = training.history[-1]
    assert last["epoch"] == 2
    assert last["top-1"] >= 0.45
    assert last["top-5"] >= 0.95
