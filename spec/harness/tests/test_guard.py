"""A run ends with 0 only if each collected check came to one end, whatever ends it, its workers or pytest."""

import faulthandler
import json
import os
import random
import signal
import sys
import time
import traceback

import pytest

from spec.harness import guard

PLACES = ("import", "fixture", "test", "teardown", "end")
ACTS = {
    "exits with 0": "os._exit(0)",
    "exits with 7": "os._exit(7)",
    "is killed": "os.kill(os.getpid(), 9)",
    "crashes": "ctypes.string_at(0)",
    "aborts": "os.abort()",
    "hangs in native code": "mutex = ctypes.create_string_buffer(64); "
    "[ctypes.PyDLL(None).pthread_mutex_lock(mutex) for _ in range(2)]",
    "raises": "raise RuntimeError('raised')",
    "ends pytest with 0": "pytest.exit('enough', returncode=0)",
    "is interrupted": "raise KeyboardInterrupt",
    "leaves by sys.exit(0)": "raise SystemExit(0)",
}
CONFTEST = """
import ctypes, os, pytest
from spec.harness import containment
pytest_plugins = ["spec.harness.plugin"]
containment.COLLECTING = containment.ENDING = 3.0
containment.PATIENCE = 0.5

def act(place):
    if place == {place!r}:
        {act}

@pytest.fixture
def acting():
    act("fixture")
    yield
    act("teardown")

def pytest_sessionfinish():
    if "PYTEST_XDIST_WORKER" in os.environ or not {workers}:
        act("end")
"""
CLAIM = """
@pytest.mark.timeout(1)
@claim("nn.c{number}", notes="3")
def test_{number}({fixture}):
    "One is one."
    {line}
    assert 1 == 1
"""


def specification(at, count=5):
    """Return claims, of which number `at` acts in its fixture, itself and in its teardown."""
    claims = [
        CLAIM.format(number=n, fixture="acting" * (n == at), line="act('test')" if n == at else "pass")
        for n in range(count)
    ]
    return "from conftest import act\nact('import')\n" + "".join(claims)


@pytest.fixture
def run_apart(make_spec, pytester):
    """Write a specification, run pytest on it in a process of its own, and return its status and file."""

    def run(source, conftest, *options, seconds=15):
        make_spec(source)
        pytester.path.joinpath("conftest.py").write_text(conftest)
        faulthandler.cancel_dump_traceback_later()  # a fork loses its thread, and would wait for it
        process = os.fork()
        if process == 0:
            _run_and_leave(pytester.path / "output", ["--verdicts=v.jsonl", *options])
        end = time.monotonic() + seconds
        while not (ended := os.waitpid(process, os.WNOHANG))[0] and time.monotonic() < end:
            time.sleep(0.01)
        if not ended[0]:
            os.kill(process, signal.SIGKILL)
            os.waitpid(process, 0)
            pytest.fail(f"it did not end within {seconds} s: {output_of(pytester)}")
        file = pytester.path / "v.jsonl"
        lines = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
        print(output_of(pytester))
        return os.waitstatus_to_exitcode(ended[1]), lines

    return run


def _run_and_leave(output, options):
    """Run pytest in this process, which ends with its status."""
    status = 99
    try:
        with open(output, "wb") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        sys.stdout, sys.stderr = (os.fdopen(number, "w", closefd=False) for number in (1, 2))
        guard.watching = False
        status = int(pytest.main(options))
    except SystemExit as left:  # the process that is watched
        status = left.code
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def output_of(pytester):
    """Return what the run printed."""
    return pytester.path.joinpath("output").read_text()


def check_books(lines, status):
    """Fail unless the file ends as the run did, with one record of each collected check."""
    end = lines[-1]
    nodes = [line["node"] for line in lines if line["kind"] == "result"]
    assert (end["kind"], end["exit_status"]) == ("end", status)
    assert len(nodes) == len(set(nodes)) == end["records"] == end["collected"]


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2], ids=["in one process", "in workers"])
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("act", ACTS.values(), ids=ACTS)
def test_no_end_is_green(run_apart, act, place, workers):
    """Whatever a check does to the process, and where, the status is not 0 and no record is missing."""
    at = random.randrange(5)
    conftest = CONFTEST.format(place=place, act=act, workers=workers)

    status, lines = run_apart(specification(at), conftest, f"-n{workers}")

    assert status > 0
    check_books(lines, status)
