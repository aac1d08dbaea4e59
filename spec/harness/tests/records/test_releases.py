"""docs/releases.md, which `blitz matrix` makes, is about the statements that there are."""

import pytest
from packaging.version import Version

from spec.harness.children import ROOT
from spec.notes import NOTES


@pytest.fixture(scope="module")
def rows():
    """The cells of the table of statements, by the name of their column."""
    lines = (ROOT / "docs" / "releases.md").read_text(encoding="utf-8").splitlines()
    table = [[cell.strip(" `") for cell in line.split("|")[1:-1]] for line in lines if line.startswith("|")]
    start = next(i for i, row in enumerate(table) if row[0] == "statement")
    return [dict(zip(table[start], row, strict=True)) for row in table[start + 2 :]]


def test_every_statement_has_its_row(rows):
    """Make the table anew after a statement has come, gone or got another id."""
    assert sorted(row["statement"] for row in rows) == sorted(NOTES.ids())


def test_a_statement_is_refuted_before_the_release_that_it_names_and_never_after(rows):
    """On the releases that the table has."""
    for row in rows:
        for release, outcome in list(row.items())[2:]:
            too_old = row["true since"] and Version(release) < Version(row["true since"])
            assert outcome in (["refuted", ""] if too_old else ["confirmed", ""]) or outcome.startswith("not")


def test_the_table_has_six_releases_and_most_statements_on_each_that_is_supported(rows):
    """Of the supported ones, none is left out but for what this project's checks cannot have."""
    releases = list(rows[0])[2:]

    assert len(releases) >= 6
    for release in (name for name in releases if Version(name) >= Version("2.6")):
        assert sum(row[release] in ("confirmed", "refuted") for row in rows) > 0.8 * len(rows)
