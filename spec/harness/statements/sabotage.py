"""The matrix of sabotage: each check of a statement under each of its faults, and what the whole comes to.

Every fault has to be caught by an assertion of at least one check, and every check has to catch a fault.
"""

import traceback
from collections import Counter, defaultdict
from collections.abc import Callable, Generator, Iterable, Iterator
from types import CodeType
from typing import Any, NamedTuple

import pytest

from spec.harness.places import node_of, specification
from spec.harness.statements.checks import is_own_check
from spec.harness.statements.contract import NotChecked
from spec.harness.statements.statement import Fault, Statement, statement_of

CAUGHT = "caught"
SURVIVED = "survived"
ACCIDENT = "caught by accident"
MISSING = "missing"
IDLE = "idle"
WHOLE = "whole"  # the run without a fault, after all others: a check that fails anyway catches nothing
RED = "red without a fault"
LEFT_OUT = "not checked"

CELL = pytest.StashKey["Cell"]()


class Cell(NamedTuple):
    """What one row of a check came to under one fault."""

    statement: str
    checks: list[str]  # of the statement, those that were left out included
    fault: str
    check: str
    row: str  # the test's name without the fault
    each_row: bool
    result: str
    seen: str


def parametrize(metafunc: pytest.Metafunc, statement: Statement) -> None:
    """Make one run of the check for each fault of its statement, and a last one without."""
    metafunc.fixturenames.append("sabotage")
    planted = [*statement.faults, WHOLE] if statement.faults else [MISSING]
    metafunc.parametrize("sabotage", planted, ids=map(str, planted))


def under(item: pytest.Function, sabotage: Fault | str) -> Generator[None, Any, Any]:
    """Run the check `item` under `sabotage`, and note what it comes to; it fails only without a fault."""
    if sabotage == MISSING:
        _note(item, sabotage, MISSING)
        pytest.fail("no fault: plant one that the statement catches with @fault(...)", pytrace=False)
    if not isinstance(sabotage, Fault):
        try:
            result = yield
        except NotChecked:
            raise
        except BaseException:
            _note(item, sabotage, RED)
            raise
        _note(item, sabotage, WHOLE)
        return result
    error: BaseException | None = None
    with pytest.MonkeyPatch.context() as patch:
        try:
            sabotage.plant(patch)
        except Exception as raised:
            _note(item, sabotage, ACCIDENT, f"could not be planted: {type(raised).__name__}: {raised}")
            return True
        try:
            yield
        except (KeyboardInterrupt, pytest.exit.Exception):
            raise
        except BaseException as raised:
            error = raised
    if isinstance(error, NotChecked) and error.reason == "not-implemented":
        raise error  # by the accelerator, fault or not
    if error is None:
        _note(item, sabotage, SURVIVED)
    elif not is_own_check(error, specification(item)) or raised_through(error, sabotage.replace):
        _note(item, sabotage, ACCIDENT, f"ended with {type(error).__name__}: {error}")
    else:
        _note(item, sabotage, CAUGHT)
    return True


def left_out(item: pytest.Item) -> None:
    """Note that this machine or this run leaves the check out."""
    if isinstance(item, pytest.Function) and CELL not in item.stash:
        planted: Any = item.callspec.params["sabotage"]
        _note(item, planted, LEFT_OUT)


def _note(item: pytest.Function, sabotage: Fault | str, result: str, seen: str = "") -> None:
    statement = statement_of(item)
    assert statement is not None
    test, case = node_of(item).partition("[")[0], item.callspec.id.removesuffix(str(sabotage)).rstrip("-")
    item.stash[CELL] = Cell(
        statement.id,
        statement.checks,
        str(sabotage),
        item.function.__name__,
        f"{test}[{case}]" if case else test,
        item.get_closest_marker("each_row") is not None,
        result,
        " ".join(seen.split()),
    )


def judged(cells: Iterable[Cell]) -> tuple[Counter[str], list[str]]:
    """Return how many faults came to what, and a sentence for each fault and check that is amiss."""
    totals: Counter[str] = Counter({CAUGHT: 0, SURVIVED: 0, ACCIDENT: 0, MISSING: 0, IDLE: 0})
    found = []
    for name, its in _grouped(cells, lambda cell: cell.statement).items():
        totals.update({cell.result for cell in its} & {MISSING, RED})
        ran = {_on_any_device(cell) for cell in its if cell.result != LEFT_OUT}
        planted = [cell for cell in its if cell.fault not in (WHOLE, MISSING)]
        # what is left out on an accelerator and runs on the CPU is not left out
        planted = [cell for cell in planted if cell.result != LEFT_OUT or _on_any_device(cell) not in ran]
        for fault, column in _grouped(planted, lambda cell: cell.fault).items():
            result = _of_fault(column)
            totals[result] += 1
            if result == SURVIVED:
                found.append(f"{name}: {fault!r} survived: every check passed with the fault planted")
            if result == ACCIDENT:
                cell = next(cell for cell in column if cell.result == ACCIDENT)
                how = f"no assertion failed; {cell.row} {cell.seen}"
                found.append(f"{name}: {fault!r} was caught by accident: {how}")
        for check, rows in _grouped(planted, _has_to_catch).items():
            if not {cell.result for cell in rows} & {CAUGHT, LEFT_OUT}:
                totals[IDLE] += 1
                found.append(f"{name}: {check} is idle: it catches no fault of the statement")
    return totals, found


def _grouped(cells: Iterable[Cell], key: Callable[[Cell], str]) -> dict[str, list[Cell]]:
    groups = defaultdict(list)
    for cell in cells:
        groups[key(cell)].append(cell)
    return groups


def _on_any_device(cell: Cell) -> tuple[str, str]:
    return cell.fault, cell.row.replace("accelerator", "cpu")


def _has_to_catch(cell: Cell) -> str:
    """Return what has to catch a fault: the check, or each of its rows where it asks for that."""
    return cell.row if cell.each_row else cell.row.partition("[")[0]


def _of_fault(column: list[Cell]) -> str:
    results = {cell.result for cell in column}
    if CAUGHT in results:
        return CAUGHT
    ran = {cell.check for cell in column if cell.result != LEFT_OUT}
    if LEFT_OUT in results or set(column[0].checks) - ran:
        return LEFT_OUT  # what was left out may be what catches it
    return ACCIDENT if ACCIDENT in results else SURVIVED


def raised_through(error: BaseException, fault: Callable[..., Any]) -> bool:
    """Tell whether `error` came up through the fault itself, whose own assert is no check."""
    own = set(_codes(fault.__code__)) if hasattr(fault, "__code__") else set()
    return any(frame.f_code in own for frame, _ in traceback.walk_tb(error.__traceback__))


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)
