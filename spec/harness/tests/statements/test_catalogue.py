"""docs/statements.md, `blitz explain` and `blitz statements`, all read from the statements."""

import re
from xml.etree import ElementTree

from blitz.explained.graph import draw
from spec.harness import ANSWERED, HOLDS, OUTDATED
from spec.harness.children import ROOT
from spec.harness.language import Language
from spec.harness.statements import catalogue
from spec.notes import NOTES

README = ROOT / "README.md"


def test_the_page_of_statements_is_up_to_date():
    """docs/statements.md is what `blitz statements` prints; write it anew after a change of statements."""
    committed = (ROOT / "docs" / "statements.md").read_text(encoding="utf-8")

    assert committed == catalogue.page(NOTES)


def test_the_ids_are_known_without_importing_a_test():
    """What reads records asks for the ids alone, which it takes from the text of the files."""
    assert sorted(NOTES.ids()) == sorted(each.id for each in catalogue.statements(NOTES))


def test_explain_shows_sentence_faults_and_source():
    """A statement is shown with what is true, what the notes say, its faults and its checks."""
    text = catalogue.explain(catalogue.find("nn.only-mini-batches", NOTES), NOTES, Language("en"))

    assert text.startswith("nn.only-mini-batches: ")
    assert "verdict   outdated: right once, not any more" in text
    assert "they say  " in text
    assert "\ncatches   " in text
    assert "# spec/section_3_neural_networks/test_3_" in text
    assert "@statement(" in text


def test_every_graph_of_a_statement_can_be_drawn():
    """The graph of a statement is drawn under its title, each leaf by a name."""
    for statement in (each for each in catalogue.statements(NOTES) if each.graph):
        result, leaves = statement.graph()
        picture = ElementTree.fromstring(draw(result, params=leaves, title=statement.id))

        assert picture[0].text == statement.id
        assert not any((text.text or "").startswith("leaf (") for text in picture.iter())


def test_readme_quotes_statements_as_they_are():
    """The table of the README shows one statement that holds, one that is outdated, one open question."""
    rows = re.findall(r"^\| `([^`]+)` \| (\w+) \| (.+) \| (.+) \|$", README.read_text(encoding="utf-8"), re.M)

    assert [verdict for _, verdict, *_ in rows] == [HOLDS, OUTDATED, ANSWERED]
    for name, verdict, says, truth in rows:
        its = catalogue.find(name, NOTES)
        assert (verdict, says, truth) == (its.verdict, its.says or "the same", its.sentence)
