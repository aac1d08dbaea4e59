"""The benchmarks: what is in the list, when they are timed, and what stands beside their numbers."""

import gc
import json
import shlex
from pathlib import Path

import pytest
import torch

from blitz.training.recipes import RECIPES
from spec.benchmarks import builders, data, plugin
from spec.benchmarks.operations import OPERATIONS
from spec.harness.accelerator import machine
from spec.harness.runs import seats

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
CPU = torch.device("cpu")
OPTIONS = {
    "-n 2": False,
    "-m gpu": False,
    "-m 'not benchmark'": False,
    "-m 'benchmark and gpu'": True,
    "-m benchmark --benchmark-disable": False,
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


class TestList:
    """The list of operations."""

    def test_no_two_operations_have_one_name(self):
        """Two runs are compared by the names, so that one name stands for one operation."""
        names = [builder.__name__ for builder in OPERATIONS]

        assert len(set(names)) == len(names)

    def test_each_recipe_has_a_step(self):
        """A new recipe is timed without a word."""
        steps = [name for builder in OPERATIONS if (name := builder.__name__).startswith("step_of_")]

        assert steps == [f"step_of_{name}" for name in RECIPES]


class TestRun:
    """`pytest -m benchmark` and all other runs."""

    def test_a_plain_run_does_an_operation_twice_and_times_nothing(self, run):
        """Once shows that it can be done, twice that it can be repeated."""
        result, calls, timed = run()

        assert (result.parseoutcomes()["passed"], calls, timed) == (2, 2, False)

    def test_the_marker_has_it_timed(self, run):
        """-m benchmark warms up once, takes the samples, and leaves other tests out."""
        result, calls, timed = run("-m", "benchmark")

        assert (result.parseoutcomes(), calls, timed) == ({"passed": 1, "deselected": 1}, 6, True)

    def test_an_accelerator_sends_no_benchmark_to_a_worker(self, run, monkeypatch):
        """Where other tests run in workers, in which nothing is timed, benchmarks stay in the one process."""
        monkeypatch.setattr(seats, "accelerator_kind", lambda: "cuda")

        class Seats:
            @pytest.hookimpl(tryfirst=True)
            def pytest_cmdline_main(self, config):
                seats.seat_workers(config)

        result, calls, timed = run("-m", "benchmark", plugins=(Seats(), plugin))

        assert (result.parseoutcomes()["passed"], calls, timed) == (1, 6, True)

    @pytest.mark.parametrize("words", [["-n", "2"], ["-n", "auto"], ["-d", "--tx", "2*popen"]], ids=" ".join)
    def test_timing_in_workers_is_a_usage_error(self, run, words):
        """Processes that compute at once would time each other."""
        result, calls, _ = run("-m", "benchmark", *words)

        assert (result.ret, calls) == (pytest.ExitCode.USAGE_ERROR, 0)
        result.stderr.fnmatch_lines(["ERROR: -m benchmark times one benchmark after the other in one *"])

    @pytest.mark.parametrize(("words", "timed"), OPTIONS.items(), ids=OPTIONS)
    def test_only_who_asks_for_times_gets_them(self, pytester, words, timed):
        """By the marker or by pytest-benchmark's own option, unless they are disabled."""
        config = pytester.parseconfig(*PLUGINS, *shlex.split(words))

        next(plugin.pytest_cmdline_main(config))

        assert config.option.benchmark_disable is not timed
        assert (config.option.numprocesses == 0) is timed


class TestMachine:
    """What pytest-benchmark saves beside the numbers."""

    def test_it_names_the_machine_and_what_it_runs(self, monkeypatch):
        """Processor, cores, threads, the GPU with its driver, and PyTorch."""
        gpu = {"name": "GPU 9000", "driver": "580.1", "memory_mib": 80_000}
        monkeypatch.setattr(machine, "accelerator_kind", lambda: "cuda")
        monkeypatch.setattr(machine, "nvidia_devices", lambda: [gpu])
        monkeypatch.setattr(machine, "cuda_driver", lambda: "13.0")
        told = {}

        plugin.pytest_benchmark_update_machine_info(told)

        assert told["blitz"]["torch"] == str(torch.__version__)
        assert told["blitz"]["cpu"] == machine.cpu() != ""
        assert told["blitz"]["cpus"] >= 1
        assert told["blitz"]["threads"] == torch.get_num_threads()
        assert told["blitz"]["devices"] == [gpu]
        assert told["blitz"]["cuda_driver"] == "13.0"
        assert "matmul" in str(told["blitz"]["precision"])
        assert json.loads(json.dumps(told)) == told


class TestOperation:
    """What operations have in common."""

    def test_it_ends_when_the_device_has(self, monkeypatch):
        """An accelerator computes on after it was told to; the clock waits for it, after the work."""
        done = []
        monkeypatch.setattr(torch.accelerator, "synchronize", lambda: done.append("synchronised"))

        builders.repeated(lambda: done.append("work"), 2, torch.device("cuda"))()

        assert done == ["work", "work", "synchronised"]

    def test_the_cpu_needs_no_waiting_for(self):
        """On the CPU an operation is timed without a wrapper."""

        def operation():
            return 1.0

        assert builders.synchronised(operation, CPU) is operation

    @pytest.mark.parametrize("builder", data.DECODING, ids=lambda builder: builder.__name__)
    def test_files_to_decode_go_with_their_operation(self, builder, monkeypatch, tmp_path):
        """Nothing is left in the temporary folder."""
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
        operation = builder(CPU)
        [folder] = tmp_path.iterdir()

        del operation
        gc.collect()

        assert not Path(folder).exists()
