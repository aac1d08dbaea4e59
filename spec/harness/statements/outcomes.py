"""What became of a check: the closed list of outcomes, and the record of one case on one device."""

from dataclasses import asdict, dataclass, field
from typing import Any

import pytest

from spec.harness.accelerator.devices import on_accelerator
from spec.harness.places import node_of, specification
from spec.harness.records.vocabulary import (
    CONFIRMED,
    CRASHED,
    ERROR,
    NOT_CHECKED,
    REFUTED,
    SEVERAL_GPUS,
    TIME,
    TIMEOUT,
    Record,
)
from spec.harness.statements.checks import is_own_check, raising_file
from spec.harness.statements.contract import NotChecked
from spec.harness.statements.seeds import cases, seed_of
from spec.harness.statements.statement import notes_of, since_of, statement_of

KNOWN = pytest.StashKey[Record]()


@dataclass
class Found:
    """What a check has come to so far: it counts as crashed until its test has ended."""

    device: str | None = None
    outcome: str = CRASHED
    reason: str | None = None
    detail: str | None = None
    seen: str | None = "the process that ran the test ended without a report"
    measured: dict[str, Any] = field(default_factory=dict)
    tolerance_used: float | None = None
    checks: int = 0
    seconds: float = 0.0


def record(item: pytest.Item, found: Found) -> Record | None:
    """Return the record of one row of a check on one device, None for a test that checks no statement."""
    if KNOWN not in item.stash:
        item.stash[KNOWN] = _known(item)
    known = item.stash[KNOWN]
    device = found.device or ("accelerator" if known.get("gpu") else "cpu")
    return {**known, **asdict(found), "device": device} if known else None


def _known(item: pytest.Item) -> Record:
    """Return what a record says of a check before it runs; nothing for a test that checks no statement."""
    statement = statement_of(item)
    if statement is None:
        return {}
    return {
        "kind": "result",
        "id": statement.id,
        "section": notes_of(item.config).section(statement.heading),
        "notes": statement.notes,
        "verdict": statement.verdict,
        "says": statement.says,
        "since": since_of(item),
        "sentence": statement.sentence,
        "check": getattr(item, "originalname", item.name),
        "node": node_of(item),
        "params": cases(item),
        "gpu": on_accelerator(item),
        "needs": needs(item),
        "seed": seed_of(item),
    }


def needs(item: pytest.Item) -> list[str]:
    """Return what a check needs besides one accelerator or the CPU."""
    given = notes_of(item.config).needs
    return [
        *(word for fixture, word in given.items() if fixture in getattr(item, "fixturenames", ())),
        *[SEVERAL_GPUS] * bool(item.get_closest_marker("multi_gpu")),
        *[TIME] * bool(item.get_closest_marker("slow")),
    ]


def ended_by(record: Record, outcome: str, seen: str | None) -> Record:
    """Return the record of a check that its process left without a report."""
    reason = "not-reached" if outcome == NOT_CHECKED else None
    return {**record, "outcome": outcome, "reason": reason, "seen": seen}


def outcome_of(
    error: BaseException | None, item: pytest.Item, report: pytest.TestReport
) -> tuple[str, str | None, str | None]:
    """Return outcome, reason and what was seen instead, for a test that ended with `error`."""
    if error is None:
        return (ERROR, None, report.longreprtext) if report.failed else (CONFIRMED, None, None)
    if isinstance(error, NotChecked) and not report.failed:
        return NOT_CHECKED, error.reason, None
    # Hypothesis tells the case that it found in a note
    seen = "\n".join([str(error)[:1000] or type(error).__name__, *getattr(error, "__notes__", [])])
    if report.when == "call" and is_own_check(error, specification(item)):
        return REFUTED, None, seen
    raised_in = raising_file(error)
    if raised_in is not None and raised_in.name == "pytest_timeout.py":
        return TIMEOUT, None, seen
    return ERROR, None, f"{type(error).__name__}: {seen}"
