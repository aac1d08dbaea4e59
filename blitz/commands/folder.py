"""The folder of a training: who may write there, what a training goes on from, and what it saves."""

import argparse
import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from blitz.commands import signals
from blitz.errors import BlitzError, CheckpointError
from blitz.training import checkpoint, distributed
from blitz.training.fit import Progress

FILES = (
    "checkpoint.pt",
    "cifar_net.pth",
    "history.jsonl",
    "training.png",
    "predictions.png",
    "confusion.png",
)


def load_start(out: Path, resume: str | None, runs: set[str]) -> tuple[Path, dict[str, Any]] | None:
    """Return the checkpoint to go on from and what it holds, if there is one.

    Args:
        out: the folder.
        resume: the path that the command names, "" for the folder's own checkpoint, None to begin anew.
        runs: the names of the starts of torchrun that take part (see distributed.run_name). If one of them
            has saved here, this is a restart, which goes on from there.

    Raises:
        CheckpointError: the checkpoint named cannot be used.
    """
    own = out / "checkpoint.pt"
    if state := saved_by(runs, out):
        return own, state
    if resume is None:
        return None
    path = Path(resume or own)
    return path, checkpoint.load(path)


def saved_by(runs: set[str], out: Path) -> dict[str, Any] | None:
    """Return what one of the runs has saved in the folder last, if the last save is one of theirs."""
    try:
        state = checkpoint.load(out / "checkpoint.pt")
    except CheckpointError:
        return None
    return state if runs.intersection(state.get("runs", ())) else None


def where_to_go_on(arguments: argparse.Namespace, out: Path, runs: set[str]) -> list[str]:
    """Return the words that make a command go on from what this run has saved, or begin as this one did."""
    if saved_by(runs, out):
        return ["--resume"]
    return [] if arguments.resume is None else ["--resume", *filter(None, [arguments.resume])]


def stopped(stop: KeyboardInterrupt, command: str) -> int:
    """Say where a run was stopped, and by which command it goes on; return the status of Ctrl-C."""
    how = ""
    if distributed.launched():
        how = ", under torchrun as before"
        signals.ignore()  # whoever signals the whole group of processes has torchrun do it once more
    print(f"Stopped{stop}. To go on{how}:")
    print(f"    {command}", flush=True)
    return 130  # what a shell reports of a program that Ctrl-C ended


def save(state: dict[str, Any], out: Path, runs: set[str]) -> None:
    """Save the state_dict() of a training, its history, and the names of the runs that take part."""
    checkpoint.save({**state, "runs": sorted(runs)}, out / "checkpoint.pt")
    save_history(state["history"], out)


def take_over(start: Path, state: dict[str, Any], out: Path, runs: set[str]) -> None:
    """Have the folder hold what a training goes on from, and its history."""
    if start.resolve() == (out / "checkpoint.pt").resolve():
        save_history(state["history"], out)  # a kill may have left it one save behind the checkpoint
    else:
        save(state, out, runs)


@contextmanager
def claimed(out: Path, start: Path | None) -> Iterator[None]:
    """Hold the folder for this training alone, which goes on from `start`.

    Raises:
        BlitzError: the folder is read-only, in use, or holds another training.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=out).close()
    except OSError as error:
        raise BlitzError(f"cannot write to the folder {out}: {error.strerror}") from error
    held = [name for name in FILES if (out / name).exists()]
    if held and (start is None or start.resolve().parent != out.resolve()):
        ways = "continue with --resume, or choose another --out"
        raise CheckpointError(f"{out} already holds {held[0]}: {ways}")
    try:
        with FileLock(out / ".lock", timeout=0):
            yield
    except Timeout:
        raise BlitzError(f"another training is writing to {out}: choose another --out") from None


def save_history(history: list[Progress], out: Path) -> None:
    """Write the history, a line of JSON for each of its records."""
    lines = "".join(f"{json.dumps(record)}\n" for record in history)
    checkpoint.write(lines.encode(), out / "history.jsonl")
