"""The records of a run, gathered in the process that the user started."""

from collections import Counter
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from tqdm import tqdm

from blitz.errors import BlitzError
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
        self.collected = 0
        self.ended: set[str] = set()
        asked = config.option.verdicts and not config.option.collectonly
        self.file = VerdictFile(Path(config.option.verdicts)) if asked else None
        if self.file:
            self.write(header(config.rootpath))

    def write(self, line: Record) -> None:
        """Write a line down, if a file was asked for; where that cannot be done the run is over."""
        if self.file is None:
            return
        try:
            self.file.write(line)
        except BlitzError as error:
            self.file.close()
            self.file = None
            pytest.exit(str(error), returncode=3)

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Note how many checks there are."""
        self.collected = len(session.items)

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, ids: list[str]) -> None:
        """Note how many checks there are, where workers have collected."""
        self.collected = len(ids)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: Any) -> None:
        """Note what became of a claim; write it down once the test is over."""
        if report.when == "call" and hasattr(report, "sabotage"):
            self.sabotages[report.sabotage] += 1
        for rung in getattr(report, "rungs", []):
            self.rungs.append(rung)
            self.write(rung)
        if hasattr(report, "rungs"):
            self.tell(report.rungs)
        if hasattr(report, "record"):
            self.open[report.nodeid] = report.record
        if report.when in ("teardown", "???") and report.nodeid in self.open:  # ???: its worker is gone
            record = self.open.pop(report.nodeid)
            self.records.append(record)
            self.write(record)
        if report.when in ("teardown", "???"):
            self.ended.add(report.nodeid)

    def tell(self, rungs: list[ladder.Step]) -> None:
        """Print how a device climbed the ladder: at once, so that the first cause stands above all else."""
        reporter = self.config.pluginmanager.getplugin("terminalreporter")
        write = reporter.write_line if reporter else tqdm.write  # which leaves the progress bar whole
        if reporter:
            reporter.ensure_newline()
        for line in ladder.lines(rungs):
            write(line)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> Generator[None, Any, Any]:
        """Have a failed rung fail the run: what it blocks was not checked. Then write the end down."""
        result = yield
        nothing_failed = (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED)
        if ladder.first_cause(self.rungs) and session.exitstatus in nothing_failed:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
        self.write(
            {
                "kind": "end",
                "collected": self.collected,
                "ended": len(self.ended),
                "records": len(self.records),
                "exit_status": int(session.exitstatus),
                "seen": None,
            }
        )
        return result

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
