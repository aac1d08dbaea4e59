"""`blitz verify`: run the statements with a progress bar, and tell in plain words what they came to."""

import os
import shutil
import sys
from collections import Counter
from collections.abc import Generator
from typing import Any

import pytest
import torch
from tqdm import tqdm

from spec.harness.accelerator.devices import accelerator_kind
from spec.harness.children import ROOT
from spec.harness.records import summary
from spec.harness.runs.findings import Findings
from spec.harness.runs.ledger import UNFINISHED
from spec.harness.statements.notes import Notes
from spec.harness.statements.outcomes import CONFIRMED, REFUTED, Record
from spec.harness.statements.statement import VERDICTS

UNHEEDED = ("PYTEST_ADDOPTS", "PYTEST_PLUGINS", "PYTEST_TIMEOUT")  # a verify is whole, whatever they say
COULD_NOT = 2  # begin
STATUS: dict[int, int] = {  # of pytest -> of `blitz`
    pytest.ExitCode.INTERRUPTED: UNFINISHED,
    pytest.ExitCode.USAGE_ERROR: COULD_NOT,
    pytest.ExitCode.NO_TESTS_COLLECTED: COULD_NOT,
}


def verify(options: list[str], notes: Notes) -> int:
    """Run every check of every statement with pytest's `options`; return the exit status."""
    for name in UNHEEDED:
        if os.environ.pop(name, None):
            print(f"{name} is ignored: every statement is checked.")
    status = pytest.main(words(notes, options), plugins=[Narrator()])
    return int(STATUS.get(status, status))


def words(notes: Notes, options: list[str]) -> list[str]:
    """Return what pytest is told to check every statement, wherever it is started."""
    fixed = [
        f"--rootdir={ROOT}",
        f"--config-file={ROOT / 'pyproject.toml'}",
        f"--confcutdir={ROOT}",  # or those that lie further up would be heeded
        "-pno:cacheprovider",
        "--contain",
    ]
    return [*fixed, *options, *(str(folder) for folder in notes.folders)]


class Narrator:
    """Stands in for pytest's own terminal output."""

    def __init__(self) -> None:
        self.bar: tqdm[Any] | None = None

    @pytest.hookimpl(trylast=True)
    def pytest_configure(self, config: pytest.Config) -> None:
        """Silence pytest, and say what is being held to what."""
        self.findings: Findings = config.pluginmanager.getplugin("blitz-findings")
        config.pluginmanager.unregister(name="terminalreporter")
        print(f"Holding PyTorch {torch.__version__} on {accelerator_kind() or 'the CPU'} to the notes.")
        if data := config.hook.pytest_data():
            print(data[1])
        sys.stdout.flush()

    def pytest_collectreport(self, report: Any) -> None:
        """Show what keeps the checks from being collected."""
        if report.failed:
            print(report.longreprtext, file=sys.stderr)

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        """Name the test that runs; with the first one the progress bar begins."""
        if self.bar is None:
            self.bar = tqdm(total=self.findings.tests, unit="check", dynamic_ncols=True, disable=None)
        self.bar.set_postfix_str(nodeid.split("::")[-1].removeprefix("test_")[:40], refresh=False)

    def pytest_runtest_logfinish(self) -> None:
        """Advance the progress bar."""
        if self.bar:
            self.bar.update()

    @pytest.hookimpl(wrapper=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> Generator[None, Any, Any]:
        """Tell what was found, once all books are closed."""
        result = yield
        if self.bar:
            self.bar.close()
        if self.findings.records:
            print("\n".join(story(self.findings.records)))
            print(
                f"Written down in {session.config.option.records}: `blitz summary` prints the summary again."
            )
        for problem in self.findings.run.ledger.account().problems:
            print(f"This run did not finish: {problem}.")
        return result


def story(records: list[Record]) -> list[str]:
    """Return the findings for a person: each statement, the table, what went wrong, what is missing."""
    width = shutil.get_terminal_size((110, 24)).columns
    decided = summary.outcomes(records)
    lines: list[str] = []
    section = ""
    for record in decided.values():
        if record["section"] != section:
            section = record["section"]
            lines += ["", section]
        line = f"  {record['outcome']:<11}  {record['verdict']:<9}  {record['id']}: {record['sentence']}"
        lines.append(line if len(line) <= width else line[: width - 1] + "…")
    return [*lines, "", *summary.report(records), "", *what_it_means(decided)]


def what_it_means(decided: dict[str, Record]) -> list[str]:
    """Return what the outcomes mean for the notes."""
    confirmed = [record["verdict"] for record in decided.values() if record["outcome"] == CONFIRMED]
    tally = Counter(confirmed)
    checked = sum(record["outcome"] in (CONFIRMED, REFUTED) for record in decided.values())
    lines = [f"{len(confirmed)} of the {checked} statements that were checked are true on this machine."]
    if broken := sum(record["outcome"] in summary.BROKEN for record in decided.values()):
        lines.append(f"{broken} more broke before they could tell.")
    lines.append("What the notes say there:")
    lines += [f"{tally[verdict]:>5}  {verdict:<9}  {meaning}" for verdict, meaning in VERDICTS.items()]
    return [*lines, "`blitz explain STATEMENT` shows one with its proof."]
