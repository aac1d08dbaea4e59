"""Running a claim with a fault planted, to see that its own check catches it."""

from collections.abc import Callable, Generator, Iterator
from types import CodeType
from typing import Any, NoReturn

import pytest

from spec.harness.places import specification
from spec.harness.statements.checks import is_own_check
from spec.harness.statements.claims import Claim, Sabotage
from spec.harness.statements.contract import NotChecked

CAUGHT = "caught"
SURVIVED = "survived"
ACCIDENT = "caught by accident"
MISSING = "missing"
WHOLE = "whole"  # the run without a fault, after all others: a claim that is red anyway catches nothing
RED = "red without a fault"

RESULT = pytest.StashKey[str]()


def parametrize(metafunc: pytest.Metafunc, claim: Claim) -> None:
    """Make one run of the claim for each of its sabotages, and a last one without."""
    metafunc.fixturenames.append("sabotage")
    planted = [*claim.sabotages, WHOLE] if claim.sabotages else [MISSING]
    metafunc.parametrize("sabotage", planted, ids=[*claim.sabotage_names, planted[-1]])


def under(item: pytest.Function, sabotage: Sabotage | str) -> Generator[None, Any, Any]:
    """Run the claim `item` under `sabotage`; pass only if a check of its own fails."""
    if sabotage == WHOLE:
        try:
            result = yield
        except NotChecked:
            raise
        except BaseException:
            item.stash[RESULT] = RED
            raise
        item.stash[RESULT] = WHOLE
        return result
    if not isinstance(sabotage, Sabotage):
        _fail(item, MISSING, "no sabotage: plant a fault that this claim catches with @broken_by(...)")
    error: BaseException | None = None
    with pytest.MonkeyPatch.context() as patch:
        try:
            sabotage.plant(patch)
        except Exception as raised:
            _fail(
                item,
                ACCIDENT,
                f"{ACCIDENT}: {sabotage} could not be broken: {type(raised).__name__}: {raised}",
            )
        try:
            yield
        except (KeyboardInterrupt, pytest.exit.Exception):
            raise
        except BaseException as raised:
            error = raised
    if isinstance(error, NotChecked) and error.reason == "not-implemented":
        raise error  # by the accelerator, fault or not
    if error is None:
        _fail(item, SURVIVED, f"survived: with {sabotage} broken, every check of the claim still passed")
    if not is_own_check(error, specification(item)) or raised_through(error, sabotage.replace):
        _fail(
            item,
            ACCIDENT,
            f"{ACCIDENT}: with {sabotage} broken, no check of the claim failed; "
            f"it ended with {type(error).__name__}: {error}",
        )
    item.stash[RESULT] = CAUGHT
    return True


def _fail(item: pytest.Function, result: str, message: str) -> NoReturn:
    item.stash[RESULT] = result
    pytest.fail(message, pytrace=False)


def raised_through(error: BaseException, fault: Callable[..., Any]) -> bool:
    """Tell whether `error` came up through the fault itself, whose own assert is no check of the claim."""
    own = set(_codes(fault.__code__)) if hasattr(fault, "__code__") else set()
    frame = error.__traceback__
    while frame is not None:
        if frame.tb_frame.f_code in own:
            return True
        frame = frame.tb_next
    return False


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)
