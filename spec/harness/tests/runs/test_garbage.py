"""What lives as long as a run is out of the garbage collector's sight while tests run."""

import gc
import weakref

import pytest

from spec.harness.runs.garbage import LongLived


@pytest.fixture
def collector(monkeypatch):
    """Replace the garbage collector by a note of what it was asked for; return the notes."""
    asked = []
    for name in ("collect", "freeze", "unfreeze"):
        monkeypatch.setattr(gc, name, lambda name=name: asked.append(name))
    return asked


def test_what_was_there_before_the_tests_is_hidden():
    """The run has hidden PyTorch and its tests, hundreds of thousands of objects."""
    assert gc.get_freeze_count() > 100_000


def test_garbage_of_a_test_is_still_found():
    """A cycle that a test made is freed."""

    class Cycle:
        """What refers to itself."""

    cycle = Cycle()
    cycle.itself = cycle
    gone = weakref.ref(cycle)

    del cycle
    gc.collect()

    assert gone() is None


def test_a_run_hides_what_it_collected_and_shows_it_at_its_end(collector, monkeypatch):
    """Garbage is freed before, so that it is not kept."""
    monkeypatch.setattr(LongLived, "hidden", False)
    plugin = LongLived()

    plugin.pytest_collection_finish()
    assert collector == ["collect", "freeze"]

    plugin.pytest_unconfigure()
    assert collector == ["collect", "freeze", "unfreeze"]


def test_a_run_inside_of_another_leaves_it_to_that(collector, monkeypatch):
    """What the outer run has hidden stays hidden until its own end."""
    monkeypatch.setattr(LongLived, "hidden", True)
    plugin = LongLived()

    plugin.pytest_collection_finish()
    plugin.pytest_unconfigure()

    assert collector == []
