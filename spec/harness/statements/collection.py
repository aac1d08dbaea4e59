"""What is collected: the rules that statements keep, their order, and the marks that their checks get."""

from collections.abc import Callable, Generator, Iterator, Mapping
from typing import Any

import pytest

from spec.harness.places import node_of, real
from spec.harness.statements import sabotage
from spec.harness.statements.notes import Notes
from spec.harness.statements.statement import notes_of, statement_of

MARKERS = (
    "gpu: needs an accelerator",
    "multi_gpu(n): needs n CUDA devices",
    "asks_the_device: is about a truth value that a device gives, and checks on the CPU what follows from it",
    "timed: measures time on an accelerator, alone on the machine's devices",
    "since(release): passes from this release of PyTorch on",
    "each_row: each of its rows has to catch a fault under --sabotage",
    "slow: takes longer than a few seconds; runs with --slow",
    "benchmark: measures speed (pytest-benchmark)",
)

SEEN_IDS = pytest.StashKey[dict[str, str]]()


class Hooks:
    """What a specification tells the harness of itself."""

    @pytest.hookspec(firstresult=True)
    def pytest_notes(self) -> Notes:
        """Return the notes that are held to PyTorch."""
        raise NotImplementedError

    @pytest.hookspec(firstresult=True)
    def pytest_data(self) -> tuple[str, str]:
        """Return what the data of this run is called in its records, and a sentence about it for a person."""
        raise NotImplementedError

    @pytest.hookspec
    def pytest_requirements(self) -> Mapping[str, Callable[[], set[str]]]:
        """Return by name what `--require` takes.

        Each function raises a pytest.UsageError where this machine lacks it, and returns the reasons for
        which no check may be left out any more.
        """
        raise NotImplementedError


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    """Let a specification tell of its notes and its data."""
    pluginmanager.add_hookspecs(Hooks)


def pytest_configure(config: pytest.Config) -> None:
    """Name the marks, of which pytest refuses any other."""
    for marker in MARKERS:
        config.addinivalue_line("markers", marker)
    config.stash[SEEN_IDS] = {}


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Generator[None, Any, Any]:
    """Stop at a test of a section that breaks a rule of statements, with one message for the file."""
    report = yield
    if report.failed:
        return report
    found: list[str] = []
    specified = notes_of(collector.config).holds(real(str(collector.path)))
    if specified and report.skipped:
        found.append(f"{collector.path.name} skips itself; a check that cannot be run is not_checked(...)")
    for item in report.result:
        if isinstance(item, pytest.Function) and (specified or statement_of(item)):
            found += _problems(item)
    if found:
        report.outcome = "failed"
        report.longrepr = "\n".join(dict.fromkeys(found))
        report.result = []
    return report


def _problems(item: pytest.Function) -> Iterator[str]:
    """Say what keeps a test from being a check of a statement."""
    name = node_of(item).removeprefix("spec/").split("[")[0]
    statement, notes, seen = statement_of(item), notes_of(item.config), item.config.stash[SEEN_IDS]
    if type(item) is not pytest.Function or "subtests" in item.fixturenames:
        yield f"{name} is a unittest or has subtests, whose checks cannot be told apart"
    if statement is None:
        yield f"{name} checks no statement: put it into a class below @statement(...)"
        return
    for heading in statement.notes.split("; "):
        if notes.section(heading) is None:
            known = ", ".join(heading for its in notes.headings.values() for heading in its)
            yield f"{name}: the notes have no heading {heading!r}; expected one of {known}"
    place = "::".join([name.partition("::")[0], *statement.proof.__qualname__.split(".")])
    if seen.setdefault(statement.id, place) != place:
        yield f"{name}: the id {statement.id} is taken by {seen[statement.id]}"


@pytest.hookimpl(trylast=True)
def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Under --sabotage, make one run of each check and fault."""
    statement = statement_of(metafunc.definition)
    if metafunc.config.option.sabotage and statement is not None:
        sabotage.parametrize(metafunc, statement)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Under --sabotage leave out what checks no statement."""
    if config.option.sabotage:
        config.hook.pytest_deselected(items=[item for item in items if statement_of(item) is None])
        items[:] = [item for item in items if statement_of(item) is not None]
