"""The reader of image folders: the class of each image, and its pixels."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
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
        classes, numbers = _number_classes(parts)
        train = _samples(parts.train, files, classes, numbers)
        if parts.test:
            test = _samples(parts.test, files, classes, numbers)
    samples = [*train, *test]
    images = np.empty((len(samples), 3, 32, 32), dtype=np.uint8)
    paths = [f"{folder}/{name}" for name, _ in samples]
    hidden = None if progress else True  # None hides the bar in a log, where it would be one endless line
    with (
        ThreadPoolExecutor(4) as pool,  # on a cold disk most of the time is waiting
        tqdm(pool.map(_pixels, paths), "decoding", len(paths), unit="image", disable=hidden) as decoded,
    ):
        for index, pixels in enumerate(decoded):
            images[index] = pixels
    labels = torch.tensor([label for _, label in samples], dtype=torch.int64)
    sizes = [len(train), len(test)]
    first, second = map(Split, torch.from_numpy(images).split(sizes), labels.split(sizes))
    return Cifar10(first, second, classes, "image folder")


def _number_classes(parts: Parts) -> tuple[tuple[str, ...], dict[str, int]]:
    """Return the classes in their order, and the number of each class folder."""
    names = {part: subfolders(part) for part in (parts.train, parts.test) if part}
    for part, found in names.items():
        if len(found) != 10:
            listed = ", ".join(found[:12]) or "none"
            raise DataError(f"expected ten class folders in {part}, found {len(found)}: {listed}")
    official = set(map(official_name, names[parts.train])) == set(CLASSES)
    called = official_name if official else str
    classes = sorted(map(called, names[parts.train]))
    numbers: dict[str, int] = {}
    for part, found in names.items():
        for name in found:
            if called(name) not in classes:
                raise DataError(
                    f"expected the same classes in {parts.train} and {part}, got {name} in the latter"
                )
            numbers[name] = classes.index(called(name))
    return tuple(classes), numbers


def _in(part: Path, files: dict[str, str]) -> list[str]:
    return [name for name in files if name.startswith(f"{part.name}/")]


def _samples(
    part: Path, files: dict[str, str], classes: tuple[str, ...], numbers: dict[str, int]
) -> list[Sample]:
    """List the images of a part in the order of torchvision's ImageFolder."""
    samples = [(name, numbers[name.split("/")[1]]) for name in _in(part, files)]
    if empty := set(range(len(classes))) - {number for _, number in samples}:
        raise DataError(f"expected images of each class in {part}, found none of {classes[min(empty)]}")
    return sorted(samples, key=lambda sample: (sample[1], os.path.split(sample[0])))


def _pixels(path: str) -> NDArray[np.uint8]:
    """Decode one image to (3, 32, 32), converted to RGB as torchvision's ImageFolder does."""
    try:
        with Image.open(path) as image:
            (width, height), mode = image.size, image.mode
            pixels = np.asarray(image.convert("RGB"))
    except Exception as error:  # what Pillow raises depends on the format and on the damage
        raise DataError(f"cannot decode {path}, replace or remove it: {why(error)}") from error
    if (width, height) != (32, 32):
        raise DataError(f"expected an image of 32x32, got {width}x{height}: {path}")
    if mode.startswith(("I", "F")):  # releases of Pillow differ in what they make of 16 bits
        raise DataError(f"expected an image of 8 bits a channel, got more: {path}")
    return pixels.transpose(2, 0, 1)
