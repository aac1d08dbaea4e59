"""docs/claims.md and `blitz explain`, both read from the claims."""

import pytest

from blitz.errors import BlitzError
from spec.harness import catalogue
from spec.harness.claims import SECTIONS


def test_the_page_of_claims_is_up_to_date():
    """docs/claims.md is what `blitz claims` prints; write it anew after a change of claims."""
    committed = (catalogue.SPEC.parent / "docs" / "claims.md").read_text(encoding="utf-8")

    assert committed == catalogue.page()


def test_claims_stand_in_the_order_of_the_notes():
    """The catalogue holds every claim once, section by section."""
    claims = catalogue.claims()
    order = [list(SECTIONS.values()).index(claim.section) for claim in claims]

    assert order == sorted(order)
    assert len({claim.id for claim in claims}) == len(claims) > 0


def test_explain_tells_sentence_source_and_sabotages():
    """A claim is told with what is true, what the notes say, its test and its sabotages."""
    text = catalogue.explain("nn.only-mini-batches")

    assert text.startswith("nn.only-mini-batches: ")
    assert "verdict   outdated: right once, not any more" in text
    assert "they say  " in text
    assert "# spec/test_3_" in text
    assert '@claim("nn.only-mini-batches"' in text


def test_explain_names_the_nearest_claims():
    """A misspelt id is answered with the ids that are near."""
    with pytest.raises(BlitzError, match=r"no claim is called 'nn\.netprint'; did you mean .*nn\.net-print"):
        catalogue.explain("nn.netprint")


def test_explain_points_to_the_list_where_nothing_is_near():
    """An id like no other is answered with the way to the list."""
    with pytest.raises(BlitzError, match="`blitz claims` lists them all"):
        catalogue.explain("§")
