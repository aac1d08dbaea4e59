"""The records of a run, gathered in the process that the user started."""

from collections import Counter
from typing import Any

import pytest
from tqdm import tqdm

from spec.harness.accelerator.steps import Step, first_cause, step_lines
from spec.harness.errors import HarnessError
from spec.harness.language import Language
from spec.harness.records import summary
from spec.harness.records.vocabulary import Record
from spec.harness.records.writing import header
from spec.harness.runs.guard import Run, settle
from spec.harness.runs.ledger import UNFINISHED
from spec.harness.statements import sabotage

WORKER_GONE = "???"  # what xdist calls the phase of a test whose worker is gone


class Findings:
    """Takes in each check's record as its test ends; writes it down, and sums up at the end."""

    def __init__(self, config: pytest.Config, run: Run) -> None:
        self.records: list[Record] = []
        self.cells: dict[str, sabotage.Cell] = {}  # of the matrix of sabotage
        self.totals: Counter[str] = Counter()
        self.unproven: list[str] = []
        self.open: dict[str, Record] = {}
        self.phases: dict[str, dict[str, str]] = {}  # of each test that runs
        self.tried_again: set[str] = set()
        self.rungs: list[Step] = []
        self.config = config
        self.run = run
        self.status = self.tests = 0
        if run.file:
            run.file.empty()
            data = config.hook.pytest_data()
            self.write(header(data and data[0]))
        run.ledger.note(begun=True)

    def write(self, record: Record) -> None:
        """Write down a record, if that is asked for; a file that cannot hold it ends the run."""
        try:
            if self.run.file:
                self.run.file.write(record)
        except HarnessError as error:
            self.run.ledger.note(problem=str(error))
            pytest.exit(str(error), returncode=UNFINISHED)

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Note what is to be run here."""
        self.collected([item.nodeid for item in session.items])

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, ids: list[str]) -> None:
        """Note what the workers are to run; xdist sees to it that they agree."""
        self.collected(ids)

    def collected(self, ids: list[str]) -> None:
        """Note what is to be run, unless it is only to be listed."""
        self.tests = len(ids)
        if not self.config.option.collectonly:
            self.run.ledger.note(collected=ids)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: Any) -> None:
        """Note what became of a test; write it down once it is over."""
        if hasattr(report, "sabotage"):
            self.cells[report.nodeid] = sabotage.Cell(*report.sabotage)
        for rung in getattr(report, "rungs", []):
            self.rungs.append(rung)
            self.write(rung)
        if hasattr(report, "rungs"):
            self.tell(report.rungs)
            # a failed rung fails the run: what it blocks was not checked
            self.run.ledger.note(broken=first_cause(report.rungs) is not None)
        phases = self.phases.setdefault(report.nodeid, {})
        if report.when in phases:
            self.tried_again.add(report.nodeid)
        if report.failed or report.nodeid not in self.tried_again:  # the first try counts, or what is worse
            phases[report.when] = report.outcome
            if hasattr(report, "record"):
                self.open[report.nodeid] = report.record
        if report.when in ("teardown", WORKER_GONE):
            self.end(report.nodeid, self.phases.pop(report.nodeid))

    def end(self, node: str, phases: dict[str, str]) -> None:
        """Note that a test has ended, unless it was set up and never called."""
        record = self.open.pop(node, None)
        if phases.get("setup") == "passed" and not {"call", WORKER_GONE} & phases.keys():
            return
        broken = not set(phases.values()) <= {"passed", "skipped"}
        if record:
            self.records.append(record)
            self.write(record)
        self.run.ledger.note(ended=node, broken=broken, recorded=record and record["node"])

    def tell(self, rungs: list[Step]) -> None:
        """Print how a device climbed the ladder: at once, so that the first cause stands above all else."""
        reporter = self.config.pluginmanager.getplugin("terminalreporter")
        write = reporter.write_line if reporter else tqdm.write  # which leaves the progress bar whole
        if reporter:
            reporter.ensure_newline()
        for line in step_lines(rungs):
            write(line)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Have the run end as it deserves."""
        self.totals, self.unproven = sabotage.judged(self.cells.values())
        if self.unproven:
            self.run.ledger.note(broken=True)
        self.run.ledger.note(finished=True)
        self.status = session.exitstatus = self.run.ledger.account().deserved(int(session.exitstatus))

    def pytest_terminal_summary(self, terminalreporter: Any, config: pytest.Config) -> None:
        """Print the table, what was refuted, and what was not checked."""
        if config.option.sabotage:
            terminalreporter.section("sabotage")
            for sentence in self.unproven:
                terminalreporter.line(sentence, red=True)
            terminalreporter.line(", ".join(f"{count} {kind}" for kind, count in self.totals.items()))
        elif self.records:
            terminalreporter.section("the notes, held to this machine")
            for line in summary.report(self.records, Language("en")):
                terminalreporter.line(line)
        if problems := self.run.ledger.account().problems:
            terminalreporter.section("this run did not finish", red=True)
            for problem in problems:
                terminalreporter.line(problem)

    def pytest_unconfigure(self) -> None:
        """Close the books of a run that nobody watches."""
        if not self.run.watched:
            self.run.ledger.note(status=self.status)
            settle(self.run, self.status)
