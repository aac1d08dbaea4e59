"""blitz.cifar10.stand_in: the drawn data set is the same everywhere, and it needs a net to be learnt."""

import hashlib

import pytest
import torch
from torch import nn

from blitz.cifar10 import stand_in
from blitz.cifar10.data import batches
from blitz.training.nets import CifarNet


@pytest.fixture(scope="module")
def data():
    """The whole stand-in."""
    return stand_in.draw()


def test_shape_is_that_of_cifar10(data):
    """5,000 training images and 1,000 test images, uint8 3x32x32, with int64 labels."""
    assert data.train.images.shape == (5000, 3, 32, 32)
    assert data.test.images.shape == (1000, 3, 32, 32)
    assert data.train.images.dtype == torch.uint8
    assert data.train.labels.dtype == torch.int64


def test_ten_classes_are_equally_frequent(data):
    """Every class has 500 training images and 100 test images, and a name of its own."""
    assert data.train.labels.bincount().tolist() == [500] * 10
    assert data.test.labels.bincount().tolist() == [100] * 10
    assert len(set(data.classes)) == 10


def test_classes_are_named_after_their_shapes():
    """A small stand-in has the ten classes too."""
    data = stand_in.draw(train=10, test=10)

    assert data.classes[:3] == ("disc", "ring", "square")
    assert sorted(data.train.labels.tolist()) == list(range(10))


def test_bytes_are_the_same_everywhere():
    """The pixels and labels are these, whatever the platform, the NumPy and the PyTorch."""
    data = stand_in.draw()
    digest = hashlib.sha256()
    for tensor in (*data.train, *data.test):
        digest.update(tensor.numpy().astype("<i8" if tensor.dtype == torch.int64 else "u1").tobytes())

    assert digest.hexdigest() == "7eb067ac3b0cf281995c672e0dc59192f363f413bd17e898b8ccfb9027feb0e0"


def test_training_and_test_images_differ(data):
    """No test image is among the training images."""
    train = {image.numpy().tobytes() for image in data.train.images}

    assert not train & {image.numpy().tobytes() for image in data.test.images}


def test_disc_is_drawn_as_a_disc(data):
    """Where a disc is, the colour of the first channel changes by about half the range: 128 / 8 * 7."""
    image = data.train.images[data.train.labels == data.classes.index("disc")][0, 0].int()
    corner = image[0, 0]
    disc = (image - corner).abs() > 60

    rows, columns = disc.nonzero().unbind(1)
    height, width = rows.max() - rows.min() + 1, columns.max() - columns.min() + 1
    assert height == width
    assert 0.7 < disc.sum() / (height * width) < 0.8  # π / 4 of its square


def accuracy_after_training(net, data, *, steps=300):
    """Train by SGD in batches of 32 and return the accuracy on the test images."""
    optimizer = torch.optim.SGD(net.parameters(), lr=0.02, momentum=0.9, nesterov=True)
    order = torch.cat([torch.randperm(5000) for _ in range(2)])[: 32 * steps]
    for inputs, labels in batches(data.train, 32, order=order):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(inputs), labels).backward()
        optimizer.step()
    ((inputs, labels),) = batches(data.test, 1000)
    return (net(inputs).argmax(1) == labels).float().mean().item()


def test_net_of_the_tutorial_learns_it_in_300_steps(data):
    """After 300 steps CifarNet is right on more than 80 % of the test images: seconds of work."""
    torch.manual_seed(0)

    assert accuracy_after_training(CifarNet(), data) > 0.8


def test_linear_model_does_not_learn_it(data):
    """The same training leaves a linear model below 35 %: classes differ in form, not in colour or place."""
    torch.manual_seed(0)

    assert accuracy_after_training(nn.Sequential(nn.Flatten(), nn.Linear(3072, 10)), data) < 0.35
