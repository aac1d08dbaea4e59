"""The script that shows records on GitHub: the summary of a job, marks at the statements, the badge."""

import importlib.util
import json
import re
from urllib.parse import unquote

import pytest

from spec import command_line
from spec.harness.children import ROOT

HOSTILE = "1\n::error::forged\n```\n##[group]a, b: c=d%0A 100 %\r\n\x1b[2J::stop-commands::x"
CHECKS = '''
"""Statements."""

class TestA:
    @pytest.mark.parametrize("n", [1])
    def test_one(self, n):
        assert n

def test_two():
    assert True
'''
REFUTED = {"id": "nn.b", "outcome": "refuted", "seen": "two"}
CRASHED = {"id": "nn.c", "outcome": "crashed", "checks": 0}
LEFT_OUT = {"id": "nn.d", "outcome": "not checked", "reason": "slow", "checks": 0}


@pytest.fixture
def github(tmp_path, monkeypatch):
    """Return .ci/github.py as a module, for which tmp_path is the repository, with a file for the summary."""
    spec = importlib.util.spec_from_file_location("github", ROOT / ".ci" / "github.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary.md"))
    return module


def obeyed(line):
    """Return what GitHub reads in a workflow command: its properties and its message."""
    _, command, message = line.split("::", 2)
    name, _, properties = command.partition(" ")
    pairs = (entry.split("=", 1) for entry in properties.split(","))
    return name, {key: unquote(value) for key, value in pairs}, unquote(message)


def cut(path, lines):
    """Take the last lines of a file away, as if its run had been killed."""
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-lines]))
    return path


def test_summary_is_what_blitz_summary_prints(github, write_records, tmp_path, capsys):
    """For each file, behind what other steps of the job have written."""
    (tmp_path / "summary.md").write_text("before\n\n")
    paths = [str(write_records()), str(write_records("w.jsonl", results=[{}, REFUTED]))]
    told = [command_line.main(["summary", path]) for path in paths], capsys.readouterr().out

    status = github.main(paths)

    text = (tmp_path / "summary.md").read_text()
    assert (told[0], status) == ([0, 1], 1)
    assert text.startswith("before\n\n```text\nPyTorch 2.15.0")
    assert text.replace("```text\n", "").replace("```\n\n", "") == f"before\n\n{told[1]}"


def test_nothing_in_the_records_ends_the_block_of_the_summary(github, write_records, tmp_path):
    """Its fence has more backticks than any line of it, so a reason cannot become a headline or a link."""
    left_out = {**LEFT_OUT, "detail": "\ud800````\n# all is well"}

    github.main([str(write_records(results=[{}, left_out]))])

    text = (tmp_path / "summary.md").read_text()
    fence = text.partition("text\n")[0]
    assert "# all is well" in text
    assert fence == "`````"
    assert text.count(fence) == 2
    assert text.endswith(f"\n{fence}\n\n")


def test_a_summary_that_is_too_long_for_github_is_cut_and_says_so(github):
    """GitHub shows nothing at all of a longer one."""
    assert github.fenced("äöü\nabc", 5) == (
        "```text\näö\n```\n\nThe summary is longer than GitHub shows; the records have the rest.\n\n"
    )


def test_a_refuted_statement_is_marked_at_its_check(github, write_records, tmp_path, capsys):
    """With what should be true and what was seen, letter for letter, but for what moves a cursor."""
    (tmp_path / "a,line=2: x.py").write_text(CHECKS)
    node = "a,line=2: x.py::TestA::test_one[a::b]"
    records = write_records(results=[{}, {**REFUTED, "node": node, "seen": HOSTILE}])

    assert github.main([str(records)]) == 1

    (line,) = capsys.readouterr().out.splitlines()
    name, where, message = obeyed(line)
    assert name == "error"
    assert where == {"file": "a,line=2: x.py", "line": "6", "title": "nn.b: refuted"}
    shown = HOSTILE.replace("\r", "\\r").replace("\x1b", "\\x1b")
    assert message == f"Should be true: One is one.\nSeen: {shown}"


def test_each_bad_statement_is_marked_once_by_the_worst_of_its_checks(github, write_records, capsys):
    """Over all files: one that is confirmed, or was not checked, has no mark."""
    first = write_records(results=[{}, CRASHED, LEFT_OUT, {"id": "nn.b"}])
    second = write_records("w.jsonl", results=[REFUTED, {**REFUTED, "node": "again"}, CRASHED])

    github.main([str(first), str(second)])

    titles = [obeyed(line)[1]["title"] for line in capsys.readouterr().out.splitlines()]
    assert titles == ["nn.c: crashed", "nn.b: refuted"]


PLACES = {
    "a check of a class": ("test_x.py::TestA::test_one[1]", 6),
    "a function": ("test_x.py::test_two", 9),
    "a check that the class inherits": ("test_x.py::TestA::test_elsewhere", 4),
    "a check that is gone": ("test_x.py::test_gone", 1),
    "a file that is gone": ("test_y.py::test_two", 1),
    "a file that is not Python": ("notes.md::test_two", 1),
    "a name that no file can have": ("\0::test_two", 1),
    "a name that is too long": (f"{'x' * 300}::test_two", 1),
    "a folder": (".::test_two", 1),
}


@pytest.mark.parametrize(("node", "line"), PLACES.values(), ids=PLACES)
def test_a_mark_is_as_near_to_the_check_as_can_be_said(github, tmp_path, node, line):
    """The line of the check, of its class, or the first one."""
    (tmp_path / "test_x.py").write_text(CHECKS)
    (tmp_path / "notes.md").write_text("# No Python")

    assert github.place(node) == (node.partition("::")[0], line)


RUNG = {"kind": "rung", "device": "cuda:0", "rung": "memory", "outcome": "failed", "seen": "", "advice": "",
        "seconds": 1}  # fmt: skip
GOOD = "good.jsonl"
RUNS = {
    "all is well": (lambda write: [write(results=[{}, LEFT_OUT])], 0, "1 confirmed, 1 not checked", "green"),
    "refuted": (
        lambda write: [write(results=[{}, REFUTED, CRASHED])], 1, "1 refuted, 1 broken, 1 confirmed", "red"
    ),
    "broken": (lambda write: [write(results=[CRASHED])], 1, "1 broken", "red"),
    "nothing was checked": (lambda write: [write(results=[LEFT_OUT])], 0, "1 not checked", "grey"),
    "a failed rung": (lambda write: [write(rungs=[RUNG])], 1, "failed, 1 confirmed", "red"),
    "another test failed": (lambda write: [write(end={"exit_status": 1})], 1, "failed, 1 confirmed", "red"),
    "interrupted, and refuted": (
        lambda write: [write(results=[REFUTED], end={"exit_status": 2})], 3, "unfinished, 1 refuted", "red"
    ),
    "an unknown statement": (
        lambda write: [write(results=[{"id": "nn.z"}])], 2, "no answer, 1 confirmed", "grey"
    ),
    "no result": (lambda write: [write(results=[])], 2, "no answer", "grey"),
    "a good one and a refuted one": (
        lambda write: [write(GOOD), write(results=[REFUTED])], 1, "1 refuted, 1 confirmed", "red"
    ),
    "a good one and a killed one": (
        lambda write: [write(GOOD), cut(write(), 1)], 3, "unfinished, 1 confirmed", "orange"
    ),
    "a good one and one killed at its start": (
        lambda write: [write(GOOD), cut(write(), 2)], 3, "unfinished, 1 confirmed", "orange"
    ),
    "a good one and an empty one": (
        lambda write: [write(GOOD), cut(write(), 3)], 2, "no answer, 1 confirmed", "grey"
    ),
    "a good one and none": (
        lambda write: [write(GOOD), write().with_name("none")], 2, "no answer, 1 confirmed", "grey"
    ),
}  # fmt: skip


@pytest.mark.parametrize(("make", "status", "message", "color"), RUNS.values(), ids=RUNS)
def test_badge_is_green_only_if_all_runs_are_good(
    github, write_records, tmp_path, make, status, message, color
):
    """Nobody reads more of a badge than its color, so no doubt of any job may be green."""
    badge = tmp_path / "badge.json"

    assert github.main([*map(str, make(write_records)), "--badge", str(badge)]) == status

    shown = {"green": "brightgreen", "grey": "lightgrey"}.get(color, color)
    assert json.loads(badge.read_text()) == {
        "schemaVersion": 1, "label": "statements", "message": message, "color": shown
    }  # fmt: skip


ENDS = {
    "unfinished": ({"end": {"exit_status": 2}}, "v.jsonl: this run did not finish: 1 of 1 checks, exit"),
    "no answer": ({"schema": 1}, "blitz: .*v.jsonl: expected schema version"),
    "a failed rung": ({"rungs": [RUNG]}, "the device cuda:0 failed the rung memory"),
}


@pytest.mark.parametrize(("lines", "sentence"), ENDS.values(), ids=ENDS)
def test_a_bad_end_that_no_statement_tells_is_marked_too(github, write_records, capsys, lines, sentence):
    """With the sentence of `blitz summary` about it."""
    records = write_records(**lines)

    github.main([str(records)])

    (line,) = capsys.readouterr().out.splitlines()
    assert obeyed(line)[1] == {"title": str(records)}
    assert re.search(sentence, obeyed(line)[2])
