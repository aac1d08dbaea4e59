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
FEWEST_ROUNDS = 5  # with fewer, over 1 % of the resamples are one round repeated: intervals have no end
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


def _run(asked: argparse.Namespace) -> int:
    try:
        return _perf(asked)
    except (HarnessError, OSError) as error:
        if asked.summary:
            with suppress(HarnessError):
                _write(f"## blitz perf: it could not be done\n\n{error}\n".encode(), asked.summary, "ab")
        raise  # the command line says it in a sentence
    except Exception:  # Python would end with status 1, as if something were slower
        traceback.print_exc()
        return COULD_NOT_BE_DONE


def _perf(asked: argparse.Namespace) -> int:
    """Compare, print the report, and return 1 if something is slower, missing or failed, else 0."""
    from spec.harness.perf import report
    from spec.harness.perf.ratios import FAILURES

    _check_writable(asked.plot, asked.summary)
    how = {"rounds": asked.rounds, "threshold": asked.threshold}
    found, about = compare(asked.base, asked.head, select=asked.select, **how)
    text = report.markdown(found, about, **how)
    print(text, flush=True)
    if asked.summary:
        _write(f"{text}\n".encode(), asked.summary, "ab")
    if asked.plot:
        picture = report.picture(found, threshold=asked.threshold, suffix=asked.plot.suffix[1:])
        _write(picture, asked.plot, "wb")
    if not any(finding.ratio for finding in found):
        raise HarnessError("nothing was compared: expected a benchmark that both sides have and can run")
    return int(any(finding.result in FAILURES for finding in found))


def compare(
    base: str, head: str, *, rounds: int = ROUNDS, threshold: float = 0.05, select: str = ""
) -> "tuple[list[Finding], list[str]]":
    """Measure two sides; return a finding for each benchmark, and lines about sides and machine.

    A side is a revision, folder or interpreter. The threshold is the share of a change that matters.

    Raises:
        HarnessError: it cannot be measured.
    """
    from spec.harness.perf import interleaving, report
    from spec.harness.perf.sides import side

    load = os.getloadavg()[0]
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


def _write(data: bytes, path: Path, mode: str) -> None:
    try:
        with path.open(mode) as file:
            file.write(data)
    except OSError as error:
        raise HarnessError(f"{path} cannot be written: {error.strerror}") from error
