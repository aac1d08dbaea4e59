"""`blitz matrix`: which environments are made, which runs are made again, and what is said of it.

What would be started is stood in for: test_logged.py starts processes, and test_environments.py runs pip.
"""

import fcntl
import os
import re
import shutil
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import pytest

from spec.command_line import main
from spec.harness import git
from spec.harness.children import ROOT
from spec.harness.page import report
from spec.harness.runs import environments, logged, releases

PROJECT = '[project]\ndependencies = ["torch>=2.6,<2.16", "torchvision>=0.21", "numpy>=1.26"]\n'
ALL = ["venv", "pip", "import", "pytest"]
NEWER = {"id": "nn.b", "since": "2.9"}


@pytest.fixture
def processes(monkeypatch, tmp_path, write_records):
    """Stand in for processes: `done` lists them, `ends` says which fails, `results` what runs find.

    The page is left out, but `write` makes it.
    """
    found = SimpleNamespace(done=[], ends={}, results=[{}], asked={}, write=report.write)

    def run(command, log, variables, statuses=(0,)):
        what = next(what for what in ALL if any(what in word for word in command))
        release = log.stem.removeprefix("torch-")
        found.done.append(f"{what} {release}")
        found.asked[what] = command, variables
        with log.open("a") as file:
            file.write(f"{logged.line(command)}\n")
        if error := found.ends.get(found.done[-1]):
            raise error
        if what == "venv":
            Path(command[-1]).mkdir()
        if what == "pytest":
            assert statuses == (0, 1)  # of pytest, where checks are refuted
            write_records(log.with_suffix(".jsonl"), results=found.results, torch=f"{release}.0+cpu")
        return f"{release}.0+cpu\n"

    tmp_path.joinpath("pyproject.toml").write_text(PROJECT)
    monkeypatch.setattr(environments, "ROOT", tmp_path)
    monkeypatch.setattr(logged, "run", run)
    monkeypatch.setattr(report, "write", Mock())
    monkeypatch.setattr(git, "commit", lambda root: "335f664")
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=64.2e9))
    monkeypatch.setenv("BLITZ_DATA", "stand-in")
    return found


@pytest.fixture
def matrix(processes, tmp_path, capsys):
    """Return status, output and errors of `blitz matrix`."""
    return lambda *words: (main(["matrix", "--folder", str(tmp_path / "r"), *words]), *capsys.readouterr())


def test_each_release_gets_an_environment_a_run_and_a_column(processes, matrix, tmp_path, monkeypatch):
    """What is done is said as it is done, and what differs at the end.

    A run is whole, whatever the variables of pytest say; others are left alone.
    """
    processes.results = [{}, NEWER]
    monkeypatch.setenv("PYTEST_ADDOPTS", "-k nothing")
    monkeypatch.setattr(environments, "GIGABYTES", 5)

    status, output, errors = matrix("2.9", "2.14")

    assert (status, errors) == (0, "")
    _, variables = processes.asked["pytest"]
    assert (variables.get("PYTEST_ADDOPTS"), variables["BLITZ_DATA"]) == (None, "stand-in")
    assert processes.done == [f"{what} {release}" for release in ("2.9", "2.14") for what in ALL]
    assert output.splitlines() == [
        "This takes about 13 GB for the environments of PyTorch 2.9, 2.14, of 64 GB that are free on the "
        f"disk of {tmp_path / 'r'}.",
        "[1/2] PyTorch 2.9: making its environment ... 0 s",
        "[1/2] PyTorch 2.9: running the statements on 2.9.0+cpu ... 0 s",
        "[2/2] PyTorch 2.14: making its environment ... 0 s",
        "[2/2] PyTorch 2.14: running the statements on 2.14.0+cpu ... 0 s",
        "",
        "| statement | true since | 2.9.0 | 2.14.0 |",
        "| --- | --- | --- | --- |",
        "",
        "The other 2 statements have the same outcome wherever they were run.",
        "",
        f"The page with a column for each release is {tmp_path / 'r' / 'releases.html'}",
    ]


def test_before_the_supported_range_only_checks_run_that_name_a_release(processes, matrix):
    """The range is that of pyproject.toml; on a newer release than that, all checks run."""
    chosen = {}
    for release in ("2.5", "2.6", "2.99"):
        matrix(release)
        command, _ = processes.asked["pytest"]
        chosen[release] = "since" in command

    assert chosen == {"2.5": True, "2.6": False, "2.99": False}


def test_what_is_done_is_not_done_again(processes, matrix, tmp_path):
    """The second time nothing is started; the line says which file to remove for a new run."""
    matrix("2.9")
    processes.done.clear()

    status, output, _ = matrix("2.9")

    assert (status, processes.done) == (0, [])
    assert output.startswith(
        "[1/1] PyTorch 2.9: not run again: its records of 2026-11-24T15:12:38+00:00, on the data "
        f"'stand-in', are of this commit; remove {tmp_path / 'r' / 'torch-2.9.jsonl'} to run it\n"
    )


RECORDS, MARK = "r/torch-2.9.jsonl", "r/2.9/whole.json"
AGAIN = {  # a file and how its text changes, the commit of the sources by now, and what is done
    "records of another commit": (RECORDS, lambda text: text, "a85b5d5", ALL[3:]),
    "records of changed sources": (
        RECORDS, lambda text: text.replace("335f664", "335f664+"), "335f664+", ALL[3:]
    ),
    "records of no commit": (RECORDS, lambda text: text.replace('"335f664"', "null"), None, ALL[3:]),
    "records of another PyTorch": (
        RECORDS, lambda text: text.replace("2.9.0+cpu", "2.9.0+cu128"), "335f664", ALL[3:]
    ),
    "records of a killed run": (RECORDS, lambda text: text[:-9], "335f664", ALL[3:]),
    "records without a log": ("r/torch-2.9.log", None, "335f664", ALL[3:]),
    "a half-made environment": (MARK, None, "335f664", ALL),
    "an environment with a cut mark": (MARK, lambda text: text[:7], "335f664", ALL),
    "an environment for other needs": (
        "pyproject.toml", lambda text: text.replace("1.26", "2.0"), "335f664", ALL
    ),
}  # fmt: skip


@pytest.mark.parametrize(("file", "change", "number", "again"), AGAIN.values(), ids=AGAIN)
def test_what_does_not_count_is_done_again(
    processes, matrix, tmp_path, monkeypatch, file, change, number, again
):
    """A run counts that the same sources and PyTorch would repeat, and a whole environment does."""
    matrix("2.9")
    processes.done.clear()
    path = tmp_path / file
    path.write_text(change(path.read_text())) if change else path.unlink()
    monkeypatch.setattr(git, "commit", lambda root: number)

    matrix("2.9")

    assert processes.done == [f"{what} 2.9" for what in again]


@pytest.mark.parametrize("step", ALL)
def test_a_kill_within_any_step_leaves_nothing_that_counts(processes, matrix, step):
    """Ctrl-C ends with one sentence; the next time the broken environment, or run, is made anew."""
    processes.ends = {f"{step} 2.9": KeyboardInterrupt()}
    status, output, errors = matrix("2.9")
    assert (status, errors, output[-5:]) == (130, "blitz: stopped\n", " ...\n")
    processes.ends, processes.done[:] = {}, []

    assert matrix("2.9")[0] == 0

    assert processes.done == [f"{what} 2.9" for what in (ALL[3:] if step == "pytest" else ALL)]


def test_records_from_before_a_killed_run_do_not_pass_for_its_own(processes, matrix, monkeypatch):
    """The log tells of the killed run by then, which was on other data."""
    matrix("2.9")
    monkeypatch.setenv("BLITZ_DATA", "cifar-10-batches-py")
    processes.ends = {"pytest 2.9": KeyboardInterrupt()}
    matrix("2.9")
    processes.ends, processes.done[:] = {}, []

    matrix("2.9")

    assert processes.done == ["pytest 2.9"]


GONE = "No matching distribution found for torch==2.8.* (see torch-2.8.log)"


def test_a_release_that_cannot_be_installed_is_a_column_that_says_so(
    processes, matrix, tmp_path, monkeypatch
):
    """It stands where it belongs, the others are checked all the same, and the status is 1."""
    monkeypatch.setattr(report, "write", processes.write)
    processes.ends = {"pip 2.8": logged.StepError(GONE)}

    status, output, _ = matrix("2.9", "2.8", "2.10")

    assert status == 1
    assert f"[2/3] PyTorch 2.8: making its environment ... failed after 0 s: {GONE}\n" in output
    assert "| statement | true since | 2.8 (not checked) | 2.9.0 | 2.10.0 |" in output
    assert f"Not as the statements say:\n\n- 2.8 (not checked): {GONE}\n" in output
    page = (tmp_path / "r" / "releases.html").read_text()
    assert f"PyTorch 2.8 could not be checked: {GONE}" in page
    assert "The notes, held to PyTorch 2.9.0, 2.10.0" in page


AMISS = {
    "records that cannot be used": ({"id": "nn.gone"}, r"- 2.9 \(not checked\): .*no statement 'nn.gone'"),
    "a statement that is not as it says": (
        NEWER | {"outcome": "refuted"},
        r"- `nn.b` \(true since 2.9\) on 2.9.0: confirmed or not checked expected, refuted found",
    ),
}


@pytest.mark.parametrize(("result", "sentence"), AMISS.values(), ids=AMISS)
def test_what_a_run_found_amiss_is_told(processes, matrix, result, sentence):
    """The status is 1."""
    processes.results = [result]

    status, output, _ = matrix("2.9")

    assert status == 1
    assert re.search(sentence, output)


def test_markdown_holds_the_whole_table_and_how_it_was_made(processes, matrix, tmp_path):
    """docs/releases.md is such a file."""
    file = tmp_path / "releases.md"

    matrix("2.9", "2.5", "--markdown", str(file))

    text = file.read_text()
    assert (
        f"`blitz matrix 2.9 2.5 --markdown {file}` writes this page.\n\nFrom 2.6 on, every check ran" in text
    )
    rows = [line for line in text.splitlines() if " | AMD EPYC |  | stand-in | 2026-11-24T" in line]
    assert [row.split()[1] for row in rows] == ["2.5.0+cpu", "2.9.0+cpu"]
    assert text.endswith("| `nn.a` |  | confirmed | confirmed |\n")


def test_markdown_is_left_alone_if_no_release_was_checked(processes, matrix, tmp_path):
    """An old table is better than none."""
    file = tmp_path / "releases.md"
    file.write_text("old")
    processes.ends = {"pip 2.8": logged.StepError(GONE)}

    status, _, _ = matrix("2.8", "--markdown", str(file))

    assert (status, file.read_text()) == (1, "old")


REFUSED = {
    "no release": (["nonsense"], "expected releases of PyTorch from 2.5 on, such as 2.9, got 'nonsense'"),
    "a file, as before": (["records.jsonl"], "`blitz diff` compares files of records"),
    "too old a release": (["1.2"], "expected releases of PyTorch from 2.5 on, such as 2.9, got '1.2'"),
    "a release before the oldest": (["2.4"], "from 2.5 on, such as 2.9, got '2.4'"),
    "a release twice": (["2.9", "2.9.0"], "expected each release once, got 2.9.0 twice"),
    "no folder": (["2.9", "--folder", "/dev/null"], "/dev/null cannot be written: File exists"),
    "no folder for Markdown": (["2.9", "--markdown", "/nowhere/a.md"], "/nowhere/a.md cannot be written"),
}


@pytest.mark.parametrize(("words", "sentence"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_done_is_refused_in_a_sentence(processes, matrix, words, sentence):
    """Before anything is started; the status is 2."""
    status, output, errors = matrix(*words)

    assert (status, output, errors.count("\n"), processes.done) == (2, "", 1, [])
    assert sentence in errors


def test_from_a_wheel_a_clone_is_asked_for(matrix, monkeypatch, tmp_path):
    """There are no sources that could run in another environment."""
    monkeypatch.setattr(releases, "ROOT", tmp_path)

    status, _, errors = matrix("2.9")

    assert status == 2
    assert errors.endswith("installed from a wheel: clone it, and install that by `pip install -e .`\n")


def test_environments_that_do_not_fit_the_disk_are_refused(processes, matrix, monkeypatch):
    """Those that are there need nothing more."""
    monkeypatch.setattr(environments, "GIGABYTES", 40)
    assert matrix("2.9")[0] == 0
    assert matrix("2.9", "2.11")[0] == 0

    status, _, errors = matrix("2.6", "2.7", "2.9")

    assert status == 2
    assert "expected about 83 GB for the environments of PyTorch 2.6, 2.7, but the disk of" in errors
    assert "has 64 GB: name fewer releases, or another disk by --folder" in errors


def test_a_folder_that_is_in_use_is_refused(processes, matrix, tmp_path):
    """A second run would write the same files."""
    tmp_path.joinpath("r").mkdir()
    lock = os.open(tmp_path / "r" / "lock", os.O_WRONLY | os.O_CREAT)
    fcntl.flock(lock, fcntl.LOCK_EX)
    try:
        status, _, errors = matrix("2.9")
    finally:
        os.close(lock)

    assert (status, processes.done) == (2, [])
    assert "is in use by another `blitz matrix`, or by what one started" in errors
    assert matrix("2.9")[0] == 0


def test_by_default_the_folder_lies_in_the_clone():
    """It is one that git does not see."""
    assert ".releases/" in (ROOT / ".gitignore").read_text().split()
