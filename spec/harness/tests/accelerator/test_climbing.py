"""A device climbs the ladder before the first test on it; what stands above a failed rung is blocked."""

import pytest

from spec.harness.accelerator import climbing, machine
from spec.harness.accelerator.climbing import Climb
from spec.harness.accelerator.rungs import NAMES as RUNGS
from spec.harness.records import reading
from spec.harness.tests.accelerator.test_devices import pretend_accelerator

STATEMENTS = """
@statement("tensor.a", notes="1")
def test_tensor(device):
    "One is one."
    assert 1 == 1

@statement("autograd.a", notes="2")
def test_autograd(device):
    "One is one."
    assert 1 == 1

@pytest.mark.gpu
@statement("parallel.a", notes="5")
def test_parallel():
    "One is one."
    assert 1 == 1
"""


@pytest.fixture(autouse=True)
def nobody_asked(monkeypatch):
    """Leave out what a header tells of accelerators: to find it out takes a process of its own."""
    monkeypatch.setattr(machine, "devices", lambda kind: [])


def steps_failing_at(failed):
    """Return the steps of a device that fails at a rung; none where it climbs them all."""
    at = RUNGS.index(failed) if failed else len(RUNGS)
    outcomes = ["passed"] * at + ["failed"] * (at < len(RUNGS)) + ["blocked"] * len(RUNGS)
    return [
        {"device": "meta:0", "rung": rung, "outcome": outcome, "seen": "x", "advice": "", "seconds": 0.1}
        for rung, outcome in zip(RUNGS, outcomes, strict=False)
    ]


BLOCKED = {
    "none": (None, []),
    "memory": ("memory", ["tensor", "autograd", "parallel"]),
    "autograd": ("autograd", ["autograd", "parallel"]),
    "parallel": ("parallel", ["parallel"]),
    "speed": ("speed", []),
}


@pytest.mark.parametrize(("failed", "blocked"), BLOCKED.values(), ids=BLOCKED)
def test_statements_above_a_failed_rung_are_blocked(run_spec, pytester, monkeypatch, failed, blocked):
    """A failed rung fails the run; statements above it are not checked, those below it and on the CPU are."""
    pretend_accelerator(monkeypatch)
    monkeypatch.setattr(climbing, "climb_here", lambda: steps_failing_at(failed))

    result = run_spec(STATEMENTS, "--records=v.jsonl")
    _, rungs, records, _ = reading.read(pytester.path / "v.jsonl")

    assert [rung["rung"] for rung in rungs] == RUNGS
    found = {r["id"].split(".")[0]: r["detail"] for r in records if r["reason"] == "blocked"}
    assert found == dict.fromkeys(blocked, f"by the rung {failed}")
    assert sum(r["outcome"] == "confirmed" for r in records) == 5 - len(blocked)
    assert result.ret == (1 if failed else 0)


def test_the_first_cause_stands_above_all_else(run_spec, monkeypatch):
    """The ladder is printed before the first test's outcome is, and tells what to do."""
    pretend_accelerator(monkeypatch)
    monkeypatch.setattr(climbing, "climb_here", lambda: steps_failing_at("kernels"))

    result = run_spec(STATEMENTS, "-v")

    text = result.stdout.str()
    assert text.index("kernels") < text.index("SKIPPED")
    result.stdout.fnmatch_lines(["not checked: 3 statements, blocked: *"])


def test_nothing_climbs_where_nothing_is_checked_on_the_accelerator(run_spec, monkeypatch):
    """A run on the CPU alone does not ask the accelerator."""
    pretend_accelerator(monkeypatch)
    climbs = []
    monkeypatch.setattr(climbing, "climb_here", lambda: climbs.append("climbed") or [])

    run_spec(STATEMENTS, "-k", "cpu")

    assert climbs == []


def test_workers_of_a_device_share_one_climb(tmp_path, monkeypatch):
    """The second worker of a device reads what the first one found; after a crash the device climbs anew."""
    climbs = []
    monkeypatch.setattr(
        climbing, "climb_here", lambda: climbs.append("climbed") or steps_failing_at("memory")
    )
    monkeypatch.setenv("BLITZ_SEAT", "1/2")

    class Config:
        workerinput = {"folder": str(tmp_path)}  # noqa: RUF012

    first, second, third = Climb(Config), Climb(Config), Climb(Config)
    assert first.climb_or_read() == second.climb_or_read() == steps_failing_at("memory")
    assert (len(climbs), len(first.news), len(second.news)) == (1, len(RUNGS), 0)

    climbing.climbed(tmp_path, "1/2").unlink()  # as the supervisor does when a worker has crashed
    third.climb_or_read()
    assert len(climbs) == 2
