"""Python processes that this project starts: they import it, and nothing that lies in the current folder."""

import os
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def python(*words: str) -> list[str]:
    """Return the command that has this Python do what `words` say."""
    return [sys.executable, "-P", *words]


def environment() -> dict[str, str]:
    """Return the environment of such a process, in which this project comes before an installed one."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return {**os.environ, "PYTHONPATH": path}
