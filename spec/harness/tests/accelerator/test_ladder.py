"""The ladder: whatever becomes of the process that climbs, a person sees the first cause and what to do."""

import pytest

from spec.harness.accelerator import ladder
from spec.harness.accelerator.rungs import DIED, HUNG, NAMES
from spec.harness.accelerator.steps import first_cause, step_lines
from spec.notes import NOTES

# A process that dies or hangs needs no PyTorch to do so.
PROTOCOL = """
import faulthandler, json, os, signal, sys, time
def passes(rung, outcome='passed', advice=''):
    print(json.dumps(dict(rung=rung, outcome=outcome, seen='here', advice=advice, seconds=0.0)), flush=True)
"""
SCRIPTS = {
    "a rung that fails": ("passes('memory', 'failed', 'reset it')", "failed", "here", "reset it"),
    "an error": ("raise SystemExit('no such library')", "crashed", "status 1: no such library", DIED),
    "a kill": (
        "os.kill(os.getpid(), signal.SIGKILL)",
        "crashed",
        "ended by SIGKILL, as happens where memory runs out",
        DIED,
    ),
    "a segfault after what a library printed": (
        "print('NCCL 2.27', flush=True); faulthandler._sigsegv()",
        "crashed",
        "ended by SIGSEGV: File ",
        DIED,
    ),
    "a hang": ("time.sleep(60)", "timeout", "no answer within 0.3 s; it was at File ", HUNG),
    "a hang that ends by SIGKILL alone": (
        "signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGABRT}); time.sleep(60)",
        "timeout",
        "no answer within 0.3 s",
        HUNG,
    ),
}


@pytest.fixture
def have_climb(tmp_path, monkeypatch):
    """Have a script climb in place of the rungs, after the first one has passed."""

    def prepare(script):
        (tmp_path / "climber.py").write_text(f"{PROTOCOL}passes('visible')\n{script}")
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))
        monkeypatch.setattr(ladder, "MODULE", "climber")
        monkeypatch.setattr(ladder, "SECONDS", 0.3)
        monkeypatch.setattr(ladder, "LAST_WORDS", 0.5)

    return prepare


@pytest.mark.parametrize(("script", "outcome", "seen", "advice"), SCRIPTS.values(), ids=SCRIPTS)
def test_what_ends_a_climb_is_the_first_cause_and_blocks_what_is_above(
    have_climb, script, outcome, seen, advice
):
    """A process that dies or hangs is told with its signal, or where it was, at the rung it was at."""
    have_climb(script.replace("; ", "\n"))

    steps = list(ladder.climbing("cpu"))

    assert [step["rung"] for step in steps] == NAMES
    assert [step["outcome"] for step in steps] == ["passed", outcome] + ["blocked"] * len(NAMES[2:])
    assert first_cause(steps) == steps[1]
    assert seen in steps[1]["seen"]
    assert steps[1]["advice"] == advice
    assert {step["seen"] for step in steps[2:]} == {"by memory"}


def test_a_climb_that_is_given_up_leaves_no_process(have_climb, monkeypatch):
    """Whoever stops listening, as by Ctrl-C, ends the process that climbs."""
    have_climb("time.sleep(60)")
    started = []
    popen = ladder.subprocess.Popen

    def start(*args, **options):
        started.append(popen(*args, **options))
        return started[0]

    monkeypatch.setattr(ladder.subprocess, "Popen", start)
    climb = ladder.climbing("cpu")

    assert next(climb)["rung"] == "visible"
    climb.close()

    assert started[0].poll() is not None


def steps_failing_at(failed):
    """Return the steps of a device that fails at a rung; none where it climbs them all."""
    at = NAMES.index(failed) if failed else len(NAMES)
    outcomes = ["passed"] * at + ["failed"] * (at < len(NAMES)) + ["blocked"] * len(NAMES)
    return [
        {"device": "meta:0", "rung": rung, "outcome": outcome, "seen": "x", "advice": "", "seconds": 0.1}
        for rung, outcome in zip(NAMES, outcomes, strict=False)
    ]


BLOCKED = {
    None: [],
    "memory": ["kernels", "autograd", "training", "parallel"],
    "autograd": ["autograd", "training", "parallel"],
    "checkpoint": ["parallel"],
    "speed": [],
}


@pytest.mark.parametrize(("failed", "blocked"), BLOCKED.items())
def test_a_failed_rung_blocks_what_needs_it_or_one_above(failed, blocked):
    """What needs a rung below the one that failed can still be checked."""
    needed = ["kernels", "autograd", "training", "parallel"]
    steps = steps_failing_at(failed)

    assert [rung for rung in needed if ladder.blocks(steps, rung)] == blocked
    assert {ladder.blocks(steps, rung) for rung in blocked} <= {failed}


def test_each_section_stands_on_a_rung():
    """A new section of the notes has to say which rung it needs."""
    assert NOTES.rungs.keys() == NOTES.headings.keys()
    assert set(NOTES.rungs.values()) <= set(NAMES)


def test_lines_say_what_to_do_under_the_rung_that_failed():
    """A person reads a line a rung, and the advice under the first cause."""
    climbed = steps_failing_at("memory")[:3]
    climbed[1]["advice"] = "look at it " * 20

    told = step_lines(climbed)

    assert told[0] == "meta:0   visible    passed    0.1 s  x"
    assert told[1] == "meta:0   memory     failed    0.1 s  x"
    assert told[2].startswith("         what to do: look at it look at it")
    assert told[-1] == "meta:0   comparison blocked          x"
    assert max(map(len, told)) <= 110
