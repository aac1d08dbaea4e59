"""CIFAR-10, which some statements are about: where a run finds it, and what it may require of it."""

import os
from pathlib import Path

import pytest

from blitz.cifar10 import data
from blitz.errors import DataError
from spec.harness.statements.contract import not_checked

GET_IT = "fetch it with `blitz verify --download`, or name a copy with --data PATH or BLITZ_DATA"
NONE = f"no CIFAR-10 at hand: {GET_IT}"
STAND_IN = f"The statements about CIFAR-10 itself cannot be checked: {NONE}."
CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


def pytest_addoption(parser):
    """Add --data."""
    parser.getgroup("blitz").addoption(
        "--data", metavar="PATH", help="CIFAR-10 to check on; else BLITZ_DATA, else the user's cache"
    )


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config):
    """Refuse a copy that cannot be used, before anything else is done."""
    config.addinivalue_line("markers", "cifar10: needs real CIFAR-10")
    named = config.option.data
    try:
        data.find(named)
    except DataError as error:
        raise pytest.UsageError(str(error)) from None
    if named:  # for every process that this run starts, workers among them
        os.environ["BLITZ_DATA"] = named if named == "stand-in" else str(Path(named).resolve())


def pytest_data():
    """Tell the harness which data there is."""
    origin, folder = data.find()
    if origin == "stand-in":
        return origin, STAND_IN
    return origin, f"CIFAR-10: {origin} in {folder}."


def pytest_requirements():
    """Name what `--require` takes besides CUDA."""
    return {"cifar10": require_cifar10}


def require_cifar10():
    """Stop at once where there is no CIFAR-10; return the reason that no check may give any more."""
    if data.find()[0] == "stand-in":
        raise pytest.UsageError(f"--require cifar10: {NONE}")
    return {"no-data"}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Mark the tests that read CIFAR-10."""
    for item in items:
        if "cifar10" in getattr(item, "fixturenames", ()):
            item.add_marker("cifar10")


def pytest_runtest_setup(item):
    """Leave out what needs CIFAR-10 where there is none."""
    if item.get_closest_marker("cifar10") and data.find()[0] == "stand-in":
        not_checked("no-data", NONE)


@pytest.fixture(scope="session")
def cifar10():
    """Real CIFAR-10; without it the check is left out, and never confirmed on the stand-in."""
    origin, folder = data.find()
    if origin == "stand-in":
        not_checked("no-data", NONE)
    found = data.load()
    if not is_cifar10(found):
        not_checked("no-data", f"{folder} holds other images than CIFAR-10's 60,000: {GET_IT}")
    return found


def is_cifar10(found):
    """Tell whether a data set has CIFAR-10's classes, in their order, and as many images of each."""
    counts = [split.labels.bincount(minlength=10).tolist() for split in (found.train, found.test)]
    return list(found.classes) == CLASSES and counts == [[5000] * 10, [1000] * 10]
