"""A benchmark gives a number only if the device was not throttled while it was taken."""

import json

import pytest

TIMED = """
import pytest, torch
from spec.benchmarks import sampling

pytest_plugins = ["spec.benchmarks.plugin"]

def test_operation(benchmark, monkeypatch):
    told = iter({told})
    monkeypatch.setattr(sampling, "reasons", lambda device: next(told))
    result = sampling.sample(benchmark, lambda: 7, torch.device("cuda"), samples=5, at_least=3)
    assert result == 7
"""
HOT, COOL = {"temperature, by hardware"}, set()
# what is told before and after the warm-up, then before and after each of five samples
CASES = {
    "never throttled": ([COOL] * 12, 5),
    "throttled after one sample": ([COOL] * 5 + [HOT] + [COOL] * 6, 4),
    "throttled during two": ([COOL] * 8 + [HOT] * 4, 3),
    "nobody can tell": ([None] * 12, 5),
}


@pytest.fixture
def measure(pytester, monkeypatch):
    """Run a benchmark while the driver tells this of the clocks; return the outcome and what was saved."""
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)  # in a worker nothing is timed

    def run(told):
        pytester.makepyfile(TIMED.format(told=told))
        result = pytester.runpytest_inprocess(
            "-p",
            "pytest_benchmark.plugin",
            "--disable-plugin-autoload",
            "--benchmark-json=saved.json",
            "-W",
            "ignore:Not saving anything",
        )
        saved = pytester.path / "saved.json"
        return result, json.loads(saved.read_text() or "{}") if saved.exists() else {}

    return run


@pytest.mark.parametrize(("told", "kept"), CASES.values(), ids=CASES)
def test_samples_taken_while_the_device_was_throttled_are_dropped(measure, told, kept):
    """A sample counts if the device was throttled neither right before nor right after it."""
    result, saved = measure(told)

    assert result.parseoutcomes()["passed"] == 1
    [benchmark] = saved["benchmarks"]
    assert benchmark["stats"]["rounds"] == kept
    assert benchmark["extra_info"] == {
        "samples dropped": 5 - kept,
        "throttling": "known" if told[0] is not None else "not known here",
    }


def test_too_few_samples_are_no_number(measure):
    """With fewer left than a median needs the result is invalid, and no number is shown or saved."""
    result, saved = measure([COOL] * 4 + [HOT] * 8)

    assert result.parseoutcomes()["failed"] == 1
    result.stdout.fnmatch_lines(
        ["invalid: 4 of 5 samples were taken while cuda was throttled (temperature, by hardware); *"]
    )
    assert not saved.get("benchmarks")
