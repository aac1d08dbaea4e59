"""Saving and loading: a file is complete or not there, and is checked as a whole before it is believed.

Each file is one that plain `torch.load(PATH)` reads. The SHA-256 of all before it stands at its end, as the
comment every zip archive may close with: PyTorch itself overlooks a flipped bit in a tensor.
"""

import hashlib
import io
import os
import pickle
import re
import warnings
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from blitz.errors import CheckpointError
from blitz.training.recipes import Recipe
from blitz.training.weights import find, remember

_SEAL = 64  # hexadecimal digits of a SHA-256
_ZIP = b"PK\x03\x04"
_END = b"PK\x05\x06"  # begins the 22 bytes that close a zip archive; the last two are the comment's length
_OLD = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19\x2e"  # begins the files before PyTorch 1.6
_DAMAGED = "is damaged: it was cut off or changed since it was saved"
_FOREIGN = "is not a file that torch.save wrote, as by torch.save(net.state_dict(), PATH)"


def save_weights(
    net: nn.Module,
    path: str | Path,
    classes: Sequence[str] | None = None,
    recipe: Recipe | None = None,
) -> None:
    """Save the weights as the notes do, `torch.save(net.state_dict(), PATH)`, but whole or not at all.

    Args:
        net: what to save the weights of.
        path: the file.
        classes: the names of its classes, which plain `torch.load` keeps beside the weights, unseen.
        recipe: what it was trained by, which is kept there as well.

    Raises:
        CheckpointError: the file cannot be written; what was there before still is.

    Source: notes 4, step 4.
    """
    weights = net.state_dict()
    remember(weights, classes=classes, recipe=recipe)
    write(_sealed(weights), path)


def load_weights(net: nn.Module, path: str | Path) -> None:
    """Load the weights in `path` into `net`: of save_weights(), of save() or of `torch.save`, also wrapped.

    Raises:
        CheckpointError: the file is missing, damaged, of another kind or of another net; `net` is unchanged.

    Source: notes 4, step 5.
    """
    try:
        _, weights = find(read(path), [net])
    except ValueError as error:
        raise CheckpointError(f"{path} {error}") from error
    net.load_state_dict(weights.tensors)


def save(state: Mapping[str, Any], path: str | Path) -> None:
    """Save a training's state_dict(), and keep the file it replaces as `<stem>.previous<suffix>`.

    At every moment, also of a power cut, a complete file is at `path` once this returned for the first time.

    Raises:
        CheckpointError: the file cannot be written, or a weight is not a finite number; the files are then
            what they were before.
    """
    path = Path(path)
    if not all(weight.isfinite().all() for weight in state["model"].values()):
        raise CheckpointError(
            f"a weight is not a finite number any more, so {path} was not written: training has diverged, "
            "and a lower learning rate may help"
        )
    write(_sealed(dict(state)), path, keep_previous=True)


def load(path: str | Path) -> dict[str, Any]:
    """Return the state that save() wrote, on the CPU; only plain values and tensors are ever unpickled.

    Raises:
        CheckpointError: the file is missing, damaged or no training state; the sentence names the save
            before it, if that one is intact.
    """
    path = Path(path)
    try:
        state = read(path)
        if not isinstance(state, dict) or not {"model", "settings", "optimizer", "step"} <= state.keys():
            what = "weights only" if isinstance(state, Mapping) else f"a {type(state).__name__}"
            raise CheckpointError(f"{path} holds {what}, not the state of a training that can be resumed")
    except CheckpointError as error:
        before = previous(path)
        if _is_intact(before):
            raise CheckpointError(
                f"{error}; the save before it is intact: resume from it with --resume {before}"
            ) from error
        raise
    return state


def previous(path: str | Path) -> Path:
    """Return where save() keeps the file it replaces.

    >>> previous("runs/checkpoint.pt").name
    'checkpoint.previous.pt'
    """
    path = Path(path)
    return path.with_stem(f"{path.stem}.previous")


def write(data: bytes, path: str | Path, *, keep_previous: bool = False) -> None:
    """Write `data` so that `path` holds it whole or stays as it was, and survives a power cut.

    Args:
        data: the bytes of the file.
        path: the file.
        keep_previous: whether the file that it replaces stays, where previous() says, unless it is damaged.

    Raises:
        CheckpointError: the file cannot be written.
    """
    path = Path(path)
    try:
        with _replacement(path, data):
            # only now, for the disk may be full; and a damaged file must not push out the good one before it
            if keep_previous and _is_intact(path):
                with _replacement(previous(path), path.read_bytes()):
                    pass
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise CheckpointError(f"cannot write {path}: {error.strerror or error}") from error


@contextmanager
def _replacement(path: Path, data: bytes) -> Iterator[None]:
    """Write `data` beside `path`, to take its place at the end; a failure leaves nothing there."""
    temporary = path.with_name(f".{path.name}.tmp")  # one fixed name: the next save clears what a kill left
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        yield
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _sealed(state: Mapping[str, Any]) -> bytes:
    buffer = io.BytesIO()
    torch.save(state, buffer)
    body = buffer.getvalue()[:-2] + _SEAL.to_bytes(2, "little")
    return body + hashlib.sha256(body).hexdigest().encode()


def read(path: str | Path) -> Any:
    """Return what a file holds, tensors on the CPU, once it is known to be whole.

    Raises:
        CheckpointError: it is missing, damaged or of another kind.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise CheckpointError(f"there is no checkpoint {path}") from None
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}") from error
    if fault := _fault(data):
        raise CheckpointError(f"{path} {fault}")
    try:
        with warnings.catch_warnings(action="ignore"):  # of what is refused then, or of files of old
            return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        named = re.search(r"GLOBAL (\S+)", str(error))
        what = f"more than tensors and plain values{f' ({named[1]})' if named else ''}"
        raise CheckpointError(
            f"{path} holds {what}, and was not loaded: that could run code; where it was saved, "
            "save the weights alone, torch.save(net.state_dict(), PATH)"
        ) from error
    except Exception as error:  # a file made to deceive can raise anything
        raise CheckpointError(f"{path} {_DAMAGED if data.startswith(_OLD) else _FOREIGN}") from error


def _fault(data: bytes) -> str | None:
    """Return what is wrong with a file's bytes, None if nothing is."""
    if not data:
        return "is empty"
    if data.startswith(_OLD):  # it has no checksums: only what is cut off shows, when it is loaded
        return None
    if not data.startswith(_ZIP):
        return _FOREIGN
    if hashlib.sha256(data[:-_SEAL]).hexdigest().encode() == data[-_SEAL:]:
        return None
    # written by plain torch.save, without a comment: the checksums of the archive's members have to do
    end = data[-22:]
    whole = end.startswith(_END) and end.endswith(b"\0\0") and _members_are_intact(data)
    return None if whole else _DAMAGED


def _members_are_intact(data: bytes) -> bool:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            # what is marked as a folder PyTorch does not read, and leaves a tensor of any values there
            folders = [member for member in archive.infolist() if member.external_attr & 0x10]
            return not folders and archive.testzip() is None
    except Exception:  # zipfile raises a dozen kinds of error on damaged headers
        return False


def _is_intact(path: Path) -> bool:
    try:
        return _fault(path.read_bytes()) is None
    except OSError:
        return False
