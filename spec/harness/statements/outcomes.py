"""What became of a claim: the closed list of outcomes, and the record of one case on one device."""

from typing import Any

import pytest

from spec.harness.accelerator.devices import on_accelerator
from spec.harness.places import node_of, specification
from spec.harness.statements.checks import is_own_check, raising_file
from spec.harness.statements.contract import NotChecked
from spec.harness.statements.seeds import cases, seed_of
from spec.harness.statements.statement import Statement, since_of

CONFIRMED = "confirmed"
REFUTED = "refuted"
NOT_CHECKED = "not checked"
ERROR = "error"
TIMEOUT = "timeout"
CRASHED = "crashed"
OUTCOMES = [CONFIRMED, REFUTED, NOT_CHECKED, ERROR, TIMEOUT, CRASHED]

HEADINGS = pytest.StashKey[dict[str, str]]()  # the section of each heading of the notes

Record = dict[str, Any]


def begin(statement: Statement, item: pytest.Item) -> Record:
    """Return the record of a check that is about to run; it counts as crashed until the test has ended."""
    gpu = on_accelerator(item)
    return {
        "kind": "result",
        "id": statement.id,
        "section": item.config.stash[HEADINGS][statement.notes.partition("; ")[0]],
        "notes": statement.notes,
        "verdict": statement.verdict,
        "says": statement.says,
        "since": since_of(item),
        "sentence": statement.sentence,
        "check": item.function.__name__,
        "node": node_of(item),
        "params": cases(item),
        "device": "accelerator" if gpu else "cpu",
        "gpu": gpu,
        "outcome": CRASHED,
        "reason": None,
        "detail": None,
        "seen": "the process that ran the test ended without a report",
        "measured": {},
        "tolerance_used": None,
        "checks": 0,
        "seconds": 0.0,
        "seed": seed_of(item),
    }


def outcome_of(
    error: BaseException | None, item: pytest.Item, report: pytest.TestReport
) -> tuple[str, str | None, str | None]:
    """Return outcome, reason and what was seen instead, for a test that ended with `error`."""
    if error is None:
        return (ERROR, None, report.longreprtext) if report.failed else (CONFIRMED, None, None)
    if isinstance(error, NotChecked) and not report.failed:
        return NOT_CHECKED, error.reason, None
    # Hypothesis tells the case that it found in a note
    seen = "\n".join([_text(error)[:1000] or type(error).__name__, *getattr(error, "__notes__", [])])
    if report.when == "call" and is_own_check(error, specification(item)):
        return REFUTED, None, seen
    raised_in = raising_file(error)
    if raised_in is not None and raised_in.name == "pytest_timeout.py":
        return TIMEOUT, None, seen
    return ERROR, None, f"{type(error).__name__}: {seen}"


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as another:
        return f"an error that cannot tell what it is ({type(another).__name__})"
