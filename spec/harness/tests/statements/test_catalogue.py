"""docs/claims.md and `blitz explain`, both read from the claims."""

from xml.etree import ElementTree

import pytest

from blitz.errors import BlitzError
from spec.harness.statements import catalogue
from spec.harness.statements.claims import SECTIONS


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
    text = catalogue.explain(catalogue.find("nn.only-mini-batches"))

    assert text.startswith("nn.only-mini-batches: ")
    assert "verdict   outdated: right once, not any more" in text
    assert "they say  " in text
    assert "# spec/test_3_" in text
    assert '@claim("nn.only-mini-batches"' in text
    assert "# its graph" not in text


def test_explain_ends_in_the_outline_of_a_graph():
    """A claim that carries a graph is told with the outline of it, its leaves by name."""
    text = catalogue.explain(catalogue.find("autograd.graph-structure"))

    source, outline = text.split("\n\n# its graph, from the result back to the leaves (●)\n\n")
    assert source.endswith("        ]")
    assert outline.startswith("○ SubBackward0\n├─○ PowBackward0\n│ ● b (2)\n")
    assert outline.endswith("● a (2)")


@pytest.mark.parametrize("claim", [c for c in catalogue.claims() if c.graph], ids=lambda claim: claim.id)
def test_every_graph_of_a_claim_can_be_drawn(claim):
    """What a claim carries as its graph is drawn under the claim's id and sentence, each leaf by a name."""
    picture = ElementTree.fromstring(catalogue.picture(claim))

    assert picture[0].text == f"{claim.id}: {claim.sentence}"
    assert not any((text.text or "").startswith("leaf (") for text in picture.iter())


def test_a_claim_without_a_graph_has_no_picture():
    """What has no graph is not drawn; the sentence names the claims that have one."""
    message = r"the claim nn\.net-print has no graph to draw; these have: .*autograd\.graph-structure, "

    with pytest.raises(BlitzError, match=message):
        catalogue.picture(catalogue.find("nn.net-print"))


def test_find_names_the_nearest_claims():
    """A misspelt id is answered with the ids that are near."""
    with pytest.raises(BlitzError, match=r"no claim is called 'nn\.netprint'; did you mean .*nn\.net-print"):
        catalogue.find("nn.netprint")


def test_find_points_to_the_list_where_nothing_is_near():
    """An id like no other is answered with the way to the list."""
    with pytest.raises(BlitzError, match="`blitz claims` lists them all"):
        catalogue.find("§")
