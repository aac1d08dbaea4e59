"""What becomes of a test: it starts from its own seed, has to check something, and leaves a record."""

from collections.abc import Generator
from typing import Any

import pytest
import torch

from spec.harness.accelerator.devices import accelerator, device, has_hardware, label, on_accelerator
from spec.harness.places import specification
from spec.harness.records.vocabulary import CONFIRMED, NOT_CHECKED, before
from spec.harness.records.writing import plain
from spec.harness.statements import outcomes, sabotage
from spec.harness.statements.checks import counted, note_check
from spec.harness.statements.contract import FORBIDDEN, NotChecked, not_checked
from spec.harness.statements.outcomes import Found
from spec.harness.statements.seeds import seed_from, seed_of, sow
from spec.harness.statements.statement import since_of, statement_of

__all__ = ["device", "measured", "start_from_own_seed"]

FOUND = pytest.StashKey[Found]()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Leave out what this machine cannot check."""
    item.stash[FOUND] = Found()
    since = since_of(item)
    if since and before(torch.__version__, since) and not item.config.option.history:
        not_checked("torch-too-old", f"true since PyTorch {since}, this is {torch.__version__}")
    if item.get_closest_marker("slow") and not item.config.option.slow:
        not_checked("slow")
    _check_devices(item)


def _check_devices(item: pytest.Item) -> None:
    if on_accelerator(item):
        device = accelerator()
        if device is None:
            not_checked("no-accelerator")
        item.stash[FOUND].device = label(device)
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
    """Values that the check puts on record: `measured["accuracy"] = 0.54`."""
    return request.node.stash[FOUND].measured


def pytest_assertion_pass(item: pytest.Item, lineno: int, orig: str, expl: str) -> None:
    """Count an executed assert."""
    note_check()


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, Any, Any]:
    """Run a check under its fault, if there is one; fail a test that ends without an executed check."""
    if pyfuncitem.config.option.sabotage:
        planted: Any = pyfuncitem.callspec.params["sabotage"]
        return (yield from sabotage.under(pyfuncitem, planted))
    try:
        with counted(specification(pyfuncitem)) as tally:
            result = yield
    finally:
        found = pyfuncitem.stash[FOUND]
        found.checks, found.tolerance_used = tally.executed, tally.tolerance_used
        taken, found.measured = found.measured, {}
        found.measured = plain(taken)  # what cannot be written down fails the test here, not the run later
    if not tally.executed:
        pytest.fail("vacuous: the test ended without one executed check", pytrace=False)
    return result


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
    """Turn what happened into the check's outcome, and a forbidden "not checked" into a failure."""
    report = yield
    error = call.excinfo.value if call.excinfo else None
    if isinstance(error, NotChecked) and error.reason in item.config.stash[FORBIDDEN]:
        report.outcome = "failed"
        report.longrepr = f"required, but not checked: {error}"
    if statement_of(item) and (
        hasattr(report, "wasxfail") or (report.skipped and not isinstance(error, NotChecked))
    ):
        report.__dict__.pop("wasxfail", None)
        report.outcome = "failed"
        report.longrepr = f"skipped without a reason from the closed list, use not_checked(...): {error}"
    if item.config.option.sabotage:
        if isinstance(error, NotChecked):
            sabotage.left_out(item)
        if sabotage.CELL in item.stash:
            cell: sabotage.Cell = item.stash[sabotage.CELL]
            report.sabotage = list(cell)
        return report
    found = item.stash.setdefault(FOUND, Found())  # the hook of another plugin may fail before ours
    over = call.when == "teardown" and found.outcome not in (CONFIRMED, NOT_CHECKED)
    if (call.when == "call" or error is not None) and not over:
        found.outcome, found.reason, found.seen = outcomes.outcome_of(error, item, report)
        found.detail = error.detail if isinstance(error, NotChecked) else None
        found.seconds = round(found.seconds + call.duration, 6)
    if record := outcomes.record(item, found):
        report.record = plain(record)
    return report
