"""Running a claim with a fault planted, to see that its own check catches it."""

from collections.abc import Generator
from typing import Any

import pytest

from spec.harness.checks import is_own_check
from spec.harness.claims import Sabotage
from spec.harness.contract import NotChecked

CAUGHT = "caught"
SURVIVED = "survived"
ACCIDENT = "caught by accident"
MISSING = "missing"

RESULT = pytest.StashKey[str]()


def under(item: pytest.Function, sabotage: Sabotage | None) -> Generator[None, Any, Any]:
    """Run the claim `item` under `sabotage`; pass only if a check of its own fails."""
    if sabotage is None:
        item.stash[RESULT] = MISSING
        pytest.fail("no sabotage: plant a fault that this claim catches with @broken_by(...)", pytrace=False)
    error: BaseException | None = None
    with pytest.MonkeyPatch.context() as patch:
        try:
            sabotage.plant(patch)
            yield
        except (NotChecked, KeyboardInterrupt, pytest.exit.Exception):
            raise
        except BaseException as raised:
            error = raised
    item.stash[RESULT] = result_of(error, item)
    if item.stash[RESULT] == SURVIVED:
        pytest.fail(f"survived: with {sabotage} broken, every check of the claim still passed", pytrace=False)
    if item.stash[RESULT] == ACCIDENT:
        pytest.fail(
            f"caught by accident: with {sabotage} broken, no check of the claim failed; "
            f"it ended with {type(error).__name__}: {error}",
            pytrace=False,
        )
    return True


def result_of(error: BaseException | None, item: pytest.Function) -> str:
    """Say what became of a sabotage under which `item` ended with `error`."""
    if error is None:
        return SURVIVED
    return CAUGHT if is_own_check(error, item.path.parent) else ACCIDENT


def parametrize(metafunc: pytest.Metafunc, claim: Any) -> None:
    """Make one run of the claim for each of its sabotages."""
    metafunc.fixturenames.append("sabotage")
    sabotages = claim.sabotages or [None]
    metafunc.parametrize("sabotage", sabotages, ids=claim.sabotage_names or [MISSING])
