"""The training of blitz.derived.imagenet in a size that a check can wait for."""

import torch
from torch import nn

from blitz.cifar10 import stand_in
from blitz.cifar10.data import Images
from blitz.derived import imagenet
from blitz.derived.image_data import STAND_IN, ImageData
from blitz.derived.imagenet import ImageNet

BATCH = 8


def as_it_is(image):
    """Return a Pillow image unchanged."""
    return image


def draw():
    """Return 20 images of the stand-in and 10 to validate on, of which the net sees 16x16 pixels."""
    data = stand_in.draw(train=20, test=10)
    return ImageData(STAND_IN, Images(data.train, as_it_is), Images(data.test, as_it_is), data.classes, 16)


def with_norm(weights, num_classes):
    """Return a small net with BatchNorm, in the place of a ResNet-18."""
    layers = [nn.Conv2d(3, 4, 5, 4), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(4, num_classes))


def without_norm(weights, num_classes):
    """Return the same without BatchNorm."""
    net = with_norm(weights, num_classes)
    net[1] = nn.Identity()
    return net


def shrink(patch, make_net=with_norm):
    """Have the trainings to come be small: an epoch has two batches of 8 images, and leaves four out."""
    patch.setattr(imagenet, "resnet18", make_net)
    patch.setattr(imagenet, "draw", draw)
    patch.setattr(imagenet, "BATCH", BATCH)


def make_training(device, first=0, **options):
    """Return a training of seed 0 without workers; `first` is the seed of its first weights."""
    torch.manual_seed(first)
    training = ImageNet(None, seed=0, device=device, **options)
    training.workers = 0
    return training
