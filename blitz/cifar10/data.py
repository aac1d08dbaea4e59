"""CIFAR-10 from wherever it lies, or the built-in stand-in, and batches of either."""

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from blitz.cifar10 import sources, stand_in
from blitz.cifar10.cache import cache_folder, cached, expanded
from blitz.cifar10.folders import find_parts, list_images
from blitz.cifar10.holdout import hold_out
from blitz.cifar10.images import read_image_folder
from blitz.cifar10.sources import Cifar10, Split
from blitz.errors import DataError

__all__ = ["Cifar10", "Images", "Split", "batches", "find", "load", "loader", "normalize"]


def load(
    source: str | Path | None = None, *, download: bool = False, holdout: int = 0, progress: bool = False
) -> Cifar10:
    """Return the data set that `source` names, decoded once and cached.

    Args:
        source: a folder that holds or is the official `cifar-10-batches-py`, or its archive; a folder with
            `train/<class>/*` and `test/<class>/*`, or with Kaggle's `train/*` and `trainLabels.csv`; or
            "stand-in". None is what BLITZ_DATA names, else the official copy in the user's cache, else the
            stand-in, which is said on stderr.
        download: fetch the official archive first, into the folder named or else into the user's cache,
            unless there is a data set.
        holdout: how many of the training images become the test part, in the place of another: always the
            same ones, an equal share of each class.
        progress: show how far the decoding is.

    Raises:
        DataError: the data cannot be used, decoded, downloaded or cached; one sentence says why.

    >>> data = load("stand-in")
    >>> data.train.images.shape, data.train.images.dtype, len(data.test.labels)
    (torch.Size([5000, 3, 32, 32]), torch.uint8, 1000)
    """
    if download:
        _download(source)
    origin, place = find(source, holdout=holdout)
    data = _read(origin, place, progress=progress)
    if place is None and not _named(source):
        _tell(
            "no CIFAR-10 here, using the drawn stand-in; "
            "blitz train --download fetches the real one, --data PATH names a copy"
        )
    return hold_out(data, holdout) if holdout else data


def _read(origin: str, place: Path | None, *, progress: bool) -> Cifar10:
    if place is None:
        return stand_in.draw()
    if origin == "official":
        return cached(place, sources.official_files(place), lambda: _read_official(place))
    files, left_out = list_images(place)
    if left_out:
        _tell(f"left out in {place}: {left_out} that are hidden, or are no images of a class")
    return cached(place, files, lambda: read_image_folder(place, progress=progress))


def _read_official(place: Path) -> Cifar10:
    from blitz.cifar10 import official

    return official.read(place)


def _download(source: str | Path | None) -> None:
    named = _named(source)
    if named == "stand-in":
        raise DataError("expected a folder to download to, got stand-in, which is built in")
    folder = expanded(named) if named else cache_folder()
    new = folder if folder.name == sources.OFFICIAL else folder / sources.OFFICIAL
    origin, place = _look(named) or ("official", new)
    if origin == "official" and not place.is_file():
        from blitz.cifar10 import official

        official.download(place)


def _tell(sentence: str) -> None:
    print(f"blitz: {sentence}", file=sys.stderr)


def find(source: str | Path | None = None, *, holdout: int = 0) -> tuple[str, Path | None]:
    """Return the origin and the place of what `load(source, holdout=holdout)` would read, without reading.

    Raises:
        DataError: there is no such place, no data set is there, or its test part is missing.

    >>> find("stand-in")
    ('stand-in', None)
    """
    named = _named(source)
    if named == "stand-in":
        return "stand-in", None
    found = _look(named)
    if found is None:
        if named:
            raise sources.refusal(expanded(named), "" if source else " (named by BLITZ_DATA)")
        return "stand-in", None
    origin, place = found
    if origin == "image folder" and not holdout and find_parts(place).test is None:
        raise DataError(
            f"the test part of {place} is missing, or has no labels (test/<class>/*): "
            "test on N of the training images with --holdout N"
        )
    return origin, place


def _named(source: str | Path | None) -> str | Path | None:
    return source or os.environ.get("BLITZ_DATA")


def _look(named: str | Path | None) -> tuple[str, Path] | None:
    """Return what is at the place named, or the official copy in the user's cache."""
    if named:
        return sources.look(expanded(named))
    try:
        place = sources.official_in(cache_folder())
    except DataError:  # without a home folder nobody has kept a copy there
        return None
    return ("official", place) if place else None


def normalize(images: Tensor) -> Tensor:
    """Return float32 images in [-1, 1]: bitwise what ToTensor and Normalize(0.5, 0.5) give.

    Args:
        images: uint8 (..., 3, 32, 32).

    Raises:
        ValueError: another type or shape.

    Source: notes 4, step 1.

    >>> normalize(torch.tensor([0, 51, 255], dtype=torch.uint8).view(3, 1, 1).expand(3, 32, 32))[:, 0, 0]
    tensor([-1.0000, -0.6000,  1.0000])
    """
    if images.dtype != torch.uint8 or images.shape[-3:] != (3, 32, 32):
        raise ValueError(f"expected images uint8 (..., 3, 32, 32), got {images.dtype} {tuple(images.shape)}")
    # x / 127.5 - 1 rounds to the same floats as (x / 255 - 0.5) / 0.5 for all 256 values, with an operation
    # less. The divisor is a tensor because CUDA multiplies by the reciprocal of a number, which rounds twice.
    return images.float().div_(torch.full((), 127.5, device=images.device)).sub_(1)


def batches(
    split: Split,
    batch_size: int,
    *,
    order: Tensor | None = None,
    device: torch.device | str | None = None,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield normalised inputs (B, 3, 32, 32) and labels (B,), by index; the last batch may be smaller.

    Args:
        split: the images and labels; what is not on `device` yet is moved there as a whole.
        batch_size: B, at least 1.
        order: the indices to take, int64 (n,), n from 0 to any number; by default all as they stand.
        device: by default where the images are.

    Raises:
        ValueError: with the first batch, for a batch size below 1, or not one label per image.

    >>> split = load("stand-in").test
    >>> [len(labels) for inputs, labels in batches(split, 400)]
    [400, 400, 200]
    """
    if batch_size < 1:
        raise ValueError(f"expected a batch size of at least 1, got {batch_size}")
    if len(split.images) != len(split.labels):
        raise ValueError(f"expected one label per image, got {len(split.images)} and {len(split.labels)}")
    device = device or split.images.device
    images, labels = split.images.to(device), split.labels.to(device)
    order = torch.arange(len(images), device=device) if order is None else order.to(device)
    for start in range(0, len(order), batch_size):
        index = order[start : start + batch_size]
        yield normalize(_picked(images, index)), labels.index_select(0, index)


def _picked(images: Tensor, index: Tensor) -> Tensor:
    """Return the images of these indices, as they lie: index_select alone would undo channels_last."""
    if images.is_contiguous() or not images.is_contiguous(memory_format=torch.channels_last):
        return images.index_select(0, index)
    return images.permute(0, 2, 3, 1).index_select(0, index).permute(0, 3, 1, 2)


class Images(Dataset[tuple[Any, int]]):
    """A split as the tutorial's `trainset`: image i as a PIL image, through `transform`, and its label.

    The default transform is the tutorial's: ToTensor, then Normalize to [-1, 1].

    Source: notes 4, step 1.

    >>> image, label = Images(load("stand-in").test)[0]
    >>> image.shape, image.dtype
    (torch.Size([3, 32, 32]), torch.float32)
    """

    def __init__(self, split: Split, transform: Callable[[Image.Image], Any] | None = None) -> None:
        self.split = split
        self.transform = transform or _tutorial_transform()

    def __len__(self) -> int:
        return len(self.split.images)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        pixels = self.split.images[index].permute(1, 2, 0).numpy()  # (32, 32, 3), as PIL has it
        return self.transform(Image.fromarray(pixels)), int(self.split.labels[index])


def _tutorial_transform() -> Callable[[Image.Image], Any]:
    from torchvision.transforms import Compose, Normalize, ToTensor

    return Compose([ToTensor(), Normalize((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))])


def loader(
    split: Split,
    *,
    batch_size: int = 4,
    shuffle: bool = True,
    num_workers: int = 2,
    transform: Callable[[Image.Image], Any] | None = None,
) -> "DataLoader[tuple[Any, int]]":
    """Return the tutorial's `trainloader`: a DataLoader over `Images`, with the tutorial's defaults.

    Gives what `batches` gives, through worker processes and PIL: slower, and open to any transform.

    Source: notes 4, step 1.
    """
    return DataLoader(
        Images(split, transform), batch_size=batch_size, shuffle=shuffle, num_workers=num_workers
    )
