"""`blitz perf BASE HEAD`: tells what got slower from what is noise."""

import argparse
import os
import signal
import sys
import traceback
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spec.harness.errors import HarnessError

if TYPE_CHECKING:
    from spec.harness.perf.report import Finding

ROUNDS = 8
FEWEST_ROUNDS = (
    5  # with fewer, more than 1 % of the resamples are one round repeated, and intervals have no end
)
COULD_NOT_BE_DONE = 2


def add_command(commands: Any) -> None:
    """Add `perf` to the commands; nothing that takes time is imported for it."""
    perf = commands.add_parser(
        "perf",
        help="tell which benchmarks are slower in HEAD than in BASE",
        description="Times the benchmarks of two versions in turn, and tells a slowdown from noise. BASE and "
        "HEAD are a revision of git, a folder, or a Python interpreter, which stands for its PyTorch. "
        "Revisions are those of the clone of this project that the current folder lies in, and an "
        "interpreter runs what lies there; a folder is itself, but . is the whole project from below its "
        "top, too. Exit status: 0 what was compared is not slower, and nothing is missing or failed; "
        "1 something is slower, missing or failed; 2 it could not be done: not one benchmark was compared, "
        "or the report cannot be written.",
    )
    perf.add_argument("base", metavar="BASE", help="what to compare with")
    perf.add_argument("head", metavar="HEAD", help="what may have become slower")
    perf.add_argument(
        "--rounds", type=rounds, default=ROUNDS, metavar="N", help="pairs of processes; default: %(default)s"
    )
    perf.add_argument(
        "--threshold",
        type=threshold,
        default=0.05,
        metavar="SHARE",
        help="a change that matters, such as 5%% or 0.05; default: 5%%",
    )
    perf.add_argument(
        "--select", default="", metavar="WORDS", help="only benchmarks with one of these words in their name"
    )
    perf.add_argument("--plot", type=Path, metavar="FILE", help="draw the ratios there, .svg or .png")
    perf.add_argument("--summary", type=Path, metavar="FILE", help="append the report to this file")
    perf.set_defaults(run=_run)


def threshold(text: str) -> float:
    """Read a share, between 0 and 1 on either side.

    >>> threshold("5%"), threshold("0.05")
    (0.05, 0.05)
    """
    try:
        value = float(text.strip().removesuffix("%")) / (100 if "%" in text else 1)
    except ValueError:
        value = 0.0
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"expected a share such as 5% or 0.05, got {text}")
    return value


def rounds(text: str) -> int:
    """Read a number of rounds."""
    value = int(text) if text.isdecimal() else 0
    if value < FEWEST_ROUNDS:
        raise argparse.ArgumentTypeError(
            f"expected {FEWEST_ROUNDS} rounds or more to tell anything, got {text}"
        )
    return value


def _run(arguments: argparse.Namespace) -> int:
    options = {name: value for name, value in vars(arguments).items() if name != "run"}
    try:
        return perf(**options)
    except (HarnessError, OSError) as error:
        print(f"blitz: {error}", file=sys.stderr)
        if arguments.summary:
            with suppress(HarnessError):
                _append(f"## blitz perf: it could not be done\n\n{error}", arguments.summary)
    except Exception:  # Python would end with status 1, as if something were slower
        traceback.print_exc()
    return COULD_NOT_BE_DONE


def perf(
    base: str,
    head: str,
    *,
    rounds: int,
    threshold: float,
    select: str,
    plot: Path | None,
    summary: Path | None,
) -> int:
    """Compare, print the report, and return 1 if something is slower, missing or failed, else 0.

    Raises:
        HarnessError: it cannot be measured, or nothing could be compared, or the report cannot be written.
    """
    from spec.harness.perf import report
    from spec.harness.perf.ratios import FAILURES

    _check_writable(plot, summary)
    found, about = compare(base, head, rounds=rounds, threshold=threshold, select=select)
    text = report.markdown(found, about, rounds=rounds, threshold=threshold)
    _print(text)
    if summary:
        _append(text, summary)
    if plot:
        _write(report.picture(found, threshold=threshold, suffix=plot.suffix[1:]), plot)
    if not any(finding.ratio for finding in found):
        raise HarnessError("nothing was compared: expected a benchmark that both sides have and can run")
    return int(any(finding.result in FAILURES for finding in found))


def compare(
    base: str, head: str, *, rounds: int = ROUNDS, threshold: float = 0.05, select: str = ""
) -> "tuple[list[Finding], list[str]]":
    """Measure two sides; return a finding for each benchmark, and lines about sides and machine.

    Args:
        base: a revision, folder or interpreter.
        head: another one, or the same.
        rounds: pairs of processes.
        threshold: a change that matters, as a share.
        select: words of which the name of a benchmark has one.

    Raises:
        HarnessError: it cannot be measured.
    """
    from spec.harness.perf import interleaving, report
    from spec.harness.perf.sides import side

    load = report.load_average()
    with _ended_in_order(), ExitStack() as stack:
        sides = stack.enter_context(side("BASE", base)), stack.enter_context(side("HEAD", head))
        measured = interleaving.measure(*sides, rounds=rounds, select=select)
        return report.findings(measured, threshold), report.about(sides, measured, load)


@contextmanager
def _ended_in_order() -> Iterator[None]:
    """Let SIGTERM, by which a cancelled job is ended, end the processes and remove the working trees, too."""

    def stop(*_: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a second one would cut the clearing up short
        sys.exit(128 + signal.SIGTERM)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _check_writable(plot: Path | None, summary: Path | None) -> None:
    """Refuse before minutes are spent what could not be written after them."""
    if plot and plot.suffix not in (".svg", ".png"):
        raise HarnessError(f"expected --plot FILE.svg or FILE.png, got {plot}")
    for path in (plot, summary):
        if path and (path.is_dir() or not path.absolute().parent.is_dir()):
            raise HarnessError(f"{path} cannot be written: expected a file in a folder that exists")


def _print(text: str) -> None:
    try:
        print(text, flush=True)
    except OSError as error:
        # else Python tries once more as it ends, and fails with a status of its own
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise HarnessError(f"the report cannot be printed: {error.strerror}") from error


def _write(data: bytes, path: Path) -> None:
    """Write a file that is whole whenever it can be seen."""
    part = path.with_name(f".{path.name}.part")
    try:
        part.write_bytes(data)
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise HarnessError(f"{path} cannot be written: {error.strerror}") from error


def _append(text: str, path: Path) -> None:
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(f"{text}\n")
    except OSError as error:
        raise HarnessError(f"{path} cannot be written: {error.strerror}") from error
