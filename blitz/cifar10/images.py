"""The reader of image folders: the class of each image, and its pixels."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from tqdm import tqdm

from blitz.cifar10.classes import CLASSES, official_name
from blitz.cifar10.folders import Parts, find_parts, list_images, subfolders
from blitz.cifar10.kaggle import label_images
from blitz.cifar10.sources import Cifar10, Split
from blitz.errors import DataError, why

Sample = tuple[str, int]  # the path of an image, from the folder on, and the number of its class


def read_image_folder(folder: Path, *, progress: bool = False) -> Cifar10:
    """Decode `train/<class>/*` and `test/<class>/*` in `folder`, or Kaggle's `train/*`, without a test part.

    The classes are numbered as they sort. Where all ten are names for CIFAR-10's classes they get its names.

    Raises:
        DataError: not the same ten classes in both, an image without a class or a class without an image, or
            an image that cannot be read or is not of 32x32.
    """
    parts = find_parts(folder)
    files, _ = list_images(folder)
    test: list[Sample] = []
    if parts.labels:
        classes = CLASSES
        train = label_images(parts.labels, _in(parts.train, files))
    else:
        classes, numbers = _number_classes(folder, parts)
        train = _samples(parts.train, files, numbers)
        if parts.test:
            test = _samples(parts.test, files, numbers)
    bar: tqdm[Any]
    hidden = None if progress else True  # None hides it in a log, where it would be one endless line
    with tqdm(total=len(train) + len(test), desc="decoding", unit="image", disable=hidden) as bar:
        return Cifar10(_decode(folder, train, bar), _decode(folder, test, bar), classes, "image folder")


def _number_classes(folder: Path, parts: Parts) -> tuple[tuple[str, ...], dict[str, int]]:
    """Return the classes in their order, and the number of each class folder."""
    names = {part.name: subfolders(part) for part in (parts.train, parts.test) if part}
    official = sorted(map(official_name, names[parts.train.name])) == sorted(CLASSES)
    called = official_name if official else str
    shared = set.intersection(*(set(map(called, found)) for found in names.values()))
    for part, found in names.items():
        if alone := [name for name in found if called(name) not in shared]:
            raise DataError(
                f"expected the same classes in {' and '.join(names)} of {folder}, "
                f"but {alone[0]} is only in {part}"
            )
    for part, found in names.items():
        if len(found) != 10:
            listed = ", ".join(found[:12]) or "none"
            raise DataError(f"expected ten class folders in {folder / part}, found {len(found)}: {listed}")
    classes = sorted(map(called, names[parts.train.name]))
    return tuple(classes), {name: classes.index(called(name)) for found in names.values() for name in found}


def _in(part: Path, files: dict[str, str]) -> list[str]:
    return [name for name in files if name.startswith(f"{part.name}/")]


def _samples(part: Path, files: dict[str, str], numbers: dict[str, int]) -> list[Sample]:
    """List the images of a part in the order of torchvision's ImageFolder."""
    samples = [(name, numbers[name.split("/")[1]]) for name in _in(part, files)]
    if empty := numbers.keys() & set(subfolders(part)) - {name.split("/")[1] for name, _ in samples}:
        raise DataError(f"expected images in {part / min(empty)}, found none")
    return sorted(samples, key=lambda sample: (sample[1], os.path.split(sample[0])))


def _decode(folder: Path, samples: list[Sample], bar: "tqdm[Any]") -> Split:
    images = np.empty((len(samples), 3, 32, 32), dtype=np.uint8)
    paths = [f"{folder}/{name}" for name, _ in samples]
    for index, content in enumerate(_read_ahead(paths)):
        images[index] = _pixels(paths[index], content)
        bar.update()
    labels = torch.tensor([label for _, label in samples], dtype=torch.int64)
    return Split(torch.from_numpy(images), labels)


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
    """Decode one image to (3, 32, 32), converted to RGB as torchvision's ImageFolder does."""
    try:
        with Image.open(BytesIO(content)) as image:
            width, height = image.size
            deep = image.mode.startswith(("I", "F"))  # releases of Pillow differ in what they make of 16 bits
            if (width, height) == (32, 32) and not deep:
                return np.asarray(image if image.mode == "RGB" else image.convert("RGB")).transpose(2, 0, 1)
    except UnidentifiedImageError:  # whose own words name a buffer in memory
        raise DataError(f"cannot decode {path}, replace or remove it: it is not an image") from None
    except Exception as error:  # what Pillow raises depends on the format and on the damage
        raise DataError(f"cannot decode {path}, replace or remove it: {why(error)}") from error
    if deep:
        raise DataError(f"expected an image of 8 bits a channel, got more: {path}")
    raise DataError(f"expected an image of 32x32, got {width}x{height}: {path}")
