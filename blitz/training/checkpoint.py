"""Saving and loading: a file is complete or not there, and is checked as a whole before it is believed.

Each file is one that plain `torch.load(PATH)` reads. The SHA-256 of all before it stands at its end, as the
comment every zip archive may close with: PyTorch itself overlooks a flipped bit in a tensor.
"""

import hashlib
import io
import os
import pickle
import pickletools
import re
import shutil
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
_OLD = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19\x2e"  # begins the files before PyTorch 1.6
_DAMAGED = "is damaged: it was cut off or changed since it was saved"
_END = b"PK\x05\x06"  # begins the 22 bytes that close a zip archive; the last two are the comment's length


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
    weights = [each for each in state["model"].values() if isinstance(each, torch.Tensor)]
    if not all(each.isfinite().all() for each in weights):
        raise CheckpointError(
            f"a weight is not a finite number any more, so {path} was not written: training has diverged, "
            "and a lower learning rate may help"
        )
    _write(_sealed(dict(state)), path, keep_previous=True)


def load(path: str | Path) -> dict[str, Any]:
    """Return the state that save() wrote, on the CPU; only plain values and tensors are ever unpickled.

    Raises:
        CheckpointError: the file is missing, damaged or no training state; the sentence names the save
            before it, if that one is intact.
    """
    path = Path(path)
    try:
        state = read(path)
        if not isinstance(state, dict) or not _is_training(state):
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


def write(data: bytes, path: str | Path) -> None:
    """Write `data` so that `path` holds it whole or stays as it was, and survives a power cut.

    Raises:
        CheckpointError: the file cannot be written.
    """
    _write(data, Path(path), keep_previous=False)


def _write(data: bytes, path: Path, *, keep_previous: bool) -> None:
    try:
        with _replacement(path) as temporary:
            with temporary.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            # only now, for the disk may be full; and a damaged file must not push out the good one before it
            if keep_previous and _is_intact(path):
                _link(path, previous(path))
        _sync_folder(path.parent)
    except OSError as error:
        raise CheckpointError(f"cannot write {path}: {error.strerror or error}") from error


@contextmanager
def _replacement(path: Path) -> Iterator[Path]:
    """Yield where to write what takes the place of `path` at the end; a failure leaves nothing there."""
    temporary = path.with_name(f".{path.name}.tmp")  # one fixed name: the next save clears what a kill left
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        # nor is anything left where both were names of one file already, which rename() leaves alone
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
        raise CheckpointError(f"{path} {_what_else(data, str(error))}") from error
    except Exception as error:  # a file made to deceive can raise anything
        raise CheckpointError(f"{path} {_DAMAGED if data.startswith(_OLD) else _foreign(data)}") from error


def _what_else(data: bytes, refusal: str) -> str:
    """Say what a file holds that PyTorch refuses to load with weights only."""
    if _names_modules(data):
        what = "a whole net or another module"
    elif named := re.search(r"GLOBAL (\S+)", refusal):
        what = f"more than tensors and plain values ({named[1]})"
    else:
        what = "what PyTorch does not take for weights only"
    return (
        f"holds {what}, and was not loaded: that could run code; where it was saved, "
        "save the weights alone, torch.save(net.state_dict(), PATH)"
    )


def _names_modules(data: bytes) -> bool:
    """Tell whether the pickles in a file name one of PyTorch's modules; nothing is unpickled."""
    try:
        if data.startswith(_OLD):
            file = io.BytesIO(data)
            pickles: list[Any] = [file] * 4  # of the format, its version, the machine and at last the content
        else:
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                pickles = [archive.read(name) for name in archive.namelist() if name.endswith("/data.pkl")]
        words = [word for each in pickles for _, word, _ in pickletools.genops(each)]
    except Exception:  # made to deceive
        return False
    return any(isinstance(word, str) and word.startswith("torch.nn.modules.") for word in words)


def _foreign(data: bytes) -> str:
    """Say what a file is that torch.save did not write."""
    if data.startswith(_ZIP) and b"/constants.pkl" in data:
        return "is a TorchScript archive: load it by torch.jit.load, and save its state_dict by torch.save"
    if data[8:10] == b'{"':
        return "is a safetensors file: read it by safetensors.torch.load_file, and save that by torch.save"
    if re.match(rb"\x08[\x01-\x7f]\x12", data):
        return "is an ONNX file: where it was exported, save the net's state_dict by torch.save"
    return "is not a file that torch.save wrote"


def _fault(data: bytes) -> str | None:
    """Return what is wrong with a file's bytes, None if nothing is."""
    if not data:
        return "is empty"
    if data.startswith(_OLD):  # it has no checksums: only what is cut off shows, when it is loaded
        return None
    if not data.startswith(_ZIP):
        return _foreign(data)
    body, seal = data[:-_SEAL], data[-_SEAL:]
    if body[-22:-18] == _END:
        whole = body[-2:] == _SEAL.to_bytes(2, "little") and hashlib.sha256(body).hexdigest().encode() == seal
    else:  # written by plain torch.save: the checksums of the archive's members have to do
        whole = data[-22:-18] == _END and data[-2:] == b"\0\0" and _members_are_intact(data)
    return None if whole else _DAMAGED


def _members_are_intact(data: bytes) -> bool:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            # what is marked as a folder PyTorch does not read, and leaves a tensor of any values there
            folders = [member for member in archive.infolist() if member.external_attr & 0x10]
            return not folders and archive.testzip() is None
    except Exception:  # zipfile raises a dozen kinds of error on damaged headers
        return False


def _is_training(state: Mapping[str, Any]) -> bool:
    return isinstance(state.get("model"), Mapping) and {"settings", "optimizer", "step"} <= state.keys()


def _is_intact(path: Path) -> bool:
    try:
        return _fault(path.read_bytes()) is None
    except OSError:
        return False


def _link(path: Path, to: Path) -> None:
    """Make `to` a second name of the file at `path`, replacing what it named before in one step."""
    with _replacement(to) as temporary:
        temporary.unlink(missing_ok=True)
        try:
            os.link(path, temporary)
        except OSError:  # some file systems have no second names
            shutil.copyfile(path, temporary)
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":  # Windows cannot open a folder
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
