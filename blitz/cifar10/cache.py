"""One decoded copy of a data set on disk: written whole or not at all, and read back only if it is sound.

Each source has one file, named after its path. The file holds the fingerprint of what it was decoded from
and a checksum, so a changed source and a damaged file are both noticed, and both lead to a new file.
"""

import hashlib
import os
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock

from blitz.cifar10.sources import Cifar10, Split
from blitz.errors import DataError

FORMAT = 2  # count up when what is written changes


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


def fingerprint(files: dict[str, str]) -> str:
    """Digest the names of files, each with its size and time."""
    lines = [str(FORMAT), *sorted(f"{name} {stamp}" for name, stamp in files.items())]
    return hashlib.sha256("\n".join(lines).encode(errors="surrogateescape")).hexdigest()


def cached(source: Path, files: dict[str, str], read: Callable[[], Cifar10]) -> Cifar10:
    """Return what `read` makes of `files` in `source`, from the cache if it is there and sound.

    Of several processes that ask at once one reads and the others wait. The tensors are mapped from the
    file: processes share their memory, and changing them changes no file.

    Raises:
        DataError: the cache cannot be written; if its folder cannot, this is noticed before `read` is called.
    """
    key = fingerprint(files)
    folder = cache_folder()
    place = hashlib.sha256(str(source.resolve()).encode(errors="surrogateescape")).hexdigest()[:16]
    name = source.name.encode(errors="replace").decode()[:40]  # torch.load maps no file of another encoding
    path = folder / f"{name}-{place}.pt"
    if kept := _open(path, key):
        return kept
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_suffix(".lock")):
            if kept := _open(path, key):  # another process has just written it
                return kept
            _write(path, key, read)
    except OSError as error:
        why = error.strerror or error
        raise DataError(
            f"cannot write the cache in {folder}, set BLITZ_CACHE to another folder: {why}"
        ) from error
    return _open(path, key) or read()


def _open(path: Path, key: str) -> Cifar10 | None:
    """Map the file, or return None if it is absent, damaged, foreign, or of another fingerprint."""
    try:
        kept = torch.load(path, mmap=True, weights_only=True)
        data = Cifar10(Split(*kept["train"]), Split(*kept["test"]), tuple(kept["classes"]), kept["origin"])
        return data if kept["key"] == key and kept["checksum"] == _checksum(data) else None
    except Exception:  # torch.load fails in many ways; whatever it was, a new file puts it right
        return None


def _write(path: Path, key: str, read: Callable[[], Cifar10]) -> None:
    """Write a whole file and flush it to the disk, then give it its name; the caller holds the lock."""
    temporary = path.with_suffix(".tmp")  # one name: what a killed process left is written over
    try:
        with open(temporary, "wb") as file:
            data = read()
            content: dict[str, Any] = data._asdict() | {"train": tuple(data.train), "test": tuple(data.test)}
            try:
                torch.save(content | {"key": key, "checksum": _checksum(data)}, file)
            except RuntimeError as error:  # closing its archive fails too, and hides why
                raise (error.__context__ if isinstance(error.__context__, OSError) else error) from None
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _checksum(data: Cifar10) -> int:
    checksum = zlib.crc32(repr((data.classes, data.origin)).encode())
    for tensor in (*data.train, *data.test):
        checksum = zlib.crc32(tensor.contiguous().view(-1).view(torch.uint8).numpy().data, checksum)
    return checksum
