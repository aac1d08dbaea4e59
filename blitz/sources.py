"""CIFAR-10 as it lies on disk: which layout a folder has, and the reader of image folders."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from torch import Tensor
from tqdm import tqdm

from blitz.errors import DataError

Sample = tuple[str, int]  # the path of an image, the index of its class
PARTS = ("train", "test")
OFFICIAL = "cifar-10-batches-py"


class Split(NamedTuple):
    """Images and their classes: uint8 (N, 3, 32, 32) and int64 (N,)."""

    images: Tensor
    labels: Tensor


class Cifar10(NamedTuple):
    """A whole data set; `origin` is "official", "image folder" or "stand-in"."""

    train: Split
    test: Split
    classes: tuple[str, ...]
    origin: str


def is_official(folder: Path) -> bool:
    """Tell whether `folder` holds a `cifar-10-batches-py`, be it whole or not."""
    return os.path.isdir(folder / OFFICIAL)  # False, too, in a folder that nobody may look into


def is_image_folder(folder: Path) -> bool:
    """Tell whether `folder` holds a `train` and a `test` folder."""
    return all(os.path.isdir(folder / part) for part in PARTS)


def read_image_folder(folder: Path, *, progress: bool = False) -> Cifar10:
    """Decode `train/<class>/*` and `test/<class>/*` in `folder`; the classes are numbered as they sort.

    Raises:
        DataError: not the same ten classes in both, an empty class, an image that cannot be read or is not
            RGB of 32x32.
    """
    names = {
        part: sorted(entry.name for entry in (folder / part).iterdir() if entry.is_dir()) for part in PARTS
    }
    for part, other in (PARTS, PARTS[::-1]):
        if alone := set(names[part]) - set(names[other]):
            raise DataError(
                f"expected the same classes in train and test of {folder}, but {min(alone)} is only in {part}"
            )
    if len(names["train"]) != 10:
        found = ", ".join(names["train"][:12]) or "none"
        raise DataError(
            f"expected ten class folders in {folder / 'train'}, found {len(names['train'])}: {found}"
        )
    samples = {part: _samples(folder / part) for part in PARTS}
    total = sum(map(len, samples.values()))
    bar: tqdm[Any]
    hidden = None if progress else True  # None hides it in a log, where it would be one endless line
    with tqdm(total=total, desc="decoding", unit="image", disable=hidden) as bar:
        train, test = (_decode(samples[part], bar) for part in PARTS)
    return Cifar10(train, test, tuple(names["train"]), "image folder")


def _samples(folder: Path) -> list[Sample]:
    from torchvision.datasets import ImageFolder  # loads for longer than most runs need it: see official.py

    listed = ImageFolder(folder, allow_empty=True)
    filled = {label for _, label in listed.samples}
    for label, name in enumerate(listed.classes):
        if label not in filled:
            raise DataError(f"expected images in {folder / name}, found none")
    return listed.samples


def _decode(samples: list[Sample], bar: "tqdm[Any]") -> Split:
    images = np.empty((len(samples), 3, 32, 32), dtype=np.uint8)
    paths = [path for path, _ in samples]
    for index, content in enumerate(_read_ahead(paths)):
        images[index] = _pixels(paths[index], content)
        bar.update()
    return Split(torch.from_numpy(images), torch.tensor([label for _, label in samples]))


def _read_ahead(paths: list[str]) -> Iterator[bytes]:
    """Read small files in order while the caller works: on a cold disk the waiting is half of the time."""
    blocks = [paths[start : start + 200] for start in range(0, len(paths), 200)]
    with ThreadPoolExecutor(2) as readers:
        yield from chain.from_iterable(readers.map(_read, blocks))


def _read(paths: list[str]) -> list[bytes]:
    try:
        return [Path(path).read_bytes() for path in paths]
    except OSError as error:
        raise DataError(f"cannot read {error.filename}: {error.strerror}") from error


def _pixels(path: str, content: bytes) -> NDArray[np.uint8]:
    """Decode one image to (3, 32, 32)."""
    try:
        with Image.open(BytesIO(content)) as image:
            if image.mode == "RGB" and image.size == (32, 32):
                return np.asarray(image).transpose(2, 0, 1)
            width, height = image.size
            found = f"{image.mode} of {width}x{height}"
    except Exception as error:  # what Pillow raises depends on the format and on the damage
        raise DataError(f"cannot decode {path}, replace or remove it: {why(error)}") from error
    raise DataError(f"expected an RGB image of 32x32, got {found}: {path}")


def why(error: Exception) -> str:
    """Say what happened in one line, without a full stop."""
    if isinstance(error, UnidentifiedImageError):
        return "it is not an image"  # Pillow's own words name a buffer in memory
    error = getattr(error, "reason", error)  # of a URLError
    return (
        " ".join(str(getattr(error, "strerror", None) or error).split()).rstrip(".") or type(error).__name__
    )
