"""The pytest plugin: claims are collected, run, sabotaged, recorded and summed up."""

import os
import shlex
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
import torch

from blitz.cifar10 import data
from blitz.errors import DataError
from spec.harness.accelerator.climbing import Climb
from spec.harness.accelerator.devices import (
    NAMED,
    OnAccelerator,
    accelerator,
    device,
    has_hardware,
    label,
    name_device,
    on_accelerator,
)
from spec.harness.children import python
from spec.harness.places import node_of, real, specification
from spec.harness.records.verdicts import plain
from spec.harness.runs import guard
from spec.harness.runs.containment import MAIN, Supervisor, Watched, Worker
from spec.harness.runs.findings import Findings
from spec.harness.runs.freshness import Freshness
from spec.harness.runs.garbage import LongLived
from spec.harness.runs.seats import seat_workers
from spec.harness.runs.strict_warnings import StrictWarnings
from spec.harness.statements import outcomes, sabotage
from spec.harness.statements.checks import count_checks, tally
from spec.harness.statements.claims import before, claim_of, problems, uncollected, why_too_old
from spec.harness.statements.contract import (
    GET_CIFAR10,
    NotChecked,
    check_requirements,
    is_cifar10,
    not_checked,
)
from spec.harness.statements.generated import draw_the_same_cases
from spec.harness.statements.outcomes import Record
from spec.harness.statements.seeds import seed_from, seed_of, sow
from spec.harness.surroundings import keep_sockets_short, name_the_user, open_streams

__all__ = ["cifar10", "device", "measured", "start_from_own_seed"]

MARKERS = (
    "gpu: needs an accelerator",
    "multi_gpu(n): needs n CUDA devices",
    "asks_the_device: is about a truth value that a device gives, and checks on the CPU what follows from it",
    "timed: measures time on an accelerator, alone on the machine's devices",
    "cifar10: needs real CIFAR-10",
    "dated: is true since a release of PyTorch that the claim names",
    "slow: takes longer than a few seconds; runs with --slow",
    "benchmark: measures speed (pytest-benchmark)",
)

RECORD = pytest.StashKey[Record]()
MEASURED = pytest.StashKey[dict[str, Any]]()
FORBIDDEN = pytest.StashKey[set[str]]()
SEEN_IDS = pytest.StashKey[dict[str, str]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of the harness."""
    group = parser.getgroup("blitz")
    group.addoption(
        "--data", metavar="PATH", help="CIFAR-10 to check on; else BLITZ_DATA, else the user's cache"
    )
    group.addoption(
        "--require",
        action="append",
        default=[],
        metavar="WHAT",
        help="cuda, cuda:N or cifar10: stop at once where it is missing, fail what is not checked for it; "
        "may be repeated; also BLITZ_REQUIRE, separated by spaces",
    )
    group.addoption(
        "--device",
        metavar="NAME",
        help="the accelerator to check: its kind, such as cuda, xpu, mps or a PrivateUse1 name, "
        "or one device, such as cuda:1; cpu for none; also BLITZ_DEVICE",
    )
    group.addoption(
        "--contain",
        action="store_true",
        help="run chosen tests in workers, too: one that takes its process down then costs nothing else",
    )
    group.addoption("--slow", action="store_true", help="run the claims that train for longer, too")
    group.addoption(
        "--history",
        action="store_true",
        help="run the claims that name a newer PyTorch, too: here each has to be refuted",
    )
    group.addoption("--sabotage", action="store_true", help="run each claim under each of its sabotages")
    group.addoption("--verdicts", metavar="PATH", help="write a verdict file (JSON lines)")


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> int | None:
    """Have another process run all this, and watch it; there choose the accelerator and the workers."""
    open_streams()  # or the file of the run would take the number of one that is closed
    if hasattr(config, "workerinput"):
        guard.watching = True  # by who has started this worker; nobody watches a run inside one of its tests
        return None
    if guard.RUN not in config.stash:
        run = config.stash[guard.RUN] = guard.begin(config)
        if guard.can_watch(config):
            return guard.watch(config, run)
    named = config.option.device or os.environ.get(NAMED)
    if named:
        name_device(named)
    seat_workers(config, contain=config.option.contain and config.stash[guard.RUN].watched)
    return None


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes(specs: list[Any]) -> None:
    """Have workers import nothing that lies in the current folder."""
    for spec in specs:
        if spec.popen and not spec.python:
            spec.python = shlex.join(python())


def pytest_configure(config: pytest.Config) -> None:
    """Hold the machine to what is required, before anything else is done."""
    name_the_user()
    keep_sockets_short()
    for marker in MARKERS:
        config.addinivalue_line("markers", marker)
    if not config.getini("enable_assertion_pass_hook"):
        raise pytest.UsageError("set enable_assertion_pass_hook = true: executed checks are counted by it")
    if sys.flags.optimize > 1:
        raise pytest.UsageError("leave out -OO and PYTHONOPTIMIZE=2: they take away what the claims state")
    if config.option.sabotage and config.option.verdicts:
        raise pytest.UsageError("--verdicts records what is true, --sabotage breaks it: give one of the two")
    named = config.option.data
    try:
        data.find(named)
    except DataError as error:
        raise pytest.UsageError(str(error)) from None
    if named:  # for every process that this run starts, workers among them
        os.environ["BLITZ_DATA"] = named if named == "stand-in" else str(Path(named).resolve())
    required = [*config.option.require, *os.environ.get("BLITZ_REQUIRE", "").split()]
    config.stash[FORBIDDEN] = check_requirements(required)
    config.stash[SEEN_IDS] = {}
    count_checks()
    draw_the_same_cases(shrink=not config.option.sabotage)
    torch.set_num_threads(1)  # at these sizes a second thread only waits for the first
    config.pluginmanager.register(OnAccelerator())
    config.pluginmanager.register(LongLived())
    config.pluginmanager.register(StrictWarnings(config))
    config.pluginmanager.register(Freshness())
    if hasattr(config, "workerinput"):
        config.pluginmanager.register(Worker(config))
    else:
        run = config.stash[guard.RUN]
        config.pluginmanager.register(Supervisor(run.folder, run.ledger))
        config.pluginmanager.register(Findings(config, run), "blitz-findings")
        if run.watched and not getattr(config.option, "tx", None) and not config.option.usepdb:
            config.pluginmanager.register(Watched(run.folder, MAIN))
    if not config.option.sabotage:
        config.pluginmanager.register(Climb(config))


# Collection


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Generator[None, Any, Any]:
    """Stop at a test in spec/test_*.py that breaks a rule of claims, with one message for the file."""
    report = yield
    if report.failed:
        return report
    found: list[str] = []
    specified = _is_specification(collector.path)
    if specified and report.skipped:
        found.append(
            f"{collector.path.name} skips itself; a claim that cannot be checked is not_checked(...)"
        )
    if specified and isinstance(collector, pytest.Module) and report.passed:
        found += [f"{name} is a claim that pytest does not collect" for name in uncollected(collector.obj)]
    for item in report.result:
        if isinstance(item, pytest.Function) and (specified or claim_of(item)):
            name = node_of(item).removeprefix("spec/").split("[")[0]
            found += problems(name, claim_of(item), collector.config.stash[SEEN_IDS])
            if type(item) is not pytest.Function or "subtests" in item.fixturenames:
                found.append(f"{name} is a unittest or has subtests, whose checks cannot be told apart")
    if found:
        report.outcome = "failed"
        report.longrepr = "\n".join(dict.fromkeys(found))
        report.result = []
    return report


def _is_specification(path: Path | None) -> bool:
    if path is None:
        return False
    place = real(str(path))
    return place.parent.name == "spec" and place.name.startswith("test_")


@pytest.hookimpl(trylast=True)
def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Under --sabotage, make one run of each claim and sabotage."""
    claim = getattr(metafunc.function, "claim", None)
    if metafunc.config.option.sabotage and claim is not None:
        sabotage.parametrize(metafunc, claim)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark what reads CIFAR-10 and what has a history; under --sabotage leave out what is no claim."""
    for item in items:
        if "cifar10" in getattr(item, "fixturenames", ()):
            item.add_marker("cifar10")
        claim = claim_of(item)
        if claim is not None and claim.since:
            item.add_marker("dated")
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
        item.stash[RECORD] = outcomes.begin(claim, item)
    since = claim.since if claim is not None else None
    if since and before(torch.__version__, since) and not item.config.option.history:
        not_checked("torch-too-old", why_too_old(torch.__version__, since))
    if item.get_closest_marker("slow") and not item.config.option.slow:
        not_checked("slow")
    if item.get_closest_marker("cifar10") and data.find()[0] == "stand-in":
        not_checked("no-cifar10")
    _check_devices(item)


def _check_devices(item: pytest.Item) -> None:
    if on_accelerator(item):
        device = accelerator()
        if device is None:
            not_checked("no-accelerator")
        if RECORD in item.stash:
            item.stash[RECORD]["device"] = label(device)
    if item.get_closest_marker("timed") and not has_hardware():
        not_checked("no-hardware")
    several = item.get_closest_marker("multi_gpu")
    if several and torch.cuda.device_count() < several.args[0]:
        not_checked(
            "too-few-devices", f"needs {several.args[0]}, this machine has {torch.cuda.device_count()}"
        )


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(
    fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest
) -> Generator[None, Any, Any]:
    """Start a fixture that several tests share from a seed of its own, whichever of them comes first."""
    if fixturedef.scope != "function":
        made_by = getattr(fixturedef.func, "__module__", "")
        sow(seed_from(f"{made_by}::{fixturedef.argname}"))
    return (yield)


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
    origin, folder = data.find()
    if origin == "stand-in":
        not_checked("no-cifar10")
    found = data.load()
    if not is_cifar10(found):
        not_checked("no-cifar10", f"{folder} holds other images than CIFAR-10's 60,000: {GET_CIFAR10}")
    return found


def pytest_assertion_pass(item: pytest.Item, lineno: int, orig: str, expl: str) -> None:
    """Count an executed assert."""
    tally.note()


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, Any, Any]:
    """Run a claim under its sabotage, if there is one; fail a test that ends without an executed check."""
    if pyfuncitem.config.option.sabotage:
        planted: Any = pyfuncitem.callspec.params["sabotage"]
        return (yield from sabotage.under(pyfuncitem, planted))
    try:
        with tally.of_its_own(specification(pyfuncitem)) as mine:
            result = yield
    finally:
        values: dict[str, Any] = pyfuncitem.stash[MEASURED]
        taken = dict(values)
        values.clear()
        values.update(plain(taken))  # what cannot be written down fails the test here, and not the run later
        if RECORD in pyfuncitem.stash:
            record = pyfuncitem.stash[RECORD]
            record["checks"], record["tolerance_used"] = mine.executed, mine.tolerance_used
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
    if claim_of(item) and (
        hasattr(report, "wasxfail") or (report.skipped and not isinstance(error, NotChecked))
    ):
        report.__dict__.pop("wasxfail", None)
        report.outcome = "failed"
        report.longrepr = f"skipped without a reason from the closed list, use not_checked(...): {error}"
    if sabotage.RESULT in item.stash:
        report.sabotage = item.stash[sabotage.RESULT]
    claim = claim_of(item)
    if claim is None or item.config.option.sabotage:
        return report
    if RECORD not in item.stash:  # the hook of another plugin failed before ours could prepare it
        item.stash[RECORD] = outcomes.begin(claim, item)
    record: Record = item.stash[RECORD]
    over = call.when == "teardown" and record["outcome"] not in (outcomes.CONFIRMED, outcomes.NOT_CHECKED)
    if (call.when == "call" or error is not None) and not over:
        outcome, reason, seen = outcomes.outcome_of(error, item, report)
        record["outcome"], record["reason"], record["seen"] = outcome, reason, seen
        record["detail"] = error.detail if isinstance(error, NotChecked) else None
        record["measured"] = item.stash.get(MEASURED, {})
        record["seconds"] = round(record["seconds"] + call.duration, 6)
    report.record = plain(record)
    return report
