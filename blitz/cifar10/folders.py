"""Image folders, looked at without opening a file: which parts they have, and which files in them count."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from blitz.errors import DataError

TRAIN = ("train", "training")
TEST = ("test", "testing", "val", "valid", "validation")  # the first with class folders is taken
LABELS = "trainLabels.csv"  # of Kaggle's layout
IMAGES = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")  # ImageFolder's own
LEFT_BEHIND = {"__macosx", "thumbs.db", "desktop.ini", "@eadir"}  # by macOS, Windows and Synology


class Parts(NamedTuple):
    """Where an image folder keeps what."""

    train: Path
    test: Path | None  # None: no part but the training images tells what its images show
    labels: Path | None  # Kaggle's table; without it the class folders are the labels


def is_image_folder(folder: Path) -> bool:
    """Tell whether `folder` holds a training part."""
    return os.path.isdir(folder) and bool(_named(folder, TRAIN))


def find_parts(folder: Path) -> Parts:
    """Return the parts of an image folder, which capital letters in their names do not hide."""
    train = _named(folder, TRAIN)[0]
    labels = folder / LABELS
    if os.path.isfile(labels) and len(subfolders(train)) < 2:
        return Parts(train, None, labels)  # what Kaggle has in test is without labels
    test = next((part for part in _named(folder, TEST) if subfolders(part)), None)
    return Parts(train, test, None)


def _named(folder: Path, names: tuple[str, ...]) -> list[Path]:
    found = {name.casefold(): name for name in subfolders(folder)}
    return [folder / found[name] for name in names if name in found]


def subfolders(folder: Path) -> list[str]:
    """List the folders in `folder` that are not hidden, as they sort."""
    with _looking(folder) as entries:
        return sorted(entry.name for entry in entries if not is_hidden(entry.name) and entry.is_dir())


def is_hidden(name: str) -> bool:
    """Tell whether a file manager, a notebook or a download left this: it never counts."""
    return name.startswith(".") or name.casefold() in LEFT_BEHIND


@contextmanager
def _looking(folder: str | Path) -> "Iterator[Iterator[os.DirEntry[str]]]":
    try:
        with os.scandir(folder) as entries:
            yield entries
    except OSError as error:
        raise DataError(f"cannot read {error.filename or folder}: {error.strerror}") from error


def list_images(folder: Path) -> tuple[dict[str, str], int]:
    """Return each file that counts with its size and time, and how many do not.

    The files are named from `folder` on. Kaggle's table is one of them.

    Raises:
        DataError: a file or folder cannot be looked at.
    """
    parts = find_parts(folder)
    files: dict[str, str] = {}
    depth = 1 if parts.labels else 2  # how many folders an image lies in, at least
    left_out = sum(_list(part, part.name, files, depth) for part in (parts.train, parts.test) if part)
    if parts.labels:
        files[parts.labels.name] = stamp(parts.labels.stat())
    return files, left_out


def _list(folder: str | Path, name: str, files: dict[str, str], depth: int) -> int:
    # Called for 60,000 files on every load: two strings a file, no objects for the garbage collector to walk.
    left_out = 0
    with _looking(folder) as entries:
        for entry in entries:
            if is_hidden(entry.name):
                left_out += 1
            elif entry.is_dir():
                left_out += _list(entry.path, f"{name}/{entry.name}", files, depth - 1)
            elif depth <= 1 and entry.name.lower().endswith(IMAGES):
                files[f"{name}/{entry.name}"] = stamp(entry.stat())
            else:
                left_out += 1
    return left_out


def stamp(status: os.stat_result) -> str:
    """Return what tells a file from its next version, without opening it."""
    return f"{status.st_size} {status.st_mtime_ns}"
