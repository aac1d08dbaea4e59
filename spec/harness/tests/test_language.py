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


@pytest.mark.parametrize(
    ("environment", "code"),
    [
        pytest.param({"LANG": "zh_CN.UTF-8"}, "zh", id="Chinese"),
        pytest.param({"LANG": "C"}, "en", id="C"),
        pytest.param({"LANG": "de_DE.UTF-8"}, "en", id="another language"),
        pytest.param({}, "en", id="none"),
        pytest.param({"LC_MESSAGES": "zh_CN.UTF-8", "LANG": "en_US.UTF-8"}, "zh", id="messages before LANG"),
        pytest.param({"LC_ALL": "C.UTF-8", "LC_MESSAGES": "zh_CN.UTF-8"}, "en", id="all before messages"),
        pytest.param({"LC_ALL": "", "LANG": "zh_CN.UTF-8"}, "zh", id="empty counts as none"),
    ],
)
def test_without_a_code_the_locale_chooses(notes, monkeypatch, environment, code):
    """As gettext does: LC_ALL before LC_MESSAGES before LANG."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    assert language(None, notes).code == code


@pytest.mark.parametrize(("code", "locale"), [("en", "zh_CN.UTF-8"), ("zh", "en_US.UTF-8")])
def test_a_code_wins_over_the_locale(notes, monkeypatch, code, locale):
    """What a person asks for on the command line counts."""
    monkeypatch.setenv("LANG", locale)

    assert language(code, notes).code == code


def test_notes_without_chinese_are_told_in_english(notes):
    """A page in two languages helps nobody."""
    assert language("zh", notes._replace(chinese=None)) == Language("en")


def test_sentences_titles_and_statements_are_told_in_chinese(notes):
    """Values stand where the Chinese names them."""
    tongue = language("zh", notes)

    assert tongue.say("{count} rows", count=3) == "3 行"
    assert tongue.say("a picture") == "一幅图"
    assert tongue.title("1", "1 Numbers") == "1 数"
    assert tongue.statement("number.one", "One is one.", None) == ("一等于一。", None)


def test_what_has_no_chinese_is_told_in_english(notes):
    """A missing word costs no more than the Chinese of that word."""
    tongue = language("zh", notes)

    assert tongue.say("{count} columns", count=3) == "3 columns"
    assert tongue.title("2", "2 Words") == "2 Words"
    assert tongue.statement("number.two", "Two is two.", "it is three") == ("Two is two.", "it is three")


@pytest.mark.parametrize(("sentence", "says"), [("One is 1.", None), ("One is one.", "it is two")])
def test_a_statement_whose_english_changed_is_told_in_english(notes, sentence, says):
    """Chinese of other English might be false: the sentence changed, or what the notes say."""
    assert language("zh", notes).statement("number.one", sentence, says) == (sentence, says)


def test_text_of_somebody_else_may_hold_braces(notes):
    """Such as the title of a picture: without values nothing is put in."""
    assert language("zh", notes).say("a set {1, 2} of {}") == "a set {1, 2} of {}"


def test_the_mark_tells_the_sentence_and_what_the_notes_say_apart():
    """Each change of either makes another mark."""
    marks = {mark(*each) for each in [("a", None), ("b", None), ("a", "b"), ("b", "a"), ("a b", None)]}

    assert len(marks) == 5
