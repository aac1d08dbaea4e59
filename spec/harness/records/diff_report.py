"""What changed between two runs, in words: for a terminal, and as Markdown for the summary of a job."""

import re
from collections import Counter
from collections.abc import Callable, Iterator

from spec.harness.records.diff import BROKEN, MEANING, TOLERANCE, WORSE, Difference, Row, Statement
from spec.harness.records.escaping import printable
from spec.harness.records.matrix import flat
from spec.harness.records.vocabulary import Record

TOLD_FIRST = ("torch", "accelerator", "devices", "cpu", "data", "started", "commit")
LONGEST = 300  # characters of one thing that a file says
MOST = 5  # lines about one statement, and names in one line

Quote = Callable[[str], str]  # makes text of a file fit to be shown


def as_text(found: Difference) -> str:
    """Return the report for a terminal."""
    return _report(found, "", _shown)


def as_markdown(found: Difference) -> str:
    """Return the report for a page, where all that a file says stands as code: it links and hides nothing."""
    return f"## blitz diff\n\n{_report(found, '### ', _code)}"


def _shown(text: str) -> str:
    line = printable(" ".join(text.split()))
    return line if len(line) <= LONGEST else f"{line[:LONGEST]}..."


def _code(text: str) -> str:
    """Return `text` between more backticks than it has in a row: nothing else ends code in Markdown."""
    line = _shown(text)
    fence = "`" * (1 + max(map(len, re.findall("`+", line)), default=0))
    space = " " * (line.startswith("`") or line.endswith("`"))
    return f"{fence}{space}{line or ' '}{space}{fence}"


def _report(found: Difference, heading: str, quote: Quote) -> str:
    lines = [*_sides(found, quote), "", _conclusion(found)]
    if found.still:
        lines += ["", f"Refuted or broken in B, but not newly: {', '.join(map(quote, found.still))}."]
    for change, meaning in MEANING.items():
        group = [statement for statement in found.statements if statement.change == change]
        lines += ["", f"{heading}{meaning} ({len(group)})", ""] if group else []
        lines += [line for statement in group for line in _about(statement, quote)]
    return "\n".join(lines)


def _sides(found: Difference, quote: Quote) -> Iterator[str]:
    """Say of each run its file, its release, what else of it differs, and its trouble."""
    headers = [flat(side.header | {"devices": _devices(side.header)}) for side in (found.before, found.after)]
    keys = sorted(headers[0].keys() | headers[1].keys(), key=_rank)
    differing = [key for key in keys if key == "torch" or headers[0].get(key) != headers[1].get(key)]
    for name, side, header in zip("AB", (found.before, found.after), headers, strict=True):
        facts = ", ".join(f"{key} {quote(header.get(key, 'none'))}" for key in differing)
        yield f"- {name} is {quote(side.path)}: {facts}"
        if side.trouble:
            yield f"- The run {name} had trouble of its own: {quote(side.trouble)}"


def _devices(header: Record) -> str | None:
    """Return how many there are of each kind, so that eight alike are one fact."""
    names = Counter(f"{device['name']} (driver {device['driver']})" for device in header["devices"])
    return ", ".join(f"{count} x {name}" for name, count in names.items()) or None


def _rank(key: str) -> tuple[int, str]:
    return TOLD_FIRST.index(key) if key in TOLD_FIRST else len(TOLD_FIRST), key


def _conclusion(found: Difference) -> str:
    counts = Counter(statement.change for statement in found.statements)
    told = [f"{counts[change]} {change}" for change in MEANING if counts[change]]
    if any(counts[change] for change in WORSE):
        worse = "Something is worse in B"
    else:
        worse = "Nothing is worse in B" + (", but its run had trouble" if found.status else "")
    return f"{worse}. Statements: {', '.join([*told, f'{found.alike} as before'])}."


def _about(statement: Statement, quote: Quote) -> list[str]:
    """Return what became of a statement, and a line for all rows of which the same is to be said."""
    was, now = statement.before, statement.after
    became = f"still {now}" if was == now else f"{was}, now {now or 'gone'}" if was else f"new, {now}"
    lines = [f"- {quote(statement.id)}: {became}"]
    if statement.change == BROKEN and (record := statement.rows[0].after):
        lines.append(f"  - should be true: {quote(record['sentence'])}")
    cases: dict[str, list[str]] = {}
    for row in statement.rows:
        record = row.after or row.before or {}
        case = record["check"] + "".join(record["node"].partition("[")[1:])
        cases.setdefault(_became(row, quote), []).append(quote(case))
    for told, names in list(cases.items())[:MOST]:
        more = [f"{len(names) - MOST} more"] * (len(names) > MOST)
        lines.append(f"  - {', '.join([*names[:MOST], *more])} on {told}")
    if more_rows := sum(len(names) for names in list(cases.values())[MOST:]):
        lines.append(f"  - and {more_rows} more rows, all of which --format json tells")
    return lines


def _became(row: Row, quote: Quote) -> str:
    """Return the device, and what was and is there."""
    sides = [side for side in (row.before, row.after) if side]
    there = ", then ".join(quote(device) for device in dict.fromkeys(side["device"] for side in sides))
    if row.change == TOLERANCE:
        used, uses = (f"{100 * side['tolerance_used']:.3g} %" for side in sides)
        return f"{there}: {used} of the tolerance, now {uses}"
    was, now = (_state(side, quote) if side else None for side in (row.before, row.after))
    return f"{there}: {was}, now {now or 'gone'}" if was else f"{there}: new, {now}"


def _state(record: Record, quote: Quote) -> str:
    """Return the outcome, with the reason why it was not checked, or what was seen."""
    if record["reason"]:
        return f"{record['outcome']} ({record['reason']}: {quote(record.get('detail') or 'no detail')})"
    return f"{record['outcome']} ({quote(record['seen'])})" if record["seen"] else str(record["outcome"])
