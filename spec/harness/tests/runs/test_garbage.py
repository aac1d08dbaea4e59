"""What lives as long as a run is out of the garbage collector's sight while tests run."""

import gc

import pytest

from spec.harness.runs.garbage import LongLived

HIDDEN = {"the run itself": (False, ["collect", "freeze", "unfreeze"]), "a run inside of another": (True, [])}


@pytest.mark.parametrize(("hidden", "expected"), HIDDEN.values(), ids=HIDDEN)
def test_a_run_hides_what_it_collected_and_shows_it_at_its_end(monkeypatch, hidden, expected):
    """Garbage is freed before, so that it is not kept; a run inside of another leaves all that to it."""
    asked = []
    for name in ("collect", "freeze", "unfreeze"):
        monkeypatch.setattr(gc, name, lambda name=name: asked.append(name))
    monkeypatch.setattr(LongLived, "hidden", hidden)
    plugin = LongLived()

    plugin.pytest_collection_finish()
    plugin.pytest_unconfigure()

    assert asked == expected
