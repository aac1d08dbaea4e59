"""Image folders, looked at without opening a file: which parts they have, and which files in them count."""

import os
from collections import Counter
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
    unread: list[str]  # other folders that could have been the test part


def is_image_folder(folder: Path) -> bool:
    """Tell whether `folder` holds a training part."""
    return os.path.isdir(folder) and bool(_named(folder, TRAIN))


def find_parts(folder: Path) -> Parts:
    """Return the parts of an image folder, which capital letters in their names do not hide.

    Raises:
        DataError: there is no training part, or one that cannot be looked at.
    """
    candidates = _named(folder, TRAIN)
    if not candidates:
        raise DataError(f"expected a folder train in {folder}, found none")
    train, labels = candidates[0], folder / LABELS
    if os.path.isfile(labels) and len(subfolders(train)) < 2:
        return Parts(train, None, labels, [])  # what Kaggle has in test is without labels
    candidates = _named(folder, TEST)
    test = next((part for part in candidates if subfolders(part)), None)
    return Parts(train, test, None, [part.name for part in candidates if part != test])


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


def list_images(folder: Path) -> tuple[dict[str, str], list[str]]:
    """Return each file that counts with its size and time, and a sentence on each kind that does not.

    The files are named from `folder` on. Kaggle's table is one of them.

    Raises:
        DataError: a file or folder cannot be looked at.
    """
    parts = find_parts(folder)
    files: dict[str, str] = {}
    left_out: Counter[str] = Counter()
    for part in filter(None, (parts.train, parts.test)):
        _list(part, part.name, files, left_out)
    if parts.labels:
        files[parts.labels.name] = stamp(parts.labels.stat())
    else:
        beside_classes = [name for name in files if name.count("/") == 1]
        left_out["other"] += len(beside_classes)
        for name in beside_classes:
            del files[name]
    sentences = []
    if parts.unread and parts.test:
        sentences.append(f"the test part of {folder} is {parts.test.name}, not {', '.join(parts.unread)}")
    if left_out.total():
        sentences.append(
            f"left out in {folder}: {left_out['hidden']} hidden, "
            f"{left_out['other']} that are no images of a class"
        )
    return files, sentences


def _list(folder: str | Path, name: str, files: dict[str, str], left_out: Counter[str]) -> None:
    # Called for 60,000 files on every load: two strings a file, no objects for the garbage collector to walk.
    with _looking(folder) as entries:
        for entry in entries:
            if is_hidden(entry.name):
                left_out["hidden"] += 1
            elif entry.is_dir():
                _list(entry.path, f"{name}/{entry.name}", files, left_out)
            elif entry.name.lower().endswith(IMAGES):
                files[f"{name}/{entry.name}"] = stamp(entry.stat())
            else:
                left_out["other"] += 1


def stamp(status: os.stat_result) -> str:
    """Return what tells a file from its next version, without opening it."""
    return f"{status.st_size} {status.st_mtime_ns}"
