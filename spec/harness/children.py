"""Python processes that this project starts: they import it, and nothing that lies in the current folder."""

import ctypes
import multiprocessing
import os
import signal
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


def end_with_parent() -> None:
    """Have Linux end this process with the one that started it, whose name a person knows."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
        parent = multiprocessing.parent_process()
        if parent and not parent.is_alive():  # it ended while this process was still importing
            os._exit(1)
