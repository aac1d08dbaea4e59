"""`blitz diff A B`: what changed from one run to another, made from their records alone.

A row is a check with its parameters on a device. A change of any row counts, also where another row decides
the outcome of its statement, as where a statement stays confirmed on the CPU and is lost on a GPU.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from spec.harness.errors import HarnessError
from spec.harness.records import summary
from spec.harness.records.reading import read
from spec.harness.records.vocabulary import CONFIRMED, NOT_CHECKED, Record

MEANING = {  # in the order of the report; a statement is told where the first of its changes belongs
    "newly refuted or broken": "Worse: newly refuted or broken",
    "no longer checked": "Worse: no longer checked",
    "gone": "Worse: gone, only in A (what was renamed is gone and new)",
    "newly confirmed": "Better: newly confirmed",
    "newly checked": "Better: newly checked",
    "new": "New, only in B",
    "tolerance": "To watch: twice as much of a tolerance is used up, or more, and over a tenth of it",
}
BROKEN, UNCHECKED, GONE, MENDED, CHECKED, NEW, TOLERANCE = MEANING
WORSE = (BROKEN, UNCHECKED, GONE)
TENTH = 0.1  # of a tolerance: what is below is rounding, which any other machine or release may double


@dataclass
class Side:
    """One of the two runs: its file, its header, and what went wrong that no record of a statement tells."""

    path: str
    header: Record
    trouble: str | None


@dataclass
class Row:
    """A row that changed, one of MEANING: its record in A and in B, None where the run has none."""

    change: str
    before: Record | None
    after: Record | None


@dataclass
class Statement:
    """A statement: its worst change, its outcome in A and in B, the rows that changed, worst first."""

    id: str
    change: str
    before: str | None
    after: str | None
    rows: list[Row]


@dataclass
class Difference:
    """What changed: the JSON of `blitz diff` is this object, with all objects in it.

    The status is the command's: 1 if something is worse in B, or its run had trouble of its own. `statements`
    are those with a change, the worst first, `still` the ids of those that are refuted or broken in B, but
    not newly, and `alike` counts the statements none of whose rows changed.
    """

    status: int
    before: Side
    after: Side
    statements: list[Statement]
    still: list[str]
    alike: int


def compare(before: Path, after: Path) -> Difference:
    """Return what changed from one file of records to another.

    Raises:
        HarnessError: a file cannot be trusted, its run did not finish, or nothing was checked in either.
    """
    runs = [read(path) for path in (before, after)]
    if all(record["outcome"] == NOT_CHECKED for run in runs for record in run.results):
        raise HarnessError("no statement was checked in these files, so there is nothing to compare")
    old, new = (summary.outcomes(run.results) for run in runs)
    changes: dict[str, list[Row]] = {name: [] for name in [*new, *old]}
    for one, other in _pairs(*(run.results for run in runs)):
        if change := _change(one, other):
            changes[(other or one or {})["id"]].append(Row(change, one, other))
    found = []
    for name, rows in changes.items():
        if rows:
            rows.sort(key=lambda row: list(MEANING).index(row.change))
            was, now = (side[name]["outcome"] if name in side else None for side in (old, new))
            found.append(Statement(name, rows[0].change, was, now, rows))
    found.sort(key=lambda statement: list(MEANING).index(statement.change))
    newly = {statement.id for statement in found if statement.change == BROKEN}
    still = [name for name, record in new.items() if summary.any_bad([record]) and name not in newly]
    a, b = (
        Side(str(path), run.header, summary.trouble(run))
        for path, run in zip((before, after), runs, strict=True)
    )
    is_worse = b.trouble or any(statement.change in WORSE for statement in found)
    return Difference(1 if is_worse else 0, a, b, found, still, len(changes) - len(found))


def _pairs(before: list[Record], after: list[Record]) -> Iterator[tuple[Record | None, Record | None]]:
    """Match the rows of two runs by statement, node and device, in the order of B; then those of A alone.

    What then remains of a node is matched by the kind of device: workers take checks in any order, each on
    its own GPU, and a check that came to no device knows it as "accelerator".
    """
    left = {(record["id"], record["node"], record["device"]): record for record in before}
    pairs = [(left.pop((record["id"], record["node"], record["device"]), None), record) for record in after]
    others: dict[tuple[str, str], list[Record]] = {}
    for record in left.values():
        others.setdefault((record["id"], record["node"]), []).append(record)
    for match, record in pairs:
        rest = others.get((record["id"], record["node"]), [])
        alike = next((other for other in rest if _same_kind(other["device"], record["device"])), None)
        if match is None and alike is not None:
            rest.remove(alike)
        yield match or alike, record
    yield from ((record, None) for rest in others.values() for record in rest)


def _same_kind(*devices: str) -> bool:
    kinds = {device.partition(":")[0] for device in devices}
    return len(kinds) == 1 or ("accelerator" in kinds and "cpu" not in kinds)


def _change(before: Record | None, after: Record | None) -> str | None:
    """Return what became of a row, None where nothing did."""
    if after is None:
        return GONE
    was, now = before and before["outcome"], after["outcome"]
    if was == now:
        return TOLERANCE if before and _closer(before["tolerance_used"], after["tolerance_used"]) else None
    if now not in (CONFIRMED, NOT_CHECKED):
        return BROKEN
    if was is None:
        return NEW
    if now == NOT_CHECKED:
        return UNCHECKED
    return CHECKED if was == NOT_CHECKED else MENDED


def _closer(before: float | None, after: float | None) -> bool:
    return before is not None and after is not None and after > TENTH and after >= 2 * before


def as_json(found: Difference) -> str:
    """Return the whole as one object for a script; its records are as the schema describes them."""
    plain = json.loads(json.dumps(asdict(found)), parse_constant=str)  # JSON has no Infinity but as text
    return json.dumps(plain, indent=1)
