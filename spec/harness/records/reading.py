"""Reading the records of a run: each line is held to the schema, the whole to what a finished run leaves."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jsonschema

from spec.harness.errors import HarnessError
from spec.harness.records.vocabulary import SCHEMA, SCHEMA_VERSION, Record


class Records(NamedTuple):
    """What a run wrote down; the end is empty where it had none."""

    header: Record
    rungs: list[Any]
    results: list[Record]
    end: Record


class UnfinishedError(HarnessError):
    """The run behind a file did not come to its end; `found` is what it left."""

    status = 3

    def __init__(self, sentence: str, found: Records) -> None:
        super().__init__(sentence)
        self.found = found


def read(path: Path, known: Iterable[str] | None = None) -> Records:
    """Return the records of a run. Their file is read once, so that it may be a pipe.

    Args:
        path: the file.
        known: the ids of the statements that there are; without them any is taken.

    Raises:
        HarnessError: it cannot be read, or no run of this specification wrote it as it is.
        UnfinishedError: the run behind it did not finish.
    """
    try:
        *texts, cut = path.read_bytes().split(b"\n")
    except OSError as error:
        raise HarnessError(f"{path}: cannot read it: {error.strerror}") from None
    lines = []
    for number, text in enumerate(texts, 1):
        try:
            lines.append(json.loads(text.decode()))
        except (ValueError, RecursionError) as error:
            raise HarnessError(f"{path}, line {number}: expected JSON: {error}") from None
    header = lines[0] if lines and isinstance(lines[0], dict) else {}
    if header.get("kind") != "header":
        raise HarnessError(f"{path}: expected the records of a run, whose first line is a header")
    if header.get("schema") != SCHEMA_VERSION:
        raise HarnessError(
            f"{path}: expected schema version {SCHEMA_VERSION}, got {repr(header.get('schema'))[:20]}; "
            f"write it again with `blitz verify --records {path.name}`"
        )
    for number, problem in _problems(lines, None if known is None else set(known)):
        raise HarnessError(f"{path}, line {number}: {' '.join(problem.split())}")
    rungs, results, ends = ([line for line in lines if line["kind"] == k] for k in ("rung", "result", "end"))
    found = Records(header, rungs, results, ends[0] if ends else {})
    if how_far := _unfinished(found, bool(cut)):
        raise UnfinishedError(f"{path}: this run did not finish: {' '.join(how_far.split())}", found)
    if not results:
        raise HarnessError(f"{path}: the run checked no statement, so there is nothing to show")
    return found


def _problems(lines: list[Any], known: set[str] | None) -> Iterator[tuple[int, str]]:
    """Say what no run of this specification writes, with the line; the first one counts."""
    kinds = json.loads(SCHEMA.read_text(encoding="utf-8"))["$defs"]
    # one for each kind: the oneOf of the whole schema would try them all
    validators = {kind: jsonschema.Draft202012Validator(schema) for kind, schema in kinds.items()}
    checks = set()
    for number, line in enumerate(lines, 1):
        kind = str(line.get("kind")) if isinstance(line, dict) else None
        if kind not in validators:
            yield number, f"expected an object whose kind is one of {', '.join(kinds)}"
        elif error := jsonschema.exceptions.best_match(validators[kind].iter_errors(line)):
            yield number, f"{error.json_path.removeprefix('$.')}: {error.message}"[:200]
        elif (kind == "header" and number > 1) or (kind == "end" and number < len(lines)):
            yield number, f"a line of kind {kind} within the file, as where two files were put together"
        elif kind == "result":
            check = (line["node"], line["device"])
            if known is not None and line["id"] not in known:
                yield number, f"there is no statement {line['id']!r}: the file is of another commit"
            if check in checks:
                yield number, f"a second result of {line['node']} on {line['device']}"
            checks.add(check)
    end = lines[-1]
    results = sum(line["kind"] == "result" for line in lines)
    if end["kind"] == "end" and (end["records"] != results or end["ended"] > end["collected"]):
        yield (
            len(lines),
            f"the end tells of {end['records']} results, and of {end['ended']} of {end['collected']} checks, "
            f"but the file holds {results} results",
        )


def _unfinished(found: Records, cut: bool) -> str | None:
    """Say how far the run came, if it did not come to its end."""
    end, breaks_off = found.end, ["the file breaks off within a line"] * cut
    if not end:
        return "; ".join([f"{len(found.results)} of an unknown number of checks, no end record", *breaks_off])
    # pytest's own statuses: 0 and 1 once all tests have run, 5 where there was none
    if end["ended"] == end["collected"] and end["exit_status"] in (0, 1, 5) and not cut:
        return None
    checks = f"{end['ended']} of {end['collected']} checks, exit status {end['exit_status']}"
    return "; ".join([checks, *breaks_off, *filter(None, [end["seen"]])])
