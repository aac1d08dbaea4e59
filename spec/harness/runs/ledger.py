"""The ledger of a run: which checks were collected, what came of each, and what is wrong with the whole.

It is a file, so that it outlives the process that runs the checks, and whoever is left can settle it.
"""

import json
import os
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

FAILED = 1  # pytest's status for a test that failed
UNFINISHED = 3  # pytest's for an internal error: the run did not come to its end


class Account(NamedTuple):
    """What a ledger says at its end."""

    collected: int  # checks
    ended: int  # of them, with one outcome each
    broken: int  # checks that were refuted or broke in any other way, and failed climbs of the ladder
    recorded: set[str]  # the nodes of the records that were made, one of each check that ended
    problems: list[str]  # of the run as a whole, a sentence each
    begun: bool  # whether the file has its header
    finished: bool  # whether pytest came to the end of its session
    status: int | None  # that the process announced as its last act

    def deserved(self, status: int) -> int:
        """Return the exit status that the run deserves, where pytest, or whatever ended it, says `status`."""
        if status:
            return status
        return FAILED if self.broken else UNFINISHED if self.problems else 0


class Ledger:
    """A file of JSON lines in a folder of the run."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "ledger"

    def note(self, **line: Any) -> None:
        """Add a line.

        Args:
            line: `begun`, that the file has its header; `collected`, the node ids of all checks; `ended`, the
                node id of one, with whether it is `broken` and the node of what was `recorded`; `problem`, a
                sentence about the whole; `finished`, that pytest came to the end of its session; or `status`,
                the exit status that the process is about to end with.
        """
        file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            os.write(file, f"{json.dumps(line)}\n".encode())
        finally:
            os.close(file)

    def account(self) -> Account:
        """Add up what was noted; what a killed process wrote by half does not count."""
        lines = self.path.read_bytes().split(b"\n")[:-1] if self.path.exists() else []
        notes: list[dict[str, Any]] = [json.loads(line) for line in lines]
        collected = Counter(next((note["collected"] for note in notes if "collected" in note), []))
        ended = Counter(note["ended"] for note in notes if "ended" in note)
        problems = [note["problem"] for note in notes if "problem" in note]
        if missing := collected - ended:
            count, all_of_them = missing.total(), collected.total()
            problems.append(f"{count} of {all_of_them} checks did not come to an end, such as {min(missing)}")
        if again := ended - collected:
            problems.append(f"{min(again)} ended more often than it was collected")
        finished = any("finished" in note for note in notes)
        if not finished:
            problems.append("pytest did not come to the end of its session")
        return Account(
            collected=collected.total(),
            ended=(collected & ended).total(),
            broken=sum(note.get("broken", False) for note in notes),
            recorded={note["recorded"] for note in notes if note.get("recorded")},
            problems=problems,
            begun=any("begun" in note for note in notes),
            finished=finished,
            status=next((note["status"] for note in notes if "status" in note), None),
        )
