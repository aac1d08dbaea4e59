"""The command `blitz perf`: its words, its report and its exit status."""

import argparse
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from spec.harness.perf import compare as perf
from spec.harness.perf import interleaving
from spec.harness.perf import report as perf_report
from spec.harness.perf.interleaving import Measured
from spec.harness.perf.sides import Side
from spec.harness.tests.perf.perf_trees import doing, make_tree, sleeping
from spec.harness.tests.repositories import commit_all, make_project

ABOUT = {"python": "3.11.7", "torch": "2.15.0", "threads": 1, "device": "cpu"}


def run(*words):
    """Run `blitz perf` with these words; return its status."""
    parser = argparse.ArgumentParser()
    perf.add_command(parser.add_subparsers())
    arguments = parser.parse_args(["perf", *map(str, words)])
    return arguments.run(arguments)


def rounds_of(factor):
    """Return eight rounds of a machine without noise, in which HEAD takes so many times as long."""
    return [(1e-3, 1e-3 * factor)] * 8


@pytest.fixture
def measures(monkeypatch):
    """`measures(...)`: let this have been measured, whatever is compared; return what was asked for."""

    def pretend(missing=(), new=(), failed=(), **factors):
        asked = {}

        def measure(base, head, **options):
            asked.update(options, base=base, head=head)
            seconds = {name: rounds_of(factor) for name, factor in factors.items()}
            errors = {name: f"HEAD (.) failed at {name}: KeyError" for name in failed}
            abouts = (ABOUT, {**ABOUT, "torch": "2.14.0"})
            return Measured(abouts, seconds, list(missing), list(new), errors)

        monkeypatch.setattr(interleaving, "measure", measure)
        return asked

    return pretend


STATUSES = {
    "all unchanged": ({"view": 1.0}, 0),
    "something faster": ({"view": 1.0, "copy": 0.5}, 0),
    "something new": ({"view": 1.0, "new": ["copy"]}, 0),
    "something slower": ({"view": 1.0, "copy": 1.2}, 1),
    "100 times slower": ({"view": 100.0}, 1),
    "something missing": ({"view": 1.0, "missing": ["copy"]}, 1),
    "something renamed": ({"view": 1.0, "missing": ["copy"], "new": ["clone"]}, 1),
    "something failed": ({"view": 1.0, "failed": ["copy"]}, 1),
    "all missing": ({"missing": ["copy"]}, 2),
    "all new": ({"new": ["copy"]}, 2),
    "all failed": ({"failed": ["copy"]}, 2),
    "all missing, new or failed": ({"missing": ["copy"], "new": ["clone"], "failed": ["view"]}, 2),
}


@pytest.mark.parametrize(("found", "status"), STATUSES.values(), ids=STATUSES)
def test_the_status_tells_whether_anything_got_worse(measures, tmp_path, found, status, capsys):
    """Whatever else became faster or is new; where nothing was compared, nobody knows."""
    measures(**found)

    assert run(tmp_path, tmp_path) == status
    assert ("nothing was compared" in capsys.readouterr().err) == (status == 2)


def test_what_is_inconclusive_is_said_and_is_no_failure(monkeypatch, tmp_path, capsys):
    """Rounds that contradict each other prove nothing."""
    seconds = {"view": [(1.0, 1.5), (1.5, 1.0)] * 4}
    monkeypatch.setattr(
        interleaving, "measure", lambda *_, **__: Measured((ABOUT, ABOUT), seconds, [], [], {})
    )

    assert run(tmp_path, tmp_path) == 0
    assert "## blitz perf: 1 inconclusive" in (output := capsys.readouterr().out)
    assert "more --rounds or a quieter machine can tell" in output


@pytest.mark.slow
def test_two_trees_are_compared_from_end_to_end(tmp_path, monkeypatch, capsys):
    """Of real processes: what takes ten times as long has such a ratio, and what is gone is missing."""
    monkeypatch.setattr(interleaving, "SAMPLE", 1e-3)
    monkeypatch.setattr(interleaving, "TURNS", (0, 1, 1, 0))
    base = make_tree(tmp_path / "base", sleeping(view=0.01, gone=1e-3))
    head = make_tree(tmp_path / "head", sleeping(view=0.1))

    assert run(base, head, "--rounds", 6) == 1
    output = capsys.readouterr().out
    # whether a busy machine lets that be called slower is chance
    assert float(re.search(r"\| view .*s \| ([\d.]+) \(", output)[1]) > 2
    assert "| gone |  |  |  | **missing** |" in output


def test_two_commits_of_the_clone_that_a_person_is_in_are_compared(tmp_path, monkeypatch):
    """Wherever the command is installed: a slowdown there is seen, and both commits are named."""
    monkeypatch.setattr(interleaving, "SAMPLE", 1e-3)
    clone = make_tree(make_project(tmp_path / "clone"), sleeping(view=0.005))
    base = commit_all(clone)
    operations = clone / "spec" / "benchmarks" / "operations.py"
    operations.write_text(operations.read_text().replace("0.005", "0.1"))
    head = commit_all(clone)
    monkeypatch.chdir(clone / "spec")

    [finding], about = perf.compare("HEAD~1", "HEAD", rounds=2)

    assert finding.ratio.point > 2
    assert about[1].startswith(f"BASE (HEAD~1), {base} in {clone}: Python")
    assert about[2].startswith(f"HEAD (HEAD), {head} in {clone}: Python")


REPORT = """\
## blitz perf: 1 slower, 1 failed, 1 missing, 1 new, 1 unchanged

- THE MACHINE
- BASE (main), 1234567 in /clone: torch 2.15.0, Python 3.11.7, 1 thread, on cpu
- HEAD (.), no commit in /folder: torch 2.14.0, Python 3.11.7, 1 thread, on cpu
- 8 rounds, threshold 5 %

| benchmark | BASE | HEAD | HEAD/BASE (99 % interval) | result |
| --- | --- | --- | --- | --- |
| copy | 1.000 ms | 1.500 ms | 1.500 (1.500 to 1.500) | **slower** |
| odd |  |  |  | **failed** |
| gone |  |  |  | **missing** |
| other |  |  |  | new |
| view | 1.000 ms | 1.000 ms | 1.000 (1.000 to 1.000) | unchanged |

- HEAD (.) failed at odd: KeyError
Missing is what only BASE has; a benchmark that was renamed counts as missing and new."""


def test_the_report_begins_with_what_asks_for_attention(measures, tmp_path):
    """Sides and machine, then a table, as Markdown."""
    measures(view=1.0, copy=1.5, missing=["gone"], new=["other"], failed=["odd"])
    sides = (
        Side("BASE", "main", tmp_path, "python", "1234567 in /clone"),
        Side("HEAD", ".", tmp_path, "python", "no commit in /folder"),
    )
    measured = interleaving.measure(*sides)

    _, *about = perf_report.about(sides, measured, 0.1)
    found = perf_report.findings(measured, 0.05)
    text = perf_report.markdown(found, ["THE MACHINE", *about], rounds=8, threshold=0.05)

    assert text == REPORT


@pytest.mark.parametrize(("load", "busy"), [(0.0, False), (1.5, True)])
def test_a_busy_machine_is_said_to_be_one(measures, tmp_path, load, busy, monkeypatch):
    """It is where what is measured cannot have a core for itself."""
    measures(view=1.0)
    machine = {"cpu": "CPU X", "cpus": 2, "devices": [{"name": "GPU Y", "driver": "570.1"}]}
    monkeypatch.setattr(perf_report.machine, "describe", lambda: machine)
    side = Side("BASE", "main", tmp_path, "python", "no commit")

    line, *_ = perf_report.about((side, side), interleaving.measure(side, side), load)

    assert line.startswith("CPU X, 2 cores, GPU Y, driver 570.1, ")
    assert ("load average 1.50; **the machine is busy**" in line) == busy


def test_the_report_is_appended_to_a_summary(measures, tmp_path, capsys):
    """A job has one summary for all of its steps."""
    summary = tmp_path / "summary.md"
    summary.write_text("before\n")
    measures(view=1.0)

    run(tmp_path, tmp_path, "--summary", summary)

    assert summary.read_text() == f"before\n{capsys.readouterr().out}"


@pytest.mark.parametrize(("name", "begins"), [("p.png", b"\x89PNG"), ("p.svg", b"<?xml")])
def test_a_plot_is_drawn_as_its_name_says(measures, tmp_path, name, begins, capsys):
    """Of all that was found, be it without end or without a ratio."""
    measures(view=1.0, copy=100.0, missing=["gone"], new=["other"])

    run(tmp_path, tmp_path, "--plot", tmp_path / name)

    assert (tmp_path / name).read_bytes().startswith(begins)


def test_a_plot_shows_every_benchmark_and_the_threshold(tmp_path):
    """Each is named with its result; an interval without end leaves the rest to be seen."""
    rounds = {"wild": [(1.0, 1.0)] * 7 + [(1.0, 1e9)], "copy": rounds_of(1.2)}
    found = perf_report.findings(Measured((ABOUT, ABOUT), rounds, ["gone"], [], {"odd": "HEAD failed"}), 0.05)

    picture = perf_report.picture(found, threshold=0.05, suffix="svg").decode()

    for words in ("wild: inconclusive", "copy: slower", "gone: missing", "odd: failed", "threshold, 5 %"):
        assert f"<!-- {words} -->" in picture


def test_words_become_what_is_measured(measures, tmp_path, capsys):
    """Rounds, a selection; all benchmarks and eight rounds unless something is said."""
    asked = measures(view=1.0)

    run(tmp_path, tmp_path)
    assert (asked["rounds"], asked["select"]) == (8, "")
    run(tmp_path, tmp_path, "--rounds", 12, "--select", "view copy")
    assert (asked["rounds"], asked["select"]) == (12, "view copy")


@pytest.mark.parametrize("text", ["20%", "0.2", " 20 % "])
def test_a_threshold_is_a_share(measures, tmp_path, text, capsys):
    """A slowdown of 10 % is none that matters where it is 20 %."""
    measures(view=1.1)

    assert run(tmp_path, tmp_path) == 1
    assert run(tmp_path, tmp_path, "--threshold", text) == 0
    assert "threshold 20 %" in capsys.readouterr().out


@pytest.mark.parametrize("text", ["5", "0", "-5%", "100%", "much", "%", "nan", "5%%", "5%0"])
def test_a_threshold_that_is_no_share_is_refused(tmp_path, text, capsys):
    """5 means 5 % to one person and five times to another."""
    with pytest.raises(SystemExit, match="2"):
        run(tmp_path, tmp_path, f"--threshold={text}")

    assert f"expected a share such as 5% or 0.05, got {text}" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["4", "0", "-8", "many", "8.5"])
def test_too_few_rounds_are_refused(tmp_path, text, capsys):
    """With four, no interval of 99 % has an end."""
    with pytest.raises(SystemExit, match="2"):
        run(tmp_path, tmp_path, f"--rounds={text}")

    assert f"expected 5 rounds or more to tell anything, got {text}" in capsys.readouterr().err


def test_what_cannot_be_measured_has_a_status_of_its_own(tmp_path, capsys):
    """One sentence, in the job's summary as well."""
    base = make_tree(tmp_path / "base", sleeping(odd=1e-3))
    head = make_tree(tmp_path / "head", "raise ValueError('no data')")
    summary = tmp_path / "summary.md"

    assert run(base, head, "--summary", summary) == 2
    sentence = f"HEAD ({head}) failed to start: ValueError: no data"
    assert capsys.readouterr().err == f"blitz: {sentence}\n"
    assert summary.read_text() == f"## blitz perf: it could not be done\n\n{sentence}\n"


def test_a_benchmark_that_head_breaks_is_no_success(tmp_path, monkeypatch, capsys):
    """Its error stands below the table, and the other one has its ratio."""
    monkeypatch.setattr(interleaving, "SAMPLE", 1e-3)
    base = make_tree(tmp_path / "base", sleeping(odd=1e-3, view=1e-3))
    head = make_tree(
        tmp_path / "head", sleeping(view=1e-3) + doing("raise KeyError") + "OPERATIONS += [view]"
    )

    assert run(base, head, "--rounds", 5, "--threshold", "90%") == 1
    output = capsys.readouterr().out
    assert "1 failed" in output.splitlines()[0]
    assert "| view | " in output
    assert f"\n- HEAD ({head}) failed at odd: KeyError\n" in output


UNWRITABLE = {
    "a summary": ("--summary", "/dev/full", "/dev/full cannot be written: No space left on device"),
    "a plot": ("--plot", "/proc/plot.svg", "/proc/plot.svg"),
}


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device without space")
@pytest.mark.parametrize(("option", "file", "message"), UNWRITABLE.values(), ids=UNWRITABLE)
def test_a_report_that_cannot_be_written_is_printed(measures, tmp_path, option, file, message, capsys):
    """Its minutes are not lost; it is one sentence, and another status than slower."""
    measures(view=1.2)

    assert run(tmp_path, tmp_path, option, file) == 2
    output, error = capsys.readouterr()
    assert output.startswith("## blitz perf: 1 slower")
    assert error.startswith("blitz: ")
    assert message in error
    assert error.count("\n") == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device without space")
def test_a_report_that_cannot_be_printed_has_the_status_of_what_could_not_be_done():
    """Python itself would try again as it ends, and give a status that nobody has told of."""
    source = "import sys; from spec.harness.perf import compare\n"
    source += "try: compare._print('report')\nexcept compare.HarnessError as error: sys.exit(str(error))"

    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-c", source],
            env=environment,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
        )

    assert (done.returncode, done.stderr) == (1, "the report cannot be printed: No space left on device\n")


ACCIDENTS = {
    "of the system": (OSError(28, "No space left on device"), "blitz: [Errno 28] No space left on device\n"),
    "of ours": (ZeroDivisionError("division"), "ZeroDivisionError: division\n"),
}


@pytest.mark.parametrize(("accident", "message"), ACCIDENTS.values(), ids=ACCIDENTS)
def test_an_accident_does_not_pass_for_a_slowdown(monkeypatch, tmp_path, accident, message, capsys):
    """Python's own status for what nobody has caught is that of something slower."""

    def measure(*_, **__):
        raise accident

    monkeypatch.setattr(interleaving, "measure", measure)

    assert run(tmp_path, tmp_path) == 2
    assert capsys.readouterr().err.endswith(message)


REFUSED = {
    "an unknown revision": (("no-such", "."), "BASE is no-such: expected a folder, an interpreter or a rev"),
    "a plot of another kind": ((".", ".", "--plot", "p.jpg"), "expected --plot FILE.svg or FILE.png"),
    "a plot in a folder that is not there": ((".", ".", "--plot", "no/p.png"), "no/p.png cannot be written"),
    "a summary that is a folder": ((".", ".", "--summary", "."), ". cannot be written"),
}


@pytest.mark.parametrize(("words", "message"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_end_well_does_not_begin(measures, tmp_path, words, message, monkeypatch, capsys):
    """Nobody waits minutes for a report that cannot be written."""
    asked = measures(view=1.0)
    monkeypatch.chdir(tmp_path)

    assert run(*words) == 2
    assert message in capsys.readouterr().err
    assert asked == {}


def test_a_job_that_is_cancelled_ends_in_order(tmp_path, capsys):
    """SIGTERM unwinds as Ctrl-C does, and is what it was afterwards."""
    base = make_tree(tmp_path / "base", doing("time.sleep(600)"))
    head = make_tree(tmp_path / "head", doing("os.kill(os.getppid(), signal.SIGTERM); time.sleep(600)"))
    before = signal.getsignal(signal.SIGTERM)

    with pytest.raises(SystemExit, match=str(128 + signal.SIGTERM)):
        run(base, head)

    assert signal.getsignal(signal.SIGTERM) == before


def test_the_words_of_the_command_need_no_pytorch():
    """Help comes at once."""
    source = "import argparse, sys; sys.modules['torch'] = sys.modules['numpy'] = None\n"
    source += "from spec.harness.perf import compare; parser = argparse.ArgumentParser()\n"
    source += "compare.add_command(parser.add_subparsers()); parser.parse_args(['perf', '--help'])"

    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True)

    assert (done.returncode, done.stderr) == (0, "")
    assert "--threshold SHARE" in done.stdout


@pytest.mark.slow
def test_this_tree_is_not_slower_than_itself(monkeypatch, capsys):
    """Of real operations of real PyTorch; a busy machine is inconclusive at worst."""
    tree = Path(perf.__file__).parents[3]

    monkeypatch.chdir(tree)

    assert run(tree, sys.executable, "--select", "batches_by_index", "--rounds", 5) == 0
    assert "torch" in capsys.readouterr().out
