"""What lies at a path: an official copy of CIFAR-10, a folder of images, or something else, and what then."""

import os
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from blitz.cifar10.folders import is_hidden, is_image_folder, stamp, subfolders
from blitz.errors import DataError

OFFICIAL = "cifar-10-batches-py"
ARCHIVE = "cifar-10-python.tar.gz"


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


def look(path: Path) -> tuple[str, Path] | None:
    """Return the origin and the place of the data set that `path` is, or that lies in one of its folders.

    Raises:
        DataError: several of the folders hold a data set.
    """
    if found := _look_here(path):
        return found
    if not os.path.isdir(path):
        return None
    below = [found for name in subfolders(path) if (found := _look_below(path / name))]
    if len(below) > 1:
        places = ", ".join(str(place) for _, place in below[:5])
        raise DataError(f"expected one data set in {path}, found {len(below)}, name one of them: {places}")
    return below[0] if below else None


def _look_here(path: Path) -> tuple[str, Path] | None:
    if place := official_in(path):
        return "official", place
    return ("image folder", path) if is_image_folder(path) else None


def _look_below(folder: Path) -> tuple[str, Path] | None:
    try:
        return _look_here(folder)
    except DataError:  # nobody has named this folder: where one may not look, nothing is found
        return None


def official_in(path: Path) -> Path | None:
    """Return the folder of batches, else the archive, that `path` holds or is, be it whole or not."""
    for place in (path / OFFICIAL, path, path / ARCHIVE):
        if place.name == OFFICIAL and os.path.isdir(place):  # False in a folder that nobody may look into
            return place
        if place.name.startswith("cifar-10-python") and os.path.isfile(place):  # a second one has a number
            return place
    return None


def official_files(place: Path) -> dict[str, str]:
    """Return the files of an official copy, or its archive, each with its size and time."""
    try:
        files = [place] if place.is_file() else [path for path in place.iterdir() if not is_hidden(path.name)]
        return {path.name: stamp(path.stat()) for path in files}
    except OSError as error:
        raise DataError(f"cannot read {error.filename}: {error.strerror}") from error


def refusal(path: Path, whose: str = "") -> DataError:
    """Return the error that says what lies at `path` instead of a data set, and the way out.

    Args:
        path: where `look` found nothing.
        whose: who named it, if not the caller.
    """
    if not os.path.exists(path):
        return DataError(f"expected a folder with CIFAR-10, but there is no folder {path}{whose}")
    if os.path.isfile(path):
        return DataError(
            f"expected a folder or {ARCHIVE}, but {path}{whose} is another file: "
            "unpack it if it holds images, or fetch CIFAR-10 with blitz train --download"
        )
    for folder in path.absolute().parents[:2]:
        if _look_below(folder):
            return DataError(f"expected a whole data set, but {path}{whose} lies within one: name {folder}")
    names = sorted(name for name in os.listdir(path) if not is_hidden(name))
    return DataError(
        f"expected {OFFICIAL}, {ARCHIVE}, or train and test, in the folder {path}{whose}, "
        f"found {', '.join(names[:5]) or 'nothing'}"
    )
