"""One decoded copy of a data set on disk: written whole or not at all, and read back only if it is sound.

Each source has one file, named after its path. The file holds the fingerprint of what it was decoded from,
so a changed source is noticed; a damaged file is noticed, too; and both lead to a new file.
"""

import hashlib
import os
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from zipfile import ZipFile

import torch
from filelock import FileLock

from blitz.cifar10.sources import Cifar10, Split
from blitz.errors import DataError

FORMAT = 3  # count up when what is written changes


def cache_folder() -> Path:
    """Return the user's cache: $BLITZ_CACHE, else $XDG_CACHE_HOME/blitz, else ~/.cache/blitz.

    Raises:
        DataError: the user has no home folder.
    """
    if named := os.environ.get("BLITZ_CACHE"):
        return expanded(named)
    return expanded(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "blitz"


def expanded(folder: str | Path) -> Path:
    """Return a folder as a person names it, with the home folder in the place of ~.

    Raises:
        DataError: there is no such home folder, as for a user in a container who is a number without a name.
    """
    try:
        return Path(folder).expanduser()
    except RuntimeError:
        raise DataError(
            f"there is no home folder for {folder}: set HOME, or BLITZ_CACHE to a folder without ~"
        ) from None


def cached(source: Path, files: dict[str, str], read: Callable[[], Cifar10]) -> Cifar10:
    """Return what `read` makes of `files` in `source`, from the cache if it is there and sound.

    Of several processes that ask at once one reads and the others wait. The tensors are mapped from the
    file: processes share their memory, and changing them changes no file.

    Args:
        source: the folder or archive that is read.
        files: what tells each of its files from its next version, by name.
        read: decodes the source.

    Raises:
        DataError: the cache cannot be written; if its folder cannot, this is noticed before `read` is called.
    """
    lines = [str(FORMAT), *sorted(f"{name} {stamp}" for name, stamp in files.items())]
    fingerprint = _digest("\n".join(lines))
    folder = cache_folder()
    path = folder / f"{_digest(source.resolve())[:16]}.pt"
    if kept := _open(path, fingerprint):
        return kept
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_suffix(".lock")):
            if kept := _open(path, fingerprint):  # another process has just written it
                return kept
            _write(path, fingerprint, read)
    except OSError as error:
        why = error.strerror or error
        raise DataError(
            f"cannot write the cache in {folder}, set BLITZ_CACHE to another folder: {why}"
        ) from error
    return _open(path, fingerprint) or read()


def _digest(text: str | Path) -> str:
    return hashlib.sha256(os.fsencode(text)).hexdigest()  # the names of files have any encoding


def _open(path: Path, fingerprint: str) -> Cifar10 | None:
    """Map the file, or return None if it is absent, damaged, foreign, or of another fingerprint."""
    try:
        kept = torch.load(path, mmap=True, weights_only=True)
        with ZipFile(path) as archive:  # which holds a checksum of everything, and torch.load compares none
            if kept["fingerprint"] != fingerprint or archive.testzip():
                return None
        train, test, classes, origin = kept["data"]
        return Cifar10(Split(*train), Split(*test), classes, origin)
    except Exception:  # torch.load fails in many ways; whatever it was, a new file puts it right
        return None


def _write(path: Path, fingerprint: str, read: Callable[[], Cifar10]) -> None:
    """Write a whole file and flush it to the disk, then give it its name; the caller holds the lock."""
    temporary = path.with_suffix(".tmp")  # one name: what a killed process left is written over
    try:
        with open(temporary, "wb") as file:
            train, test, classes, origin = read()
            content = BytesIO()  # where torch.save itself writes a file, its error hides that a disk is full
            data = (tuple(train), tuple(test), classes, origin)
            torch.save({"fingerprint": fingerprint, "data": data}, content)
            file.write(content.getbuffer())
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
