"""The script for a machine with a GPU, with a stand-in for the Python that its steps run."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest

from spec.harness.children import ROOT

PYTHON = f"""#!/bin/bash
# tells how it was called for a step, and does what the file `does` says
case $1 in
  -m) echo "$*" >>calls; echo "$PYTHONPATH" >>paths; if [ -e does ]; then . ./does; fi ;;
  -c) exec {sys.executable} "$@" ;;
  .ci/machine.py) if [ -e refused ]; then cat refused >&2; exit 1; fi; echo "# blitz on $2" ;;
  .ci/github.py) echo "the counts of $2" >>"$GITHUB_STEP_SUMMARY" ;;
esac
"""
MOST_FILES, LARGEST, LONGEST = 8, 16_000_000, 14 * 60


@pytest.fixture
def folder(tmp_path):
    """Return a folder with the script and the stand-in, and with a limit that a test can wait for."""
    shutil.copytree(ROOT / ".ci", tmp_path / ".ci")
    script = tmp_path / ".ci" / "gpu"
    text = script.read_text()
    assert text.count("doctor $((50 * slow))") == 1
    script.write_text(text.replace("doctor $((50 * slow))", "doctor $((6 * slow))"))
    python = tmp_path / "bin" / "python3"
    python.parent.mkdir()
    python.write_text(PYTHON)
    python.chmod(0o755)
    return tmp_path


def begin(folder, *steps, **variables):
    """Start the script."""
    path = f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"
    unset = {"DEVICE", "PYTHON", "WHEELS", "OUT", "PYTHONPATH"}
    environment = {name: value for name, value in os.environ.items() if name not in unset}
    return subprocess.Popen(
        ["bash", ".ci/gpu", *steps],
        cwd=folder,
        env={**environment, "PATH": path, "OUT": "out", **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(folder, *steps, **variables):
    """Run the script to its end; return its status, what it printed, and its errors."""
    with begin(folder, *steps, **variables) as script:
        printed, errors = script.communicate(timeout=90)
    return script.returncode, printed, errors


def rows(folder):
    """Return how each step ended, its seconds and its limit, as the summary says."""
    summary = (folder / "out" / "summary.md").read_text()
    table = re.findall(r"^\| (\S+) \| (.+) \| (\d*) \| (\d+) \|$", summary, re.MULTILINE)
    return {name: row for name, *row in table}


def wait_for(path):
    """Wait until a file is there, and return what is in it."""
    for _ in range(600):
        if path.exists() and path.read_text():
            return path.read_text()
        time.sleep(0.05)
    raise TimeoutError(f"{path} did not appear")


@pytest.mark.parametrize(("device", "required"), [("cuda", " --require=cuda"), ("fake", "")])
def test_all_steps_run_in_the_order_of_their_worth(folder, device, required):
    """The doctor and the checks come first; only CUDA is required, since only that can be."""
    status, printed, errors = run(folder, DEVICE=device)

    calls = (folder / "calls").read_text().splitlines()
    assert (status, errors) == (0, "")
    assert calls[0] == f"-m blitz doctor --device {device}"
    assert calls[1].startswith(f"-m pytest --device {device}{required} -m gpu ")
    assert len(calls) == len(rows(folder)) == printed.count(": passed, ")
    assert {ended for ended, *_ in rows(folder).values()} == {"passed"}


def test_limits_and_files_are_those_that_are_promised():
    """All limits together are 14 minutes, and no log of all steps, each cut, is too large."""
    script = (ROOT / ".ci" / "gpu").read_text()
    limits = re.findall(r'"\$1" (\S+) \$\(\((\d+) \* slow\)\)', script)
    chapters = len(re.search(r"for name in (.*); do", script)[1].split())
    files = set(re.findall(r'"\$OUT/([\w.]+)"', script)) - {"summary.new"}

    assert sum(int(limit) * (chapters if name == '"$name"' else 1) for name, limit in limits) == LONGEST
    assert (len(limits) - 1 + chapters) * 2 * 600_000 < LARGEST
    assert len(files) <= MOST_FILES


def test_a_step_that_fails_leaves_the_others(folder):
    """The summary shows its last lines as code, and the script's status says that one failed."""
    (folder / "does").write_text('case $* in *record*) printf "one\\n# two\\n"; exit 3 ;; esac')

    status, printed, _ = run(folder, "record", "recipes")

    assert status == 1
    assert "one\n# two\n=== record: failed with status 3, " in printed
    assert "\n    # two\n" in (folder / "out" / "summary.md").read_text()
    assert [ended for ended, *_ in rows(folder).values()] == ["failed with status 3", "passed"]


@pytest.mark.parametrize(
    ("does", "ended"),
    [
        pytest.param("sleep 60", "stopped at its limit", id="one that hangs"),
        pytest.param(
            "trap '' TERM; sleep 60; sleep 60",
            "stopped at its limit",
            id="one that cannot be asked to end",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "setsid sleep 60 & echo $! >left; exit 0",
            "passed",
            id="one that leaves something behind",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_step_that_does_not_end_is_stopped_at_its_limit(folder, does, ended):
    """The next step begins after that, also if something still holds the output of the one before."""
    (folder / "does").write_text(f"case $* in *blitz*) {does} ;; esac")

    run(folder, "doctor", "checks")

    (first, seconds, _), (second, its_seconds, _) = rows(folder).values()
    assert (first, second) == (ended, "passed")
    assert int(seconds) < 20
    assert int(its_seconds) < 5
    if (folder / "left").exists():
        os.kill(int((folder / "left").read_text()), signal.SIGKILL)


@pytest.mark.parametrize("status", [1, 124, 137])
def test_a_step_that_ends_before_its_limit_has_failed(folder, status):
    """Also with a status of one that was stopped, as where memory ran out."""
    (folder / "does").write_text(f"exit {status}")

    run(folder, "checks")

    assert [ended for ended, *_ in rows(folder).values()] == [f"failed with status {status}"]


ENDS = {
    "killed": (signal.SIGKILL, "begun, and not ended", -signal.SIGKILL),
    "stopped": (signal.SIGTERM, "stopped with the script", 130),
}


@pytest.mark.parametrize(("how", "ended", "status"), ENDS.values(), ids=ENDS)
def test_whatever_ends_the_script_leaves_the_summary(folder, how, ended, status):
    """It tells which steps have ended, at which one the script was, and which it did not come to."""
    does = 'case $* in *blitz*) echo "| a table |" ;; *sabotage*) echo $$ >here; exec sleep 20 ;; esac'
    (folder / "does").write_text(does)

    with begin(folder, "doctor", "sabotages", "record") as script:
        step = int(wait_for(folder / "here"))
        script.send_signal(how)
        script.stdout.close()

    if how == signal.SIGKILL:
        os.kill(step, signal.SIGKILL)
    assert script.returncode == status
    assert [ended for ended, *_ in rows(folder).values()] == ["passed", ended, "not begun"]
    assert "    | a table |\n" in (folder / "out" / "summary.md").read_text()


def test_stopping_the_script_stops_its_step(folder):
    """So it does not keep the GPU."""
    (folder / "does").write_text("echo $$ >here; exec sleep 60")

    with begin(folder, "record") as script:
        step = int(wait_for(folder / "here"))
        script.terminate()
        script.communicate(timeout=30)

    with pytest.raises(ProcessLookupError):
        os.kill(step, 0)


SAID = """
seed 0
=== slowest 10 durations ===
9 s a
=== 1 passed ===
----- benchmark: 1 tests -----
name  median
Legend:
Saved in a folder
"""


def test_summary_has_the_counts_the_slowest_checks_and_the_tables(folder):
    """What is pasted into an issue answers what a reader asks first."""
    (folder / "does").write_text(f"printf '{SAID}'; case $* in *record*) echo '| n = 20 |' ;; esac")

    run(folder, "checks", "record", "benchmarks", "dqn")

    summary = (folder / "out" / "summary.md").read_text()
    records = folder / "out" / "records.jsonl"
    assert summary.startswith("# blitz on cuda\n")
    slowest = "    === slowest 10 durations ===\n    9 s a\n    === 1 passed ===\n"
    assert f"\n## checks\n\nthe counts of {records}\n{slowest}" in summary
    assert "\n## record\n\n| n = 20 |\n\n## benchmarks\n" in summary
    assert "\n    ----- benchmark: 1 tests -----\n    name  median\n    Legend:\n" in summary
    assert summary.endswith("\n## dqn\n\n    name  median\n    Legend:\n    Saved in a folder\n")


def test_log_keeps_the_first_and_the_last_of_a_step_that_says_too_much(folder):
    """Where it was cut, it says so."""
    (folder / "does").write_text("echo begin; head -c 5000000 /dev/zero | tr '\\0' x; echo; echo end")

    run(folder, "doctor")

    log = (folder / "out" / "log.txt").read_text()
    assert re.fullmatch(r"=== .*\nbegin\nx+\n\[\.\.\. cut \.\.\.\]\nx+\nend\n=== .*\n", log)
    assert len(log) < LARGEST / 12


def test_wheels_are_unpacked_for_the_script_alone(folder):
    """Into a folder that Python looks in after this project, and that goes with the script."""
    (folder / "wheels").mkdir()
    (folder / "wheels" / "a-1-py3-none-any.whl").touch()

    status, _, _ = run(folder, "doctor", WHEELS="wheels", PYTHONPATH="mine")

    call, *_ = (folder / "calls").read_text().splitlines()
    project, unpacked, mine = (folder / "paths").read_text().splitlines()[-1].split(":")
    assert status == 0
    assert call.startswith(f"-m pip install --quiet --no-index --no-deps --no-compile --target {unpacked} ")
    assert call.endswith(" wheels/a-1-py3-none-any.whl")
    assert (project, mine) == (str(folder), "mine")
    assert not os.path.exists(unpacked)


REFUSALS = {
    "no folder": ({"OUT": ""}, [], "expected a folder to write to"),
    "a folder that cannot be made": ({"OUT": "/dev/null/out"}, [], "OUT=/dev/null/out: cannot write there"),
    "a folder that cannot be written to": ({"OUT": "/proc"}, [], "OUT=/proc: cannot write there"),
    "one of several devices": ({"DEVICE": "cuda:1"}, [], "DEVICE=cuda:1: expected a kind, such as cuda; "),
    "no Python": ({"PYTHON": "no-python"}, [], "there is no command no-python"),
    "no such step": ({}, ["doktor"], "there is no step doktor: there are doctor checks "),
    "no wheels": ({"WHEELS": "empty"}, [], "WHEELS=empty: expected a folder with wheels"),
}


@pytest.mark.parametrize(("variables", "steps", "sentence"), REFUSALS.values(), ids=REFUSALS)
def test_bad_use_is_one_sentence_before_any_work(folder, variables, steps, sentence):
    """With the status 2."""
    status, _, errors = run(folder, *steps, **variables)

    assert (status, errors.count("\n")) == (2, 1)
    assert errors.startswith(f".ci/gpu: {sentence}")
    assert not (folder / "calls").exists()


def test_a_machine_that_cannot_run_it_says_so_before_any_work(folder):
    """As where there is no such device: the sentence is that of .ci/machine.py."""
    (folder / "refused").write_text(".ci/gpu: no such device here\n")

    status, _, errors = run(folder)

    assert (status, errors) == (2, ".ci/gpu: no such device here\n")
    assert not (folder / "calls").exists()
