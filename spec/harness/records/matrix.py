"""Statement by environment: what differs between records, and whether it should."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from packaging.version import Version

from spec.harness.errors import HarnessError
from spec.harness.records import summary
from spec.harness.records.escaping import printable
from spec.harness.records.reading import read
from spec.harness.records.vocabulary import CONFIRMED, NOT_CHECKED, REFUTED, Record, before

NO_ENVIRONMENT = ("kind", "schema", "started")
TOLD_FIRST = ("torch", "accelerator", "python", "data")  # where several things tell two environments apart
LONGEST = 19  # characters of one of them: a date with its time, or the first half of a commit


class Column(NamedTuple):
    """One environment: its records, which of them decide, and what no record tells of its runs."""

    heading: str
    torch: str
    records: list[Record]
    decided: dict[str, Record]
    troubles: list[str]


def columns(paths: Iterable[Path], known: Sequence[str]) -> list[Column]:
    """Return what was found in each environment, the oldest release first.

    Files of one environment are taken together: a statement that one of them refutes is refuted.

    Raises:
        HarnessError: a file cannot be trusted, its run did not finish, or nothing was checked in any.
    """
    files = [read(path, known) for path in paths]
    told = [flat({k: v for k, v in found.header.items() if k not in NO_ENVIRONMENT}) for found in files]
    environments = [environment for i, environment in enumerate(told) if environment not in told[:i]]
    environments.sort(key=lambda environment: (Version(environment["torch"]), sorted(environment.items())))
    table = []
    for heading, environment in zip(_headings(environments), environments, strict=True):
        its = [found for found, where in zip(files, told, strict=True) if where == environment]
        records = [record for found in its for record in found.results]
        troubles = list(filter(None, map(summary.trouble, its)))
        table.append(Column(heading, environment["torch"], records, summary.outcomes(records), troubles))
    if all(record["outcome"] == NOT_CHECKED for column in table for record in column.records):
        raise HarnessError("no statement was checked in these files, so there is nothing to compare")
    return table


def unchecked(release: str, why: str) -> Column:
    """Return the column of a release that could not be checked."""
    return Column(f"{release} (not checked)", release, [], {}, [why])


def flat(value: Any, name: str = "") -> dict[str, str]:
    """Return by name what a header says, what it nests and lists included."""
    if isinstance(value, list):
        value = dict(enumerate(value))
    if isinstance(value, dict):
        parts = (flat(entry, f"{name} {key}".lstrip()) for key, entry in value.items())
        return {key: text for part in parts for key, text in part.items()}
    return {} if value is None else {name: " ".join(str(value).split())}


def age(header: Record) -> tuple[Version, str]:
    """Return what puts runs in order: by release, then by the time at which they started."""
    return Version(header["torch"]), header["started"]


def headings(headers: Iterable[Record]) -> list[str]:
    """Name each run by its release, and by no more than tells it from others of the same name."""
    told = [{k: v for k, v in header.items() if k not in ("kind", "schema")} for header in headers]
    return _headings(list(map(flat, told)))


def _headings(environments: list[dict[str, str]]) -> list[str]:
    """Name each environment by its release, and by no more than tells it from others of the same name."""
    names = [Version(told["torch"]).public for told in environments]
    others = sorted({key for told in environments for key in told} - {"started"})
    for key in dict.fromkeys([*TOLD_FIRST, *others, "started"]):
        values = [told.get(key, "none") for told in environments]
        alike = [{v for v, n in zip(values, names, strict=True) if n == name} for name in names]
        for i, (value, rivals) in enumerate(zip(values, alike, strict=True)):
            if len(rivals) > 1:
                names[i] = value if key == "torch" else f"{names[i]}, {key} {value[:LONGEST]}"
    return list(map(printable, names))


def report(found: list[Column], known: Sequence[str], *, whole: bool = False) -> tuple[list[str], bool]:
    """Return the lines of the table and of what is wrong with it, and whether all is as it should be.

    Args:
        found: the columns.
        known: the ids of the statements, in their order.
        whole: whether statements are shown that have the same outcome everywhere.
    """
    names = [name for name in known if any(name in column.decided for column in found)]
    rows = {name: [_cell(column.decided.get(name)) for column in found] for name in names}
    differing = {name: cells for name, cells in rows.items() if len({cell for cell in cells if cell}) > 1}
    lines = [_row("statement", "true since", *(column.heading for column in found))]
    lines += [_row(*["---"] * (len(found) + 2))]
    shown = rows if whole else differing
    lines += [_row(f"`{name}`", _since(name, found) or "", *cells) for name, cells in shown.items()]
    if rows and not whole:
        alike = len(rows) - len(differing)
        lines += ["", f"The other {alike} statements have the same outcome wherever they were run."]
    wrong = list(dict.fromkeys(disagreements(found)))
    if wrong:
        lines += ["", "Not as the statements say:", "", *(f"- {text}" for text in wrong)]
    return lines, not wrong


def disagreements(found: list[Column]) -> Iterable[str]:
    """Say where a check does not pass from the release on that it names, or passes before it."""
    for column in found:
        for record in column.records:
            too_old = record["since"] is not None and before(column.torch, record["since"])
            expected = [REFUTED if too_old else CONFIRMED, NOT_CHECKED]
            wrongly_left_out = record["reason"] == "torch-too-old" and not too_old
            if record["outcome"] not in expected or wrongly_left_out:
                since = f" (true since {record['since']})" if record["since"] else ""
                wanted, found_there = " or ".join(expected), _cell(record)
                name = f"`{record['id']}`{since} on {column.heading}"
                yield f"{name}: {wanted} expected, {found_there} found by {record['check']}"
        for trouble in column.troubles:
            yield f"{column.heading}: {trouble}"


def _since(name: str, found: list[Column]) -> str | None:
    """Return the last release that a check of the statement names."""
    named = {record["since"] for column in found for record in column.records if record["id"] == name}
    return max(named - {None}, key=Version, default=None)


def _cell(record: Record | None) -> str:
    """Return the outcome, the reason where there is one, nothing where the statement was not asked for."""
    if record is None:
        return ""
    return f"{record['outcome']} ({record['reason']})" if record["reason"] else str(record["outcome"])


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"
