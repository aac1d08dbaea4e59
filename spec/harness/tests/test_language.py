"""Which language the harness speaks, and what it says in Chinese."""

import pytest

from spec.harness import language as module
from spec.harness.language import Language, language, mark
from spec.harness.statements.notes import Notes

SPEC = """
[words]
"a picture" = "一幅图"
[titles]
"1" = "1 数"
[statements."number.one"]
english = "b1444000"
truth = "一等于一。"
"""


@pytest.fixture
def notes(tmp_path, monkeypatch):
    """Notes with a title and a statement in Chinese, and a harness that knows one sentence."""
    (tmp_path / "spec.toml").write_text(SPEC, encoding="utf-8")
    (tmp_path / "words.toml").write_text('"{count} rows" = "{count} 行"\n', encoding="utf-8")
    monkeypatch.setattr(module, "WORDS", tmp_path / "words.toml")
    for name in ("LC_ALL", "LC_MESSAGES", "LANG"):
        monkeypatch.delenv(name, raising=False)
    return Notes((), {}, {}, chinese=tmp_path / "spec.toml")


CHINESE, ENGLISH = "zh_CN.UTF-8", "en_US.UTF-8"
LOCALES = {
    "Chinese": (None, {"LANG": CHINESE}, "zh"),
    "C": (None, {"LANG": "C"}, "en"),
    "another language": (None, {"LANG": "de_DE.UTF-8"}, "en"),
    "none": (None, {}, "en"),
    "messages before LANG": (None, {"LC_MESSAGES": CHINESE, "LANG": ENGLISH}, "zh"),
    "all before messages": (None, {"LC_ALL": ENGLISH, "LC_MESSAGES": CHINESE}, "en"),
    "empty counts as none": (None, {"LC_ALL": "", "LANG": CHINESE}, "zh"),
    "English is asked for": ("en", {"LANG": CHINESE}, "en"),
    "Chinese is asked for": ("zh", {"LANG": ENGLISH}, "zh"),
}


@pytest.mark.parametrize(("asked", "environment", "code"), LOCALES.values(), ids=LOCALES)
def test_without_a_code_the_locale_chooses(notes, monkeypatch, asked, environment, code):
    """As gettext does: LC_ALL before LC_MESSAGES before LANG; what a person asks for counts more."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    assert language(asked, notes).code == code


def test_sentences_titles_and_statements_are_told_in_chinese(notes):
    """Values stand where the Chinese names them; text of somebody else may hold braces."""
    tongue = language("zh", notes)

    assert tongue.say("{count} rows", count=3) == "3 行"
    assert tongue.say("a picture") == "一幅图"
    assert tongue.say("a set {1, 2} of {}") == "a set {1, 2} of {}"
    assert tongue.title("1", "1 Numbers") == "1 数"
    assert tongue.statement("number.one", "One is one.", None) == ("一等于一。", None)


def test_what_has_no_chinese_is_told_in_english(notes):
    """A missing word costs no more than that word; Chinese of other English might be false.

    Notes without any are told in English: a page in two languages helps nobody.
    """
    tongue = language("zh", notes)

    assert language("zh", notes._replace(chinese=None)) == Language("en")
    assert tongue.say("{count} columns", count=3) == "3 columns"
    assert tongue.title("2", "2 Words") == "2 Words"
    for unknown in (("number.two", "One is one.", None), ("number.one", "One is 1.", None),
                    ("number.one", "One is one.", "it is two")):  # fmt: skip
        assert tongue.statement(*unknown) == unknown[1:]


def test_the_mark_tells_the_sentence_and_what_the_notes_say_apart():
    """Each change of either makes another mark."""
    marks = {mark(*each) for each in [("a", None), ("b", None), ("a", "b"), ("b", "a"), ("a b", None)]}

    assert len(marks) == 5
