"""`blitz verify`: run the statements with a progress bar, and tell in plain words what they came to."""

import os
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from tqdm import tqdm

from spec.harness.accelerator.devices import accelerator_kind
from spec.harness.children import ROOT
from spec.harness.errors import HarnessError
from spec.harness.language import Language
from spec.harness.page import report
from spec.harness.records import summary
from spec.harness.records.vocabulary import BROKEN, CONFIRMED, OUTCOMES, REFUTED, VERDICTS, Record
from spec.harness.runs.findings import Findings
from spec.harness.runs.ledger import UNFINISHED
from spec.harness.statements.notes import Notes

UNHEEDED = ("PYTEST_ADDOPTS", "PYTEST_PLUGINS", "PYTEST_TIMEOUT")  # a verify is whole, whatever they say
COULD_NOT = 2  # begin
STATUS: dict[int, int] = {  # of pytest -> of `blitz`
    pytest.ExitCode.INTERRUPTED: UNFINISHED,
    pytest.ExitCode.USAGE_ERROR: COULD_NOT,
    pytest.ExitCode.NO_TESTS_COLLECTED: COULD_NOT,
}


def verify(options: list[str], notes: Notes, language: Language) -> int:
    """Run every check of every statement with pytest's `options`; return the exit status."""
    for name in UNHEEDED:
        if os.environ.pop(name, None):
            print(language.say("{name} is ignored: every statement is checked.", name=name))
    status = pytest.main(words(notes, options), plugins=[Narrator(notes, language)])
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

    def __init__(self, notes: Notes, language: Language) -> None:
        self.notes, self.language = notes, language
        self.bar: tqdm[Any] | None = None

    @pytest.hookimpl(trylast=True)
    def pytest_configure(self, config: pytest.Config) -> None:
        """Silence pytest, and say what is being held to what."""
        self.findings: Findings = config.pluginmanager.getplugin("blitz-findings")
        config.pluginmanager.unregister(name="terminalreporter")
        say = self.language.say
        place = accelerator_kind() or say("the CPU")
        print(
            say("Holding PyTorch {release} on {place} to the notes.", release=torch.__version__, place=place)
        )
        if data := config.hook.pytest_data():
            print(say(data[1]))
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
            print("\n".join(story(self.findings.records, self.language)))
            print("\n".join(self._files(Path(session.config.option.records))))
        for problem in self.findings.run.ledger.account().problems:
            print(self.language.say("This run did not finish: {problem}.", problem=problem))
        return result

    def _files(self, records: Path) -> Iterator[str]:
        """Tell where the records are, and make their page."""
        say = self.language.say
        yield say("Written down in {records}: `blitz summary` prints the summary again.", records=records)
        if not records.is_file():  # a pipe is read once
            return
        page = records.with_suffix(".html")
        try:
            report.write([records], page, self.notes, self.language)
        except HarnessError as error:
            yield say("There is no page of it: {error}", error=error)
        else:
            yield say("The page to look at is {page}", page=page.resolve())


def story(records: list[Record], language: Language) -> list[str]:
    """Return the findings for a person: each statement, the table, what went wrong, what is missing."""
    columns = shutil.get_terminal_size((110, 24)).columns
    decided = summary.outcomes(records)
    outcomes, verdicts = _widest(OUTCOMES, language.say), _widest(VERDICTS, language.say)
    lines: list[str] = []
    section = ""
    for record in decided.values():
        if record["section"] != section:
            section = record["section"]
            lines += ["", language.title(section, section)]
        truth, _ = language.statement(record["id"], record["sentence"], record["says"])
        outcome, verdict = (language.say(record[name]) for name in ("outcome", "verdict"))
        line = f"  {_left(outcome, outcomes)}  {_left(verdict, verdicts)}  {record['id']}: {truth}"
        lines.append(line if summary.width(line) <= columns else _cut(line, columns))
    return [*lines, "", *summary.report(records, language), "", *what_it_means(decided, language.say)]


def _widest(words: Iterable[str], say: Callable[..., str]) -> int:
    return max(summary.width(say(word)) for word in words)


def _left(text: str, columns: int) -> str:
    return text + " " * (columns - summary.width(text))


def _cut(line: str, columns: int) -> str:
    """Return as much of a line as fits, with a mark that more would follow."""
    while summary.width(line) > columns - 1:
        line = line[:-1]
    return f"{line}…"


def what_it_means(decided: dict[str, Record], say: Callable[..., str]) -> list[str]:
    """Return what the outcomes mean for the notes."""
    confirmed = [record["verdict"] for record in decided.values() if record["outcome"] == CONFIRMED]
    tally = Counter(confirmed)
    checked = sum(record["outcome"] in (CONFIRMED, REFUTED) for record in decided.values())
    lines = [
        say(
            "{count} of the {all} statements that were checked are true on this machine.",
            count=len(confirmed),
            all=checked,
        )
    ]
    if broken := sum(record["outcome"] in BROKEN for record in decided.values()):
        lines.append(say("{count} more broke before they could tell.", count=broken))
    lines.append(say("What the notes say there:"))
    verdicts = _widest(VERDICTS, say)
    lines += [
        f"{tally[verdict]:>5}  {_left(say(verdict), verdicts)}  {say(meaning)}"
        for verdict, meaning in VERDICTS.items()
    ]
    return [*lines, say("`blitz explain STATEMENT` shows one with its proof.")]
