"""The official copy of CIFAR-10, by torchvision: read it, unpack it, fetch it.

Imported where an official copy is asked for, not before: torchvision takes as long to import as torch.
"""

import io
import os
import sys
import tarfile
import tempfile
import warnings
from contextlib import AbstractContextManager, nullcontext, redirect_stderr
from pathlib import Path

import torch
from filelock import FileLock
from torchvision.datasets import CIFAR10
from torchvision.datasets.utils import check_integrity

from blitz.cifar10.cache import cache_folder
from blitz.cifar10.sources import OFFICIAL, Cifar10, Split
from blitz.errors import DataError, why


def read(place: Path) -> Cifar10:
    """Read `cifar-10-batches-py`, or the archive of it, by torchvision, which compares its checksums.

    Raises:
        DataError: a file is missing, differs from the official one, or cannot be read.
    """
    if place.is_dir():
        return _read(place)
    if not check_integrity(place, CIFAR10.tgz_md5):
        raise DataError(
            f"{place} is damaged, its checksum is not the official one: replace it, "
            f"or remove it and fetch another with blitz train --download --data {place.parent}"
        )
    # in the cache, where there has to be room anyway; a folder for temporary files is often small
    with tempfile.TemporaryDirectory(dir=cache_folder()) as fresh, tarfile.open(place) as archive:
        archive.extraction_filter = getattr(tarfile, "data_filter", None)  # Python 3.11.4 brought it
        archive.extractall(fresh)
        return _read(Path(fresh, OFFICIAL))


def _read(folder: Path) -> Cifar10:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # NumPy 2.4.0 deprecated how the batches of 2009 pickle a dtype
            train, test = (CIFAR10(folder.parent, train=train) for train in (True, False))
    except Exception as error:  # a pickle can fail in any way
        fault = _fault(folder) or f"cannot read {folder} ({why(error)})"
        way_out = f"fetch the official copy with blitz train --download --data {folder}"
        raise DataError(f"{fault}: {way_out}") from error
    return Cifar10(_split(train), _split(test), tuple(train.classes), "official")


def _split(part: CIFAR10) -> Split:
    images = torch.from_numpy(part.data).permute(0, 3, 1, 2).contiguous()
    return Split(images, torch.tensor(part.targets))


def _fault(folder: Path) -> str | None:
    """Say which file of the official copy is missing or damaged, or return None if it is whole."""
    for path, checksum in _files(folder):
        if not path.is_file():
            return f"{path} is missing"
        if not check_integrity(path, checksum):
            return f"{path} is damaged, its checksum is not the official one"
    return None


def _files(folder: Path) -> list[tuple[Path, str]]:
    """List the files of the official copy as they lie in `folder`, each with its MD5 checksum."""
    meta = (CIFAR10.meta["filename"], CIFAR10.meta["md5"])
    files = [*CIFAR10.train_list, *CIFAR10.test_list, meta]
    return [(folder / name, checksum) for name, checksum in files]


def download(folder: Path) -> None:
    """Put the official batches into `folder`, unless they are there.

    They are fetched (170 MB) by torchvision, and move into place when all of them are verified, so a failure
    leaves nothing half-written.

    Raises:
        DataError: no network, a wrong checksum, or no room.
    """
    if _fault(folder) is None:  # before anything is written: the copy may lie on a read-only disk
        return
    around = folder.parent
    try:
        around.mkdir(parents=True, exist_ok=True)
        with FileLock(around / ".download.lock"), tempfile.TemporaryDirectory(dir=around) as fresh:
            if _fault(folder):
                _fetch(fresh)
                folder.mkdir(exist_ok=True)
                for path, _ in _files(Path(fresh, OFFICIAL)):
                    os.replace(path, folder / path.name)
    except Exception as error:  # a network fails in many ways
        raise DataError(f"cannot download CIFAR-10 from {CIFAR10.url} to {folder}: {why(error)}") from error


def _fetch(folder: str) -> None:
    print(f"fetching {CIFAR10.url} (170 MB)", file=sys.stderr, flush=True)
    shown: AbstractContextManager[object] = nullcontext()
    if not sys.stderr.isatty():  # in a log the bar of torchvision would be one line of thousands of updates
        shown = redirect_stderr(io.StringIO())
    with shown, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Python 3.12 deprecates how torchvision unpacks
        CIFAR10(folder, download=True)
