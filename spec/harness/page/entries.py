"""What the page shows of each statement: from the records of all runs, and from the specification's text."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from markupsafe import Markup
from packaging.version import Version

from spec.harness.language import Language
from spec.harness.page.source import Source, highlighted, sources
from spec.harness.records.vocabulary import (
    ACCELERATOR,
    BROKEN,
    CONFIRMED,
    NOT_CHECKED,
    OUTCOMES,
    REFUTED,
    Record,
)
from spec.harness.statements.notes import Notes

WHY = {  # statements were not checked, in the fewest words
    "no-accelerator": "no accelerator",
    "too-few-devices": "too few devices",
    "no-data": "no data",
    "no-package": "a package is missing",
    "torch-too-old": "an older PyTorch",
    "no-namespaces": "only one host",
    "blocked": "a failed rung",
    "not-implemented": "the accelerator lacks something",
    "no-hardware": "no real hardware",
    "not-reached": "not reached",
    "slow": "longer than a few seconds",
}


class Run(NamedTuple):
    """What one run found by one check.

    Attributes:
        outcomes: how many of its rows have which outcome.
        reasons: why rows were not checked.
        seconds: for all rows together.
        tolerance_used: the largest of all rows.
        measured: the values that a row measured, by row.
        seen: the rows that were refuted or broke, by what was seen in them.
    """

    outcomes: Mapping[str, int]
    reasons: Sequence[str]
    seconds: float
    tolerance_used: float | None
    measured: Mapping[str, Any]
    seen: Mapping[str, list[str]]


class Entry(NamedTuple):
    """One statement; `cells`, and the runs of each check, have an element for each run."""

    id: str
    record: Record
    title: str
    truth: str
    says: str | None
    since: str | None
    cells: Sequence[Record | None]
    needs: Sequence[str]
    checks: Mapping[str, Sequence[Run]]
    source: Source | None
    code: Markup
    measured: Mapping[str, Any]

    @property
    def outcomes(self) -> list[str]:
        """The outcomes of the runs that know the statement."""
        return [record["outcome"] for record in self.cells if record]

    @property
    def differs(self) -> bool:
        """Whether it has not the same outcome in all runs."""
        return len({record and record["outcome"] for record in self.cells}) > 1

    @property
    def node(self) -> str:
        """What to hand to pytest to run this statement alone."""
        file, _, name = str(self.record["node"]).partition("::")
        return f"{file}::{name.partition('::')[0].partition('[')[0]}"


def entries(
    records: Sequence[Mapping[str, list[Record]]],
    decided: Sequence[Mapping[str, Record]],
    notes: Notes,
    language: Language,
) -> list[Entry]:
    """Return an entry for each statement that a run knows: in the order of the notes as far as they have it.

    Args:
        records: of each run, by statement.
        decided: of each run, the record that decides, by statement.
        notes: the notes.
        language: of the page.
    """
    text = sources(notes)
    ran = dict.fromkeys(name for run in reversed(decided) for name in run)
    order = [heading for headings in notes.headings.values() for heading in headings]
    made = []
    for name in [*(name for name in text if name in ran), *(name for name in ran if name not in text)]:
        cells = [run.get(name) for run in decided]
        rows = [run.get(name, []) for run in records]
        made.append(_entry(name, cells, rows, text.get(name), notes, language))
    return sorted(made, key=lambda entry: _place(entry, order))


def _place(entry: Entry, order: list[str]) -> int:
    heading = entry.record["notes"].partition("; ")[0]
    return order.index(heading) if heading in order else len(order)


def _entry(
    id: str,
    cells: Sequence[Record | None],
    runs: Sequence[list[Record]],
    source: Source | None,
    notes: Notes,
    language: Language,
) -> Entry:
    latest = next(record for record in reversed(cells) if record)
    rows = [record for run in runs for record in run]
    truth, says = language.statement(id, latest["sentence"], latest["says"])
    heading = latest["notes"].partition("; ")[0]
    english = notes.headings.get(latest["section"], {}).get(heading, heading)
    checks = {name: [_run(name, run) for run in runs] for name in dict.fromkeys(row["check"] for row in rows)}
    return Entry(
        id=id,
        record=latest,
        title=language.title(heading, english),
        truth=truth,
        says=says,
        since=max((row["since"] for row in rows if row["since"]), key=Version, default=None),
        cells=cells,
        needs=sorted({need for row in rows for need in [*[ACCELERATOR] * row["gpu"], *row["needs"]]}),
        checks=checks,
        source=source,
        code=highlighted(source.code) if source else Markup(""),
        measured={key: value for row in rows for key, value in row["measured"].items()},
    )


def _run(name: str, records: Iterable[Record]) -> Run:
    rows = [record for record in records if record["check"] == name]
    used = [row["tolerance_used"] for row in rows if row["tolerance_used"] is not None]
    failed = [row for row in rows if row["outcome"] in (REFUTED, *BROKEN)]
    return Run(
        outcomes=tally(rows),
        reasons=list(dict.fromkeys(row["reason"] for row in rows if row["reason"])),
        seconds=sum(row["seconds"] for row in rows),
        tolerance_used=max(used, default=None),
        measured={_case(row): row["measured"] for row in rows if row["measured"]},
        seen={
            seen: [_case(row) for row in failed if row["seen"] == seen]
            for seen in dict.fromkeys(row["seen"] for row in failed)
        },
    )


def _case(record: Record) -> str:
    """Return which row of a check a record is of, and where it ran."""
    case = record["node"].partition("[")[2].removesuffix("]")
    return case if record["device"] in case.split("-") else ", ".join(filter(None, [case, record["device"]]))


def tally(records: Iterable[Record]) -> dict[str, int]:
    """Return how many records have which outcome."""
    counts = Counter(record["outcome"] for record in records)
    return {outcome: counts[outcome] for outcome in OUTCOMES if counts[outcome]}


def result(decided: Iterable[Record], language: Language) -> str:
    """Return in one sentence what a run came to."""
    its, say = list(decided), language.say
    counts = tally(its)
    parts = [say("{count} of {all} statements confirmed", count=counts.get(CONFIRMED, 0), all=len(its))]
    if count := counts.get(REFUTED):
        parts.append(say("{count} refuted", count=count))
    if count := sum(counts.get(outcome, 0) for outcome in BROKEN):
        parts.append(say("{count} broke before they could tell", count=count))
    if count := counts.get(NOT_CHECKED):
        reasons = Counter(record["reason"] for record in its if record["outcome"] == NOT_CHECKED)
        each = [say("{reason}: {count}", reason=say(WHY[why]), count=n) for why, n in reasons.most_common()]
        parts.append(say("{count} not checked ({why})", count=count, why=say(", ").join(each)))
    return say("; ").join(parts) + say(".")
