"""The official copy of CIFAR-10, by torchvision: read it, fetch it.

Imported where an official copy is asked for, not before: torchvision takes as long to import as torch.
"""

import io
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from pathlib import Path

import torch
from filelock import FileLock
from torchvision.datasets import CIFAR10
from torchvision.datasets.utils import check_integrity

from blitz.errors import DataError
from blitz.sources import Cifar10, Split, why


def read(folder: Path) -> Cifar10:
    """Read `cifar-10-batches-py` in `folder` by torchvision, which compares its checksums.

    Raises:
        DataError: a file is missing, differs from the official one, or cannot be read.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # NumPy 2.4.0 deprecated how the batches of 2009 pickle a dtype
            parts = [CIFAR10(folder, train=train) for train in (True, False)]
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
    return f"cannot read {folder / CIFAR10.base_folder} ({why(error)}): {way_out}"


def _files(folder: Path) -> list[tuple[Path, str]]:
    """List the files of an official copy in `folder`, each with its MD5 checksum."""
    meta = (CIFAR10.meta["filename"], CIFAR10.meta["md5"])
    files = [*CIFAR10.train_list, *CIFAR10.test_list, meta]
    return [(folder / CIFAR10.base_folder / name, checksum) for name, checksum in files]


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
    """Fetch the official archive (170 MB) into `folder` by torchvision, unless a whole copy is there.

    The files move into place when all of them are verified, so a failure leaves nothing half-written.

    Raises:
        DataError: no network, a wrong checksum, or no room.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".download.lock"), tempfile.TemporaryDirectory(dir=folder) as fresh:
            if not all(check_integrity(path, checksum) for path, checksum in _files(folder)):
                with warnings.catch_warnings(), _bar_on_terminals_only():
                    warnings.simplefilter("ignore")  # Python 3.12 deprecates how torchvision unpacks
                    CIFAR10(fresh, download=True)
                final = folder / CIFAR10.base_folder
                final.mkdir(exist_ok=True)
                for path, _ in _files(Path(fresh)):
                    os.replace(path, final / path.name)
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
