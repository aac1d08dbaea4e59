"""The only place of the harness that calls git.

In a hook git tells its children by variables which repository and which index are meant, wherever they are
started: a checkout that hears of them writes into the commit that is being made. So none is handed on.
"""

import os
import subprocess
from pathlib import Path

from spec.harness.errors import HarnessError

PACKAGES = ("blitz", "spec")
PATIENCE = 600  # seconds; a partial clone fetches what a checkout lacks


class GitError(HarnessError):
    """Git could not do it; the sentence is git's own."""


def environment() -> dict[str, str]:
    """Return the environment of this process without the variables of git."""
    return {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}


def ask(folder: Path, *words: str) -> str:
    """Return what git says in a folder.

    Raises:
        GitError: git cannot be run, refuses, or takes too long.
    """
    # no hook of the repository runs, and its index is not written for a look at it
    command = ["git", "-c", "core.hooksPath=/dev/null", "--no-optional-locks", "-C", str(folder), *words]
    try:
        done = subprocess.run(command, env=environment(), capture_output=True, timeout=PATIENCE)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise GitError(f"git cannot be run: {error}") from error
    if done.returncode:
        said = " ".join(os.fsdecode(done.stderr).split())
        raise GitError(said or f"git {words[0]} ended with status {done.returncode}")
    return os.fsdecode(done.stdout).rstrip("\n")


def commit(root: Path) -> str | None:
    """Return the commit of the sources in `root`, with a + where they were changed since.

    None if git does not track them: an unpacked archive, or a virtual environment, may lie in the repository
    of something else.
    """
    settings = ("conftest.py", "pyproject.toml")
    try:
        if not ask(root, "ls-files", "--", *PACKAGES):
            return None
        changed = ask(root, "status", "--porcelain", "--untracked-files=normal", "--", *PACKAGES, *settings)
        return ask(root, "rev-parse", "--verify", "HEAD") + ("+" if changed else "")
    except GitError:
        return None
