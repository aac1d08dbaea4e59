"""The catalogue of statements: read from the tests, shown one by one, printed as docs/statements.md."""

import difflib
import importlib
import inspect
from pathlib import Path

from spec.harness.children import ROOT
from spec.harness.errors import HarnessError
from spec.harness.language import Language, sentence
from spec.harness.records.vocabulary import HOLDS, VERDICTS
from spec.harness.statements.notes import Notes
from spec.harness.statements.statement import Statement


def statements(notes: Notes) -> list[Statement]:
    """Return every statement, in the order of the notes: by heading, then as the files have them."""
    found = {}
    for path in notes.files():
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for member in vars(importlib.import_module(name)).values():
            its = getattr(member, "__dict__", {}).get("statement")  # of a class, without what it inherits
            if isinstance(its, Statement):
                found[its.id] = its
    order = [heading for its in notes.headings.values() for heading in its]
    return sorted(found.values(), key=lambda statement: order.index(statement.heading))


def find(id: str, notes: Notes) -> Statement:
    """Return the statement of that id.

    Raises:
        HarnessError: there is no such statement; the message names the nearest ones.
    """
    catalogue = {statement.id: statement for statement in statements(notes)}
    if id not in catalogue:
        near = difflib.get_close_matches(id, catalogue, n=3, cutoff=0.4)
        hint = f"; did you mean {', '.join(near)}?" if near else "; `blitz statements` lists them all"
        raise HarnessError(f"no statement is called {id!r}{hint}")
    return catalogue[id]


def explain(statement: Statement, notes: Notes, language: Language) -> str:
    """Tell one statement: what is true, what the notes say, its faults, its checks."""
    say = language.say
    section = notes.section(statement.heading) or ""
    truth, says = language.statement(statement.id, statement.sentence, statement.says)
    lines = [
        f"{statement.id}: {truth}",
        "",
        f"{say('notes    ')} {language.title(section, section)}, {statement.notes}",
        f"{say('verdict  ')} {say(statement.verdict)}: {say(VERDICTS[statement.verdict])}",
    ]
    if says:
        lines.append(f"{say('they say ')} {says}")
    if statement.since:
        lines.append(f"{say('since    ')} PyTorch {statement.since}")
    catches, nothing = say("catches  "), " " * 9
    lines += [f"{nothing if i else catches} {fault.name}" for i, fault in enumerate(statement.faults)]
    file = Path(inspect.getsourcefile(statement.proof) or "").relative_to(ROOT)
    lines += [
        "",
        f"# {file}, line {inspect.getsourcelines(statement.proof)[1]}",
        "",
        inspect.getsource(statement.proof).rstrip(),
    ]
    return "\n".join(lines)


def page(notes: Notes) -> str:
    """Return docs/statements.md."""
    catalogue = statements(notes)
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
    for name in notes.headings:
        here = [statement for statement in catalogue if notes.section(statement.heading) == name]
        if here:
            lines += ["", f"## {name}", ""]
            lines += [_entry(statement) for statement in here]
    return "\n".join(lines) + "\n"


def _entry(statement: Statement) -> str:
    since = f", true since PyTorch {statement.since}" if statement.since else ""
    says = f" *The notes say: {sentence(statement.says or '')}*" if statement.verdict != HOLDS else ""
    checks, faults = len(statement.checks), len(statement.faults)
    proof = f"{checks} check{'s' * (checks > 1)}, {faults} fault{'s' * (faults > 1)}"
    head = f"- **`{statement.id}`** ({statement.notes}; {statement.verdict}{since}; {proof})"
    return f"{head}: {statement.sentence}{says}"
