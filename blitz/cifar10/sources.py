"""What lies at a path: an official copy of CIFAR-10, a folder of images, or something else, and what then."""

import os
import tarfile
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from torch import Tensor

from blitz.cifar10.folders import is_hidden, is_image_folder, stamp, subfolders
from blitz.errors import DataError

OFFICIAL = "cifar-10-batches-py"
ARCHIVE = "cifar-10-python.tar.gz"
FOREIGN = {  # what the archives of the same page unpack to
    "cifar-10-batches-bin": "the binary version of CIFAR-10",
    "cifar-10-batches-mat": "the MATLAB version of CIFAR-10",
    "cifar-100-python": "CIFAR-100",
    "cifar-100-binary": "CIFAR-100",
    "cifar-100-matlab": "CIFAR-100",
}
PACKED = (".tar", ".gz", ".tgz", ".zip", ".7z")


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
        if os.path.isdir(place):  # False, too, in a folder that nobody may look into
            if place.name == OFFICIAL or os.path.isfile(place / "data_batch_1"):
                return place
        elif os.path.isfile(place) and (place.name == ARCHIVE or _unpacks_to(place) == OFFICIAL):
            return place
    return None


def official_files(place: Path) -> dict[str, str]:
    """Return the files of an official copy, or its archive, each with its size and time."""
    try:
        files = [place] if place.is_file() else [path for path in place.iterdir() if not is_hidden(path.name)]
        return {path.name: stamp(path.stat()) for path in files}
    except OSError as error:
        raise DataError(f"cannot read {error.filename}: {error.strerror}") from error


def _unpacks_to(path: Path) -> str | None:
    """Return the first folder of a tar archive, or None if it is no archive, or damaged at its beginning."""
    try:
        with tarfile.open(path) as archive:
            tops = (PurePosixPath(member.name).parts for member in archive)
            return next(top[0] for top in tops if top and not is_hidden(top[0]))
    except (OSError, EOFError, StopIteration, tarfile.TarError):
        return None


def refusal(path: Path, whose: str = "") -> DataError:
    """Return the error that says what lies at `path` instead of a data set, and the way out.

    Args:
        path: where `look` found nothing.
        whose: who named it, if not the caller.
    """
    if not os.path.exists(path):
        return DataError(f"expected a folder with CIFAR-10, but there is no folder {path}{whose}")
    if kind := _kind(path):
        return DataError(
            f"expected {OFFICIAL} or {ARCHIVE}, but {path}{whose} is {kind}: "
            "blitz train --download fetches the right one"
        )
    if inside := _unpacks_to(path):
        return DataError(
            f"expected a folder or {ARCHIVE}, but {path}{whose} is {inside}, packed: unpack it first"
        )
    for folder in path.absolute().parents[:2]:
        if _look_below(folder):
            return DataError(f"expected a whole data set, but {path}{whose} lies within one: name {folder}")
    if os.path.isfile(path):
        return DataError(f"expected a folder or {ARCHIVE}, but {path}{whose} is another file, or damaged")
    names = sorted(name for name in os.listdir(path) if not is_hidden(name))
    found = [", ".join(names[:5]) or "nothing"]
    for name in names:
        if name in FOREIGN or name.lower().endswith(PACKED):
            found.append(f"{name} is {_kind(path / name) or 'still packed'}")
    return DataError(
        f"expected {OFFICIAL}, {ARCHIVE}, or train and test, in the folder {path}{whose}, "
        f"found {'; '.join(found[:4])}"
    )


def _kind(path: Path) -> str | None:
    return FOREIGN.get(path.name) or FOREIGN.get(_unpacks_to(path) or "")
