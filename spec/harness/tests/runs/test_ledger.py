"""The ledger of a run: what was collected, what came of it, and what is wrong with the whole."""

import pytest

from spec.harness.runs.ledger import Ledger

WHOLE = [{"collected": ["a", "b"]}, {"ended": "a", "recorded": "spec/a"}, {"ended": "b"}, {"finished": True}]
CUT = "pytest did not come to the end of its session"
LEDGERS = {
    "a whole run": (WHOLE, 0, None),
    "a check that did not end": (WHOLE[:2] + WHOLE[3:], 3, "1 of 2 checks did not come to an end, such as b"),
    "a check that ended twice": ([*WHOLE, WHOLE[1]], 3, "a ended more often than it was collected"),
    "a check that nobody collected": (
        [*WHOLE, {"ended": "c"}],
        3,
        "c ended more often than it was collected",
    ),
    "a session cut short": (WHOLE[:3], 3, CUT),
    "a worker that is gone": ([*WHOLE, {"problem": "gone"}], 3, "gone"),
    "a failed rung": ([*WHOLE, {"broken": True}], 1, None),
    "a broken check": ([*WHOLE[:2], {"ended": "b", "broken": True}, WHOLE[3]], 1, None),
    "nothing, as after a usage error": ([], 3, CUT),
}


@pytest.mark.parametrize(("notes", "status", "problem"), LEDGERS.values(), ids=LEDGERS)
def test_a_whole_run_and_nothing_else_deserves_a_0(tmp_path, notes, status, problem):
    """Whatever pytest says of itself; another status than 0 stays."""
    ledger = Ledger(tmp_path)
    for note in notes:
        ledger.note(**note)

    found = ledger.account()

    assert found.problems == ([problem] if problem else [])
    assert found.deserved(0) == status
    assert found.deserved(2) == 2


def test_half_a_line_does_not_count(tmp_path):
    """A process can be killed while it writes; what it wrote before counts."""
    ledger = Ledger(tmp_path)
    for note in WHOLE[:2]:
        ledger.note(**note)
    with ledger.path.open("ab") as file:
        file.write(b'{"ended": "b')

    found = ledger.account()

    assert (found.collected, found.ended, found.recorded) == (2, 1, {"spec/a"})
