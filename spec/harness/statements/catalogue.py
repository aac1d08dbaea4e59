"""The catalogue of claims: read from the tests, told one by one, printed as docs/claims.md."""

import difflib
import importlib
import inspect
import re
from pathlib import Path
from typing import Any

from blitz.errors import BlitzError
from blitz.explained.graph import outline
from spec.harness.places import is_section
from spec.harness.statements.statement import HOLDS, VERDICTS, Statement
from spec.notes import HEADINGS

SPEC = Path(__file__).parents[2]


def statements() -> list[Statement]:
    """Return every statement, in the order of the notes: by heading, then as the files have them."""
    order = [heading for its in HEADINGS.values() for heading in its]
    found = []
    for path in files():
        name = ".".join(path.relative_to(SPEC.parent).with_suffix("").parts)
        members = list(vars(importlib.import_module(name)).values())
        members += [m for outer in members if inspect.isclass(outer) for m in vars(outer).values()]
        here = {id(m): m.statement for m in members if isinstance(vars_of(m).get("statement"), Statement)}
        found += sorted(here.values(), key=lambda statement: inspect.getsourcelines(statement.proof)[1])
    return sorted(found, key=lambda statement: order.index(statement.notes.partition("; ")[0]))


def vars_of(member: object) -> dict[str, Any]:
    """Return the attributes of a class or a function."""
    return getattr(member, "__dict__", {})


def files() -> list[Path]:
    """Return the files of the statements."""
    return sorted(path for path in SPEC.rglob("test_*.py") if is_section(path))


def ids() -> list[str]:
    """Return the id of every statement, in the order of the files, from their text: nothing is imported."""
    texts = [path.read_text(encoding="utf-8") for path in files()]
    pattern = re.compile(r'^ *@(?:statement|claim)\(\s*"([^"]+)"', re.MULTILINE)
    return [found for text in texts for found in pattern.findall(text)]


def find(id: str) -> Statement:
    """Return the statement of that id.

    Raises:
        BlitzError: there is no such statement; the message names the nearest ones.
    """
    catalogue = {statement.id: statement for statement in statements()}
    if id not in catalogue:
        near = difflib.get_close_matches(id, catalogue, n=3, cutoff=0.4)
        hint = f"; did you mean {', '.join(near)}?" if near else "; `blitz statements` lists them all"
        raise BlitzError(f"no statement is called {id!r}{hint}")
    return catalogue[id]


def section(statement: Statement) -> str:
    """Return the section of the notes that a statement belongs to."""
    heading = statement.notes.partition("; ")[0]
    return next(section for section, its in HEADINGS.items() if heading in its)


def explain(statement: Statement) -> str:
    """Tell one statement: what is true, what the notes say, its faults, its checks, its graph."""
    lines = [
        f"{statement.id}: {statement.sentence}",
        "",
        f"notes     {section(statement)}, {statement.notes}",
        f"verdict   {statement.verdict}: {VERDICTS[statement.verdict]}",
    ]
    if statement.says:
        lines.append(f"they say  {statement.says}")
    if statement.since:
        lines.append(f"since     PyTorch {statement.since}")
    lines += [f"{'catches' if not i else '':9} {fault.name}" for i, fault in enumerate(statement.faults)]
    file = Path(inspect.getsourcefile(statement.proof) or "").relative_to(SPEC.parent)
    lines += [
        "",
        f"# {file}, line {inspect.getsourcelines(statement.proof)[1]}",
        "",
        inspect.getsource(statement.proof).rstrip(),
    ]
    if statement.graph:
        result, leaves = statement.graph()
        lines += [
            "",
            "# its graph, from the result back to the leaves (●)",
            "",
            outline(result, params=leaves),
        ]
    return "\n".join(lines)


def picture(statement: Statement) -> str:
    """Return the picture of a statement's graph, as the text of an SVG file.

    Raises:
        BlitzError: the statement has no graph; the message names those that have.
    """
    if statement.graph is None:
        others = ", ".join(other.id for other in statements() if other.graph)
        raise BlitzError(f"the statement {statement.id} has no graph to draw; these have: {others}")
    from blitz.explained.graph_drawing import (
        draw,  # matplotlib takes half a second to import, and only this needs it
    )

    result, leaves = statement.graph()
    return draw(result, params=leaves, title=f"{statement.id}: {statement.sentence}")


def page() -> str:
    """Return docs/statements.md."""
    catalogue = statements()
    lines = [
        "# The statements",
        "",
        "Every statement of the notes that is held to PyTorch, in their order. Generated from the tests by",
        "`blitz statements > docs/statements.md`; `blitz explain STATEMENT` shows one with its proof.",
        "",
        "| verdict | the notes | statements |",
        "| --- | --- | --- |",
        *(f"| {v} | {text} | {sum(s.verdict == v for s in catalogue)} |" for v, text in VERDICTS.items()),
    ]
    for name in HEADINGS:
        here = [statement for statement in catalogue if section(statement) == name]
        if here:
            lines += ["", f"## {name}", ""]
            lines += [_entry(statement) for statement in here]
    return "\n".join(lines) + "\n"


def _entry(statement: Statement) -> str:
    since = f", true since PyTorch {statement.since}" if statement.since else ""
    says = f" *The notes say: {(statement.says or '').rstrip('.')}.*" if statement.verdict != HOLDS else ""
    faults = "; ".join(fault.name for fault in statement.faults)
    head = f"- **`{statement.id}`** ({statement.notes}; {statement.verdict}{since}): {statement.sentence}"
    return f"{head}{says} Seen to fail where {faults}."
