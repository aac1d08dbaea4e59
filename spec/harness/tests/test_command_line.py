"""The command `blitz`: words, exit statuses, and one sentence where something is wrong."""

import html
import subprocess
import sys
import sysconfig
from pathlib import Path
from unittest.mock import Mock

import pytest

from blitz.cifar10 import data
from blitz.errors import DataError
from spec import command_line
from spec.command_line import main
from spec.harness import children
from spec.harness.children import ROOT
from spec.harness.language import Language, language
from spec.harness.page import report
from spec.harness.runs import verify
from spec.harness.statements import catalogue
from spec.notes import NOTES

TRUE = """
@statement("nn.a", notes="3", verdict=WRONG, says="one is two")
@fault("ones is broken", torch, "ones", zeros)
def test_a():
    "One is one."
    assert torch.ones(1) == 1

@statement("nn.real", notes="3")
def test_real(cifar10):
    "There are ten classes."
    assert len(cifar10.classes) == 10
"""
TOLD = [
    "PYTEST_ADDOPTS is ignored: every statement is checked.",
    "The statements about CIFAR-10 itself cannot be checked: no CIFAR-10 at hand: fetch it with",
    "  confirmed    wrong      nn.a: One is one.",
    "1 of the 1 statements that were checked are true on this machine.",
    "    1  wrong      not right on any release",
    "Written down in mine.jsonl",
]
FALSE = '\n@statement("nn.b", notes="3")\ndef test_b():\n    "One is two."\n    assert 1 == 2\n'


@pytest.fixture
def run_verify(make_spec_for_processes, pytester, monkeypatch, capfd):
    """Run `blitz verify` on a specification of its own; return status, output and errors."""
    monkeypatch.setattr(verify, "ROOT", pytester.path)

    def run(source, *options):
        make_spec_for_processes(source)
        notes = command_line.NOTES._replace(folders=(pytester.path / "spec",), pictures=None)
        monkeypatch.setattr(command_line, "NOTES", notes)
        status = main(["verify", *options])
        return status, *capfd.readouterr()

    return run


def test_verify_tells_each_statement_the_table_and_what_is_missing(run_verify, capfd, monkeypatch):
    """A run without a refuted statement exits with 0; `blitz summary` tells the same once more.

    PYTEST_ADDOPTS would leave a few statements, or none, and end with 0: it is ignored.
    """
    monkeypatch.setenv("PYTEST_ADDOPTS", "-k nothing")

    status, output, errors = run_verify(TRUE, "--records", "mine.jsonl")

    assert (status, main(["summary", "mine.jsonl"])) == (0, 0)
    summary = capfd.readouterr().out
    assert "in all                         2          1        0            1" in summary
    assert summary.split("\n\n", 1)[1].strip() in output
    assert "2/2" not in errors  # a progress bar is for a terminal
    assert "test session starts" not in output
    assert "did not finish" not in output
    for line in TOLD:
        assert line in output


def test_verify_writes_a_page_and_shows_a_progress_bar_to_a_terminal(run_verify, pytester, monkeypatch):
    """The page lies beside the records; the bar goes to standard error, so that the output can be kept."""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)

    _, output, errors = run_verify(TRUE, "--records", "mine.jsonl")

    page = pytester.path / "mine.html"
    assert f"The page to look at is {page}\n" in output
    assert "1 of 2 statements confirmed; 1 not checked (no data: 1)." in page.read_text(encoding="utf-8")
    assert "2/2" in errors
    assert "2/2" not in output


def test_page_that_cannot_be_written_is_told_and_changes_no_status(run_verify, pytester):
    """The records are there, and `blitz report` makes a page of them elsewhere."""
    (pytester.path / "records.html").mkdir()

    status, output, _ = run_verify(TRUE)

    assert status == 0
    assert "There is no page of it: records.html: cannot write the page there: Is a directory" in output


def test_commands_speak_chinese_when_asked(run_verify, capfd):
    """verify, summary and explain say their own words in it; statements without Chinese stay English."""
    _, output, _ = run_verify(TRUE, "--language=zh")
    main(["summary", "records.jsonl", "--language=zh"])

    assert "  已证实" in output
    assert "nn.a: One is one." in output
    assert "未检查" in capfd.readouterr().out


LONG = FALSE.replace("1 == 2", "1 == 1").replace("@statement", "@pytest.mark.slow\n@statement")
ENDS = {
    "a statement that is refuted": (
        TRUE + FALSE,
        [],
        1,
        "nn.b (cpu): refuted. The notes (3) say, and it should be true: One is two.",
    ),
    "a statement that broke": (
        TRUE + FALSE.replace("assert 1 == 2", "1 / 0"),
        [],
        1,
        "1 of the 1 statements that were checked are true on this machine.\n1 more broke before",
    ),
    "a training that was not asked for": (TRUE + LONG, [], 0, "not checked: 1 statement, slow: "),
    "a training": (TRUE + LONG, ["--slow"], 0, "2 of the 2 statements that were checked are true"),
    "a requirement that is not met": (TRUE, ["--require", "cifar10"], 2, "--require cifar10: no CIFAR-10"),
    "records that cannot be written": (TRUE, ["--records", "/dev/full"], 3, "cannot write any more to it"),
    "a test that is no statement": ("def test_a():\n    assert True", [], 3, "test_a checks no statement"),
}


@pytest.mark.parametrize(("source", "options", "expected", "words"), ENDS.values(), ids=ENDS)
def test_verify_says_what_came_of_it(run_verify, monkeypatch, source, options, expected, words):
    """The status says so, too; a person waits for seconds, or for a training on purpose."""
    monkeypatch.setattr(report, "write", Mock())  # the page, which tells no more of it

    status, output, errors = run_verify(source, *options)

    assert status == expected
    assert words in output + errors


def test_verify_downloads_before_it_verifies_and_only_when_asked(run_verify, monkeypatch):
    """--download fetches the official copy into the folder named, or else ends in its one sentence."""
    asked = []

    def no_network(source, *, download, progress):
        asked.append(source)
        raise DataError("cannot download CIFAR-10")

    monkeypatch.setattr(data, "load", no_network)

    assert run_verify(TRUE, "--download", "--data", "here")[::2] == (2, "blitz: cannot download CIFAR-10\n")
    assert asked == ["here"]


@pytest.fixture
def autograd(monkeypatch):
    """Let the notes be those of the section on autograd alone, which are read sooner than all."""
    notes = NOTES._replace(folders=(ROOT / "spec" / "section_2_autograd",))
    monkeypatch.setattr(command_line, "NOTES", notes)
    return notes


def test_explain_and_statements_print_the_catalogue(autograd, capsys):
    """`blitz statements` prints the page, `blitz explain` one statement, in Chinese with that of zh.toml."""
    its = catalogue.find("autograd.gradients-accumulate", autograd)
    chinese = language("zh", NOTES)
    truth, _ = chinese.statement(its.id, its.sentence, its.says)

    told = [f"{catalogue.explain(its, autograd, tongue)}\n" for tongue in (Language("en"), chinese)]
    words = ["explain", its.id], ["explain", its.id, "--language=zh"], ["statements"]

    for command, expected in zip(words, [*told, catalogue.page(autograd)], strict=True):
        assert main(command) == 0
        assert capsys.readouterr().out == expected
    assert truth != its.sentence
    assert told[1].startswith(f"{its.id}: {truth}\n")


def test_explain_draws_a_graph(autograd, capsys, tmp_path):
    """In place of an older picture; --svg FILE leaves no other file."""
    path = tmp_path / "q.svg"
    path.write_text("an older picture")
    statement = catalogue.find("autograd.graph-structure", autograd)

    assert main(["explain", statement.id, "--svg", str(path)]) == 0

    output = capsys.readouterr().out
    told = catalogue.explain(statement, autograd, Language("en"))
    assert f"{statement.id}: {statement.sentence}" in html.unescape(path.read_text(encoding="utf-8"))
    assert output.startswith(f"{told}\n\n# its graph, from the result")
    assert output.endswith(f"● a (2)\n\nIts graph is drawn in {path}.\n")
    assert list(tmp_path.iterdir()) == [path]


SENTENCES = {
    "no graph": (
        "explain autograd.gradients-accumulate --svg {folder}/q.svg",
        "the statement autograd.gradients-accumulate has no graph to draw; these have: ",
    ),
    "no such folder": ("{graph} --svg {folder}/no/q.svg", "cannot write {folder}/no/q.svg: No such file"),
    "a folder": ("{graph} --svg {folder}", "{folder} is a folder; name a file for the picture"),
    "no such statement": ("explain autograd.graph", "no statement is called 'autograd.graph'; did you mean "),
    "no such records": (
        "summary {folder}/such.jsonl",
        "{folder}/such.jsonl: cannot read it: No such file or",
    ),
}


@pytest.mark.parametrize(("words", "sentence"), SENTENCES.values(), ids=SENTENCES)
@pytest.mark.usefixtures("autograd")
def test_what_a_person_can_put_right_is_one_sentence(capsys, tmp_path, words, sentence):
    """It is printed on standard error, with status 2 and no traceback; nothing is left behind."""
    graph = "explain autograd.graph-structure"

    assert main(words.format(folder=tmp_path, graph=graph).split()) == 2

    output, errors = capsys.readouterr()
    assert output == ""
    assert errors.startswith("blitz: " + sentence.format(folder=tmp_path))
    assert errors.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


SINKS = {
    "a reader who leaves": ("| true", ""),
    "a full disk": (">/dev/full", "blitz: [Errno 28] No space left on device\n"),
}


@pytest.mark.parametrize(("sink", "said"), SINKS.values(), ids=SINKS)
def test_output_that_cannot_be_written_is_no_answer(sink, said):
    """No traceback, and no status that says something of the statements."""
    command = (
        "from types import SimpleNamespace as Made; from spec import command_line;"
        "arguments = Made(run=lambda _: print('much' * 10**6) or 0);"
        "command_line.parser = lambda: Made(parse_args=lambda _: arguments);"
        "raise SystemExit(command_line.main())"
    )

    done = subprocess.run(
        ["bash", "-c", f'"$0" -P -c "$1" {sink}; exit ${{PIPESTATUS[0]}}', sys.executable, command],
        capture_output=True,
        text=True,
        env=children.environment(),
        timeout=100,
    )

    assert (done.returncode, done.stderr) == (2, said)


HEAVY = {"PIL", "filelock", "jsonschema", "matplotlib", "numpy", "pytest", "torch", "torchvision", "tqdm"}
AT_ONCE = {
    "the help": (["--help"], 0, "COMMAND"),
    "the help of a command": (["perf", "--help"], 0, "--threshold SHARE"),
    "no command": ([], 2, "COMMAND"),
    "a side that lacks": (["diff", "a"], 2, "the following arguments are required: B"),
    "an unknown format": (["diff", "a", "b", "--format", "xml"], 2, "invalid choice: 'xml'"),
    "an unknown recipe": (["train", "--recipe", "slow"], 2, "invalid choice: 'slow'"),
}


@pytest.mark.parametrize(("words", "status", "said"), AT_ONCE.values(), ids=AT_ONCE)
def test_what_needs_no_pytorch_does_not_import_it(words, status, said):
    """The installed command tells its help, and what is wrong with its words, from Python's own library."""
    command = [sys.executable, "-X", "importtime", Path(sysconfig.get_path("scripts"), "blitz"), *words]

    done = subprocess.run(command, capture_output=True, text=True, check=False)

    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines()}
    assert done.returncode == status
    assert said in done.stdout + done.stderr
    assert {"blitz", "spec"} - imported == set()
    assert imported & HEAVY == set()


READERS = """
import sys
from spec.command_line import main
for words in "summary v.jsonl", "report v.jsonl -o v.html", "diff v.jsonl v.jsonl":
    assert main(words.split()) == 0
    assert "torch" not in sys.modules, words
"""


def test_what_reads_records_does_not_import_pytorch(write_records, tmp_path):
    """It takes seconds to import, and the records are made."""
    write_records(results=[{"id": "tensor.item", "section": "1 Tensor"}])
    command = children.python("-c", READERS)

    done = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=tmp_path, env=children.environment()
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert "Nothing is worse in B" in done.stdout
