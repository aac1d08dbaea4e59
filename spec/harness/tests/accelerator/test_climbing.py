"""A device climbs the ladder before the first test on it; what stands above a failed rung is blocked."""

import pytest

from spec.harness.accelerator import climbing, machine
from spec.harness.accelerator.climbing import Climb
from spec.harness.accelerator.rungs import NAMES as RUNGS
from spec.harness.records import reading
from spec.harness.tests.accelerator.test_devices import pretend_accelerator
from spec.harness.tests.accelerator.test_ladder import steps_failing_at

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
def an_accelerator(monkeypatch):
    """Pretend one, and leave out what a header tells of it: to find that out takes a process of its own."""
    monkeypatch.setattr(machine, "devices", lambda kind: [])
    pretend_accelerator(monkeypatch)


BLOCKED = {"none": (None, []), "autograd": ("autograd", ["autograd", "parallel"])}


@pytest.mark.parametrize(("failed", "blocked"), BLOCKED.values(), ids=BLOCKED)
def test_statements_above_a_failed_rung_are_blocked(run_spec, pytester, monkeypatch, failed, blocked):
    """A failed rung is told first and fails the run; statements below it and on the CPU are checked."""
    monkeypatch.setattr(climbing, "climb_here", lambda: steps_failing_at(failed))

    result = run_spec(STATEMENTS, "-v", "--records=v.jsonl")
    _, rungs, records, _ = reading.read(pytester.path / "v.jsonl")

    assert [rung["rung"] for rung in rungs] == RUNGS
    found = {r["id"].split(".")[0]: r["detail"] for r in records if r["reason"] == "blocked"}
    assert found == dict.fromkeys(blocked, f"by the rung {failed}")
    assert sum(r["outcome"] == "confirmed" for r in records) == 5 - len(blocked)
    assert result.ret == (1 if failed else 0)
    text = result.stdout.str()
    assert text.index("meta:0   kernels") < text.index("::test_tensor[accelerator] PASSED")


def test_nothing_climbs_where_nothing_is_checked_on_the_accelerator(run_spec, monkeypatch):
    """A run on the CPU alone does not ask the accelerator."""
    monkeypatch.setattr(climbing, "climb_here", lambda: pytest.fail("climbed"))

    result = run_spec(STATEMENTS, "-k", "cpu")

    assert result.parseoutcomes() == {"passed": 2, "deselected": 3}


def test_workers_of_a_device_share_one_climb(tmp_path, monkeypatch):
    """The second worker of a device reads what the first one found; after a crash the device climbs anew."""
    climbs = []
    found = steps_failing_at("memory")
    monkeypatch.setattr(climbing, "climb_here", lambda: climbs.append("climbed") or found)
    monkeypatch.setenv("BLITZ_SEAT", "1/2")

    class Config:
        workerinput = {"folder": str(tmp_path)}  # noqa: RUF012

    first, second = Climb(Config), Climb(Config)
    assert first.climb_or_read() == second.climb_or_read() == found
    assert (len(climbs), len(first.news), len(second.news)) == (1, len(RUNGS), 0)

    climbing.climbed(tmp_path, "1/2").unlink()  # as the supervisor does when a worker has crashed
    Climb(Config).climb_or_read()
    assert len(climbs) == 2
