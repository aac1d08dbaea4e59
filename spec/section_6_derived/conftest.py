"""What the systems of this section learn from in quick checks."""

import pytest

from blitz.cifar10.data import Cifar10, Split, load


@pytest.fixture(scope="session")
def little():
    """A hundred images of the stand-in to train on, and fifty to test on."""
    whole = load("stand-in")
    parts = [Split(split.images[:n], split.labels[:n]) for split, n in ((whole.train, 100), (whole.test, 50))]
    return Cifar10(*parts, whole.classes, "stand-in")
