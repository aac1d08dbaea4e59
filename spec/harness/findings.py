"""The records of a run, gathered in the process that the user started."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from tqdm import tqdm

from spec.harness import ladder, sabotage, summary
from spec.harness.outcomes import Record
from spec.harness.verdicts import VerdictFile, header


class Findings:
    """Takes in each claim's record as its test ends; writes it down, and sums up at the end."""

    def __init__(self, config: pytest.Config) -> None:
        self.records: list[Record] = []
        self.sabotages: Counter[str] = Counter()
        self.open: dict[str, Record] = {}
        self.rungs: list[ladder.Step] = []
        self.config = config
        asked = config.option.verdicts and not config.option.collectonly
        self.file = VerdictFile(Path(config.option.verdicts)) if asked else None
        if self.file:
            self.file.write(header())

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: Any) -> None:
        """Note what became of a claim; write it down once the test is over."""
        if report.when == "call" and hasattr(report, "sabotage"):
            self.sabotages[report.sabotage] += 1
        for rung in getattr(report, "rungs", []):
            self.rungs.append(rung)
            if self.file:
                self.file.write(rung)
        if hasattr(report, "rungs"):
            self.tell(report.rungs)
        if hasattr(report, "record"):
            self.open[report.nodeid] = report.record
        if report.when in ("teardown", "???") and report.nodeid in self.open:  # ???: its worker is gone
            record = self.open.pop(report.nodeid)
            self.records.append(record)
            if self.file:
                self.file.write(record)

    def tell(self, rungs: list[ladder.Step]) -> None:
        """Print how a device climbed the ladder: at once, so that the first cause stands above all else."""
        reporter = self.config.pluginmanager.getplugin("terminalreporter")
        write = reporter.write_line if reporter else tqdm.write  # which leaves the progress bar whole
        if reporter:
            reporter.ensure_newline()
        for line in ladder.lines(rungs):
            write(line)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Have a failed rung fail the run: what it blocks was not checked."""
        nothing_failed = (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED)
        if ladder.first_cause(self.rungs) and session.exitstatus in nothing_failed:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: Any, config: pytest.Config) -> None:
        """Print the table, the refuted claims and what was not checked."""
        if config.option.sabotage:
            kinds = [sabotage.CAUGHT, sabotage.SURVIVED, sabotage.ACCIDENT, sabotage.MISSING]
            kinds += [sabotage.RED] if self.sabotages[sabotage.RED] else []
            terminalreporter.section("sabotages")
            terminalreporter.line(", ".join(f"{self.sabotages[kind]} {kind}" for kind in kinds))
        elif self.records:
            terminalreporter.section("the notes, held to this machine")
            for line in summary.report(self.records):
                terminalreporter.line(line)

    def pytest_unconfigure(self) -> None:
        """Close the verdict file."""
        if self.file:
            self.file.close()
