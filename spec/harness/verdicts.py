"""The verdict file: JSON lines, a header with the environment, then a record per claim, case and device."""

import importlib.metadata
import json
import math
import os
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from blitz import data
from blitz.errors import BlitzError
from blitz.precision import precision_flags
from spec.harness import git, machine
from spec.harness.outcomes import Record

SCHEMA_VERSION = 1
SCHEMA = Path(__file__).with_name("verdicts.schema.json")


class VerdictFile:
    """A file that holds whole lines only, whenever the process that writes it ends."""

    def __init__(self, path: Path) -> None:
        try:
            self.file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o644)
        except OSError as error:
            raise pytest.UsageError(f"--verdicts {path}: cannot write there: {error.strerror}") from None

    def write(self, record: Record) -> None:
        """Append `record` as one line, by one call, so that no reader sees half of it."""
        os.write(self.file, (json.dumps(plain(record)) + "\n").encode())

    def close(self) -> None:
        """Close the file."""
        os.close(self.file)


def plain(value: Any) -> Any:
    """Return `value` as JSON can hold it: numbers that JSON lacks, and tensors, become text and lists."""
    if isinstance(value, dict):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(entry) for entry in value]
    if isinstance(value, (torch.Tensor, np.ndarray, np.generic)):
        return plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value if isinstance(value, (str, int, float, bool, type(None))) else str(value)


def read(path: Path) -> tuple[Record, list[Record]]:
    """Return the header and the records of claims of a verdict file.

    Raises:
        BlitzError: the file cannot be read, or is no verdict file of this schema version.
    """
    header, *records = _lines(path)
    return header, [record for record in records if record.get("kind") != "rung"]


def rungs(path: Path) -> list[Any]:
    """Return how the devices of a verdict file climbed the ladder; [] where none did.

    Raises:
        BlitzError: as for read().
    """
    return [record for record in _lines(path) if record.get("kind") == "rung"]


def _lines(path: Path) -> list[Record]:
    try:
        lines = list(map(json.loads, path.read_text(encoding="utf-8").rstrip("\n").split("\n")))
    except OSError as error:
        raise BlitzError(f"{path}: cannot read it: {error.strerror}") from None
    except ValueError:
        raise BlitzError(f"{path}: expected JSON lines that begin with a header") from None
    header = lines[0]
    if not isinstance(header, dict) or header.get("schema") != SCHEMA_VERSION:
        raise BlitzError(
            f"{path}: expected a header of schema version {SCHEMA_VERSION}, got {str(header)[:80]}"
        )
    return lines


def header() -> Record:
    """Describe the environment, without initialising CUDA."""
    return {
        "kind": "header",
        "schema": SCHEMA_VERSION,
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "torch": str(torch.__version__),
        "torchvision": _version("torchvision"),
        "numpy": _version("numpy"),
        "python": platform.python_version(),
        **machine.describe(),
        "precision": precision_flags(),
        "commit": git.commit(Path(__file__).parents[2]),
        "data": data.find()[0],
    }


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None  # torchvision, on a release of PyTorch that has none for this Python
