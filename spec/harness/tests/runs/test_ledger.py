"""The ledger of a run: what was collected, what came of it, and what is wrong with the whole."""

import pytest

from spec.harness.runs.ledger import Ledger

WHOLE = [{"collected": ["a", "b"]}, {"ended": "a", "recorded": "spec/a"}, {"ended": "b"}, {"finished": True}]


def account(folder, notes):
    """Return what a ledger with these notes adds up to."""
    ledger = Ledger(folder)
    for note in notes:
        ledger.note(**note)
    return ledger.account()


def test_a_whole_run_has_no_problems(tmp_path):
    """Each check ended once, and pytest came to the end of its session."""
    found = account(tmp_path, WHOLE)

    assert (found.collected, found.ended, found.broken, found.recorded, found.problems) == (
        2,
        2,
        0,
        {"spec/a"},
        [],
    )
    assert found.deserved(0) == 0


FAULTS = {
    "a check that did not end": (WHOLE[:2] + WHOLE[3:], 3, "1 of 2 checks did not come to an end, such as b"),
    "a check that ended twice": ([*WHOLE, WHOLE[1]], 3, "a ended more often than it was collected"),
    "a check that nobody collected": (
        [*WHOLE, {"ended": "c"}],
        3,
        "c ended more often than it was collected",
    ),
    "a session cut short": (WHOLE[:3], 3, "pytest did not come to the end of its session"),
    "a worker that is gone": ([*WHOLE, {"problem": "gone"}], 3, "gone"),
    "a failed rung": ([*WHOLE, {"broken": True}], 1, None),
    "a broken check": ([*WHOLE[:2], {"ended": "b", "broken": True}, WHOLE[3]], 1, None),
}


@pytest.mark.parametrize(("notes", "status", "problem"), FAULTS.values(), ids=FAULTS)
def test_nothing_else_deserves_a_0(tmp_path, notes, status, problem):
    """Whatever pytest says of itself; another status than 0 stays."""
    found = account(tmp_path, notes)

    assert found.problems == ([problem] if problem else [])
    assert found.deserved(0) == status
    assert found.deserved(2) == 2


def test_half_a_line_does_not_count(tmp_path):
    """A process can be killed while it writes."""
    account(tmp_path, WHOLE[:2])
    with open(tmp_path / "ledger", "ab") as file:
        file.write(b'{"ended": "b')

    assert Ledger(tmp_path).account().ended == 1


def test_a_run_that_never_began_has_an_empty_account(tmp_path):
    """As one that ends by a usage error."""
    assert Ledger(tmp_path).account().collected == 0
