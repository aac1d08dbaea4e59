"""One step of a longer work: a process whose output goes to a log, and a line that says how long it took."""

import os
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from spec.harness.children import end_with_parent
from spec.harness.records.escaping import printable

LONGEST = 160  # characters of a reason
UNREACHED = "connection broken by"  # as pip says before it tries once more


class StepError(Exception):
    """A step failed; the sentence says why, in a few words of the program that failed."""


@contextmanager
def told(what: str) -> Iterator[None]:
    """Say what is being done, and then how long it took or why it failed."""
    print(f"{what} ...", end="", flush=True)
    begin = time.monotonic()
    try:
        yield
    except StepError as error:
        print(f" failed after {time.monotonic() - begin:.0f} s: {error}", flush=True)
        raise
    except BaseException:
        print(flush=True)  # the line that is broken off
        raise
    print(f" {time.monotonic() - begin:.0f} s", flush=True)


def line(command: list[str]) -> str:
    """Return what a log says of a command: what a person would type, with the settings of this project."""
    settings = [f"{name}={shlex.quote(value)}" for name, value in sorted(os.environ.items()) if _ours(name)]
    return " ".join(["$", *settings, shlex.join(command)])


def _ours(name: str) -> bool:
    return name.startswith("BLITZ_")


def run(command: list[str], log: Path, variables: Mapping[str, str], statuses: tuple[int, ...] = (0,)) -> str:
    """Run a command with these variables, append what it prints to the log, and return that.

    The process ends with this one (on Linux), so that none goes on writing where the next run begins.

    Raises:
        StepError: it cannot be run, or ends with none of the statuses.
    """
    with log.open("ab") as output:
        output.write(f"{line(command)}\n".encode())
        output.flush()
        begin = output.tell()
        try:
            status = subprocess.run(
                command,
                env=variables,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                close_fds=False,  # what this process lets others inherit is the lock of its folder
                preexec_fn=end_with_parent if sys.platform == "linux" else None,
                check=False,
            ).returncode
        except OSError as error:
            raise StepError(f"{command[0]} cannot be run: {error.strerror}") from None
    with log.open("rb") as written:
        written.seek(begin)
        said = written.read().decode(errors="replace")
    if status not in statuses:
        raise StepError(f"{reason(said) or f'it ended with status {status}'} (see {log})")
    return said


def reason(said: str) -> str:
    r"""Return why a program failed, from what it printed: its last error, or else its last line.

    >>> reason("Collecting a\nERROR: No matching distribution found for a\nTry again.")
    'No matching distribution found for a'
    """
    lines = [text.strip() for text in said.splitlines() if text.strip()]
    errors = [text.removeprefix("ERROR: ") for text in lines if text.startswith("ERROR: ")]
    telling = [text for text in errors if not text.startswith("ResolutionImpossible")]  # it points to a page
    why = printable((telling or errors or lines or [""])[-1].rstrip("."))
    if any(UNREACHED in text for text in lines):
        why = f"the network cannot be reached: {why}"
    return why if len(why) <= LONGEST else f"{why[: LONGEST - 1]}…"
