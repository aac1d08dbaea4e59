"""A run ends with 0 only if each collected check came to one end, whatever ends it, its workers or pytest."""

import faulthandler
import json
import multiprocessing
import os
import random
import signal
import sys
import tempfile

import pytest

from spec.harness.children import end_with_parent
from spec.harness.runs import guard
from spec.harness.tests.perf.test_worker import ends

PLACES = {  # where a check acts; in workers, each of which takes seconds to begin, where they differ
    0: ("import", "fixture", "test", "teardown", "end"),
    2: ("import", "test", "end"),
}
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
from spec.harness.runs import containment
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
STATEMENT = """
@pytest.mark.timeout({seconds})
@statement("nn.c{number}", notes="3")
def test_{number}({fixture}):
    "One is one."
    {line}
    assert 1 == 1
"""


def specification(at, count=5, seconds=30):
    """Return statements, of which number `at` acts in its fixture, itself and in its teardown."""
    statements = [
        STATEMENT.format(
            number=n,
            seconds=seconds,
            fixture="acting" * (n == at),
            line="act('test')" if n == at else "pass",
        )
        for n in range(count)
    ]
    return "from conftest import act\nact('import')\n" + "".join(statements)


@pytest.fixture
def run_apart(make_spec, pytester):
    """Write a specification, run pytest on it in a process of its own, and return its status and file."""

    def run(source, conftest, *options):
        make_spec(source)
        told = pytester.path / "spec" / "conftest.py"
        pytester.path.joinpath("conftest.py").write_text(
            conftest + told.read_text().replace("parent", "parent / 'spec'")
        )
        told.unlink()  # else there would be two modules called conftest
        faulthandler.cancel_dump_traceback_later()  # a fork loses its thread, and would wait for it
        process = multiprocessing.get_context("fork").Process(
            target=_run, args=(pytester.path / "output", ["--records=v.jsonl", *options])
        )
        process.start()
        process.join(60)
        if process.is_alive():
            process.kill()
            pytest.fail(f"it did not end within a minute: {output_of(pytester)}")
        file = pytester.path / "v.jsonl"
        lines = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
        print(output_of(pytester))
        return process.exitcode, lines

    return run


def _run(output, options):
    """Run pytest in this process, which ends with its status."""
    end_with_parent()
    with open(output, "wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    sys.stdout, sys.stderr = (os.fdopen(number, "w", closefd=False) for number in (1, 2))
    guard.watching = False
    sys.exit(int(pytest.main(options)))


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
def test_a_worker_waits_for_another_as_long_as_that_takes(run_apart):
    """The time in which a process has to end does not run while others still have checks to run."""
    longest = CONFTEST.format(place="test", act="import time; time.sleep(5)", workers=True)

    status, lines = run_apart(specification(0, seconds=30), longest, "-n2")

    assert status == 0
    check_books(lines, 0)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("workers", "place"),
    [(workers, place) for workers, places in PLACES.items() for place in places],
    ids=lambda value: {0: "in one process", 2: "in workers"}.get(value, value),
)
@pytest.mark.parametrize("act", ACTS.values(), ids=ACTS)
def test_no_end_is_green(run_apart, act, place, workers):
    """Whatever a check does to the process, and where, the status is not 0 and no record is missing."""
    at = random.randrange(5)
    conftest = CONFTEST.format(place=place, act=act, workers=workers)

    status, lines = run_apart(specification(at, seconds=1), conftest, f"-n{workers}")

    assert status > 0
    check_books(lines, status)


WORKS = specification(at=-1, count=3)
FOREVER = "[None for _ in iter(int, 1)]"
CRASHED = ["confirmed", "crashed", "not checked"]
EXITED = (
    "this run did not finish: the process that ran the checks ended with status 0, at "
    "spec/section_3/test_example.py::test_1; 2 of 3 checks did not come to an end, such as"
)
ENDS = {
    "nothing": ("pass", "-v", 0, ["confirmed"] * 3, ""),
    "exits with 0, without xdist": ("os._exit(0)", "-pno:xdist.plugin", 3, CRASHED, EXITED),
    "Ctrl-C, by another process": (
        f"os.kill(os.getppid(), {int(signal.SIGINT)}); {FOREVER}",
        "-v",
        2,
        ["confirmed", "not checked", "not checked"],
        "KeyboardInterrupt",
    ),
    "the end of a job": (
        f"os.kill(os.getppid(), {int(signal.SIGTERM)}); {FOREVER}",
        "-v",
        3,
        CRASHED,
        "the process that ran the checks ended by SIGTERM",
    ),
    "is set up and never called": ("pass", "--setup-only", 3, ["not checked"] * 3, ""),
}


@pytest.mark.parametrize(("act", "option", "expected", "outcomes", "words"), ENDS.values(), ids=ENDS)
def test_a_run_is_green_only_if_each_check_came_to_its_end(
    run_apart, pytester, act, option, expected, outcomes, words
):
    """The process that watches says what came in between, and writes the records that are missing."""
    source = specification(at=1, count=3)

    status, lines = run_apart(source, CONFTEST.format(place="test", act=act, workers=0), option)

    check_books(lines, status)
    assert status == expected
    assert [line["outcome"] for line in lines[1:-1]] == outcomes
    assert words in output_of(pytester)


def test_a_run_that_is_refused_leaves_all_as_it_was(run_apart, pytester, monkeypatch):
    """A file of records is emptied only once a run begins, and its own folder is gone."""
    monkeypatch.setattr(tempfile, "tempdir", str(pytester.path))
    pytester.path.joinpath("v.jsonl").write_text("{}\n")

    status, lines = run_apart(WORKS, CONFTEST.format(place=None, act="pass", workers=0), "--require=nothing")

    assert status == pytest.ExitCode.USAGE_ERROR
    assert lines == [{}]
    assert "unknown requirement 'nothing'" in output_of(pytester)
    assert list(pytester.path.glob("blitz-*")) == []


def test_a_plugin_cannot_make_a_failure_good(run_apart):
    """Not even by ending the process."""
    conftest = CONFTEST.format(place="test", act="assert 1 == 2", workers=0)
    conftest = conftest.replace(
        "def pytest_sessionfinish():", "def pytest_unconfigure():\n    os._exit(0)\ndef f():"
    )

    status, lines = run_apart(specification(at=1, count=3), conftest)

    check_books(lines, status)
    assert status == 3
    assert lines[2]["outcome"] == "error"


RERUN = """
import pytest
from _pytest.runner import runtestprotocol
pytest_plugins = ["spec.harness.plugin"]

@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item, nextitem):
    for number in range(2):
        for report in runtestprotocol(item, nextitem=nextitem, log=False):
            if report.failed and number == 0:
                report.outcome = "rerun"
            item.ihook.pytest_runtest_logreport(report=report)
            if report.outcome == "rerun":
                break
        else:
            return True
    return True
"""
SOMETIMES = """
seen = []

@statement("nn.a", notes="3")
def test_a():
    "One is one."
    seen.append(1)
    assert len(seen) > 1

@statement("nn.b", notes="3")
def test_b():
    "One is one."
    assert 1 == 1
"""


def test_what_is_tried_again_until_it_passes_is_refuted(run_apart):
    """The first try counts."""
    status, lines = run_apart(SOMETIMES, RERUN)

    check_books(lines, status)
    assert status == 1
    assert [line["outcome"] for line in lines[1:-1]] == ["refuted", "confirmed"]


@pytest.mark.parametrize(
    ("workers", "act", "expected"),
    [
        pytest.param(0, FOREVER, -signal.SIGKILL, id="in one process"),
        pytest.param(1, ACTS["hangs in native code"], 3, id="in a worker", marks=pytest.mark.slow),
    ],
)
def test_what_runs_checks_ends_with_what_has_started_it(run_apart, pytester, workers, act, expected):
    """A job that is killed leaves nothing behind that holds a device."""
    act = f"open('pid', 'w').write(str(os.getpid())); os.kill(os.getppid(), 9); {act}"
    conftest = CONFTEST.format(place="test", act=act, workers=workers)

    status, _ = run_apart(specification(at=1, count=3), conftest, f"-n{workers}")

    assert status == expected
    assert ends(int(pytester.path.joinpath("pid").read_text()))
