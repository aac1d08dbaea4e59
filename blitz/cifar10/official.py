"""The official copy of CIFAR-10, by torchvision: read it, unpack it, fetch it.

Imported where an official copy is asked for, not before: torchvision takes as long to import as torch.
"""

import io
import os
import sys
import tarfile
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from pathlib import Path

import torch
from filelock import FileLock
from torchvision.datasets import CIFAR10
from torchvision.datasets.utils import check_integrity

from blitz.cifar10.cache import cache_folder
from blitz.cifar10.sources import ARCHIVE, OFFICIAL, Cifar10, Split
from blitz.errors import DataError, why


class _Batches(CIFAR10):  # type: ignore[misc]  # torchvision has no types
    base_folder = ""  # the root is the folder of the batches itself, whatever it is called


def read(place: Path) -> Cifar10:
    """Read a folder of batches, or the archive of one, by torchvision, which compares its checksums.

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
    with tempfile.TemporaryDirectory(dir=cache_folder()) as fresh:
        _unpack(place, fresh)
        return _read(Path(fresh, OFFICIAL))


def _unpack(archive: Path, folder: str) -> None:
    with tarfile.open(archive) as opened:
        opened.extraction_filter = getattr(tarfile, "data_filter", None)  # Python 3.11.4 brought it
        opened.extractall(folder)


def _read(folder: Path) -> Cifar10:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # NumPy 2.4.0 deprecated how the batches of 2009 pickle a dtype
            parts = [_Batches(folder, train=train) for train in (True, False)]
    except Exception as error:  # a pickle can fail in any way
        raise DataError(_fault(folder, error)) from error
    train, test = (_split(part) for part in parts)
    return Cifar10(train, test, tuple(parts[0].classes), "official")


def _fault(folder: Path, error: Exception) -> str:
    way_out = f"fetch the official copy with blitz train --download --data {folder}"
    for path, checksum in _files(folder):
        if not path.is_file():
            return f"{path} is missing: {way_out}"
        if not check_integrity(path, checksum):
            return f"{path} is damaged, its checksum is not the official one: {way_out}"
    return f"cannot read {folder} ({why(error)}): {way_out}"


def _files(folder: Path) -> list[tuple[Path, str]]:
    """List the files of the official copy as they lie in `folder`, each with its MD5 checksum."""
    meta = (CIFAR10.meta["filename"], CIFAR10.meta["md5"])
    files = [*CIFAR10.train_list, *CIFAR10.test_list, meta]
    return [(folder / name, checksum) for name, checksum in files]


def _is_whole(folder: Path) -> bool:
    return all(check_integrity(path, checksum) for path, checksum in _files(folder))


def _split(part: CIFAR10) -> Split:
    labels = torch.tensor(part.targets)
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


def download(folder: Path) -> None:
    """Put the official batches into `folder`, unless they are there.

    They come from an archive beside it, else they are fetched (170 MB) by torchvision. The files move into
    place when all of them are verified, so a failure leaves nothing half-written.

    Raises:
        DataError: no network, a wrong checksum, or no room.
    """
    if _is_whole(folder):  # before anything is written: the copy may lie on a read-only disk
        return
    around = folder.parent
    try:
        around.mkdir(parents=True, exist_ok=True)
        with FileLock(around / ".download.lock"), tempfile.TemporaryDirectory(dir=around) as fresh:
            if not _is_whole(folder):
                if check_integrity(around / ARCHIVE, CIFAR10.tgz_md5):
                    _unpack(around / ARCHIVE, fresh)
                else:
                    with warnings.catch_warnings(), _bar_on_terminals_only():
                        warnings.simplefilter("ignore")  # Python 3.12 deprecates how torchvision unpacks
                        CIFAR10(fresh, download=True)
                folder.mkdir(exist_ok=True)
                for path, _ in _files(Path(fresh, OFFICIAL)):
                    os.replace(path, folder / path.name)
    except Exception as error:  # a network fails in many ways
        raise DataError(f"cannot download CIFAR-10 from {CIFAR10.url} to {folder}: {why(error)}") from error


@contextmanager
def _bar_on_terminals_only() -> Iterator[None]:
    """Keep torchvision's progress bar out of a log, where it would be one line of thousands of updates."""
    if sys.stderr.isatty():
        yield
        return
    print(f"fetching {CIFAR10.url} (170 MB)", file=sys.stderr, flush=True)
    with redirect_stderr(io.StringIO()):
        yield
