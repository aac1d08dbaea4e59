"""spec/zh.toml: what the specification says in Chinese: its words, titles and statements."""

import functools
import tomllib

import pytest

from spec import cifar10
from spec.harness.language import mark
from spec.harness.statements import catalogue
from spec.notes import NOTES

TEXT = NOTES.chinese.read_text(encoding="utf-8")


@functools.cache
def said():
    """Return the specification's own words, which the harness says: of the data, and what pictures show."""
    drawn = NOTES.pictures(
        {
            "autograd.graph-structure": {
                "nodes": [["ExpBackward0", [1], None, ""], ["AccumulateGrad", [], [2], "a"]]
            },
            "parallel.equal-shares": {"shares of 30 rows on 2 devices": [15, 15]},
            "cifar.reported-losses": {"losses": [2.2]},
            "cifar.reported-per-class": {"per_class": {"cat": 0.2}},
        }
    )
    return [cifar10.NONE, cifar10.STAND_IN, *(each.shows for its in drawn.values() for each in its)]


def problems(text):
    """Return a sentence for each thing in which such a file and the specification differ."""
    chinese = tomllib.loads(text)
    titles = [name for section, headings in NOTES.headings.items() for name in (section, *headings)]
    statements = {statement.id: statement for statement in catalogue.statements(NOTES)}
    return [
        *compared("sentence", list(chinese["words"]), said()),
        *compared("title", list(chinese["titles"]), titles),
        *compared("statement", list(chinese["statements"]), list(statements)),
        *(
            problem
            for name, entry in chinese["statements"].items()
            if name in statements
            for problem in problems_of(statements[name], entry)
        ),
    ]


def compared(kind, found, expected):
    """Say what is missing, what is left over, and whether the rest is in the order of the notes."""
    yield from (f"spec/zh.toml has no {kind} {name!r}" for name in expected if name not in found)
    yield from (f"the specification has no {kind} {name!r}" for name in found if name not in expected)
    if [name for name in found if name in expected] != [name for name in expected if name in found]:
        yield f"the {kind}s are not in the order of the specification"


def problems_of(statement, entry):
    """Say what is wrong with the Chinese of one statement."""
    fields = {"english", "truth"} | ({"says"} if statement.says else set())
    yield from (f"{statement.id} has no {field}" for field in sorted(fields - entry.keys()))
    yield from (f"{statement.id} should have no {field}" for field in sorted(entry.keys() - fields))
    today = mark(statement.sentence, statement.says)
    if entry.get("english") != today:
        yield (
            f"the English of {statement.id} has changed: read its Chinese in spec/zh.toml again, "
            f'mend it, then write english = "{today}" there'
        )


def test_every_statement_and_every_title_is_in_chinese():
    """Write the Chinese of a statement when the statement comes or changes."""
    assert problems(TEXT) == []


ITEM = '"tensor.item"'
ROWS = '"1.5" = "1.5 NumPy"\n', '"1.6" = "1.6 item"\n'
MISFITS = {
    "missing": (ITEM, '"tensor.itme"', "spec/zh.toml has no statement 'tensor.item'"),
    "left over": (ITEM, '"tensor.itme"', "the specification has no statement 'tensor.itme'"),
    "sentence is missing": ('"Three', '"Four', "spec/zh.toml has no sentence 'Three"),
    "title is missing": ('"1.6" =', '"1.7" =', "spec/zh.toml has no title '1.6'"),
    "title out of order": (
        "".join(ROWS),
        "".join(reversed(ROWS)),
        "the titles are not in the order of the specification",
    ),
    "says": (f"{ITEM}]", f'{ITEM}]\nsays = "x"', "tensor.item should have no says"),
    "no says": ("\nsays =", "\nsaid =", "tensor.is-multidimensional-array has no says"),
    "no truth": ("\ntruth =", "\n# ", "tensor.is-multidimensional-array has no truth"),
}


@pytest.mark.parametrize(("before", "after", "problem"), MISFITS.values(), ids=MISFITS)
def test_what_does_not_fit_is_told(before, after, problem):
    """Each in a sentence that names it."""
    assert before in TEXT
    assert any(each.startswith(problem) for each in problems(TEXT.replace(before, after, 1)))


def test_chinese_of_other_english_is_told_with_the_mark_to_write():
    """Whoever changes the English is told what to do."""
    item = catalogue.find("tensor.item", NOTES)
    today = mark(item.sentence, item.says)

    told = problems(TEXT.replace(today, "00000000"))

    assert told == [
        "the English of tensor.item has changed: read its Chinese in spec/zh.toml again, mend it, "
        f'then write english = "{today}" there'
    ]
