"""docs/coverage.md: the sentences of the notes, each with the statements that prove what is true of it."""

import re

import pytest

from spec.harness.children import ROOT
from spec.harness.statements import catalogue
from spec.notes import NOTES

PAGE = (ROOT / "docs" / "coverage.md").read_text(encoding="utf-8")


def rows(page):
    """Return the heading, the sentence and the ids of each row of the page's tables."""
    cells = re.findall(r"^\| (.+?) \| (.+?) \| (.*?) ?\|$", page, re.MULTILINE)
    return [(*row, re.findall(r"`([^`]+)`", ids)) for *row, ids in cells if row[0] not in ("heading", "---")]


def problems(page):
    """Return a sentence for each thing in which such a page and the specification differ."""
    headings = [heading for its in NOTES.headings.values() for heading in its]
    stand_at = {statement.id: statement.notes.split("; ") for statement in catalogue.statements(NOTES)}
    table = rows(page)
    order = [headings.index(heading) for heading, *_ in table if heading in headings]
    named = [(name, heading) for heading, _, names in table for name in names]
    missing = stand_at.keys() - dict(named).keys()
    return [
        *(f"the notes have no heading {heading!r}" for heading, *_ in table if heading not in headings),
        *(f"no row has the heading {each!r}" for each in headings if each not in {row[0] for row in table}),
        *(["the headings are not in the order of spec/notes.py"] if order != sorted(order) else []),
        *(f"the row {sentence!r} has no statement" for _, sentence, names in table if not names),
        *(f"no statement is called {name!r}" for name, _ in named if name not in stand_at),
        *(
            f"{name} stands at {', '.join(stand_at[name])}, not at {heading}"
            for name, heading in named
            if heading not in stand_at.get(name, [heading])
        ),
        *(f"no row has the statement {name}, of {stand_at[name][0]}" for name in sorted(missing)),
    ]


def test_the_table_has_every_statement_at_its_heading():
    """Add a row when a statement comes, and name it in the row of the sentence that it is about."""
    assert problems(PAGE) == []


MISFITS = {
    "no such id": ("`tensor.item`", "`tensor.itme`", "no statement is called 'tensor.itme'"),
    "missing": ("`tensor.item`", "", "no row has the statement tensor.item, of 1.6"),
    "row without a statement": (" `tensor.item` |", " |", "the row 'item() gives the value"),
    "no such heading": ("| 1.6 |", "| 1.7 |", "the notes have no heading '1.7'"),
    "elsewhere": ("| 1.6 |", "| 1.5 |", "tensor.item stands at 1.6, not at 1.5"),
    "heading without a row": ("| 1.6 |", "| 1.5 |", "no row has the heading '1.6'"),
    "out of order": ("| 1.6 |", "| 3.1 |", "the headings are not in the order of spec/notes.py"),
}


@pytest.mark.parametrize(("before", "after", "problem"), MISFITS.values(), ids=MISFITS)
def test_what_does_not_fit_is_told(before, after, problem):
    """Each in a sentence that names it."""
    assert before in PAGE
    assert any(each.startswith(problem) for each in problems(PAGE.replace(before, after)))
