"""Show on GitHub what the records of a run say: a summary of the job, marks at the statements, a badge.

    .venv/bin/python .ci/github.py RECORDS [RECORDS ...] [--badge FILE]

What `blitz summary` prints is appended to the file that GITHUB_STEP_SUMMARY names. A workflow command for
each statement that was refuted or broke marks the line of its check; GitHub shows ten marks of a step, the
log has all. The badge is for https://shields.io/badges/endpoint-badge and takes all files together: a
statement is as bad as the worst of them says. The badge is green only if each run came to its end, nothing
was refuted or broke, and something was confirmed. The exit status is the highest with which `blitz summary`
ended for a file.
"""

import argparse
import ast
import io
import json
import os
import re
import sys
from collections import Counter
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple

from spec import command_line
from spec.harness.children import ROOT
from spec.harness.errors import HarnessError
from spec.harness.records import reading, summary
from spec.harness.records.escaping import printable

LONGEST = 1_000_000  # bytes; GitHub shows no summary of a step that has over 1 MiB
GOOD, BAD, NO_ANSWER, UNFINISHED = range(4)  # the statuses of `blitz summary`
BROKEN = ("error", "timeout", "crashed")
FLAWS = {NO_ANSWER: "no answer", UNFINISHED: "unfinished"}
ORDER = ["refuted", "broken", "confirmed", "not checked"]


class Run(NamedTuple):
    """A file of records: what `blitz summary` says of it, with which status, and the results that it has."""

    path: Path
    text: str
    status: int
    results: list[dict[str, Any]]


def main(arguments: list[str]) -> int:
    """Show the files on GitHub; return the highest status of `blitz summary`."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "records", type=Path, nargs="+", metavar="RECORDS", help="a file that --records wrote"
    )
    parser.add_argument("--badge", type=Path, metavar="FILE", help="write the badge there")
    asked = parser.parse_args(arguments)
    runs = [read(path) for path in asked.records]
    with Path(os.environ.get("GITHUB_STEP_SUMMARY", os.devnull)).open("a", encoding="utf-8") as page:
        page.writelines(fenced(run.text, LONGEST // len(runs)) for run in runs)
    for line in marks(runs):
        print(line)
    if asked.badge:
        asked.badge.write_text(json.dumps(badge(runs)) + "\n", encoding="utf-8")
    return max(run.status for run in runs)


def read(path: Path) -> Run:
    """Read a file of records, which may be unfinished, and may be none."""
    said = io.StringIO()
    with redirect_stdout(said), redirect_stderr(said):
        status = command_line.main(["summary", str(path)])
    try:
        results = reading.read(path).results
    except reading.UnfinishedError as unfinished:
        results = unfinished.found.results
    except HarnessError:
        results = []
    return Run(path, said.getvalue().removesuffix("\n"), status, results)


def fenced(text: str, longest: int) -> str:
    """Return `text` as a block of code, which nothing in it can end, cut after so many bytes."""
    whole = text.encode(errors="backslashreplace")
    kept = whole[:longest].decode(errors="ignore")
    cut = (
        "The summary is longer than GitHub shows; the records have the rest.\n\n"
        if len(whole) > longest
        else ""
    )
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", kept)), default=0))
    return f"{fence}text\n{kept}\n{fence}\n\n{cut}"


def marks(runs: list[Run]) -> list[str]:
    """Return a workflow command for each statement that is refuted or broken, and for each other bad end."""
    lines = []
    for record in summary.outcomes(record for run in runs for record in run.results).values():
        if summary.any_bad([record]):
            file, line = place(record["node"])
            title = f"{record['id']}: {record['outcome']}"
            message = f"Should be true: {record['sentence']}\nSeen: {record['seen'] or 'nothing'}"
            lines.append(mark(message, file=file, line=str(line), title=title))
    for run in runs:
        if run.status and not (run.status == BAD and summary.any_bad(run.results)):
            # `blitz summary` says first why it has no answer, and last what no statement tells
            sentence = run.text.splitlines()[-1 if run.status == BAD else 0]
            lines.append(mark(sentence, title=str(run.path)))
    return lines


def mark(message: str, **properties: str) -> str:
    """Return the workflow command that shows `message` as an error, whatever is in it."""
    told = (f"{key}={escaped(value, ':,')}" for key, value in properties.items())
    return f"::error {','.join(told)}::{escaped(message)}"


def escaped(text: str, more: str = "") -> str:
    """Return `text` with % and two digits for what a workflow command would take for its own."""
    return re.sub(f"[%\r\n{more}]", lambda found: f"%{ord(found[0]):02X}", printable(text))


def place(node: str) -> tuple[str, int]:
    """Return the file of a check and the line where it is defined, or as near to it as can be said."""
    file, *names = node.partition("[")[0].split("::")
    line = 1
    try:
        where: Any = ast.parse((ROOT / file).read_bytes()) if (ROOT / file).is_file() else None
    except (OSError, SyntaxError):
        where = None
    for name in names:  # a class, then a check in it, unless it inherits the check
        parts = getattr(where, "body", [])
        where = next((part for part in parts if getattr(part, "name", None) == name), None)
        line = getattr(where, "lineno", line)
    return file, line


def badge(runs: list[Run]) -> dict[str, Any]:
    """Return the badge: what is wrong with the runs, and what became of the statements."""
    decided = summary.outcomes(record for run in runs for record in run.results).values()
    counts = Counter("broken" if record["outcome"] in BROKEN else record["outcome"] for record in decided)
    statuses = {run.status for run in runs}
    bad = counts["refuted"] + counts["broken"]
    told = [f"{counts[word]} {word}" for word in ORDER if counts[word]]
    if BAD in statuses and not bad:
        told.insert(0, "failed")
    told = [FLAWS[status] for status in FLAWS if status in statuses] + told
    if bad or BAD in statuses:
        color = "red"
    elif UNFINISHED in statuses:
        color = "orange"
    else:
        color = "brightgreen" if statuses == {GOOD} and counts["confirmed"] else "lightgrey"
    return {"schemaVersion": 1, "label": "statements", "message": ", ".join(told), "color": color}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
