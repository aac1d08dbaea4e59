"""Reading a file of records: what a run left is told, and nothing else is believed."""

import json
import re

import pytest

from spec.command_line import main
from spec.harness.errors import HarnessError
from spec.harness.records import matrix
from spec.harness.records.reading import UnfinishedError, read

RUNG = {"kind": "rung", "device": "cuda:0", "rung": "kernels", "outcome": "failed", "seen": "wrong sums",
        "advice": "", "seconds": 0.1}  # fmt: skip
KNOWN = ["nn.a", "nn.b"]


def change(number, **entries):
    """Return a function that changes entries of a line; ... removes one."""

    def changed(lines):
        line = json.loads(lines[number]) | entries
        lines[number] = json.dumps({key: value for key, value in line.items() if value is not ...}).encode()
        return lines

    return changed


def put(number, text):
    """Return a function that puts a text in the place of a line."""
    return lambda lines: [*lines[:number], text, *lines[number:][1:]]


AGAIN = "v.jsonl: expected schema version 4, got 1; write it again with `blitz verify --records v.jsonl`"
UNTRUSTED = {
    "no header": (lambda lines: lines[1:], "v.jsonl: expected the records of a run, whose first line is a"),
    "an older version": (change(0, schema=1), AGAIN),
    "two files": (lambda lines: lines + lines, "line 4: a line of kind end within the file, as where two"),
    "a damaged line": (put(1, b'{"kind": "res'), "line 2: expected JSON: Unterminated string starting at"),
    "a deep nest": (put(1, b"[" * 100_000 + b"]" * 100_000), "line 2: expected JSON: maximum recursion"),
    "half a character": (put(1, b'"caf\xe9"'), "line 2: expected JSON: 'utf-8' codec can't decode byte 0xe9"),
    "no object": (put(1, b"[1]"), "line 2: expected an object whose kind is one of header, rung,"),
    "a key that lacks": (change(1, seed=...), "line 2: $: 'seed' is a required property"),
    "no version": (change(0, torch="master"), "line 1: torch: 'master' does not match"),
    "no release": (change(1, since="2.11\n"), r"line 2: since: '2.11\n' does not match"),
    "an unknown statement": (change(1, id="nn.gone"), "line 2: there is no statement 'nn.gone': the file is"),
    "the same check twice": (
        change(2, id="nn.a", node="spec/section_3/test_a.py::test"),
        "line 3: a second result of spec/section_3/test_a.py::test on cpu",
    ),
    "confirmed by nothing": (change(1, checks=0), "line 2: checks: 0 is less than the minimum of 1"),
    "left out for no reason": (change(1, outcome="not checked"), "line 2: reason: None is not of type"),
    "too few results": (
        lambda lines: [lines[0], *lines[2:]],
        "line 3: the end tells of 2 results, and of 2 of 2 checks, but the file holds 1 results",
    ),
    "more checks than there are": (change(3, ended=9), "line 4: the end tells of 2 results, and of 9 of 2"),
    "no statement": (
        lambda lines: change(1, collected=0, ended=0, records=0)([lines[0], lines[-1]]),
        "v.jsonl: the run checked no statement, so there is nothing to show",
    ),
}


@pytest.mark.parametrize(("change", "sentence"), UNTRUSTED.values(), ids=UNTRUSTED)
def test_what_no_run_has_written_is_one_sentence(write_records, capsys, change, sentence):
    """The sentence names the file and the line, nothing of the file is told, and the status is 2."""
    path = write_records(results=[{}, {"id": "nn.b"}])
    path.write_bytes(b"".join(line + b"\n" for line in change(path.read_bytes().splitlines())))

    status = main(["summary", str(path)])

    output, errors = capsys.readouterr()
    assert (status, output, errors.count("\n")) == (2, "", 1)
    assert errors.startswith(f"blitz: {path}")
    assert sentence in errors


NO_END = "2 of an unknown number of checks, no end record"
UNFINISHED = {
    "no end": (lambda text: text[: text.rindex('{"kind": "end"')], f"{NO_END}\n"),
    "cut in a line": (lambda text: text[:-5], f"{NO_END}; the file breaks off within a line\n"),
    "checks without an outcome": (
        lambda text: text.replace('"collected": 2', '"collected": 1288'),
        "2 of 1288 checks, exit status 0\n",
    ),
    "Ctrl-C": (
        lambda text: text.replace('_status": 0, "seen": null', '_status": 2, "seen": "stopped\\nby hand"'),
        "2 of 2 checks, exit status 2; stopped by hand\n",
    ),
}


@pytest.mark.parametrize(("cut", "sentence"), UNFINISHED.values(), ids=UNFINISHED)
def test_a_run_that_did_not_finish_is_told_as_such(write_records, capsys, cut, sentence):
    """Summary says so above what is there, with status 3; the table compares nothing."""
    path = write_records(results=[{}, {"id": "nn.b"}])
    path.write_text(cut(path.read_text()))

    assert main(["summary", str(path)]) == 3
    output = capsys.readouterr().out
    assert output.startswith(f"{path}: this run did not finish: {sentence}")
    assert "PyTorch 2.15.0+cpu, Python 3.11.7, AMD EPYC, data: stand-in" in output

    with pytest.raises(UnfinishedError, match=f"this run did not finish: {re.escape(sentence.strip())}"):
        matrix.columns([path], KNOWN)


def test_no_cut_makes_a_good_file(write_records):
    """Wherever a file breaks off, it is refused: only the whole one is believed."""
    path = write_records()
    whole = path.read_bytes()

    for length in range(0, len(whole), 41):
        path.write_bytes(whole[:length])
        with pytest.raises(HarnessError):
            read(path)


STATUSES = {
    "not checked": ({"results": [{"outcome": "not checked", "reason": "slow", "checks": 0}]}, 0, ""),
    "refuted, and yet 0": ({"results": [{"outcome": "refuted"}]}, 1, "nn.a (cpu): refuted."),
    "crashed": ({"results": [{"outcome": "crashed"}], "end": {"exit_status": 1}}, 1, "nn.a (cpu): crashed."),
    "a failed rung": ({"rungs": [RUNG]}, 1, "the device cuda:0 failed the rung kernels"),
    "a run that failed": ({"end": {"exit_status": 1}}, 1, "the run ended with status 1, though no"),
    "something seen": ({"end": {"seen": "a worker left no word"}}, 1, "a worker left no word"),
}


@pytest.mark.parametrize(("run", "status", "sentence"), STATUSES.values(), ids=STATUSES)
def test_both_readers_end_as_the_run_did(write_records, capsys, run, status, sentence):
    """What was wrong with a run is told, with status 1, also where no record of a statement tells it."""
    path = write_records(**run)

    assert main(["summary", str(path)]) == status
    assert sentence in capsys.readouterr().out
    confirmed = write_records("w.jsonl", results=[{"id": "nn.b"}])
    _, as_said = matrix.report(matrix.columns([path, confirmed], KNOWN), KNOWN)
    assert as_said is (status == 0)


STRANGE = "a\x1b[2Jb\x07c\u202ed\x9be\ud800f\u2028g\r"
SHOWN = r"a\x1b[2Jb\x07c\u202ed\x9be\ud800f"


def test_what_a_terminal_would_obey_is_shown_as_an_escape(write_records, capsys):
    """No string of a file moves the cursor, hides or reorders text, or forges a line of its own."""
    refuted = {"outcome": "refuted", "seen": STRANGE, "sentence": STRANGE, "params": {"n": STRANGE}}
    rung = RUNG | {"outcome": "passed", "seen": f"{STRANGE}\nin all 1 1"}
    path = write_records(results=[refuted], rungs=[rung], cpu=STRANGE, end={"seen": STRANGE})

    main(["summary", str(path)])
    lines, _ = matrix.report(matrix.columns([path, write_records("w.jsonl")], KNOWN), KNOWN)
    print("\n".join(lines))
    whole = capsys.readouterr().out
    main(["summary", str(write_records("u.jsonl", end={"collected": 9, "seen": STRANGE}))])
    unfinished = capsys.readouterr().out

    assert whole.count(SHOWN) > 4
    assert SHOWN in unfinished
    output = whole + unfinished
    assert "\nin all 1 1" not in output
    assert not [c for c in output if not c.isprintable() and c != "\n"]
