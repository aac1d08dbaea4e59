"""The language that the harness speaks: English, or Chinese from two tables that go by the English."""

import hashlib
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from spec.harness.statements.notes import Notes

LANGUAGES = ("en", "zh")
WORDS = Path(__file__).with_name("zh.toml")  # the harness's own sentences


class Language(NamedTuple):
    """One language: how it is called, and what it says instead of the English.

    Attributes:
        code: "en" or "zh".
        words: the sentences of the harness and of the specification, by the English.
        titles: of the sections and headings of the notes, as they are called where a statement names them.
        statements: by id, with the mark of the English that was translated.
    """

    code: str
    words: Mapping[str, str] = {}
    titles: Mapping[str, str] = {}
    statements: Mapping[str, Mapping[str, str]] = {}

    def say(self, english: str, **values: Any) -> str:
        """Return a sentence, with values in the places that it names in braces."""
        text = self.words.get(english, english)
        return text.format(**values) if values else text  # without values, braces are what somebody wrote

    def title(self, name: str, english: str) -> str:
        """Return the title of a section or a heading of that name."""
        return self.titles.get(name, english)

    def statement(self, id: str, sentence: str, says: str | None) -> tuple[str, str | None]:
        """Return what is true and what the notes say; in English where only other English was translated."""
        its = self.statements.get(id, {})
        if its.get("english") != mark(sentence, says):
            return sentence, says
        return its["truth"], its.get("says")


def mark(sentence: str, says: str | None) -> str:
    """Return eight digits that change with the English of a statement.

    >>> mark("One is one.", None)
    'b1444000'
    """
    return hashlib.sha256(f"{sentence}\n{says or ''}".encode(errors="backslashreplace")).hexdigest()[:8]


def sentence(clause: str) -> str:
    """Return a clause with its full stop, a Chinese one after Chinese; a question stays a question.

    >>> sentence("one is one"), sentence("is one two?"), sentence("一等于一")
    ('one is one.', 'is one two?', '一等于一。')
    """
    if clause.endswith((".", "?", "!", "。", "？", "！")):
        return clause
    return clause + ("。" if re.search(r"[\u4e00-\u9fff]", clause) else ".")


def language(code: str | None, notes: Notes) -> Language:
    """Return the language of that code; without one, that of the locale."""
    if (code or _of_the_locale()) != "zh" or notes.chinese is None:
        return Language("en")
    words, spec = (tomllib.loads(path.read_text(encoding="utf-8")) for path in (WORDS, notes.chinese))
    return Language("zh", words | spec.get("words", {}), spec["titles"], spec["statements"])


def _of_the_locale() -> str:
    """Return the first two letters of what the environment asks for, in the order of gettext."""
    asked = (os.environ.get(name) for name in ("LC_ALL", "LC_MESSAGES", "LANG"))
    return next(filter(None, asked), "en")[:2]
