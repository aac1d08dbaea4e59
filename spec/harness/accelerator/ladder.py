"""The ladder: a device climbs in a process of its own, and the first rung that fails is the first cause.

Whatever becomes of that process, an error that sticks, a crash or a call that never returns, this one gets a
step for each rung: what stands above the first cause is blocked by it.
"""

import json
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from queue import Empty, SimpleQueue
from threading import Thread
from typing import IO, Any, cast

from spec.harness.accelerator.rungs import DIED, HUNG, NAMES
from spec.harness.accelerator.steps import Outcome, Step, first_cause
from spec.harness.children import ROOT, environment, python

MODULE = "spec.harness.accelerator.rungs"  # what climbs
START = 60.0  # seconds to import PyTorch, which a cold disk takes its time for
SECONDS = 30.0  # for a rung
LAST_WORDS = 3.0  # seconds for a process that hangs to say where


def climbing(device: str) -> Iterator[Step]:
    """Have a device climb in a process of its own; yield a step for each rung when it has ended."""
    failed = None
    climber = _Climber(python("-X", "faulthandler", "-m", MODULE, device))
    try:
        for name in NAMES:
            if failed:
                yield _step(device, name, "blocked", f"by {failed}")
                continue
            step = _rung(climber, device, name, SECONDS + (START if name == NAMES[0] else 0))
            failed = None if step["outcome"] == "passed" else name
            yield step
    finally:
        climber.end()


def not_climbed(device: str, error: Exception) -> Step:
    """Return a first rung that failed because no process could be sent up the ladder, or not be heard."""
    seen = f"the ladder could not be run: {type(error).__name__}: {error}"
    advice = "see that this user may start processes and write to the folder for temporary files (TMPDIR)"
    return _step(device, NAMES[0], "failed", seen, advice)


def _rung(climber: "_Climber", device: str, name: str, patience: float) -> Step:
    """Wait for what comes of one rung."""
    started = time.monotonic()
    try:
        told = climber.lines.get(timeout=patience)
    except Empty:
        seen = f"no answer within {patience:g} s{climber.where_it_hangs()}"
        step = _step(device, name, "timeout", seen, HUNG)
    else:
        if told is not None:
            return cast(Step, {"device": device, **told})
        step = _step(device, name, "crashed", climber.cause_of_death(), DIED)
    step["seconds"] = round(time.monotonic() - started, 3)
    return step


def _step(device: str, rung: str, outcome: Outcome, seen: str, advice: str = "") -> Step:
    return {
        "device": device,
        "rung": rung,
        "outcome": outcome,
        "seen": seen,
        "advice": advice,
        "seconds": 0.0,
    }


class _Climber:
    """The process that climbs, the lines that it prints, and what it leaves on its standard error."""

    def __init__(self, command: list[str]) -> None:
        self.errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 -- closed by end()
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            env=environment(),
        )
        self.lines: SimpleQueue[dict[str, Any] | None] = SimpleQueue()  # None at the end of all lines
        Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as pipe:
            for line in pipe:
                if line.startswith(b'{"rung"'):  # and not what some library prints while it is imported
                    self.lines.put(json.loads(line))
        self.lines.put(None)

    def where_it_hangs(self) -> str:
        """End the process, which is asked to say where it is; return that, if it does."""
        self.process.send_signal(signal.SIGABRT)  # faulthandler answers, without the interpreter
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(LAST_WORDS)
        frames = self._frames()
        return f"; it was at {frames}" if frames else ""

    def cause_of_death(self) -> str:
        """Return what ended the process, and the end of what it said."""
        try:
            status = self.process.wait(LAST_WORDS)
        except subprocess.TimeoutExpired:
            return "its process said no more"
        if status >= 0:
            cause = f"its process ended with status {status}"
        else:
            cause = f"its process was ended by {signal.Signals(-status).name}"
        if status == -signal.SIGKILL:
            cause += ", as happens where memory runs out"
        said = [line for line in self._said().splitlines() if line.strip()]
        rest = self._frames() or " | ".join(line.strip() for line in said[-2:])
        return f"{cause}: {rest}" if rest else cause

    def _said(self) -> str:
        self.errors.seek(0)
        return self.errors.read().decode(errors="replace")

    def _frames(self) -> str:
        """Return the innermost line of Python that faulthandler saw, outside of libraries if there is one."""
        _, _, stack = self._said().rpartition("(most recent call first):\n")
        frames = [line.strip() for line in stack.splitlines() if line.startswith("  File ")]
        ours = [frame for frame in frames if "site-packages" not in frame and "/lib/python" not in frame]
        return (ours or frames or [""])[0].replace(f"{ROOT}{os.sep}", "")

    def end(self) -> None:
        """End the process, whatever it does; one that not even SIGKILL ends is left behind."""
        self.process.kill()
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(LAST_WORDS)
        self.errors.close()


def blocks(steps: Iterable[Step], needed: str) -> str | None:
    """Return the rung that failed, if it is the one that is needed or one below it."""
    cause = first_cause(steps)
    if cause is None or NAMES.index(cause["rung"]) > NAMES.index(needed):
        return None
    return cause["rung"]
