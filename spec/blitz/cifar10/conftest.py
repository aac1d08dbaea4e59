"""What these tests share: a cache of their own, and small copies of CIFAR-10."""

import pytest
from torchvision.datasets import CIFAR10

from spec.blitz.data_folders import write_image_folder, write_official


@pytest.fixture(autouse=True)
def cache_folder(tmp_path, monkeypatch):
    """A cache of this test's own, which is not there yet, and no BLITZ_DATA."""
    monkeypatch.setenv("BLITZ_CACHE", str(tmp_path / "new/cache"))
    monkeypatch.delenv("BLITZ_DATA", raising=False)
    return tmp_path / "new/cache"


@pytest.fixture
def image_folder(tmp_path):
    """A whole folder of 20 training and 10 test images, to be broken."""
    return write_image_folder(tmp_path / "images")


@pytest.fixture
def official_copy(tmp_path, monkeypatch):
    """The batches of a whole official copy, to be broken."""
    return write_official(tmp_path / "official", monkeypatch) / CIFAR10.base_folder
