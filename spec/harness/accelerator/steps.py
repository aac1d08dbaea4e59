"""The steps of a climb: what came of each rung on a device, the first cause, and a line for each."""

import textwrap
from collections.abc import Iterable
from typing import Literal, TypedDict

Outcome = Literal["passed", "failed", "crashed", "timeout", "blocked"]


class Step(TypedDict):
    """What came of one rung on one device."""

    device: str
    rung: str
    outcome: Outcome
    seen: str
    advice: str
    seconds: float


def first_cause(steps: Iterable[Step]) -> Step | None:
    """Return the step that failed, crashed or did not end; None where all passed."""
    return next((step for step in steps if step["outcome"] not in ("passed", "blocked")), None)


def step_lines(steps: Iterable[Step]) -> list[str]:
    """Return a line for each step, and what to do beneath the one that is the first cause."""
    told = []
    for step in steps:
        place = f"{step['device']:<8} {step['rung']:<10} {step['outcome']:<7}"
        took = f"{step['seconds']:5.1f} s" if step["outcome"] != "blocked" else " " * 7
        told.append(f"{place} {took}  {step['seen']}".rstrip())
        if step["advice"]:
            told += textwrap.wrap(
                f"what to do: {step['advice']}",
                110,
                initial_indent=" " * 9,
                subsequent_indent=" " * 13,
                break_long_words=False,
                break_on_hyphens=False,
            )
    return told
