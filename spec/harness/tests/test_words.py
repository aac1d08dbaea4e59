"""spec/harness/zh.toml: all that the harness says to a person, in Chinese by the English."""

import ast
import functools
import re
import tomllib
from string import Formatter
from textwrap import dedent

import pytest

from spec.harness import language
from spec.harness.page.entries import WHY
from spec.harness.records.summary import width
from spec.harness.records.vocabulary import NEEDS, OUTCOMES, REASONS, VERDICTS

HARNESS = language.WORDS.parent
TEXT = language.WORDS.read_text(encoding="utf-8")
# what say(...) gets by a variable, apart from a specification's own words
BY_NAME = {*VERDICTS, *VERDICTS.values(), *OUTCOMES, *REASONS.values(), *WHY.values(), *NEEDS}


def in_python(text):
    """Return what the calls of say(...) in a Python file say."""
    calls = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call) and node.args]
    says = [call.args[0] for call in calls if ast.unparse(call.func).rpartition(".")[2] == "say"]
    return {first.value for first in says if isinstance(first, ast.Constant)}


def in_template(text):
    """Return what the calls of say(...) in a page say."""
    return set(re.findall(r'\bsay\("([^"]+)"', text))


@functools.cache
def said():
    """Return all that the harness says, in English."""
    files = [path for path in HARNESS.rglob("*.py") if HARNESS / "tests" not in path.parents]
    pages = HARNESS.rglob("*.html")
    return BY_NAME.union(
        *(in_python(path.read_text(encoding="utf-8")) for path in files),
        *(in_template(path.read_text(encoding="utf-8")) for path in pages),
    )


def places(text):
    """Return the names in braces."""
    return {name for _, name, _, _ in Formatter().parse(text) if name is not None}


def problems(words, english):
    """Return a sentence for each thing in which the Chinese words and the English ones differ."""
    return [
        *(f"spec/harness/zh.toml has no {each!r}" for each in sorted(english - words.keys())),
        *(f"the harness does not say {each!r}" for each in sorted(words.keys() - english)),
        *(
            f"{each!r} has other names in braces than {chinese!r}"
            for each, chinese in words.items()
            if places(each) != places(chinese)
        ),
        *(
            f"{each!r} and {chinese!r} are not of one width"
            for each, chinese in words.items()
            if each[0].isalpha() and each.endswith(" ") and width(each) != width(chinese)
        ),
    ]


def test_all_that_the_harness_says_is_in_chinese():
    """Add the Chinese of a sentence when the sentence comes."""
    assert problems(tomllib.loads(TEXT), said()) == []


MISFITS = {
    "missing": ('"Checks"', '"Czechs"', "spec/harness/zh.toml has no 'Checks'"),
    "left over": ('"Checks"', '"Czechs"', "the harness does not say 'Czechs'"),
    "braces": ("{line} 行", "{row} 行", "'line {line}' has other names in braces than '第 {row} 行'"),
    "no braces": (" {line} 行", "行", "'line {line}' has other names in braces than '第行'"),
    "width": ("判定     ", "判定", "'verdict  ' and '判定' are not of one width"),
}


@pytest.mark.parametrize(("before", "after", "problem"), MISFITS.values(), ids=MISFITS)
def test_what_does_not_fit_is_told(before, after, problem):
    """Each in a sentence that names it."""
    assert before in TEXT
    assert problem in problems(tomllib.loads(TEXT.replace(before, after, 1)), said())


def test_what_is_said_is_found_in_python_and_in_a_page():
    """Whoever calls say(...), and however the call is broken."""
    python = """
        say("a")
        language.say(
            "b {n}", n=say("c")
        )
        f"{self.language.say('d')}"
        say(name), unsay("e")
    """
    page = '<b title="{{ say("f") }}">{{ say("g {n}", n=say("h")) }}{{ say(name) }}</b>'

    assert in_python(dedent(python)) == {"a", "b {n}", "c", "d"}
    assert in_template(page) == {"f", "g {n}", "h"}
