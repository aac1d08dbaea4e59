"""What a run found, in words: a table in the order of the notes, and a paragraph for what was refuted."""

import textwrap
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable

from spec.harness.accelerator.steps import first_cause, step_lines
from spec.harness.language import Language, sentence
from spec.harness.records.escaping import printable
from spec.harness.records.reading import Records
from spec.harness.records.vocabulary import (
    BROKEN,
    CONFIRMED,
    ERROR,
    HOLDS,
    NOT_CHECKED,
    REASONS,
    REFUTED,
    Record,
)

WORST_FIRST = (REFUTED, *BROKEN, CONFIRMED, NOT_CHECKED)


def report(records: list[Record], language: Language) -> list[str]:
    """Return the lines of the whole: the table, a paragraph for what went wrong, what was not checked."""
    bad = [record for record in records if any_bad([record])]
    paragraphs = [line for record in bad for line in ("", _paragraph(record, language))]
    return [*table(records, language), *paragraphs, "", *gaps(records, language.say)]


def of_file(found: Records, language: Language) -> list[str]:
    """Return the lines of a whole file: the environment, how devices climbed, and the report."""
    header = found.header
    first = language.say(
        "PyTorch {torch}, Python {python}, {place}, data: {data}",
        torch=header["torch"],
        python=header["python"],
        place=header["accelerator"] or header["cpu"],
        data=header["data"],
    )
    climbed = [*step_lines(found.rungs), ""] if found.rungs else []
    above = [printable(" ".join(line.split("\n"))) for line in [first, "", *climbed]]
    return [*above, *report(found.results, language)]


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


def table(records: Iterable[Record], language: Language) -> list[str]:
    """Return the table, a row a section, which begins with its number, and one for all."""
    say = language.say
    decided = list(outcomes(records).values())
    columns = [CONFIRMED, REFUTED, NOT_CHECKED]
    if any(record["outcome"] in BROKEN for record in decided):
        columns.append(ERROR)
    rows = [[say("section of the notes"), say("statements"), *map(say, columns)]]
    for section in [*sorted({record["section"] for record in decided}), None]:
        here = [record["outcome"] for record in decided if section in (record["section"], None)]
        tally = Counter(ERROR if outcome in BROKEN else outcome for outcome in here)
        name = language.title(section, section) if section else say("in all")
        rows.append([name, str(len(here)), *(str(tally[column]) for column in columns)])
    first, *widths = [max(map(width, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join([name + " " * (first - width(name)), *map(_right, numbers, widths)])
        for name, *numbers in rows
    ]


def width(text: str) -> int:
    """Return how many columns of a terminal a text takes, in which a Chinese character takes two.

    >>> width("ab"), width("张量")
    (2, 4)
    """
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)


def _right(text: str, columns: int) -> str:
    return " " * (columns - width(text)) + text


def _paragraph(record: Record, language: Language) -> str:
    case = ", ".join([*(f"{k} {v}" for k, v in record["params"].items() if k != "device"), record["device"]])
    truth, says = language.statement(record["id"], record["sentence"], record["says"])
    values = {"notes": record["notes"], "says": sentence(says or ""), "truth": truth}
    if record["verdict"] == HOLDS:
        stated = language.say("The notes ({notes}) say, and it should be true: {truth}", **values)
    else:
        stated = language.say("The notes ({notes}) say: {says} Should be true: {truth}", **values)
    seen = language.say("Seen: {seen}", seen=" ".join((record["seen"] or language.say("nothing")).split()))
    outcome = language.say(record["outcome"]) + language.say(".")
    text = printable(f"{record['id']} ({case}): {outcome} {stated} {seen}")
    return textwrap.fill(text, 110, subsequent_indent="    ", break_long_words=False)


def gaps(records: list[Record], say: Callable[..., str]) -> list[str]:
    """Return one line a reason: how many statements have a case that was not checked, and why."""
    lines = []
    if gpu := {r["id"] for r in records if r["gpu"]}:
        checked = {r["id"] for r in records if r["gpu"] and r["outcome"] in (CONFIRMED, REFUTED)}
        lines.append(say("{count} of {all} GPU statements were checked", count=len(checked), all=len(gpu)))
    for reason, text in REASONS.items():
        left_out = [r for r in records if r["reason"] == reason]
        if count := len({r["id"] for r in left_out}):
            details = {r["detail"] for r in left_out}
            why = printable(" ".join(say((details.pop() if len(details) == 1 else None) or text).split()))
            told = say("not checked: 1 statement, {reason}: {why}", reason=reason, why=why)
            if count > 1:
                told = say(
                    "not checked: {count} statements, {reason}: {why}", count=count, reason=reason, why=why
                )
            lines.append(told)
    return lines
