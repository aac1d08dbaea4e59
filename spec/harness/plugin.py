"""The pytest plugin: claims are collected, run, sabotaged, recorded and summed up."""

import os
from collections import Counter
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
import torch

from blitz import data
from blitz.errors import DataError
from spec.harness import sabotage, summary
from spec.harness.checks import count_checks, is_own_check, raising_file, tally
from spec.harness.claims import claim_of, problems
from spec.harness.contract import NotChecked, check_requirements, not_checked
from spec.harness.devices import accelerator, device
from spec.harness.seeds import cases, seed_of, sow
from spec.harness.verdicts import (
    CONFIRMED,
    CRASHED,
    ERROR,
    NOT_CHECKED,
    REFUTED,
    TIMEOUT,
    Record,
    VerdictFile,
    header,
)

__all__ = ["cifar10", "device", "measured", "start_from_own_seed"]

MARKERS = (
    "gpu: needs an accelerator",
    "multi_gpu(n): needs n CUDA devices",
    "cifar10: needs real CIFAR-10",
    "slow: trains for longer than a few seconds; runs with --slow",
    "benchmark: measures speed (pytest-benchmark)",
)

RECORD = pytest.StashKey[Record]()
MEASURED = pytest.StashKey[dict[str, Any]]()
FORBIDDEN = pytest.StashKey[set[str]]()
SEEN_IDS = pytest.StashKey[dict[str, str]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of the harness."""
    group = parser.getgroup("blitz")
    group.addoption("--data", metavar="PATH", help="CIFAR-10 to check on; else BLITZ_DATA, else the user's cache")
    group.addoption(
        "--require",
        action="append",
        default=[],
        metavar="WHAT",
        help="cuda, cuda:N or cifar10: stop at once where it is missing, and fail what is not checked for it; "
        "may be repeated; also BLITZ_REQUIRE, separated by spaces",
    )
    group.addoption("--slow", action="store_true", help="run the claims that train for longer, too")
    group.addoption("--sabotage", action="store_true", help="run each claim under each of its sabotages")
    group.addoption("--verdicts", metavar="PATH", help="write a verdict file (JSON lines)")


def pytest_configure(config: pytest.Config) -> None:
    """Hold the machine to what is required, before anything else is done."""
    for marker in MARKERS:
        config.addinivalue_line("markers", marker)
    if not config.getini("enable_assertion_pass_hook"):
        raise pytest.UsageError("set enable_assertion_pass_hook = true: executed checks are counted by it")
    if config.option.sabotage and config.option.verdicts:
        raise pytest.UsageError("--verdicts records what is true, --sabotage breaks it: give one of the two")
    if config.option.data:
        os.environ["BLITZ_DATA"] = str(Path(config.option.data).resolve())
    try:
        data.find()
    except DataError as error:
        raise pytest.UsageError(str(error)) from None
    required = [*config.option.require, *os.environ.get("BLITZ_REQUIRE", "").split()]
    config.stash[FORBIDDEN] = check_requirements(required)
    config.stash[SEEN_IDS] = {}
    count_checks()
    torch.set_num_threads(1)  # at these sizes a second thread only waits for the first
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Findings(config), "blitz-findings")


# Collection


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Generator[None, Any, Any]:
    """Stop at a test in spec/test_*.py that breaks a rule of claims, with one message for the file."""
    report = yield
    if not _is_specification(collector.path) or report.failed:
        return report
    found: list[str] = []
    for item in report.result:
        if isinstance(item, pytest.Function):
            name = f"{item.path.name}::{item.originalname or item.name}"
            found += problems(name, claim_of(item), collector.config.stash[SEEN_IDS])
    if found:
        report.outcome = "failed"
        report.longrepr = "\n".join(dict.fromkeys(found))
        report.result = []
    return report


def _is_specification(path: Path | None) -> bool:
    return path is not None and path.parent.name == "spec" and path.name.startswith("test_")


@pytest.hookimpl(trylast=True)
def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Under --sabotage, make one run of each claim and sabotage."""
    claim = getattr(metafunc.function, "claim", None)
    if metafunc.config.option.sabotage and claim is not None:
        sabotage.parametrize(metafunc, claim)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark what reads CIFAR-10; under --sabotage leave out what is no claim."""
    for item in items:
        if "cifar10" in getattr(item, "fixturenames", ()):
            item.add_marker("cifar10")
    if config.option.sabotage:
        config.hook.pytest_deselected(items=[item for item in items if claim_of(item) is None])
        items[:] = [item for item in items if claim_of(item) is not None]


# Running


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Prepare the record of a claim, and leave out what this machine cannot check."""
    item.stash[MEASURED] = {}
    claim = claim_of(item)
    if claim is not None:
        params = cases(item)
        on_accelerator = item.get_closest_marker("gpu") or item.get_closest_marker("multi_gpu")
        item.stash[RECORD] = {
            "kind": "result",
            "id": claim.id,
            "section": claim.section,
            "notes": claim.notes,
            "verdict": claim.verdict,
            "says": claim.says,
            "sentence": claim.sentence,
            "node": item.nodeid,
            "params": params,
            "device": "accelerator" if on_accelerator else "cpu",
            "gpu": bool(on_accelerator),
            "outcome": CRASHED,  # until the test has ended
            "reason": None,
            "seen": "the process that ran the test ended without a report",
            "measured": {},
            "tolerance_used": None,
            "checks": 0,
            "seconds": 0.0,
            "seed": seed_of(item),
        }
    if claim is not None and claim.since and torch.__version__ < claim.since:
        not_checked("torch-too-old", f"true since PyTorch {claim.since}, this is {torch.__version__}")
    if item.get_closest_marker("slow") and not item.config.option.slow:
        not_checked("slow")
    _check_devices(item)


def _check_devices(item: pytest.Item) -> None:
    if item.get_closest_marker("gpu") or item.get_closest_marker("multi_gpu"):
        device = accelerator()
        if device is None:
            not_checked("no-accelerator")
        if RECORD in item.stash:
            item.stash[RECORD]["device"] = str(device)
    several = item.get_closest_marker("multi_gpu")
    if several and torch.cuda.device_count() < several.args[0]:
        not_checked("too-few-devices", f"needs {several.args[0]}, this machine has {torch.cuda.device_count()}")


@pytest.fixture(autouse=True)
def start_from_own_seed(request: pytest.FixtureRequest) -> None:
    """Start every test from its own random state."""
    sow(seed_of(request.node))


@pytest.fixture
def measured(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Values that the claim puts on record: `measured["accuracy"] = 0.54`."""
    return request.node.stash[MEASURED]


@pytest.fixture(scope="session")
def cifar10() -> data.Cifar10:
    """Real CIFAR-10; without it the claim is not checked, and never confirmed on the stand-in."""
    origin, _ = data.find()
    if origin == "stand-in":
        not_checked("no-cifar10")
    return data.load()


def pytest_assertion_pass(item: pytest.Item, lineno: int, orig: str, expl: str) -> None:
    """Count an executed assert."""
    tally.note()


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, object, object]:
    """Run a claim under its sabotage, if there is one; fail a test that ends without an executed check."""
    if pyfuncitem.config.option.sabotage:
        return (yield from sabotage.under(pyfuncitem, pyfuncitem.callspec.params["sabotage"]))
    with tally.of_its_own() as mine:
        result = yield
    if RECORD in pyfuncitem.stash:
        pyfuncitem.stash[RECORD].update(checks=mine.executed, tolerance_used=mine.tolerance_used)
    if not mine.executed:
        pytest.fail("vacuous: the test ended without one executed check", pytrace=False)
    return result


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
    """Turn what happened into the claim's outcome, and a forbidden "not checked" into a failure."""
    report = yield
    error = call.excinfo.value if call.excinfo else None
    if isinstance(error, NotChecked) and error.reason in item.config.stash[FORBIDDEN]:
        report.outcome = "failed"
        report.longrepr = f"required, but not checked: {error}"
    if report.skipped and claim_of(item) and not isinstance(error, NotChecked):
        report.outcome = "failed"
        report.longrepr = f"skipped without a reason from the closed list, use not_checked(...): {error}"
    if sabotage.RESULT in item.stash:
        report.sabotage = item.stash[sabotage.RESULT]
    claim = claim_of(item)
    if claim is None or item.config.option.sabotage:
        return report
    record = item.stash[RECORD]
    if call.when == "call" or error is not None:
        record["outcome"], record["reason"], record["seen"] = _outcome(item, error, report)
        record["measured"] = dict(item.stash[MEASURED])
        record["seconds"] = round(record["seconds"] + call.duration, 6)
    report.record = record
    return report


def _outcome(item: pytest.Item, error: BaseException | None, report: Any) -> tuple[str, str | None, str | None]:
    """Return outcome, reason and what was seen instead."""
    if error is None:
        return CONFIRMED, None, None
    if isinstance(error, NotChecked) and not report.failed:
        return NOT_CHECKED, error.reason, None
    seen = str(error)[:1000] or type(error).__name__
    if is_own_check(error, item.path.parent):
        return REFUTED, None, seen
    raised_in = raising_file(error)
    if raised_in is not None and raised_in.name == "pytest_timeout.py":
        return TIMEOUT, None, seen
    return ERROR, None, f"{type(error).__name__}: {seen}"


# Reporting


class Findings:
    """Gathers the records of a run, in the process that the user started."""

    def __init__(self, config: pytest.Config) -> None:
        self.records: list[Record] = []
        self.sabotages: Counter[str] = Counter()
        self.open: dict[str, Record] = {}
        self.file = VerdictFile(Path(config.option.verdicts)) if config.option.verdicts else None
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
            self.records.append(record)
            if self.file:
                self.file.write(record)

    def pytest_terminal_summary(self, terminalreporter: Any, config: pytest.Config) -> None:
        """Print the table, the refuted claims and what was not checked."""
        if config.option.sabotage:
            kinds = (sabotage.CAUGHT, sabotage.SURVIVED, sabotage.ACCIDENT, sabotage.MISSING)
            terminalreporter.section("sabotages")
            terminalreporter.line(", ".join(f"{self.sabotages[kind]} {kind}" for kind in kinds))
        elif self.records:
            terminalreporter.section("the notes, held to this machine")
            for line in summary.table(self.records):
                terminalreporter.line(line)
            for text in [*summary.paragraphs(self.records), *summary.gaps(self.records)]:
                terminalreporter.line("")
                terminalreporter.line(text)

    def pytest_unconfigure(self) -> None:
        """Close the verdict file."""
        if self.file:
            self.file.close()
