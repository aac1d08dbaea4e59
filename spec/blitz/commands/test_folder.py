"""blitz/commands/folder.py: what a training goes on from."""

import pytest

from blitz.commands import folder
from spec.blitz.runs import make_stopped

# torchrun's runs that have saved in the folder, what --resume says, the runs that take part, where it begins
STARTS = {
    "anew": (set(), None, set(), None),
    "resume": ({"1"}, "", {"2"}, "checkpoint.pt"),
    "resume of a file": ({"1"}, "checkpoint.previous.pt", {"2"}, "checkpoint.previous.pt"),
    "restart": ({"1"}, None, {"1"}, "checkpoint.pt"),
    "restart of a resume": ({"1"}, "checkpoint.previous.pt", {"1"}, "checkpoint.pt"),
    "restart on another machine": ({"1", "2"}, None, {"2", "3"}, "checkpoint.pt"),
    "another run": ({"1", "2"}, None, {"3"}, None),
}


@pytest.mark.parametrize(("saved", "resume", "runs", "expected"), STARTS.values(), ids=STARTS)
def test_restart_by_torchrun_goes_on_from_its_own_save(tmp_path, monkeypatch, saved, resume, runs, expected):
    """Any other run begins where its command says, and is never taken for a restart."""
    monkeypatch.chdir(tmp_path)
    state = {**make_stopped(1).state_dict(), "history": []}
    for _ in range(2 if saved else 0):
        folder.save(state, tmp_path, saved)

    start = folder.load_start(tmp_path, resume, runs)

    assert (start[0].name if start else None) == expected
