"""README.zh.md says what README.md says: the same commands, links and tables under the same headings."""

import re
from itertools import zip_longest

import pytest

from spec.harness.children import ROOT
from spec.harness.language import language, mark
from spec.notes import NOTES

ENGLISH, CHINESE = ((ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "README.zh.md"))
BLOCK = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
HEADING = re.compile(r"^#+ .*$", re.MULTILINE)


def prose(text):
    """Return a text without its blocks of code, in which # begins a comment."""
    return BLOCK.sub("", text)


def levels(text):
    """Return how many # each heading has."""
    return [heading.split()[0] for heading in HEADING.findall(prose(text))]


def links(text):
    """Return where the links and pictures lead."""
    return sorted(re.findall(r"\]\(([^)]+)\)", prose(text)))


def columns(text):
    """Return how many columns each row of a table has."""
    return [row.count("|") - 1 for row in re.findall(r"^\|.*\|$", prose(text), re.MULTILINE)]


def quoted(text):
    """Return the statements in a README's table: id, verdict, what the notes say, what is true."""
    return re.findall(r"^\| `([^`]+)` \| (\w+) \| (.+) \| (.+) \|$", text, re.MULTILINE)


def translated(statements):
    """Return such statements in the Chinese of spec/zh.toml."""
    zh = language("zh", NOTES)
    entries = [(name, zh.say(verdict), zh.statements[name]) for name, verdict, *_ in statements]
    return [(name, verdict, its.get("says", "相同"), its["truth"]) for name, verdict, its in entries]


def problems(english, chinese):
    """Return a sentence for each thing in which the Chinese README does not follow the English one."""
    linked = english.replace("(README.zh.md)", "(README.md)")  # each links to the other
    return [
        *first_difference("the block", BLOCK.findall(english), BLOCK.findall(chinese)),
        *first_difference("a heading with", levels(english), levels(chinese)),
        *first_difference("a link to", links(linked), links(chinese)),
        *first_difference("a table's row with so many columns:", columns(english), columns(chinese)),
        *first_difference("the statement", translated(quoted(english)), quoted(chinese)),
        *to_read_again(english, chinese),
    ]


def first_difference(kind, expected, found):
    """Say where two lists begin to differ, if they do."""
    differing = ((one, other) for one, other in zip_longest(expected, found) if one != other)
    for one, other in [*differing][:1]:
        yield f"README.zh.md: expected {kind} {one!r}, found {other!r}"


def to_read_again(english, chinese):
    """Name the sections whose English is not the one that was translated, with the mark to write there."""
    sections = (HEADING.split(prose(text))[1:] for text in (english, chinese))
    for heading, section, its in zip(HEADING.findall(prose(english)), *sections, strict=False):
        today = f"<!-- english: {mark(' '.join(section.split()), None)} -->"
        if today not in its:
            yield (
                f"README.md has changed under {heading!r}: read this section of README.zh.md again, "
                f"mend it, then write {today} there"
            )


def test_the_chinese_readme_follows_the_english_one():
    """Each problem is a sentence that says what to do."""
    assert problems(ENGLISH, CHINESE) == []


MISFITS = {
    "command": ("-m gpu --require cuda\n", "-m gpu\n", "expected the block '```sh gpu"),
    "mark of a block": ("```sh gpu", "```sh", "expected the block '```sh gpu"),
    "level": ("\n## CIFAR-10\n", "\n### CIFAR-10\n", "a heading with '##', found '###'"),
    "missing heading": ("\n## CIFAR-10\n", "\n", "a heading with '##', found None"),
    "link": ("](docs/data.md)", "](docs/date.md)", "a link to 'docs/data.md', found"),
    "way back": ("[English](README.md)", "", "a link to 'README.md', found"),
    "column": ("| 3 |", "| 3 | |", "so many columns: 2, found 3"),
    "verdict": ("| 笔记过时 |", "| 过时 |", "'cifar.iterator-next-method', '笔记过时',"),
    "says": ("| 相同 |", "| 不同 |", "'tensor.from-numpy-shares-memory', '笔记正确', '相同',"),
    "truth": ("与数组共享内存。", "复制数组。", "'tensor.from-numpy-shares-memory'"),
    "mark of the English": ("<!-- english:", "<!--", "has changed under '# blitz"),
}


@pytest.mark.parametrize(("before", "after", "problem"), MISFITS.values(), ids=MISFITS)
def test_chinese_that_does_not_follow_is_told(before, after, problem):
    """Each difference in a sentence that names it."""
    assert before in CHINESE
    assert problem in "\n".join(problems(ENGLISH, CHINESE.replace(before, after, 1)))


def test_blocks_in_another_order_are_told():
    """Commands build on those before them."""
    _, first, second, *_ = BLOCK.findall(CHINESE)
    swapped = CHINESE.replace(first, "…", 1).replace(second, first, 1).replace("…", second, 1)

    assert f"README.zh.md: expected the block {first!r}, found {second!r}" in problems(ENGLISH, swapped)


def test_english_that_has_changed_is_told_with_the_mark_to_write():
    """Whoever read the Chinese again writes the mark; another break of the lines changes nothing."""
    block = "```sh\n# no heading\n```"
    text = f"# a\n\nOne\ntwo. {{more}}\n\n{block}\n\n## b\n"
    marks = [f"<!-- english: {mark(section, None)} -->" for section in ("One two.", "")]
    chinese = f"# 甲\n{marks[0]}\n\n一、二。\n\n{block}\n\n## 乙\n{marks[1]}\n"

    assert problems(text.format(more=""), chinese) == []
    assert problems(text.format(more="Three."), chinese) == [
        "README.md has changed under '# a': read this section of README.zh.md again, mend it, "
        f"then write <!-- english: {mark('One two. Three.', None)} --> there"
    ]
