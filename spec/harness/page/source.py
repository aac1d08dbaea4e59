"""What the text of the specification says of a statement: its faults, its source, where it stands.

The files are read as text, so that a page needs neither PyTorch nor the packages that a test imports.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from markupsafe import Markup
from pygments.lexers import PythonLexer
from pygments.token import Comment, Keyword, Literal, Name

from spec.harness.statements.notes import Notes

STYLES = {Keyword: "k", Literal.String: "s", Literal.Number: "m", Comment: "c", Name.Decorator: "d"}


class Source(NamedTuple):
    """Where a statement stands, what it is proved by, and which faults its checks catch, in words."""

    file: str
    line: int
    code: str
    faults: list[str]


def sources(notes: Notes) -> dict[str, Source]:
    """Return the source of each statement by its id."""
    found: dict[str, Source] = {}
    for folder in notes.folders:
        for path in sorted(folder.rglob("test_*.py")):
            found |= _in_file(path, path.relative_to(folder.parents[1]).as_posix())
    return found


def _in_file(path: Path, name: str) -> Iterator[tuple[str, Source]]:
    text = path.read_text(encoding="utf-8")
    lines = text.splitlines()
    for node in ast.parse(text).body:
        if not isinstance(node, (ast.ClassDef, ast.FunctionDef)):
            continue
        calls = [call for decorator in node.decorator_list if (call := _named(decorator))]
        if proves := dict(calls).get("statement"):
            begin = node.decorator_list[0].lineno
            code = "\n".join(lines[begin - 1 : node.end_lineno])
            faults = [first for decorator, first in calls if decorator == "fault"]
            yield proves, Source(name, begin, code, faults)


def _named(decorator: ast.expr) -> tuple[str, str] | None:
    """Return a decorator and what it is called with first: a statement's id, or a fault in words."""
    match decorator:
        case ast.Call(func=ast.Name(id=name), args=[ast.Constant(value=str(first)), *_]):
            return name, first
    return None


def highlighted(code: str) -> Markup:
    """Return Python as HTML, with a class for keywords, strings, numbers, comments and decorators."""
    parts: list[Markup] = []
    for token, text in PythonLexer().get_tokens(code):
        style = next((name for kind, name in STYLES.items() if token in kind), None)
        parts.append(Markup('<i class="{}">{}</i>').format(style, text) if style else Markup.escape(text))
    return Markup("").join(parts)


def with_code(text: str) -> Markup:
    """Return a sentence as HTML, with what stands in backticks as code.

    >>> print(with_code("`x < y` is a tensor"))
    <code>x &lt; y</code> is a tensor
    """
    return Markup(re.sub("`([^`]+)`", r"<code>\1</code>", str(Markup.escape(text))))
