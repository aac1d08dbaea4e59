"""What the page says: in the language that was asked for, and whatever somebody wrote into the records."""

import re
import unicodedata

import pytest

from spec.harness.tests.page import runs

pytestmark = pytest.mark.slow  # starts Chromium
# what a person reads or hears that is not marked as English, or as code
TEXTS = """() => {
  const foreign = it => it.closest("[lang=en], code, pre, script, style");
  const nodes = document.createTreeWalker(document.documentElement, NodeFilter.SHOW_TEXT);
  const texts = [];
  while (nodes.nextNode()) if (!foreign(nodes.currentNode.parentElement)) texts.push(nodes.currentNode.data);
  for (const it of document.querySelectorAll("*"))
    for (const name of ["aria-label", "alt", "title", "placeholder", "data-text", "label"])
      if (it.hasAttribute(name) && !foreign(it)) texts.push(it.getAttribute(name));
  return texts;
}"""
# a path, an option, a place for a number
NO_WORDS = re.compile(r"\S+\.py|--\w+|\{\w+\}")
NAMES = {
    "PyTorch", "Python", "CIFAR", "AMD", "EPYC", "UTC", "NumPy", "DataParallel", "DQN", "GPU", "notebook",
    "s", "cpu",
}  # fmt: skip


def in_chinese(lines):
    """Return the lines of a run that itself says nothing in English."""
    said = {"sentence": "一就是一。", "says": "一就是二", "data": "替身", "commit": "335664"}
    told = [line | {key: value for key, value in said.items() if line.get(key)} for line in lines]
    return [line | {"node": line["node"].replace("row", "行")} if "node" in line else line for line in told]


def test_page_says_which_language_it_is_in(open_file, any_language):
    """A reader that speaks, and the browser's choice of glyphs, go by it."""
    page = open_file(any_language)
    chinese = "陈" in page.content() or "陳" in page.content()

    assert page.locator("html").get_attribute("lang") == ("zh-CN" if chinese else "en")


def test_chinese_page_has_no_english_left(open_file, make_page):
    """But for names, and what is marked as English or stands as code."""
    page = open_file(make_page(*map(in_chinese, (runs.newer(), runs.older())), language="zh"))

    texts = [NO_WORDS.sub("", text) for text in page.evaluate(TEXTS)]
    words = {word for text in texts for word in re.findall("[A-Za-z]+", text)}
    ids = {word for name in runs.STATEMENTS for word in re.findall("[A-Za-z]+", name)}

    assert words - ids - NAMES == set()
    assert "PyTorch" in words


HOSTILE = {
    "a script, also after the end of one": "<script>alert(1)</script></script><script>alert(2)</script>",
    "a picture": "<img src=x onerror=\"alert('picture')\">",
    "the end of an attribute": "\"'><svg onload=alert('attribute')>",
    "a template": "{{ 7 * 7 }}{% raw %} &lt;b&gt; &amp;amp;",
    "the end of all": "</code></pre></details></main></body><!--",
}
CONTROLS = "bold\x1b[1m, reversed \u202egnp.exe\u202c, hidden \u200b\u2066, \x00 and \x07"
FREE = ("sentence", "says", "seen", "check", "section", "notes", "cpu", "data", "commit", "python", "started")


def with_text(lines, text):
    """Return the lines of a run with a text wherever a record may hold any."""
    changed = [line | {key: f"{key} {text}" for key in FREE if line.get(key)} for line in lines]
    for line in changed:
        if line["kind"] == "result":
            line["device"], line["needs"], line["params"] = text, [text], {text: text}
            line["measured"], line["node"] = {text: text}, f"{line['node']} {text}"
            line["detail"] = text
    return changed


class TestHostileText:
    """Records come from other people's machines, and say what they like."""

    @pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
    def test_text_is_shown_and_does_nothing(self, open_file, make_page, text):
        """It is read as it was written; no script runs, nothing is requested, no element is made of it."""
        page = open_file(make_page(with_text(runs.newer(), text)))
        plain = open_file(make_page(with_text(runs.newer(), "text")))
        page.evaluate("document.querySelectorAll('details').forEach(it => { it.open = true; })")

        tags = "[...document.querySelectorAll('*')].map(it => it.localName)"
        assert page.evaluate(tags) == plain.evaluate(tags)
        for part in (".truth", ".says", ".seen", ".checks", ".measured", ".facts", "main section > h2"):
            assert any(text in shown for shown in page.locator(part).all_inner_texts()), part

    def test_controls_and_bidi_marks_are_written_out(self, open_file, make_page):
        """Text that hides or reverses text could show what no run has seen."""
        page = open_file(make_page(with_text(runs.newer(), CONTROLS)))

        texts = "".join([*page.evaluate(TEXTS), page.content()])

        assert {c for c in texts if unicodedata.category(c) in ("Cc", "Cf")} <= {"\n", "\t"}
        assert "\\u202egnp.exe" in texts
