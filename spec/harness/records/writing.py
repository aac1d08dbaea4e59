"""Writing down a run: a header with the environment, a record for each check, row and device, an end."""

import importlib.metadata
import json
import math
import os
import platform
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from spec.harness import git
from spec.harness.accelerator import machine
from spec.harness.accelerator.precision import precision_flags
from spec.harness.children import ROOT
from spec.harness.errors import HarnessError
from spec.harness.records.vocabulary import SCHEMA_VERSION, Record


class RecordFile:
    """A file that holds whole lines only, whenever the process that writes it ends."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self.file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        except OSError as error:
            raise pytest.UsageError(f"--records {path}: cannot write there: {error.strerror}") from None

    def empty(self) -> None:
        """Take away what an earlier run has left in it."""
        with suppress(OSError):  # a pipe holds nothing
            os.ftruncate(self.file, 0)

    def write(self, record: Record) -> None:
        """Append `record` as one line, as a rule by one call, so that no reader sees half of it.

        Raises:
            HarnessError: it cannot be written, as on a full disk; the file ends with the line before.
        """
        line = (json.dumps(record) + "\n").encode()
        unwritten = memoryview(line)
        whole = os.fstat(self.file).st_size  # of lines that this process or another one has written
        try:
            while unwritten:
                unwritten = unwritten[os.write(self.file, unwritten) :]
        except OSError as error:
            with suppress(OSError):  # a pipe cannot be cut
                os.ftruncate(self.file, whole)
            raise HarnessError(f"{self.path}: cannot write any more to it: {error.strerror}") from None

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


def header(data: str | None) -> Record:
    """Describe the environment, and name the data; this does not initialise CUDA."""
    return {
        "kind": "header",
        "schema": SCHEMA_VERSION,
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "torch": str(torch.__version__),
        "torchvision": _torchvision(),
        "numpy": np.__version__,
        "python": platform.python_version(),
        **machine.describe(),
        "precision": precision_flags(),
        "commit": git.commit(ROOT),
        "data": data,
    }


def _torchvision() -> str | None:
    try:
        return importlib.metadata.version("torchvision")
    except importlib.metadata.PackageNotFoundError:
        return None  # on a release of PyTorch that has none for this Python
