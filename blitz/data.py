"""CIFAR-10 from an official copy or a folder of images, the built-in stand-in, and batches of either."""

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from blitz import sources, stand_in
from blitz.cache import cache_folder, cached, expanded
from blitz.errors import DataError
from blitz.sources import Cifar10, Split

__all__ = ["Cifar10", "Images", "Split", "batches", "find", "load", "loader", "normalize"]


def load(source: str | Path | None = None, *, download: bool = False, progress: bool = False) -> Cifar10:
    """Return the data set that `source` names, decoded once and cached.

    Args:
        source: a folder with the official `cifar-10-batches-py`, or with `train/<class>/*` and
            `test/<class>/*`; or "stand-in". None is what BLITZ_DATA names, else the official copy in the
            user's cache, else the stand-in, which is said on stderr.
        download: fetch the official archive first, into the folder named or else into the user's cache.
        progress: show how far the decoding is.

    Raises:
        DataError: the data cannot be used, decoded, downloaded or cached; one sentence says why.

    >>> data = load("stand-in")
    >>> data.train.images.shape, data.train.images.dtype, len(data.test.labels)
    (torch.Size([5000, 3, 32, 32]), torch.uint8, 1000)
    """
    named = source or os.environ.get("BLITZ_DATA")
    if download:
        if named == "stand-in":
            raise DataError("expected a folder to download to, got stand-in, which is built in")
        from blitz import official

        official.download(expanded(named) if named else cache_folder())
    origin, folder = find(source)
    if folder is None:
        if not named:
            print(
                "blitz: no CIFAR-10 here, using the drawn stand-in; "
                "blitz train --download fetches the real one, --data PATH names a copy",
                file=sys.stderr,
            )
        return stand_in.draw()
    if origin == "official":
        return cached(folder, [sources.OFFICIAL], lambda: _read_official(folder))
    return cached(folder, sources.PARTS, lambda: sources.read_image_folder(folder, progress=progress))


def _read_official(folder: Path) -> Cifar10:
    from blitz import official

    return official.read(folder)


def find(source: str | Path | None = None) -> tuple[str, Path | None]:
    """Return the origin and the folder that `load(source)` would read, without reading.

    Raises:
        DataError: there is no such folder, or it has neither layout.

    >>> find("stand-in")
    ('stand-in', None)
    """
    named = source or os.environ.get("BLITZ_DATA")
    if named == "stand-in" or (not named and not _is_in_cache()):
        return "stand-in", None
    folder = expanded(named) if named else cache_folder()
    if sources.is_official(folder):
        return "official", folder
    if sources.is_image_folder(folder):
        return "image folder", folder
    whose = "" if source else " (named by BLITZ_DATA)"
    if not os.path.isdir(folder):
        raise DataError(f"expected a folder with CIFAR-10, but there is no folder {folder}{whose}")
    try:
        found = ", ".join(sorted(os.listdir(folder))[:5]) or "nothing"
    except OSError as error:
        raise DataError(f"cannot read the folder {folder}{whose}: {error.strerror}") from None
    raise DataError(
        f"expected {sources.OFFICIAL}, or train and test, in the folder {folder}{whose}, found {found}"
    )


def _is_in_cache() -> bool:
    try:
        return sources.is_official(cache_folder())
    except DataError:  # without a home folder nobody has kept a copy there
        return False


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
        ValueError: a batch size below 1, or not one label per image.

    >>> split = load("stand-in").test
    >>> [len(labels) for inputs, labels in batches(split, 400)]
    [400, 400, 200]
    """
    if batch_size < 1:
        raise ValueError(f"expected a batch size of at least 1, got {batch_size}")
    if len(split.images) != len(split.labels):
        raise ValueError(f"expected one label per image, got {len(split.images)} and {len(split.labels)}")
    return _batches(split, batch_size, order, device or split.images.device)


def _batches(
    split: Split, batch_size: int, order: Tensor | None, device: torch.device | str
) -> Iterator[tuple[Tensor, Tensor]]:
    images, labels = split.images.to(device), split.labels.to(device)
    order = torch.arange(len(images), device=device) if order is None else order.to(device)
    for start in range(0, len(order), batch_size):
        index = order[start : start + batch_size]
        yield normalize(_picked(images, index)), labels.index_select(0, index)


def _picked(images: Tensor, index: Tensor) -> Tensor:
    """Return the images of these indices, as they lie: index_select alone would undo channels_last."""
    if images.is_contiguous():
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
