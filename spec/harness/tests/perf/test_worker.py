"""The processes of `blitz perf`: whose code they time, on which core, and when they end."""

import gc
import itertools
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from spec.harness.errors import HarnessError
from spec.harness.perf import worker as perf_worker
from spec.harness.perf.interleaving import WORKER, Worker, environment
from spec.harness.perf.sides import Side
from spec.harness.perf.worker import CORES
from spec.harness.tests.perf.perf_trees import doing, make_tree

needs_cores = pytest.mark.skipif(
    len(CORES) < 2, reason="needs two cores, and a system that lets a process choose"
)


@pytest.fixture
def make_worker(tmp_path):
    """`make_worker(source)`: a process that has said what it is, in a tree of these operations."""
    started = []

    def make(source):
        side = Side("HEAD", "a tree", make_tree(tmp_path / "tree", source), sys.executable, "no commit")
        started.append(Worker(side))
        return started[-1]

    yield make
    for worker in started:
        worker.close()


def failure(worker, name="odd"):
    """Return what is said of an operation that fails while it is prepared."""
    worker.answer()
    worker.order(name, prepare=name)
    with pytest.raises(HarnessError) as error:
        worker.answer()
    return str(error.value)


def test_each_side_runs_the_code_of_its_own_tree(make_worker, tmp_path):
    """Its modules, its working folder, and what a process that it starts would import."""
    says = "import spec, subprocess; raise LookupError([spec.__file__, os.getcwd(), subprocess.check_output("
    says += "[sys.executable, '-c', 'import spec; print(spec.__file__)'], text=True).strip()])"
    tree = tmp_path / "tree"
    own = str(tree / "spec" / "__init__.py")

    message = failure(make_worker(doing(odd=says)))

    assert message == f"HEAD (a tree) failed at odd: LookupError: {[own, str(tree), own]}"


def test_a_package_blitz_from_elsewhere_is_not_timed(make_worker, tmp_path):
    """A tree with benchmarks but without the package that they time would time an installed one."""
    elsewhere = tmp_path / "elsewhere" / "blitz"
    elsewhere.mkdir(parents=True)
    (elsewhere / "__init__.py").touch()

    message = failure(
        make_worker(f"sys.path.insert(0, {str(elsewhere.parent)!r})\nimport blitz\n" + doing(odd=""))
    )

    assert f"expected the package blitz of {tmp_path / 'tree'}, got {elsewhere}" in message


def test_an_operation_may_print_and_read(make_worker):
    """What it prints does not pass for an answer, and it cannot take an order for its input."""
    prints = "print('{}', flush=True); os.system('echo {}'); assert not sys.stdin.read()"
    worker = make_worker(doing(odd=prints))

    assert worker.answer()["names"] == ["odd"]
    worker.order("odd", prepare="odd")
    assert worker.answer()["seconds"] > 0
    worker.order("odd", calls=1, timings=2, core=0)
    assert len(worker.answer()["seconds"]) == 2


def test_garbage_is_not_collected_while_the_clock_runs():
    """When the collector comes by is chance; it is let loose between the samples."""
    seen = []

    perf_worker.timed(lambda: seen.append(gc.isenabled()), calls=2, timings=2)

    assert seen == [False] * 4
    assert gc.isenabled()


@needs_cores
def test_a_sample_is_taken_on_the_core_that_both_sides_are_told(make_worker, tmp_path):
    """One core may be slower than another; preparations, and what they start, may use all."""
    notes = tmp_path / "notes"
    worker = make_worker(
        doing(odd=f"open({str(notes)!r}, 'a').write(f'{{sorted(os.sched_getaffinity(0))}}\\n')")
    )
    worker.answer()

    for order in (
        {"prepare": "odd"},
        *({"calls": 1, "timings": 1, "core": core} for core in range(3)),
        {"prepare": "odd"},
    ):
        worker.order("odd", **order)
        worker.answer()

    seen = [json.loads(line) for line in notes.read_text().splitlines()]
    expected = [CORES, [CORES[0]], [CORES[1]], [CORES[2 % len(CORES)]], CORES]
    assert [cores for cores, _ in itertools.groupby(seen)] == expected


@needs_cores
def test_several_threads_have_all_cores(monkeypatch):
    """They would wait for each other on one."""
    monkeypatch.setattr(perf_worker, "_threads", lambda: 2)

    perf_worker._move(0)

    assert sorted(os.sched_getaffinity(0)) == CORES


PARENT = """
import subprocess, sys, time
worker = subprocess.Popen(sys.argv[1:], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
worker.stdout.readline()
worker.stdin.write(b'{"prepare": "odd"}\\n')
worker.stdin.flush()
print(worker.pid, flush=True)
time.sleep(600)
"""


def test_a_process_ends_when_nobody_gives_orders_any_more(tmp_path):
    """A parent that is killed leaves none behind, not even one amidst an endless operation."""
    tree = make_tree(tmp_path / "tree", doing(odd="time.sleep(600)"))
    command = [sys.executable, "-c", PARENT, sys.executable, "-P", WORKER]

    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=tree, env=environment(tree)) as parent:
        pid = int(parent.stdout.readline())
        parent.kill()

    assert ends(pid)


def ends(pid):
    """Tell whether a process is gone within ten seconds, or waits for somebody to take note of its end."""
    state = Path(f"/proc/{pid}/stat")
    end = time.monotonic() + 10
    while state.exists() and state.read_text().rpartition(")")[2].split()[0] != "Z":
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True
