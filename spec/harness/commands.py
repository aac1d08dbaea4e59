"""The commands that read records, list statements, climb the ladder, and compare speeds.

A command imports what it needs when it runs, so that help and usage errors do not wait for PyTorch.
"""

import argparse
from functools import partial
from pathlib import Path
from typing import Any

from spec.harness.children import ROOT
from spec.harness.language import LANGUAGES, language
from spec.harness.perf import compare as perf
from spec.harness.records.escaping import printable
from spec.harness.statements.notes import Notes


def add_commands(commands: Any, notes: Notes) -> None:
    """Add the parser of each command, whose `run` takes the arguments and returns the exit status."""
    climb = commands.add_parser("doctor", help="find the first cause of what is wrong with an accelerator")
    climb.add_argument(
        "--device", metavar="NAME", help="a kind, such as cuda, xpu or cpu, or one device, such as cuda:1"
    )
    climb.set_defaults(run=_doctor)

    words = commands.add_parser("summary", help="print the summary of a run again, from its records")
    words.add_argument("records", type=Path, metavar="RECORDS", help="a file that --records wrote")
    add_language(words)
    words.set_defaults(run=partial(_summary, notes))

    table = commands.add_parser(
        "matrix",
        help="check the statements on several releases of PyTorch, and show what differs",
        description="Makes a virtual environment for each release, runs the statements in it, and prints "
        "what differs. An environment that is there is used again, and so are records of the same commit. On "
        "releases before those that this project supports, only checks run that name a release; each has to "
        "be refuted on the releases before it. Exit status: 0 each release was checked, and each statement "
        "is as it says; 1 not so; 2 it could not be begun.",
    )
    table.add_argument("releases", metavar="RELEASE", nargs="+", help="such as 2.9, or 2.9.1")
    table.add_argument(
        "--folder",
        type=Path,
        metavar="PATH",
        default=ROOT / ".releases",
        help="where environments, logs and records are kept; default: .releases in the clone",
    )
    table.add_argument("--markdown", type=Path, metavar="FILE", help="write the whole table there as well")
    table.set_defaults(run=partial(_matrix, notes))

    page = commands.add_parser("report", help="make a page of the records of one run or more")
    page.add_argument("records", type=Path, metavar="RECORDS", nargs="+", help="files that --records wrote")
    page.add_argument(
        "-o",
        "--out",
        type=Path,
        metavar="FILE",
        default=Path("report.html"),
        help="the page; default: %(default)s",
    )
    page.add_argument(
        "--pictures",
        type=Path,
        metavar="PATH",
        action="append",
        default=[],
        help="a picture or a folder of pictures, as a training writes it, to show, too; may be repeated",
    )
    add_language(page)
    page.set_defaults(run=partial(_report, notes))

    changes = commands.add_parser("diff", help="show what changed between two runs, and whether it is worse")
    changes.add_argument("before", type=Path, metavar="A", help="the records of the run before")
    changes.add_argument("after", type=Path, metavar="B", help="the records of the run after")
    changes.add_argument(
        "--format", choices=["text", "markdown", "json"], default="text", help="default: %(default)s"
    )
    changes.set_defaults(run=_diff)

    every = commands.add_parser("statements", help="print all statements as Markdown (docs/statements.md)")
    every.set_defaults(run=partial(_statements, notes))

    perf.add_command(commands)


def _doctor(arguments: argparse.Namespace) -> int:
    from spec.harness.accelerator.doctor import doctor

    return doctor(arguments.device)


def _summary(notes: Notes, arguments: argparse.Namespace) -> int:
    from spec.harness.records import reading, summary

    tongue = language(arguments.language, notes)
    try:
        found = reading.read(arguments.records, notes.ids())
    except reading.UnfinishedError as unfinished:
        print("\n".join([printable(str(unfinished)), "", *summary.of_file(unfinished.found, tongue)]))
        return unfinished.status
    trouble = summary.trouble(found)
    print("\n".join([*summary.of_file(found, tongue), *(["", trouble] if trouble else [])]))
    return 1 if trouble or summary.any_bad(found.results) else 0


def _matrix(notes: Notes, arguments: argparse.Namespace) -> int:
    from spec.harness.runs.releases import check_releases

    tongue = language(None, notes)
    return check_releases(arguments.releases, arguments.folder, notes, tongue, arguments.markdown)


def add_language(command: argparse.ArgumentParser) -> None:
    """Let a command be asked to speak a language."""
    command.add_argument("--language", choices=LANGUAGES, help="en or zh; default: as the locale (LANG) says")


def _report(notes: Notes, arguments: argparse.Namespace) -> int:
    from spec.harness.page import report
    from spec.harness.records import reading

    tongue = language(arguments.language, notes)
    finished = report.write(arguments.records, arguments.out, notes, tongue, arguments.pictures)
    print(tongue.say("The page is {path}.", path=arguments.out.resolve()))
    return 0 if finished else reading.UnfinishedError.status


def _diff(arguments: argparse.Namespace) -> int:
    from spec.harness.records import diff, diff_report

    forms = {"text": diff_report.as_text, "markdown": diff_report.as_markdown, "json": diff.as_json}
    found = diff.compare(arguments.before, arguments.after)
    print(forms[arguments.format](found))
    return found.status


def _statements(notes: Notes, arguments: argparse.Namespace) -> int:
    from spec.harness.statements import catalogue

    print(catalogue.page(notes), end="")
    return 0
