"""The records of a run, gathered in the process that the user started."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from spec.harness import sabotage, summary
from spec.harness.outcomes import CRASHED, Record
from spec.harness.verdicts import VerdictFile, header


class Findings:
    """Takes in each claim's record as its test ends; writes it down, and sums up at the end."""

    def __init__(self, config: pytest.Config) -> None:
        self.records: list[Record] = []
        self.sabotages: Counter[str] = Counter()
        self.open: dict[str, Record] = {}
        asked = config.option.verdicts and not config.option.collectonly
        self.file = VerdictFile(Path(config.option.verdicts)) if asked else None
        if self.file:
            self.file.write(header(config.rootpath))

    def pytest_runtest_logreport(self, report: Any) -> None:
        """Note what became of a claim; write it down once the test is over."""
        if report.when == "call" and hasattr(report, "sabotage"):
            self.sabotages[report.sabotage] += 1
        if hasattr(report, "record"):
            self.open[report.nodeid] = report.record
        if report.when in ("teardown", "???") and report.nodeid in self.open:  # ???: its worker is gone
            record = self.open.pop(report.nodeid)
            if report.when == "???":
                record["outcome"], record["seen"] = CRASHED, report.longreprtext
            self.records.append(record)
            if self.file:
                self.file.write(record)

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
