"""CIFAR-10 as it lies on disk, the official batches or a folder of images, and how to fetch it."""

import os
import tempfile
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from filelock import FileLock
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from torch import Tensor
from torchvision.datasets import CIFAR10, ImageFolder
from torchvision.datasets.utils import check_integrity
from tqdm import tqdm

from blitz.errors import DataError

Sample = tuple[str, int]  # the path of an image, the index of its class
PARTS = ("train", "test")


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
    return (folder / CIFAR10.base_folder).is_dir()


def is_image_folder(folder: Path) -> bool:
    """Tell whether `folder` holds a `train` and a `test` folder."""
    return (folder / "train").is_dir() and (folder / "test").is_dir()


def read_official(folder: Path) -> Cifar10:
    """Read `cifar-10-batches-py` in `folder` by torchvision, which compares its checksums.

    Raises:
        DataError: a file is missing, differs from the official one, or cannot be read.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # NumPy 2.4.0 deprecated how the batches of 2009 pickle a dtype
            parts = [CIFAR10(folder, train=True), CIFAR10(folder, train=False)]
    except Exception as error:  # a pickle can fail in any way
        raise DataError(_fault(folder, error)) from error
    train, test = (_official_split(part) for part in parts)
    return Cifar10(train, test, tuple(parts[0].classes), "official")


def _fault(folder: Path, error: Exception) -> str:
    way_out = f"fetch the official copy with blitz train --download --data {folder}"
    for path, checksum in _official_files(folder):
        if not path.is_file():
            return f"{path} is missing: {way_out}"
        if not check_integrity(path, checksum):
            return f"{path} is damaged, its checksum is not the official one: {way_out}"
    return f"cannot read {folder / CIFAR10.base_folder} ({_why(error)}): {way_out}"


def _official_files(folder: Path) -> list[tuple[Path, str]]:
    """List the files of an official copy in `folder`, each with its MD5 checksum."""
    meta = (CIFAR10.meta["filename"], CIFAR10.meta["md5"])
    files = [*CIFAR10.train_list, *CIFAR10.test_list, meta]
    return [(folder / CIFAR10.base_folder / name, checksum) for name, checksum in files]


def _official_split(part: CIFAR10) -> Split:
    labels = torch.tensor(part.targets, dtype=torch.int64)
    if len(labels) != len(part.data):
        raise DataError(
            f"expected one label per image in {part.root}, got {len(part.data)} and {len(labels)}"
        )
    wrong = labels[(labels < 0) | (labels >= len(part.classes))]
    if len(wrong):
        raise DataError(
            f"expected labels from 0 to {len(part.classes) - 1} in {part.root}, got {int(wrong[0])}"
        )
    return Split(torch.from_numpy(part.data).permute(0, 3, 1, 2).contiguous(), labels)


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
    with tqdm(total=total, desc="decoding", unit="image", disable=not progress) as bar:
        train, test = (_decode(samples[part], bar) for part in PARTS)
    return Cifar10(train, test, tuple(names["train"]), "image folder")


def _samples(folder: Path) -> list[Sample]:
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
        raise DataError(f"cannot decode {path}, replace or remove it: {_why(error)}") from error
    raise DataError(f"expected an RGB image of 32x32, got {found}: {path}")


def download(folder: Path) -> None:
    """Fetch the official archive (170 MB) into `folder` by torchvision, unless a whole copy is there.

    The files move into place when all of them are verified, so a failure leaves nothing half-written.

    Raises:
        DataError: no network, a wrong checksum, or no room.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".download.lock"), tempfile.TemporaryDirectory(dir=folder) as fresh:
            if not all(check_integrity(path, checksum) for path, checksum in _official_files(folder)):
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # Python 3.12 deprecates how torchvision unpacks
                    CIFAR10(fresh, download=True)
                final = folder / CIFAR10.base_folder
                final.mkdir(exist_ok=True)
                for path, _ in _official_files(Path(fresh)):
                    os.replace(path, final / path.name)
    except Exception as error:  # a network fails in many ways
        raise DataError(f"cannot download CIFAR-10 from {CIFAR10.url} to {folder}: {_why(error)}") from error


def _why(error: Exception) -> str:
    """Say what happened in one line, without a full stop."""
    if isinstance(error, UnidentifiedImageError):
        return "it is not an image"  # Pillow's own words name a buffer in memory
    error = getattr(error, "reason", error)  # of a URLError
    return (
        " ".join(str(getattr(error, "strerror", None) or error).split()).rstrip(".") or type(error).__name__
    )
