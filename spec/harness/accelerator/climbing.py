"""A device climbs the ladder before the first test on it; what stands above a failed rung is blocked."""

import json
import os
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from spec.harness.accelerator import ladder
from spec.harness.accelerator.devices import NAMED, SEAT, accelerator_kind, on_accelerator
from spec.harness.accelerator.steps import Step
from spec.harness.runs.containment import climbed
from spec.harness.statements.contract import not_checked
from spec.harness.statements.statement import notes_of, statement_of

OF_OTHERS = "training"  # the rung that tests need that check no statement: those of a library that trains


class Climb:
    """Lets a device climb once a run, in a process of its own, and blocks tests by what came of it."""

    def __init__(self, config: Any) -> None:
        worker = getattr(config, "workerinput", None)
        self.folder = Path(worker["folder"]) if worker else None
        self.steps: list[Step] | None = None
        self.news: list[Step] = []

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, Any, Any]:
        """Climb before the first test on the accelerator, outside of the time that the test has."""
        if self.steps is None and on_accelerator(item) and accelerator_kind():
            try:
                self.steps = self.climb_or_read()
            except Exception as error:  # in a hook it would end the whole run
                self.steps = self.news = [ladder.not_climbed(str(accelerator_kind()), error)]
        return (yield)

    def climb_or_read(self) -> list[Step]:
        """Return what another worker of this device has found; if there is none yet, climb."""
        if self.folder is None:
            self.news = climb_here()
            return self.news
        file = climbed(self.folder, os.environ.get(SEAT, ""))
        with FileLock(f"{file}.lock"):
            if not file.exists():
                self.news = climb_here()
                file.write_text(json.dumps(self.news))
            steps: list[Step] = json.loads(file.read_text())
        return steps

    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Leave out a test that stands above a failed rung."""
        if not (self.steps and on_accelerator(item)):
            return
        statement, notes = statement_of(item), notes_of(item.config)
        needed = notes.rung(statement.heading) if statement else OF_OTHERS
        rung = ladder.blocks(self.steps, needed)
        if rung:
            not_checked("blocked", f"by the rung {rung}")

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self) -> Generator[None, Any, Any]:
        """Send how the device climbed along with the first report."""
        report = yield
        if self.news:
            report.rungs, self.news = [{"kind": "rung", **step} for step in self.news], []
        return report


def climb_here() -> list[Step]:
    """Have this process's device climb; name it as the caller does."""
    kind = accelerator_kind()
    _, _, index = os.environ.get(NAMED, "").partition(":")
    seat = os.environ.get(SEAT, "").partition("/")[0]
    steps = ladder.climbing(f"{kind}:{index or 0}")
    return [{**step, "device": f"{kind}:{index or seat or 0}"} for step in steps]
