"""Claim by release: what differs between verdict files of several PyTorch, and whether it should."""

from collections.abc import Iterable
from pathlib import Path

from packaging.version import Version

from spec.harness import summary, verdicts
from spec.harness.outcomes import CONFIRMED, NOT_CHECKED, REFUTED, Record

Column = dict[str, Record]  # the deciding record of each claim on one release


def columns(paths: Iterable[Path]) -> dict[Version, Column]:
    """Return each release with what it decided, the oldest release first.

    Raises:
        BlitzError: a file is no verdict file.
    """
    found: dict[Version, Column] = {}
    for path in paths:
        header, records = verdicts.read(path)
        found[Version(Version(header["torch"]).public)] = summary.outcomes(records)
    return dict(sorted(found.items()))


def report(found: dict[Version, Column]) -> tuple[list[str], bool]:
    """Return the lines of the table and of what is wrong with it, and whether all is as the claims say."""
    rows = {name: [_cell(column.get(name)) for column in found.values()] for name in _ids(found)}
    differing = {name: cells for name, cells in rows.items() if len({cell for cell in cells if cell}) > 1}
    lines = [_row("claim", "true since", *map(str, found)), _row(*["---"] * (len(found) + 2))]
    lines += [_row(f"`{name}`", _since(name, found) or "", *cells) for name, cells in differing.items()]
    agreeing = len(rows) - len(differing)
    lines += ["", f"The other {agreeing} claims have the same outcome on each release that ran them."]
    wrong = list(disagreements(found))
    if wrong:
        lines += ["", "Not as the claims say:", "", *(f"- {text}" for text in wrong)]
    return lines, not wrong


def disagreements(found: dict[Version, Column]) -> Iterable[str]:
    """Say where a claim is not true from the release on that it names, or is true before it."""
    for release, column in found.items():
        for name, record in column.items():
            too_old = record["since"] is not None and release < Version(record["since"])
            expected = [REFUTED] if too_old else [CONFIRMED, NOT_CHECKED]
            if record["outcome"] not in expected:
                claim = f"`{name}`" + (f" (true since {record['since']})" if record["since"] else "")
                yield f"{claim} on {release}: {' or '.join(expected)} expected, {record['outcome']} found"


def _ids(found: dict[Version, Column]) -> list[str]:
    """List every claim once, in the order of the newest release that has it."""
    return list(dict.fromkeys(name for column in reversed(found.values()) for name in column))


def _since(name: str, found: dict[Version, Column]) -> str | None:
    return next(column[name]["since"] for column in reversed(found.values()) if name in column)


def _cell(record: Record | None) -> str:
    """Return the outcome, the reason where there is one, nothing where the claim was not asked for."""
    if record is None:
        return ""
    return f"{record['outcome']} ({record['reason']})" if record["reason"] else str(record["outcome"])


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"
