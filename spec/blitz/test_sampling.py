"""A benchmark gives a number only if the device was not throttled while it was taken."""

import json

TIMED = """
import pytest, torch
from spec.benchmarks import sampling

pytest_plugins = ["spec.benchmarks.plugin"]
HOT, COOL = {"temperature, by hardware"}, set()
TOLD = {  # before and after the warm-up, then before and after each of five samples
    "never throttled": [COOL] * 12,
    "throttled after one sample": [COOL] * 5 + [HOT] + [COOL] * 6,
    "throttled during two": [COOL] * 8 + [HOT] * 4,
    "throttled during four": [COOL] * 4 + [HOT] * 8,
    "nobody can tell": [None] * 12,
}

@pytest.mark.parametrize("told", TOLD.values(), ids=TOLD)
def test_operation(benchmark, monkeypatch, told):
    told = iter(told)
    monkeypatch.setattr(sampling, "reasons", lambda device: next(told))
    result = sampling.sample(benchmark, lambda: 7, torch.device("cuda"), samples=5, at_least=3)
    assert result == 7
"""
SAVED = {  # the samples kept and dropped, and whether it is known that the device was not throttled
    "never throttled": (5, {"samples dropped": 0, "throttling": "known"}),
    "throttled after one sample": (4, {"samples dropped": 1, "throttling": "known"}),
    "throttled during two": (3, {"samples dropped": 2, "throttling": "known"}),
    "nobody can tell": (5, {"samples dropped": 0, "throttling": "not known here"}),
}


def test_samples_taken_while_the_device_was_throttled_are_dropped(pytester, monkeypatch):
    """A sample counts if the device was throttled neither right before nor right after it.

    With fewer left than a median needs the result is invalid, and no number is shown or saved.
    """
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)  # in a worker nothing is timed
    pytester.makepyfile(TIMED)

    result = pytester.runpytest_inprocess(
        "-p", "pytest_benchmark.plugin", "--disable-plugin-autoload", "--benchmark-json=saved.json"
    )

    saved = json.loads((pytester.path / "saved.json").read_text())["benchmarks"]
    assert result.parseoutcomes() == {"passed": 4, "failed": 1}
    result.stdout.fnmatch_lines(
        ["invalid: 4 of 5 samples were taken while cuda was throttled (temperature, by hardware); *"]
    )
    assert {each["param"]: (each["stats"]["rounds"], each["extra_info"]) for each in saved} == SAVED
