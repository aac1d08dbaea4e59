"""The catalogue of claims: read from the tests, told one by one, printed as docs/claims.md."""

import difflib
import importlib
import inspect
import re
from pathlib import Path

from blitz.errors import BlitzError
from blitz.explained.graph import outline
from spec.harness.statements.claims import HOLDS, SECTIONS, VERDICTS, Claim

SPEC = Path(__file__).parents[2]


def claims() -> list[Claim]:
    """Return every claim of spec/test_*.py, in the order of the notes."""
    found = []
    for path in sorted(SPEC.glob("test_*.py")):
        module = importlib.import_module(f"spec.{path.stem}")
        members = [module, *(member for member in vars(module).values() if inspect.isclass(member))]
        tests = [test for member in members for test in vars(member).values()]
        here = [test.claim for test in tests if isinstance(getattr(test, "claim", None), Claim)]
        found += sorted(here, key=lambda claim: claim.test.__code__.co_firstlineno)
    order = list(SECTIONS.values())
    return sorted(found, key=lambda claim: order.index(claim.section))  # stable: file order within a section


def ids() -> list[str]:
    """Return the id of every claim, in the order of the files, from their text: nothing is imported."""
    texts = [path.read_text(encoding="utf-8") for path in sorted(SPEC.glob("test_*.py"))]
    return [found for text in texts for found in re.findall(r'^ *@claim\(\s*"([^"]+)"', text, re.MULTILINE)]


def find(id: str) -> Claim:
    """Return the claim of that id.

    Raises:
        BlitzError: there is no such claim; the message names the nearest ones.
    """
    catalogue = {claim.id: claim for claim in claims()}
    if id not in catalogue:
        near = difflib.get_close_matches(id, catalogue, n=3, cutoff=0.4)
        hint = f"; did you mean {', '.join(near)}?" if near else "; `blitz claims` lists them all"
        raise BlitzError(f"no claim is called {id!r}{hint}")
    return catalogue[id]


def explain(claim: Claim) -> str:
    """Tell one claim: what is true, what the notes say, its test, its sabotages, its graph if it has one."""
    lines = [
        f"{claim.id}: {claim.sentence}",
        "",
        f"notes     {claim.section}, {claim.notes}",
        f"verdict   {claim.verdict}: {VERDICTS[claim.verdict]}",
    ]
    if claim.says:
        lines.append(f"they say  {claim.says}")
    if claim.since:
        lines.append(f"since     PyTorch {claim.since}")
    lines.append(f"caught    {', '.join(claim.sabotage_names)}")
    file = Path(inspect.getsourcefile(claim.test) or "").relative_to(SPEC.parent)
    lines += [
        "",
        f"# {file}, line {inspect.getsourcelines(claim.test)[1]}",
        "",
        inspect.getsource(claim.test).rstrip(),
    ]
    if claim.graph:
        result, leaves = claim.graph()
        lines += [
            "",
            "# its graph, from the result back to the leaves (●)",
            "",
            outline(result, params=leaves),
        ]
    return "\n".join(lines)


def picture(claim: Claim) -> str:
    """Return the picture of a claim's graph, as the text of an SVG file.

    Raises:
        BlitzError: the claim has no graph; the message names those that have.
    """
    if claim.graph is None:
        others = ", ".join(other.id for other in claims() if other.graph)
        raise BlitzError(f"the claim {claim.id} has no graph to draw; these have: {others}")
    from blitz.explained.graph_drawing import (
        draw,  # matplotlib takes half a second to import, and only this needs it
    )

    result, leaves = claim.graph()
    return draw(result, params=leaves, title=f"{claim.id}: {claim.sentence}")


def page() -> str:
    """Return docs/claims.md."""
    catalogue = claims()
    lines = [
        "# The claims",
        "",
        "Every statement of the notes that is held to PyTorch, in their order. Generated from the tests by",
        "`blitz claims > docs/claims.md`; `blitz explain CLAIM` shows a claim with its proof.",
        "",
        "| verdict | the notes | claims |",
        "| --- | --- | --- |",
        *(f"| {v} | {text} | {sum(c.verdict == v for c in catalogue)} |" for v, text in VERDICTS.items()),
    ]
    for section in SECTIONS.values():
        here = [claim for claim in catalogue if claim.section == section]
        if here:
            lines += ["", f"## {section}", ""]
            lines += [_entry(claim) for claim in here]
    return "\n".join(lines) + "\n"


def _entry(claim: Claim) -> str:
    since = f", true since PyTorch {claim.since}" if claim.since else ""
    says = f" *The notes say: {(claim.says or '').rstrip('.')}.*" if claim.verdict != HOLDS else ""
    broken = ", ".join(f"`{name}`" for name in dict.fromkeys(map(str, claim.sabotages)))
    faults = f"{len(claim.sabotages)} {'fault' if len(claim.sabotages) == 1 else 'faults'} in {broken}"
    head = f"- **`{claim.id}`** ({claim.notes}; {claim.verdict}{since}): {claim.sentence}"
    return f"{head}{says} Seen to fail under {faults}."
