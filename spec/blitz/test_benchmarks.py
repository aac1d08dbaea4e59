"""The benchmarks: when they are timed, and what stands beside their numbers."""

import gc
import json
import shlex
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from spec.benchmarks import builders, data, plugin
from spec.harness.children import environment, python
from spec.harness.runs import seats
from spec.harness.tests.perf.test_worker import ends

COUNTED = """
import pytest, torch
from pathlib import Path
from spec.benchmarks.sampling import sample

calls = []

def operation():
    calls.append(1)
    Path("calls").write_text(str(len(calls)))
    return 7

@pytest.mark.benchmark
def test_operation(benchmark):
    assert sample(benchmark, operation, torch.device("cpu"), samples=5) == 7

def test_other():
    assert True
"""
PLUGINS = ("--disable-plugin-autoload", "-p", "xdist.plugin", "-p", "pytest_benchmark.plugin")
OPTIONS = {
    "-n 2": False,
    "-m 'not benchmark'": False,
    "-m 'benchmark and gpu'": True,
    "-m benchmark --benchmark-disable -n 2": False,
    "--benchmark-only": True,
}


@pytest.fixture
def run(pytester, monkeypatch):
    """Run a benchmark and a test that is none; return the outcomes, the calls, and whether it was timed."""
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)  # in a worker nothing is timed
    pytester.makepyfile(COUNTED)

    def run(*words, plugins=(plugin,)):
        result = pytester.runpytest_inprocess(
            *PLUGINS, "--benchmark-json=saved.json", "-W", "ignore:Not saving", *words, plugins=list(plugins)
        )
        calls, saved = pytester.path / "calls", pytester.path / "saved.json"
        timed = saved.exists() and bool(saved.read_text()) and json.loads(saved.read_text())["benchmarks"]
        return result, int(calls.read_text()) if calls.exists() else 0, bool(timed)

    return run


def test_a_plain_run_does_an_operation_twice_and_times_nothing(run):
    """Once shows that it can be done, twice that it can be repeated."""
    result, calls, timed = run()

    assert (result.parseoutcomes()["passed"], calls, timed) == (2, 2, False)


def test_the_marker_has_it_timed_in_one_process(run, monkeypatch):
    """It warms up once, takes the samples, and leaves other tests out, also where these run in workers."""
    monkeypatch.setattr(seats, "accelerator_kind", lambda: "cuda")

    class Seats:
        @pytest.hookimpl(tryfirst=True)
        def pytest_cmdline_main(self, config):
            seats.seat_workers(config)

    result, calls, timed = run("-m", "benchmark", plugins=(Seats(), plugin))

    assert (result.parseoutcomes(), calls, timed) == ({"passed": 1, "deselected": 1}, 6, True)


def test_timing_in_workers_is_a_usage_error(pytester):
    """Processes that compute at once would time each other."""
    config = pytester.parseconfig(*PLUGINS, "-m", "benchmark", "-n", "2")

    with pytest.raises(pytest.UsageError, match=r"^-m benchmark times one benchmark after the other in one"):
        next(plugin.pytest_cmdline_main(config))


@pytest.mark.parametrize(("words", "timed"), OPTIONS.items(), ids=OPTIONS)
def test_only_who_asks_for_times_gets_them(pytester, words, timed):
    """By the marker or by pytest-benchmark's own option, unless they are disabled."""
    config = pytester.parseconfig(*PLUGINS, *shlex.split(words))

    next(plugin.pytest_cmdline_main(config))

    assert config.option.benchmark_disable is not timed
    assert (config.option.numprocesses == 0) is timed


def test_what_it_ran_on_is_saved():
    """The file names PyTorch, the processor, its threads, accelerators and precision."""
    told = {}

    plugin.pytest_benchmark_update_machine_info(told)

    assert told["blitz"]["torch"] == str(torch.__version__)
    assert {"cpu", "cpus", "threads", "devices", "cuda_driver", "precision"} <= set(told["blitz"])
    assert json.loads(json.dumps(told)) == told


def test_an_operation_ends_when_the_device_has(monkeypatch):
    """An accelerator computes on after it was told to; the clock waits for it, after the work."""
    done = []
    monkeypatch.setattr(torch.accelerator, "synchronize", lambda: done.append("synchronised"))

    builders.repeated(lambda: done.append("work"), 2, torch.device("cuda"))()

    assert done == ["work", "work", "synchronised"]


def test_files_to_decode_go_with_their_operation(monkeypatch, tmp_path):
    """Nothing is left in the temporary folder."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    operation = data.decoding_of_jpeg_images(torch.device("cpu"))
    [folder] = tmp_path.iterdir()

    del operation
    gc.collect()

    assert not folder.exists()


def children_of(pid):
    """Return the processes that a process has started."""
    files = Path(f"/proc/{pid}/task").glob("*/children")
    return {int(child) for file in files for child in file.read_text().split()}


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a process with its parent")
@pytest.mark.parametrize("name", ["recipes", "ablation"])
def test_trainings_end_with_the_measurement(name):
    """A training that went on after its measurement was killed would slow down the next one."""
    command = python("-m", f"spec.benchmarks.{name}", "--data", "stand-in")
    with subprocess.Popen(command, env=environment(), stderr=subprocess.DEVNULL) as measurement:
        try:
            while len(children_of(measurement.pid)) < 2:  # one is multiprocessing's own
                time.sleep(0.1)
            time.sleep(1)  # until they have been told what to do
            children = children_of(measurement.pid)
        finally:
            measurement.terminate()

    assert all(ends(child) for child in children)
