"""A process of `blitz perf` that times: what the clock sees, its cores, and when it ends."""

import gc
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from spec.harness.perf import worker as perf_worker
from spec.harness.perf.interleaving import WORKER, environment
from spec.harness.perf.worker import CORES
from spec.harness.tests.perf.perf_trees import doing, make_tree


def test_garbage_is_not_collected_while_the_clock_runs():
    """When the collector comes by is chance; it is let loose between the samples."""
    seen = []

    perf_worker.timed(lambda: seen.append(gc.isenabled()), calls=2, timings=2)

    assert seen == [False] * 4
    assert gc.isenabled()


@pytest.mark.skipif(len(CORES) < 2, reason="needs two cores, and a system that lets a process choose")
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
