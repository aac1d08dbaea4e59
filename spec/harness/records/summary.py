"""What a run found, in words: a table in the order of the notes, and a paragraph for what was refuted."""

import textwrap
from collections import Counter
from collections.abc import Iterable

from spec.harness.accelerator.steps import first_cause, step_lines
from spec.harness.language import sentence
from spec.harness.records.escaping import printable
from spec.harness.records.reading import Records
from spec.harness.records.vocabulary import BROKEN, CONFIRMED, HOLDS, NOT_CHECKED, REASONS, REFUTED, Record

WORST_FIRST = (REFUTED, *BROKEN, CONFIRMED, NOT_CHECKED)


def report(records: list[Record]) -> list[str]:
    """Return the lines of the whole: the table, a paragraph for what went wrong, what was not checked."""
    paragraphs = [line for record in records if any_bad([record]) for line in ("", _paragraph(record))]
    return [*table(records), *paragraphs, "", *gaps(records)]


def of_file(found: Records) -> list[str]:
    """Return the lines of a whole file: the environment, how devices climbed, and the report."""
    header = found.header
    place = header["accelerator"] or header["cpu"]
    first = f"PyTorch {header['torch']}, Python {header['python']}, {place}, data: {header['data']}"
    climbed = [*step_lines(found.rungs), ""] if found.rungs else []
    above = [printable(" ".join(line.split("\n"))) for line in [first, "", *climbed]]
    return [*above, *report(found.results)]


def trouble(found: Records) -> str | None:
    """Return what went wrong with a finished run that no record of a statement tells; None if nothing did."""
    status = found.end["exit_status"]
    if cause := first_cause(found.rungs):
        told = f"the device {cause['device']} failed the rung {cause['rung']}"
    elif found.end["seen"]:
        told = found.end["seen"]
    elif status and not any_bad(found.results):
        told = f"the run ended with status {status}, though no statement is refuted or broken"
    else:
        return None
    return printable(" ".join(told.split()))


def any_bad(records: Iterable[Record]) -> bool:
    """Tell whether a statement was refuted or broken."""
    return any(record["outcome"] in (REFUTED, *BROKEN) for record in records)


def outcomes(records: Iterable[Record]) -> dict[str, Record]:
    """Return for each statement the record that decides: the worst one that was checked."""
    deciding: dict[str, Record] = {}
    for record in records:
        rival = deciding.setdefault(record["id"], record)
        if WORST_FIRST.index(record["outcome"]) < WORST_FIRST.index(rival["outcome"]):
            deciding[record["id"]] = record
    return deciding


def table(records: Iterable[Record]) -> list[str]:
    """Return the table, a row a section, which begins with its number, and one for all."""
    decided = list(outcomes(records).values())
    columns = [CONFIRMED, REFUTED, NOT_CHECKED]
    if any(record["outcome"] in BROKEN for record in decided):
        columns.append("error")
    rows = [["section of the notes", "statements", *columns]]
    for section in [*sorted({record["section"] for record in decided}), "in all"]:
        here = [r["outcome"] for r in decided if section in (r["section"], "in all")]
        tally = Counter("error" if outcome in BROKEN else outcome for outcome in here)
        rows.append([section, str(len(here)), *(str(tally[column]) for column in columns)])
    first, *widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join([name.ljust(first), *(n.rjust(width) for n, width in zip(numbers, widths, strict=True))])
        for name, *numbers in rows
    ]


def _paragraph(record: Record) -> str:
    case = ", ".join([*(f"{k} {v}" for k, v in record["params"].items() if k != "device"), record["device"]])
    notes = f"The notes ({record['notes']}) say"
    if record["verdict"] == HOLDS:
        stated = f"{notes}, and it should be true: {record['sentence']}"
    else:
        stated = f"{notes}: {sentence(record['says'] or '')} Should be true: {record['sentence']}"
    seen = " ".join((record["seen"] or "nothing").split())
    text = printable(f"{record['id']} ({case}): {record['outcome']}. {stated} Seen: {seen}")
    return textwrap.fill(text, 110, subsequent_indent="    ", break_long_words=False)


def gaps(records: list[Record]) -> list[str]:
    """Return one line a reason: how many statements have a case that was not checked, and why."""
    lines = []
    if gpu := {r["id"] for r in records if r["gpu"]}:
        checked = {r["id"] for r in records if r["gpu"] and r["outcome"] in (CONFIRMED, REFUTED)}
        lines.append(f"{len(checked)} of {len(gpu)} GPU statements were checked")
    for reason, text in REASONS.items():
        left_out = [r for r in records if r["reason"] == reason]
        if count := len({r["id"] for r in left_out}):
            details = {r["detail"] for r in left_out}
            why = details.pop() if len(details) == 1 else None
            statements = "statements" if count > 1 else "statement"
            lines.append(f"not checked: {count} {statements}, {reason}: {why or text}")
    return lines
