"""Notes 6, the link to PyTorch's ImageNet example: what blitz.derived.imagenet does as it trains a ResNet-18.

Most checks take a small net and few images; a real training is slow.
"""

import copy
import random
from contextlib import contextmanager

import numpy as np
import pytest
import torch
import torch.distributed as dist
from PIL import Image
from torch import nn
from torch.nn import functional as F
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR
from torchvision import transforms

from blitz.derived import image_data, imagenet
from blitz.derived.image_data import ImageData, crops, normalized
from blitz.derived.imagenet import ImageNet
from blitz.randomness import epoch_order
from blitz.training import distributed
from spec.faults import then
from spec.harness import fault, statement
from spec.section_5_data_parallel.distributed_faults import SUMMED, by_rank, local
from spec.section_6_derived.small_imagenet import BATCH, shrink, with_norm, without_norm

SIDE, SEEN = 200, 32  # of an image, and of what the net sees of it, in pixels
DDP = nn.parallel.DistributedDataParallel


@pytest.fixture
def small(monkeypatch):
    """Make every training a small one."""
    shrink(monkeypatch)


def make_training(device, first=0, **options):
    """Return a training of seed 0 without workers; `first` is the seed of its first weights."""
    torch.manual_seed(first)
    training = ImageNet(None, seed=0, device=device, **options)
    training.workers = 0
    return training


def ramps(count):
    """Return images whose values tell the place of a pixel: its column, plus 1000 times its row."""
    rows, columns = np.mgrid[:SIDE, :SIDE].astype(np.float32)
    image = Image.fromarray(columns + 1000 * rows)
    return ImageData("ramps", [(image, 0)] * count, [(image, 0)], ("a", "b"), SEEN)


def part(view):
    """Return width and height of the part that `view` shows, as shares of the image's, and if it is mirrored.

    They are told by the slopes in the middle of the view.
    """
    middle, reach = SEEN // 2, 8
    across = (view[0, middle, middle + reach] - view[0, middle, middle]).item() / reach
    down = (view[0, middle + reach, middle] - view[0, middle, middle]).item() / reach
    return abs(across) * SEEN / SIDE, down / 1000 * SEEN / SIDE, across < 0


def scaled(low):
    """Return a fault: parts have at least this share of the area."""
    return lambda real: lambda crop, size: real(crop, size, scale=(low, 1.0))


@statement("derived.imagenet-crops", notes="6 ImageNet")
@fault("parts may have 1 % of the area", transforms.RandomResizedCrop, "__init__", scaled(0.01))
@fault("parts have at least half of the area", transforms.RandomResizedCrop, "__init__", scaled(0.5))
@fault(
    "nothing is mirrored",
    transforms.RandomHorizontalFlip,
    "forward",
    lambda real: lambda flip, image: image,
)
@fault(
    "draws go on from the image before",
    image_data.Views,
    "__getitem__",
    lambda real: lambda views, index: (views.view(views.images[index][0]), views.images[index][1]),
)
@fault("images share a draw", image_data.Views, "__init__", then(lambda views: views.seeds.zero_()))
@fault(
    "epochs share their draws",
    image_data,
    "epoch_generator",
    lambda real: lambda seed, epoch, stream: real(seed, 0, stream=stream),
)
@fault(
    "seeds share their draws",
    image_data,
    "epoch_generator",
    lambda real: lambda seed, epoch, stream: real(0, epoch, stream=stream),
)
class TestCrops:
    """In training, RandomResizedCrop cuts a random part of 8 % to 100 % of the area out of each image, and
    RandomHorizontalFlip mirrors about half of the parts. With a random seed for each image and epoch, the
    part does not depend on which images were read before.
    """

    def test_parts_have_8_to_100_per_cent_of_the_area_and_half_of_them_are_mirrored(self):
        views = crops(ramps(300), seed=0, epoch=0)

        parts = [part(view) for view, _ in map(views.__getitem__, range(300))]

        areas = [width * height for width, height, _ in parts]
        assert 0.078 < min(areas) < 0.12  # parts have whole pixels
        assert 0.9 < max(areas) < 1.001
        assert 120 < sum(mirrored for *_, mirrored in parts) < 180

    def test_seed_epoch_and_image_decide_the_part_and_nothing_else(self):
        data = ramps(5)
        before = torch.get_rng_state()

        forth, back = (
            {index: part(crops(data, seed=0, epoch=0)[index][0]) for index in order}
            for order in (range(5), reversed(range(5)))
        )
        others = [part(crops(data, seed=seed, epoch=epoch)[0][0]) for seed, epoch in ((0, 1), (1, 0))]

        assert forth == back
        assert len({*forth.values(), *others}) == 7
        assert torch.equal(torch.get_rng_state(), before)


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


def train(make_net, first=0):
    """Train a small net for three batches, the last in a second epoch; return its state, and the history."""
    with pytest.MonkeyPatch.context() as patch:
        shrink(patch, make_net)
        training = make_training("cpu", first, steps=3)
        list(training.steps())
    return dict(training.net.state_dict()), training.history


def train_in_rank(make_net):
    """In each rank: train from first weights of its own."""
    return train(make_net, first=dist.get_rank())


def train_by_halves():
    """Train as two ranks should, in one process: by the mean of the gradients of the halves of each batch."""
    with pytest.MonkeyPatch.context() as patch:
        shrink(patch)
        training = make_training("cpu", steps=3)
    net = training.net
    for step, (epoch, start) in enumerate([(0, 0), (0, BATCH), (1, 0)]):
        views = crops(training.data, seed=0, epoch=epoch)
        batch = epoch_order(20, seed=0, epoch=epoch)[start : start + BATCH]
        training.optimizer.zero_grad()
        training.optimizer.param_groups[0]["lr"] = imagenet.learning_rate(step, 3)
        ranks = [copy.deepcopy(net), copy.deepcopy(net)]  # whose BatchNorms begin with the same statistics
        for number, each in enumerate(ranks):
            pixels, labels = zip(*map(views.__getitem__, batch[number::2].tolist()), strict=True)
            (F.cross_entropy(each(normalized(torch.stack(pixels))), torch.tensor(labels)) / 2).backward()
        for weight, *theirs in zip(*(each.parameters() for each in (net, *ranks)), strict=True):
            weight.grad = theirs[0].grad + theirs[1].grad
        training.optimizer.step()
        ends = step > 0  # of an epoch, and of the training: validations, which take the mean
        for buffer, *theirs in zip(*(each.buffers() for each in (net, *ranks)), strict=True):
            buffer.copy_((theirs[0] + theirs[1]) / 2 if ends else theirs[0])
    return dict(net.state_dict())


def first_half(real):
    """Return what gives both ranks the first half of an order."""
    return lambda order: order[: len(order) // distributed.size()]


@statement("derived.imagenet-processes", notes="6 ImageNet")
@fault("ranks keep their gradients", DDP, "forward", local)
@fault("gradients are summed", DDP, "__init__", SUMMED)
@fault("ranks have first weights of their own", DDP, "__init__", then(lambda ddp: by_rank(ddp.parameters())))
@fault("ranks have the same part", distributed, "own_indices", first_half)
class TestProcesses:
    """Up to rounding, two processes with DistributedDataParallel take the steps of one process that averages
    the gradients of the halves of each batch. These are the steps with whole batches, unless the net has
    BatchNorm, which normalises each half separately.
    """

    def test_two_without_batch_norm_train_as_one(self, ranks):
        weights, history = train(without_norm)

        for state, each in ranks(2, train_in_rank, without_norm):
            torch.testing.assert_close(state, weights)
            assert [line["loss"] for line in each] == pytest.approx([line["loss"] for line in history])
            assert [line["top-5"] for line in each] == [line["top-5"] for line in history]

    def test_two_with_batch_norm_train_as_one_by_halves(self, ranks):
        halves, (whole, _) = train_by_halves(), train(with_norm)

        for state, _ in ranks(2, train_in_rank, with_norm):
            torch.testing.assert_close(state, halves)
        differences = [(halves[name] - whole[name]).abs().max() for name in ("0.weight", "1.running_var")]
        assert min(differences) > 1e-4


def unlearned(training, inputs, labels):
    """Count a step, and take none."""
    training.losses += 1
    training.step += 1


@pytest.mark.slow
@pytest.mark.timeout(1800)
@statement("derived.imagenet-learns", notes="6 ImageNet")
@fault("no step is taken", ImageNet, "_learn", lambda real: unlearned)
def test_resnet18_learns_the_stand_in(device):
    """A ResNet-18 trains on 2000 images of the stand-in for four epochs, on other random parts in each. With
    each of three random seeds, it reaches a top-1 accuracy of 60 % and a top-5 accuracy of 95 % on 500 other
    images.
    """
    for seed in range(3):
        torch.manual_seed(seed)
        training = ImageNet(None, seed=seed, device=device)

        list(training.steps())

        last = training.history[-1]
        assert last["epoch"] == 4
        assert last["top-1"] >= 0.6
        assert last["top-5"] >= 0.95
