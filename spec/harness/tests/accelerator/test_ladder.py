"""The ladder: one planted fault on each rung, and what a person sees first."""

import pytest

from spec.harness.accelerator import ladder, rungs
from spec.harness.accelerator.rungs import DIED, HUNG, NAMES, RUNGS
from spec.harness.tests.accelerator.faulty_rungs import FAULTS
from spec.notes import NOTES

CLIMB = """
import sys
from spec.harness.tests.accelerator import faulty_rungs

sys.exit(faulty_rungs.main({!r}))
"""


LIMITS = {"rung_that_hangs": 3}  # seconds a rung; the ones below it take less
QUICK = ("matmul_one_percent_off",)


def cases():
    """Each fault with what a person sees first; a climb takes seconds, so most are for --slow."""
    for fault, seen in FAULTS.items():
        marks = [] if fault.__name__ in QUICK else [pytest.mark.slow]
        yield pytest.param(fault.__name__, *seen, marks=marks, id=fault.__name__.replace("_", " "))


@pytest.mark.parametrize(("fault", "rung", "outcome", "seen"), [*cases()])
def test_first_cause_stands_on_top_and_blocks_what_is_above(
    tmp_path, monkeypatch, fault, rung, outcome, seen
):
    """A planted fault fails its own rung, with what to do; rungs below pass, rungs above are blocked."""
    (tmp_path / f"{fault}.py").write_text(CLIMB.format(fault))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    place = NAMES.index(rung)

    steps = ladder.climb("cpu", seconds=LIMITS.get(fault, 30), module=fault)

    cause = ladder.first_cause(steps)
    assert (cause["rung"], cause["outcome"]) == (rung, outcome), cause
    assert cause["seen"].startswith(seen)
    assert cause["advice"]
    assert [step["rung"] for step in steps] == NAMES
    blocked = ["blocked"] * len(NAMES[place + 1 :])
    assert [step["outcome"] for step in steps] == ["passed"] * place + [outcome] + blocked
    assert {step["seen"] for step in steps[place + 1 :]} <= {f"by {rung}"}


def test_cpu_climbs_to_the_top():
    """The rungs themselves are sound: on the CPU each of them passes, and says what was seen."""
    told = []

    reached = rungs.try_each("cpu", told.append)

    steps = [line for line in told if "outcome" in line]
    assert reached
    assert [(step["rung"], step["outcome"]) for step in steps] == [(name, "passed") for name in NAMES]
    assert all(step["seen"] and not step["advice"] for step in steps)
    assert ladder.first_cause(steps) is None


# A process that dies or hangs needs no PyTorch to do so.
SCRIPTS = {
    "an error on import": (
        "raise SystemExit('no such library')",
        "visible",
        "crashed",
        "status 1: no such lib",
    ),
    "a kill": (
        "say(rung='visible'); os.kill(os.getpid(), signal.SIGKILL)",
        "visible",
        "crashed",
        "ended by SIGKILL, as happens where memory runs out",
    ),
    "a segfault after what a library printed": (
        "print('NCCL 2.27', flush=True); passes('visible'); say(rung='memory'); faulthandler._sigsegv()",
        "memory",
        "crashed",
        "ended by SIGSEGV: File ",
    ),
    "a hang": (
        "passes('visible'); say(rung='memory'); time.sleep(60)",
        "memory",
        "timeout",
        "no answer within 0.3 s; it was at File ",
    ),
    "a hang that ends by SIGKILL alone": (
        "signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGABRT}); passes('visible'); time.sleep(60)",
        "memory",
        "timeout",
        "no answer within 0.3 s",
    ),
}
PROTOCOL = """
import faulthandler, json, os, signal, sys, time
def say(**line):
    print(json.dumps(line), flush=True)
def passes(rung):
    say(rung=rung)
    say(rung=rung, outcome='passed', seen='here', advice='', seconds=0.0)
"""


@pytest.mark.parametrize(("script", "rung", "outcome", "seen"), SCRIPTS.values(), ids=SCRIPTS)
def test_a_process_that_is_lost_costs_the_rung_it_was_at(tmp_path, monkeypatch, script, rung, outcome, seen):
    """A process that dies or hangs is told with its signal, or where it was, and blocks what is above."""
    (tmp_path / "lost.py").write_text(PROTOCOL + script.replace("; ", "\n"))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(ladder, "LAST_WORDS", 0.5)

    steps = ladder.climb("cpu", last="comparison", seconds=0.3, module="lost")

    cause = ladder.first_cause(steps)
    assert (cause["rung"], cause["outcome"]) == (rung, outcome)
    assert seen in cause["seen"]
    assert cause["advice"] == (HUNG if outcome == "timeout" else DIED)
    assert [step["rung"] for step in steps] == NAMES[:3]
    assert steps[-1]["outcome"] == "blocked"


def test_a_climb_that_is_given_up_leaves_no_process(tmp_path, monkeypatch):
    """Whoever stops listening, as by Ctrl-C, ends the process that climbs."""
    (tmp_path / "endless.py").write_text(PROTOCOL + "passes('visible')\ntime.sleep(60)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    started = []
    popen = ladder.subprocess.Popen
    monkeypatch.setattr(
        ladder.subprocess,
        "Popen",
        lambda *args, **options: started.append(popen(*args, **options)) or started[0],
    )
    climb = ladder.climbing("cpu", module="endless")

    assert next(climb)["rung"] == "visible"
    climb.close()

    assert started[0].poll() is not None


def steps(failed):
    """Return the steps of a climb that failed at a rung, None for none."""
    place = NAMES.index(failed) if failed else len(NAMES)
    outcomes = ["passed"] * place + ["failed"] + ["blocked"] * len(NAMES)
    return [
        {"device": "cuda:1", "rung": name, "outcome": outcome, "seen": "what", "advice": "", "seconds": 1.0}
        for name, outcome in zip(NAMES, outcomes, strict=False)
    ]


BLOCKED = {
    None: [],
    "memory": ["kernels", "autograd", "training", "parallel"],
    "autograd": ["autograd", "training", "parallel"],
    "training": ["training", "parallel"],
    "checkpoint": ["parallel"],
    "speed": [],
}


@pytest.mark.parametrize(("failed", "blocked"), BLOCKED.items())
def test_a_failed_rung_blocks_what_needs_it_or_one_above(failed, blocked):
    """What needs a rung below the one that failed can still be checked."""
    needed = ["kernels", "autograd", "training", "parallel"]

    assert [rung for rung in needed if ladder.blocks(steps(failed), rung)] == blocked
    assert {ladder.blocks(steps(failed), rung) for rung in blocked} <= {failed}


def test_each_section_stands_on_a_rung():
    """A new section of the notes has to say which rung it needs."""
    assert NOTES.rungs.keys() == NOTES.headings.keys()
    assert set(NOTES.rungs.values()) <= set(NAMES)


def test_lines_say_what_to_do_under_the_rung_that_failed():
    """A person reads a line a rung, and the advice under the first cause."""
    climbed = steps("memory")[:3]
    climbed[1]["advice"] = "look at it " * 20

    told = ladder.lines(climbed)

    assert told[0] == "cuda:1   visible    passed    1.0 s  what"
    assert told[1] == "cuda:1   memory     failed    1.0 s  what"
    assert told[2].startswith("         what to do: look at it look at it")
    assert told[-1] == "cuda:1   comparison blocked          what"
    assert max(map(len, told)) <= 110


def test_every_rung_asks_a_question_and_gives_advice():
    """Each rung has a name of its own, a question, and something to do where the answer is no."""
    assert len(set(NAMES)) == len(NAMES) == 9
    assert all(rung.question.endswith("?") and rung.advice for rung in RUNGS)
