"""What the text of the specification says of its statements, without importing it."""

import html
import inspect
import linecache
import re

from spec.harness.children import ROOT
from spec.harness.page.source import highlighted, sources
from spec.harness.statements import catalogue
from spec.notes import NOTES


def test_text_says_of_each_statement_what_the_import_says():
    """Ids, faults and place are those of the tests themselves, and so is the source, as one section shows."""
    found = sources(NOTES)

    for statement in catalogue.statements(NOTES):
        source = found.pop(statement.id)
        file = ROOT / f"{statement.proof.__module__.replace('.', '/')}.py"
        assert source.faults == [fault.name for fault in statement.faults]
        assert ROOT / source.file == file
        assert linecache.getline(str(file), source.line).rstrip() == source.code.splitlines()[0]
        if "section_2" in source.file:
            assert source.code == inspect.getsource(statement.proof).rstrip()
    assert found == {}


def test_highlighted_source_is_the_source_with_classes():
    """Nothing is lost but for the elements, and what could be taken for one is escaped."""
    code = '@fault("a < b")\ndef test():\n    return 1  # why\n'

    shown = highlighted(code)

    assert html.unescape(re.sub("<[^>]+>", "", shown)) == code
    assert re.findall('<i class="(.)">', shown) == ["d", "s", "s", "s", "k", "k", "m", "c"]
