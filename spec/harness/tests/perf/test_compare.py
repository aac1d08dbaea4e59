"""The command `blitz perf`: its words, its report and its exit status."""

import os
import re
import signal
from pathlib import Path

import pytest

from spec.command_line import main
from spec.harness.errors import HarnessError
from spec.harness.perf import interleaving, report
from spec.harness.perf.interleaving import Measured
from spec.harness.tests.perf.perf_trees import doing, make_tree, sleeping
from spec.harness.tests.perf.test_worker import ends
from spec.harness.tests.repositories import commit_all, make_project

ABOUT = {"python": "3.11.7", "torch": "2.15.0", "threads": 1, "device": "cpu"}
MACHINE = {"cpu": "CPU X", "cpus": 2, "devices": [{"name": "GPU Y", "driver": "570.1"}]}


def run(*words):
    """Run `blitz perf` with these words; return its status."""
    return main(["perf", *map(str, words)])


@pytest.fixture
def measures(monkeypatch):
    """`measures(...)`: let this have been measured, whatever is compared; return what was asked for.

    A benchmark is given by how many times as long it takes in HEAD, on a machine without noise.
    """

    def pretend(missing=(), new=(), failed=(), error=None, **factors):
        asked = {}

        def measure(base, head, **options):
            asked.update(options)
            if error:
                raise error
            seconds = {name: [(1e-3, 1e-3 * factor)] * 8 for name, factor in factors.items()}
            if "wild" in seconds:  # an interval without end
                seconds["wild"][7] = (1.0, 1e9)
            errors = {name: f"HEAD (.) failed at {name}: KeyError" for name in failed}
            return Measured((ABOUT, {**ABOUT, "torch": "2.14.0"}), seconds, list(missing), list(new), errors)

        monkeypatch.setattr(interleaving, "measure", measure)
        return asked

    return pretend


STATUSES = {
    "unchanged, faster or new": ({"view": 1.0, "copy": 0.5, "new": ["clone"]}, 0),
    "inconclusive": ({"wild": 1.0}, 0),
    "slower": ({"view": 1.0, "copy": 1.2}, 1),
    "missing": ({"view": 1.0, "missing": ["copy"]}, 1),
    "renamed": ({"view": 1.0, "missing": ["copy"], "new": ["clone"]}, 1),
    "failed": ({"view": 1.0, "failed": ["copy"]}, 1),
    "nothing but new": ({"new": ["copy"]}, 2),
    "nothing but missing, new or failed": ({"missing": ["copy"], "new": ["clone"], "failed": ["view"]}, 2),
}


@pytest.mark.parametrize(("found", "status"), STATUSES.values(), ids=STATUSES)
def test_the_status_tells_whether_anything_got_worse(measures, tmp_path, found, status, capsys):
    """Where nothing was compared, nobody knows."""
    measures(**found)

    assert run(tmp_path, tmp_path) == status
    assert ("nothing was compared" in capsys.readouterr().err) == (status == 2)


REPORT = """\
## blitz perf: 1 slower, 1 failed, 1 missing, 1 inconclusive, 1 new, 1 unchanged

- CPU X, 2 cores, GPU Y, driver 570.1, {system}, load average 1.50; **the machine is busy**
- BASE ({folder}), no commit in {folder}: torch 2.15.0, Python 3.11.7, 1 thread, on cpu
- HEAD ({folder}), no commit in {folder}: torch 2.14.0, Python 3.11.7, 1 thread, on cpu
- 8 rounds, threshold 5 %

| benchmark | BASE | HEAD | HEAD/BASE (99 % interval) | result |
| --- | --- | --- | --- | --- |
| copy | 1.000 ms | 1.500 ms | 1.500 (1.500 to 1.500) | **slower** |
| odd |  |  |  | **failed** |
| gone |  |  |  | **missing** |
| wild | 2.37 ms | 31.6 ms | 13.3 (0.000 to inf) | inconclusive |
| other |  |  |  | new |
| view | 1.000 ms | 1.000 ms | 1.000 (1.000 to 1.000) | unchanged |

- HEAD (.) failed at odd: KeyError
Missing is what only BASE has; a benchmark that was renamed counts as missing and new.
Inconclusive: there may be a change or not; more --rounds or a quieter machine can tell.
"""
MEASURED = {"view": 1.0, "wild": 1.0, "copy": 1.5}
EVERYTHING = MEASURED | {"missing": ["gone"], "new": ["other"], "failed": ["odd"]}


def test_the_report_begins_with_what_asks_for_attention(measures, tmp_path, monkeypatch, capsys):
    """Machine, sides and a table as Markdown, appended to the summary that a job has for all its steps."""
    measures(**EVERYTHING)
    monkeypatch.setattr(report.machine, "describe", lambda: MACHINE)
    monkeypatch.setattr(os, "getloadavg", lambda: (1.5, 0, 0))
    summary = tmp_path / "summary.md"
    summary.write_text("before\n")

    assert run(tmp_path, tmp_path, "--summary", summary) == 1

    text = REPORT.format(system=report.platform.system(), folder=tmp_path)
    assert capsys.readouterr().out == text
    assert summary.read_text() == f"before\n{text}"


def test_a_plot_shows_every_benchmark_and_the_threshold(measures, tmp_path, capsys):
    """Each is named with its result, be its interval endless; the name of the file says the format."""
    measures(**EVERYTHING)

    run(tmp_path, tmp_path, "--plot", tmp_path / "p.svg")
    run(tmp_path, tmp_path, "--plot", tmp_path / "p.png")

    picture = (tmp_path / "p.svg").read_text()
    for words in ("wild: inconclusive", "copy: slower", "gone: missing", "odd: failed", "threshold, 5 %"):
        assert f"<!-- {words} -->" in picture
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")


def test_words_become_what_is_measured(measures, tmp_path, capsys):
    """Eight rounds of all benchmarks and a threshold of 5 %, unless something else is said."""
    asked = measures(view=1.1)

    assert run(tmp_path, tmp_path) == 1
    assert asked == {"rounds": 8, "select": ""}
    assert run(tmp_path, tmp_path, "--rounds", 12, "--select", "view copy", "--threshold", "20%") == 0
    assert asked == {"rounds": 12, "select": "view copy"}
    assert "12 rounds, threshold 20 %" in capsys.readouterr().out


SHARE, ROUNDS = "expected a share such as 5% or 0.05, got", "expected 5 rounds or more to tell anything, got"
STRANGE = {
    "--threshold=5": f"{SHARE} 5",  # 5 % to one person and five times to another
    "--threshold=0": f"{SHARE} 0",
    "--threshold=much": f"{SHARE} much",
    "--rounds=4": f"{ROUNDS} 4",
    "--rounds=many": f"{ROUNDS} many",
}


@pytest.mark.parametrize(("word", "message"), STRANGE.items(), ids=STRANGE)
def test_a_word_that_cannot_be_meant_is_refused(tmp_path, word, message, capsys):
    """With what was expected."""
    with pytest.raises(SystemExit, match="2"):
        run(tmp_path, tmp_path, word)

    assert message in capsys.readouterr().err


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


def test_what_cannot_be_measured_is_one_sentence(measures, tmp_path, capsys):
    """It stands in the summary of the job as well. An accident does not pass for a slowdown, of status 1."""
    measures(error=HarnessError("HEAD failed to start"))
    summary = tmp_path / "summary.md"

    assert run(tmp_path, tmp_path, "--summary", summary) == 2
    assert capsys.readouterr().err == "blitz: HEAD failed to start\n"
    assert summary.read_text() == "## blitz perf: it could not be done\n\nHEAD failed to start\n"
    measures(error=ZeroDivisionError("division"))
    assert run(tmp_path, tmp_path) == 2
    assert capsys.readouterr().err.endswith("ZeroDivisionError: division\n")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device without space")
@pytest.mark.parametrize(("option", "file"), [("--summary", "/dev/full"), ("--plot", "/proc/plot.svg")])
def test_a_report_that_cannot_be_written_is_printed(measures, tmp_path, option, file, capsys):
    """Its minutes are not lost; it is one sentence, and another status than slower."""
    measures(view=1.2)

    assert run(tmp_path, tmp_path, option, file) == 2
    output, error = capsys.readouterr()
    assert output.startswith("## blitz perf: 1 slower")
    assert re.fullmatch(f"blitz: {file} cannot be written: .*\n", error)


@pytest.mark.slow
def test_two_commits_of_the_clone_that_a_person_is_in_are_compared(tmp_path, monkeypatch, capsys):
    """By real processes: what got slower, is gone or fails in HEAD is said, and both commits are named."""
    monkeypatch.setattr(interleaving, "SAMPLE", 1e-3)
    monkeypatch.setattr(interleaving, "TURNS", (0, 1, 1, 0))
    clone = make_tree(make_project(tmp_path / "clone"), sleeping(same=0.002, view=0.002, old=1e-3, odd=1e-3))
    base = commit_all(clone)
    changed = doing(odd="raise KeyError", view="time.sleep(0.1)", same="time.sleep(0.002)", new="pass")
    clone.joinpath("spec", "benchmarks", "operations.py").write_text(f"import time\n{changed}")
    head = commit_all(clone)
    monkeypatch.chdir(clone / "spec")

    assert run("HEAD~1", "HEAD", "--rounds", 5) == 1

    output = capsys.readouterr().out
    ratios = dict(re.findall(r"\| (\w+) \| .*s \| .*s \| ([\d.]+) \(", output))
    assert f"BASE (HEAD~1), {base} in {clone}: Python" in output
    assert f"HEAD (HEAD), {head} in {clone}: Python" in output
    # whether a busy machine lets that be called slower is chance
    assert float(ratios["view"]) > 4 * float(ratios["same"])
    assert "| old |  |  |  | **missing** |" in output
    assert "| new |  |  |  | new |" in output
    assert "| odd |  |  |  | **failed** |" in output
    assert "\n- HEAD (HEAD) failed at odd: KeyError\n" in output


def test_a_job_that_is_cancelled_leaves_no_process(tmp_path):
    """SIGTERM unwinds as Ctrl-C does, and is what it was afterwards."""
    pids = tmp_path / "pids"
    note = f"open({str(pids)!r}, 'a').write(f'{{os.getpid()}} '); time.sleep(0.05); "
    cancel = "os.kill(os.getppid(), signal.SIGTERM); "
    base = make_tree(tmp_path / "base", doing(odd=note + "time.sleep(600)"))
    head = make_tree(tmp_path / "head", doing(odd=note + cancel + "time.sleep(600)"))
    before = signal.getsignal(signal.SIGTERM)

    with pytest.raises(SystemExit, match=str(128 + signal.SIGTERM)):
        run(base, head)

    assert signal.getsignal(signal.SIGTERM) == before
    assert all(ends(int(pid)) for pid in pids.read_text().split())
