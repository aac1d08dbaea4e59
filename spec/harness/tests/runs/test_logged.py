"""A step: its process, its log, its end with the one who started it, and why it failed."""

import os
import signal
import subprocess
import sys
import time

import pytest

from spec.harness.children import environment, python
from spec.harness.runs import logged, releases
from spec.harness.tests.perf.test_worker import ends

SAY = [sys.executable, "-c", "import sys; print('to the log', flush=True); sys.exit('ERROR: no')"]


def test_what_a_process_prints_goes_to_the_log_below_its_command(tmp_path, monkeypatch, capfd):
    """With the settings of this project, so that the log says how to repeat it."""
    monkeypatch.setenv("BLITZ_DATA", "a folder")
    log = tmp_path / "log"
    log.write_text("before\n")

    said = logged.run(SAY, log, os.environ, statuses=(0, 1))

    before, command, *rest = log.read_text().splitlines()
    assert said.splitlines() == rest
    assert sorted(rest) == ["ERROR: no", "to the log"]
    assert before == "before"
    assert command.startswith("$ ")
    assert "BLITZ_DATA='a folder'" in command
    assert capfd.readouterr() == ("", "")


def test_a_process_that_fails_is_an_error_that_names_the_log(tmp_path):
    """Its own words come first; a program may not be there, as where the Python was removed."""
    log = tmp_path / "log"

    with pytest.raises(logged.StepError) as caught:
        logged.run(SAY, log, os.environ)

    assert str(caught.value) == f"no (see {log})"
    with pytest.raises(logged.StepError, match="nowhere/python cannot be run: No such file or directory"):
        logged.run(["/nowhere/python"], log, os.environ)


SLEEP = """
import os, sys, time
from pathlib import Path
from spec.harness.runs import logged
asleep = "import os, time; print(os.getpid(), flush=True); time.sleep(60)"
logged.run([sys.executable, "-c", asleep], Path(sys.argv[1]), os.environ)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a process with its parent")
def test_a_process_ends_with_the_one_that_started_it_even_by_sigkill(tmp_path):
    """Or it would go on to write where the next run begins."""
    log = tmp_path / "log"
    log.touch()
    parent = subprocess.Popen(python("-c", SLEEP, str(log)), env=environment())
    while log.read_text().count("\n") < 2:
        time.sleep(0.02)
    child = int(log.read_text().split()[-1])
    os.kill(child, 0)  # it lives

    parent.send_signal(signal.SIGKILL)
    parent.wait()

    assert ends(child)


OPEN = "import os; print(*(os.path.realpath(f'/dev/fd/{n}') for n in os.listdir('/dev/fd')), sep='\\n')"


@pytest.mark.skipif(sys.platform != "linux", reason="where it is told which files a process has open")
def test_a_process_holds_the_lock_of_the_folder_as_long_as_it_lives(tmp_path):
    """Where it outlives the one that started it, the folder stays in use."""
    with releases._locked(tmp_path):
        said = logged.run([sys.executable, "-c", OPEN], tmp_path / "log", os.environ)

    assert str(tmp_path / "lock") in said.splitlines()


REASONS = {
    "no such release": (
        "ERROR: Could not find a version that satisfies the requirement torch==2.99.* (from versions: 2.0)\n"
        "ERROR: No matching distribution found for torch==2.99.*\n",
        "No matching distribution found for torch==2.99.*",
    ),
    "no network": (
        "WARNING: Retrying (Retry(total=0)) after connection broken by 'NewConnectionError': /simple/\n"
        "ERROR: Could not find a version that satisfies the requirement torch==2.9.* (from versions: none)\n"
        "ERROR: No matching distribution found for torch==2.9.*\n",
        "the network cannot be reached: No matching distribution found for torch==2.9.*",
    ),
    "a conflict": (
        "ERROR: Cannot install torch==2.9.* and a==1 because these package versions have conflicting "
        "dependencies.\nThe conflict is caused by:\n    The user requested torch==2.9.*\n"
        "ERROR: ResolutionImpossible: for help visit https://pip.pypa.io/en/latest/\n",
        "Cannot install torch==2.9.* and a==1 because these package versions have conflicting dependencies",
    ),
    "an import": ("Traceback:\n\nOSError: libcudart: cannot open\n\n", "OSError: libcudart: cannot open"),
    "what a terminal obeys": ("ERROR: a\x1b[2Jb", r"a\x1b[2Jb"),
    "a long line": ("ERROR: " + "a" * 999, "a" * 159 + "…"),
    "nothing": ("\n", ""),
}


@pytest.mark.parametrize(("said", "why"), REASONS.values(), ids=REASONS)
def test_why_a_program_failed_is_said_in_its_own_words(said, why):
    """The last error that tells something, or the last line."""
    assert logged.reason(said) == why
