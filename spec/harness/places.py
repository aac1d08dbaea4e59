"""Where a test lies, by its own file: whatever the root folder of the run, and whichever links led there."""

import functools
import os
from pathlib import Path
from typing import Any


@functools.cache  # asked for each of thousands of asserts
def real(file: str) -> Path:
    """Return the path of a file without symbolic links."""
    return Path(os.path.realpath(file))


def specification(item: Any) -> Path:
    """Return the folder `spec` that a test lies in; for a test outside of any, its own folder."""
    folders = real(str(item.path)).parents
    return next((folder for folder in folders if folder.name == "spec"), folders[0])


def node_of(item: Any) -> str:
    """Return the test's name beginning at its specification: "spec/test_1_tensor.py::test_a[case]"."""
    file = real(str(item.path)).relative_to(specification(item).parent).as_posix()
    return f"{file}::{item.nodeid.partition('::')[2]}"
