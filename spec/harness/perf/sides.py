"""The sides of `blitz perf`: a revision of git, a folder or an interpreter, as a tree and what runs it.

Revisions are those of the project that the current folder lies in, wherever this code is installed.
"""

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from spec.harness import git
from spec.harness.errors import HarnessError


class Side(NamedTuple):
    """What is measured: the code in `tree`, run by `python`."""

    name: str  # BASE or HEAD
    said: str  # what the person called it
    tree: Path
    python: str
    source: str  # which commit that is, and where

    def __str__(self) -> str:
        return f"{self.name} ({self.said})"


@contextmanager
def side(name: str, said: str) -> Iterator[Side]:
    """Find what a person means; a revision is checked out, and removed afterwards.

    Raises:
        HarnessError: it is nothing of the three, or a name for two of them.
    """
    place = _place(said)
    try:
        root, commit = _revision(said)
    except HarnessError as error:
        if place is None:
            message = f"{name} is {said}: expected a folder, an interpreter or a revision: {error}"
            raise HarnessError(message) from error
        commit = ""
    if place and commit:
        raise HarnessError(
            f"{said} is a path and a revision: write ./{said} for the path, {commit[:12]} for the other"
        )
    if place:
        tree, python = place
        yield Side(name, said, tree, python, f"{git.commit(tree) or 'no commit'} in {tree}")
    else:
        with _checked_out(root, commit) as tree:
            yield Side(name, said, tree, sys.executable, f"{commit} in {root}")


def _place(said: str) -> tuple[Path, str] | None:
    """Return the tree and the interpreter that a path stands for, None if it is none of either."""
    path = Path(said)
    if said and path.is_dir():  # an empty word, of a variable that is not set, is no folder
        if path.resolve() == Path.cwd():  # below the top of the project it stands for the whole
            with suppress(HarnessError):
                return project(), sys.executable
        return path.resolve(), sys.executable
    if path.is_file() and os.access(path, os.X_OK):
        # absolute but not resolved: the python of a virtual environment is a link, and means another thing
        return project(), str(path.absolute())
    return None


def project() -> Path:
    """Return the project that the current folder lies in: the nearest folder with both packages.

    Raises:
        HarnessError: it lies in none.
    """
    here = Path.cwd()
    for folder in (here, *here.parents):
        if all((folder / package / "__init__.py").is_file() for package in git.PACKAGES):
            return folder
    raise HarnessError(
        f"{here} lies in no clone of this project: none of its folders has both blitz and spec"
    )


def _revision(said: str) -> tuple[Path, str]:
    """Return the repository that the current folder belongs to, and the commit in it that is meant.

    Raises:
        HarnessError: the repository is none, or not this project's, or has no such commit.
    """
    root = project()
    top = git.ask(root, "rev-parse", "--show-toplevel")
    if Path(top) != root:
        raise HarnessError(f"{root} is no clone of this project, but lies in another repository, {top}")
    try:
        return root, git.ask(root, "rev-parse", "--verify", "--end-of-options", f"{said}^{{commit}}")
    except git.GitError as error:
        shallow = git.ask(root, "rev-parse", "--is-shallow-repository") == "true"
        hint = "; it is a shallow clone, of which `git fetch --unshallow` gets the rest" if shallow else ""
        raise HarnessError(f"{root} has no commit of this name (git says: {error}){hint}") from error


@contextmanager
def _checked_out(root: Path, commit: str) -> Iterator[Path]:
    """Lend a working tree of a commit."""
    folder = Path(tempfile.mkdtemp(prefix="blitz-perf-")).resolve()
    tree = folder / "tree"
    try:
        try:
            git.ask(root, "worktree", "add", "--quiet", "--detach", str(tree), commit)
        except git.GitError as error:
            raise HarnessError(f"git cannot check out {commit} of {root} in {tree}: {error}") from error
        yield tree
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        with suppress(git.GitError):
            git.ask(root, "worktree", "prune")
