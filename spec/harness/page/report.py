"""`blitz report`: one HTML file with the statements in the order of the notes, and a column for each run."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import jinja2
from packaging.version import Version

from spec.harness.errors import HarnessError
from spec.harness.language import Language
from spec.harness.page import pictures as pictures_of
from spec.harness.page.entries import Entry, entries, result, tally
from spec.harness.page.source import with_code
from spec.harness.records import matrix, reading, summary
from spec.harness.records.escaping import printable
from spec.harness.records.vocabulary import (
    BROKEN,
    CONFIRMED,
    NOT_CHECKED,
    OUTCOMES,
    REASONS,
    REFUTED,
    VERDICTS,
    Record,
)
from spec.harness.statements.notes import Notes, Picture

HERE = Path(__file__).parent
STYLES = {CONFIRMED: "good", REFUTED: "bad", NOT_CHECKED: "open", **dict.fromkeys(BROKEN, "bad")}
MARKS = {"good": "✓", "bad": "✗", "open": "–"}  # beside each colour


def _shown(value: object) -> object:
    """Return what the page prints: text without what would move, hide or reorder other text."""
    return type(value)(printable(value)) if isinstance(value, str) else value


ENVIRONMENT = jinja2.Environment(
    loader=jinja2.FileSystemLoader(HERE),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    finalize=_shown,
    trim_blocks=True,
    lstrip_blocks=True,
)
ENVIRONMENT.filters["code"] = with_code
ENVIRONMENT.globals |= {
    "styles": STYLES,
    "marks": MARKS,
    "reasons": REASONS,
    "tally": tally,
    "cells": lambda entries, number: [entry.cells[number] for entry in entries if entry.cells[number]],
    "address": pictures_of.address,
}


class Column(NamedTuple):
    """One run.

    Attributes:
        heading: what tells it apart from the other runs.
        header: its environment.
        records: of each statement, by its id.
        decided: the record that decides, by the id of the statement.
        trouble: what is wrong with the run as a whole.
    """

    heading: str
    header: Record
    records: Mapping[str, list[Record]]
    decided: Mapping[str, Record]
    trouble: str | None


def write(
    files: Sequence[Path],
    page: Path,
    notes: Notes,
    language: Language,
    pictures: Sequence[Path] = (),
    missing: Mapping[str, str] = {},
) -> bool:
    """Write the page of these records; return whether each run came to its end.

    Args:
        files: of records, one for each run.
        page: the file to write.
        notes: the notes that are held to PyTorch.
        language: of the page.
        pictures: files, and folders of files, to show at the end.
        missing: releases of PyTorch that could not be checked, and why.

    Raises:
        HarnessError: a file cannot be trusted, or the page cannot be written.
    """
    runs = [_read(file) for file in files]
    text = render(columns(runs), notes, language, list(pictures_of.read(pictures)), missing)
    unfinished = page.with_name(f".{page.name}.unfinished")
    try:
        unfinished.write_text(text, encoding="utf-8")
        unfinished.replace(page)
    except OSError as error:
        raise HarnessError(f"{page}: cannot write the page there: {error.strerror}") from None
    return all(unfinished is None for _, unfinished in runs)


def _read(file: Path) -> tuple[reading.Records, str | None]:
    """Return the records of a run, and what kept it from its end."""
    try:
        return reading.read(file), None
    except reading.UnfinishedError as error:
        if not error.found.results:
            raise
        return error.found, str(error)


def columns(runs: Iterable[tuple[reading.Records, str | None]]) -> list[Column]:
    """Return a column for each run: the oldest release first, of one release the oldest run."""
    ordered = sorted(runs, key=lambda run: matrix.age(run[0].header))
    headings = matrix.headings([found.header for found, _ in ordered])
    made = []
    for heading, (found, unfinished) in zip(headings, ordered, strict=True):
        records: dict[str, list[Record]] = {}
        for record in found.results:
            records.setdefault(record["id"], []).append(record)
        trouble = unfinished or summary.trouble(found)
        made.append(Column(heading, found.header, records, summary.outcomes(found.results), trouble))
    return made


def render(
    made: Sequence[Column],
    notes: Notes,
    language: Language,
    pictures: Sequence[Picture],
    missing: Mapping[str, str],
) -> str:
    """Return the page as HTML."""
    found = entries([column.records for column in made], [column.decided for column in made], notes, language)
    measured = {entry.id: entry.measured for entry in found}
    sections = _by_section(found, notes)
    return ENVIRONMENT.get_template("page.html").render(
        language=language,
        say=language.say,
        columns=made,
        releases=list(dict.fromkeys(Version(column.header["torch"]).public for column in made)),
        results=[result(column.decided.values(), language) for column in made],
        sections=sections,
        differing=[entry for entry in found if entry.differs],
        count=len(found),
        verdicts=VERDICTS,
        choices=_choices(found, sections, language),
        drawn=notes.pictures(measured) if notes.pictures else {},
        pictures=pictures,
        missing=missing,
        css=(HERE / "page.css").read_text(encoding="utf-8"),
        js=(HERE / "page.js").read_text(encoding="utf-8"),
    )


def _choices(
    found: Sequence[Entry], sections: Iterable[str], language: Language
) -> dict[str, tuple[str, dict[object, str]]]:
    """Return the lists to filter by: for each the label, and by its value what each choice is called."""
    say = language.say
    known = {outcome for entry in found for outcome in entry.outcomes}
    needs = sorted({need for entry in found for need in entry.needs})
    return {
        "section": (say("Section"), {n: language.title(name, name) for n, name in enumerate(sections, 1)}),
        "verdict": (say("Verdict"), {verdict: say(verdict) for verdict in VERDICTS}),
        "outcome": (say("Outcome"), {name: say(name) for name in OUTCOMES if name in known}),
        "needs": (say("Needs"), {need: say(need) for need in needs}),
    }


def _by_section(found: Sequence[Entry], notes: Notes) -> dict[str, list[Entry]]:
    """Return the entries by their section, in the order of the notes; one that they lack comes last."""
    names = dict.fromkeys([*notes.headings, *(entry.record["section"] for entry in found)])
    return {name: its for name in names if (its := [e for e in found if e.record["section"] == name])}
