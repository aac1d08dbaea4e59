"""The command `blitz`: words, exit statuses, and one sentence where something is wrong."""

import html
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from blitz.cifar10 import data
from blitz.errors import DataError
from spec import command_line
from spec.command_line import main
from spec.harness import children
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
FALSE = '\n@statement("nn.b", notes="3")\ndef test_b():\n    "One is two."\n    assert 1 == 2\n'


@pytest.fixture
def run_verify(make_spec, pytester, monkeypatch, capfd):
    """Run `blitz verify` on a specification of its own; return status, output and errors."""
    monkeypatch.setattr(verify, "ROOT", pytester.path)

    def run(source, *options):
        make_spec(source)
        plugins = 'pytest_plugins = ["spec.harness.plugin", "spec.cifar10"]'
        pytester.path.joinpath("conftest.py").write_text(plugins)
        notes = command_line.NOTES._replace(folders=(pytester.path / "spec",))
        monkeypatch.setattr(command_line, "NOTES", notes)
        status = main(["verify", *options])
        return status, *capfd.readouterr()

    return run


def test_verify_tells_each_statement_the_table_and_what_is_missing(run_verify):
    """A run without a refuted statement tells its statements in plain words and exits with 0."""
    status, output, _ = run_verify(TRUE)

    assert status == 0
    assert (
        "The statements about CIFAR-10 itself cannot be checked: no CIFAR-10 at hand: fetch it with" in output
    )
    assert "  confirmed    wrong      nn.a: One is one." in output
    assert "1 of the 1 statements that were checked are true on this machine." in output
    assert "    1  wrong      not right on any release" in output
    assert "test session starts" not in output
    assert "did not finish" not in output


def test_verify_exits_with_1_on_a_refuted_statement(run_verify):
    """A statement that is not true here is told in a paragraph, and the status says so."""
    status, output, _ = run_verify(TRUE + FALSE)

    assert status == 1
    assert "nn.b (cpu): refuted. The notes (3) say, and it should be true: One is two." in output


@pytest.mark.parametrize("options", ["-k nothing", "--collect-only"])
def test_verify_is_whole_whatever_the_environment_asks_of_pytest(run_verify, monkeypatch, options):
    """PYTEST_ADDOPTS would leave a few statements, or none, and end with 0."""
    monkeypatch.setenv("PYTEST_ADDOPTS", options)

    status, output, _ = run_verify(TRUE)

    assert status == 0
    assert "PYTEST_ADDOPTS is ignored: every statement is checked." in output
    assert "1 of the 1 statements that were checked are true on this machine." in output


def test_verify_counts_the_statements_that_broke(run_verify):
    """They are neither true nor refuted, and the status says so."""
    status, output, _ = run_verify(TRUE + FALSE.replace("assert 1 == 2", "1 / 0"))

    assert status == 1
    assert "1 of the 1 statements that were checked are true on this machine.\n1 more broke before" in output


def test_verify_shows_a_progress_bar(run_verify, monkeypatch):
    """Progress goes to standard error, so that the output can be kept, and there to a terminal alone."""
    _, output, in_a_log = run_verify(TRUE)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    *_, errors = run_verify(TRUE)

    assert "2/2" in errors
    assert "2/2" not in output + in_a_log


def test_verify_downloads_before_it_verifies_and_only_when_asked(run_verify, monkeypatch):
    """--download fetches the official copy into the folder named, or else ends in its one sentence."""
    asked = []

    def no_network(source, *, download, progress):
        asked.append(source)
        raise DataError("cannot download CIFAR-10")

    monkeypatch.setattr(data, "load", no_network)

    assert run_verify(TRUE)[0] == 0
    assert asked == []
    assert run_verify(TRUE, "--download", "--data", "here")[::2] == (2, "blitz: cannot download CIFAR-10\n")
    assert asked == ["here"]


def test_verify_stops_on_an_unmet_requirement(run_verify):
    """--require is passed on; the sentence is pytest's usage error."""
    status, _, errors = run_verify(TRUE, "--require", "cifar10")

    assert status == 2
    assert "--require cifar10: no CIFAR-10 at hand" in errors


def test_verify_shows_a_broken_rule_of_statements(run_verify):
    """A specification that cannot be collected says why."""
    status, _, errors = run_verify("def test_a():\n    assert True")

    assert status == 3
    assert "test_a checks no statement" in errors


def test_verify_writes_a_record_file(run_verify, pytester):
    """The run is kept in records.jsonl, or where --records says."""
    _, output, _ = run_verify(TRUE)
    run_verify(TRUE, "--records", "v.jsonl")

    assert "Written down in records.jsonl" in output
    for name in ("records.jsonl", "v.jsonl"):
        assert len((pytester.path / name).read_text().splitlines()) == 4


def test_verify_on_a_full_disk_says_so_and_exits_with_3(run_verify, small_disk):
    """A run whose records cannot be written did not finish, and one sentence says why."""
    many = TRUE.replace("def test_a():", '@pytest.mark.parametrize("n", range(20))\ndef test_a(n):')

    status, _, errors = run_verify(many, "--records", str(small_disk / "v.jsonl"))

    assert status == 3
    assert (
        f"blitz: {small_disk / 'v.jsonl'}: cannot write any more to it: No space left on device\n" in errors
    )
    assert "Traceback" not in errors


def test_summary_tells_what_a_record_file_holds(run_verify, capfd):
    """The table of a run can be had again from its file of records, on any machine."""
    _, output, _ = run_verify(TRUE, "--records", "v.jsonl")

    assert main(["summary", "v.jsonl"]) == 0

    summary = capfd.readouterr().out
    assert "in all                         2          1        0            1" in summary
    assert summary.split("\n\n", 1)[1].strip() in output


def test_summary_of_a_file_that_is_not_there_is_one_sentence(capsys):
    """A missing file of records is said in one sentence."""
    assert main(["summary", "no/such.jsonl"]) == 2

    assert capsys.readouterr().err == "blitz: no/such.jsonl: cannot read it: No such file or directory\n"


def test_explain_and_statements_print_the_catalogue(capsys):
    """`blitz statements` prints the page, `blitz explain` one statement."""
    assert main(["statements"]) == 0
    assert capsys.readouterr().out == catalogue.page(NOTES)

    assert main(["explain", "nn.net-print"]) == 0
    assert capsys.readouterr().out.startswith("nn.net-print: ")


def test_explain_draws_the_graph_of_a_statement_into_a_file(capsys, tmp_path):
    """--svg FILE writes the picture, tells the statement as ever, and leaves no other file."""
    path = tmp_path / "q.svg"
    path.write_text("an older picture")

    assert main(["explain", "autograd.graph-structure", "--svg", str(path)]) == 0

    statement = catalogue.find("autograd.graph-structure", NOTES)
    output = capsys.readouterr().out
    assert f"autograd.graph-structure: {statement.sentence}" in html.unescape(
        path.read_text(encoding="utf-8")
    )
    assert output.startswith(f"{catalogue.explain(statement, NOTES)}\n\n# its graph, from the result")
    assert output.endswith(f"● a (2)\n\nIts graph is drawn in {path}.\n")
    assert list(tmp_path.iterdir()) == [path]


UNDRAWN = {
    "no graph": ("nn.net-print", "q.svg", "the statement nn.net-print has no graph to draw; these have: "),
    "no such folder": (
        "autograd.graph-structure",
        "no/q.svg",
        "cannot write {path}: No such file or directory",
    ),
    "a folder": ("autograd.graph-structure", ".", "{path} is a folder; name a file for the picture"),
    "no such statement": (
        "autograd.graph",
        "q.svg",
        "no statement is called 'autograd.graph'; did you mean ",
    ),
}


@pytest.mark.parametrize(("id", "name", "sentence"), UNDRAWN.values(), ids=UNDRAWN)
def test_a_picture_that_cannot_be_drawn_is_one_sentence(capsys, tmp_path, id, name, sentence):
    """Without a graph, or where the file cannot be written, nothing is printed and nothing is left behind."""
    path = tmp_path / name

    assert main(["explain", id, "--svg", str(path)]) == 2

    output, errors = capsys.readouterr()
    assert output == ""
    assert errors.startswith("blitz: " + sentence.format(path=path))
    assert list(tmp_path.iterdir()) == []


def test_what_a_person_can_put_right_is_one_sentence(capsys):
    """An unknown statement is a sentence on standard error and status 2, not a traceback."""
    assert main(["explain", "nn.netprint"]) == 2

    assert capsys.readouterr().err.startswith("blitz: no statement is called 'nn.netprint'; did you mean")


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


def test_a_missing_command_lists_the_commands(capsys):
    """`blitz` alone shows its usage and exits with 2."""
    with pytest.raises(SystemExit, match="2"):
        main([])

    assert "COMMAND" in capsys.readouterr().err


HEAVY = {"PIL", "filelock", "jsonschema", "matplotlib", "numpy", "pytest", "torch", "torchvision", "tqdm"}
AT_ONCE = {
    "the help": (["--help"], 0),
    "the help of a command": (["train", "--help"], 0),
    "no command": ([], 2),
    "an unknown command": (["fly"], 2),
    "an unknown recipe": (["train", "--recipe", "slow"], 2),
    "a seed that is none": (["train", "--seed", "-1"], 2),
}


@pytest.mark.parametrize(("words", "status"), AT_ONCE.values(), ids=AT_ONCE)
def test_what_needs_no_pytorch_does_not_import_it(words, status):
    """The installed command tells its help, and what is wrong with its words, from Python's own library."""
    command = [sys.executable, "-X", "importtime", Path(sysconfig.get_path("scripts"), "blitz"), *words]

    done = subprocess.run(command, capture_output=True, text=True, check=False)

    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines()}
    assert done.returncode == status
    assert {"blitz", "spec"} - imported == set()
    assert imported & HEAVY == set()
