"""What the tests of the commands share: little data, no pictures, threads as they are."""

import pytest
import torch

from blitz.cifar10.data import Cifar10, Split, load
from blitz.commands import shared
from blitz.commands import train as command


@pytest.fixture
def same_threads(monkeypatch):
    """Keep the number of threads as it is: the commands leave it alone when it is set."""
    monkeypatch.setenv("OMP_NUM_THREADS", str(torch.get_num_threads()))


@pytest.fixture(scope="session")
def little():
    """A hundred images of the stand-in to train on, and fifty to test on."""
    whole = load("stand-in")
    parts = [Split(split.images[:n], split.labels[:n]) for split, n in ((whole.train, 100), (whole.test, 50))]
    return Cifar10(*parts, whole.classes, "stand-in")


@pytest.fixture
def little_data(monkeypatch, little):
    """Let every command read the little stand-in."""
    monkeypatch.setattr(shared, "load", lambda source, **options: little)


@pytest.fixture
def no_pictures(monkeypatch):
    """Draw nothing, which takes most of a short training's time."""
    monkeypatch.setattr(command, "_draw", lambda *arguments: None)
