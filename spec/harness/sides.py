"""The sides of `blitz perf`: a revision of git, a folder or an interpreter, as a tree and what runs it."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from blitz.errors import BlitzError

ROOT = Path(__file__).parents[2]


class Side(NamedTuple):
    """What is measured: the code in `tree`, run by `python`."""

    name: str  # BASE or HEAD
    said: str  # what the person called it
    tree: Path
    python: str

    def __str__(self) -> str:
        return f"{self.name} ({self.said})"


@contextmanager
def side(name: str, said: str) -> Iterator[Side]:
    """Find what a person means; a revision is checked out, and removed afterwards.

    Raises:
        BlitzError: it is nothing of the three, or a name for two of them.
    """
    path = Path(said)
    commit = _git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{said}^{{commit}}")
    if path.exists() and commit:
        raise BlitzError(
            f"{said} is a path and a revision: write ./{said} for the path, {commit[:12]} for the other"
        )
    if said and path.is_dir():  # an empty word, of a variable that is not set, is no folder
        yield Side(name, said, path.resolve(), sys.executable)
    elif path.is_file() and os.access(path, os.X_OK):
        # absolute but not resolved: the python of a virtual environment is a link, and means another thing
        yield Side(name, said, ROOT, str(path.absolute()))
    elif commit:
        with _checked_out(commit) as tree:
            yield Side(
                name, said if commit.startswith(said) else f"{said}, {commit[:12]}", tree, sys.executable
            )
    else:
        raise BlitzError(
            f"{name} is {said}: expected a revision that git knows in {ROOT}, a folder or an interpreter"
        )


@contextmanager
def _checked_out(commit: str) -> Iterator[Path]:
    """Lend a working tree of a commit."""
    folder = Path(tempfile.mkdtemp(prefix="blitz-perf-")).resolve()
    tree = folder / "tree"
    try:
        if _git("worktree", "add", "--detach", str(tree), commit) is None:
            raise BlitzError(
                f"git cannot check out {commit[:12]} of {ROOT} in {tree}: is there room, and may it?"
            )
        yield tree
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        _git("worktree", "prune")


def _git(*words: str) -> str | None:
    """Return what git says in the repository, None if it refuses or is not there."""
    try:
        done = subprocess.run(["git", "-C", ROOT, *words], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()
