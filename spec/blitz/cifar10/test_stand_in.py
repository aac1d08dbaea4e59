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


def test_it_has_the_shape_of_cifar10_and_equally_frequent_classes(data):
    """5,000 training images and 1,000 test images, uint8 3x32x32, with int64 labels."""
    assert data.train.images.shape == (5000, 3, 32, 32)
    assert data.test.images.shape == (1000, 3, 32, 32)
    assert data.train.images.dtype == torch.uint8
    assert data.train.labels.bincount().tolist() == [500] * 10
    assert data.test.labels.bincount().tolist() == [100] * 10
    assert data.classes[:3] == ("disc", "ring", "square")
    assert len(set(data.classes)) == 10


def test_bytes_are_the_same_everywhere(data):
    """The pixels and labels are these, whatever the platform, the NumPy and the PyTorch."""
    digest = hashlib.sha256()
    for tensor in (*data.train, *data.test):
        digest.update(tensor.numpy().astype("<i8" if tensor.dtype == torch.int64 else "u1").tobytes())

    assert digest.hexdigest() == "7eb067ac3b0cf281995c672e0dc59192f363f413bd17e898b8ccfb9027feb0e0"


NETS = {
    "the tutorial's net": (CifarNet, 0.7, 1),
    "a linear model": (lambda: nn.Sequential(nn.Flatten(), nn.Linear(3072, 10)), 0, 0.35),
}


@pytest.mark.parametrize(("make", "least", "most"), NETS.values(), ids=NETS)
def test_the_tutorials_net_learns_it_in_100_steps_and_a_linear_model_does_not(data, make, least, most):
    """Classes differ in form, not in colour or place, of which a linear model could make something."""
    torch.manual_seed(0)
    net = make()
    optimizer = torch.optim.Adam(net.parameters(), lr=0.003)

    for inputs, labels in batches(data.train, 32, order=torch.randperm(5000)[:3200]):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(inputs), labels).backward()
        optimizer.step()

    inputs, labels = next(batches(data.test, 1000))
    assert least < (net(inputs).argmax(1) == labels).float().mean() < most
