"""Which checks a test executed, and whether a failure is one of its own checks.

A check is an executed `assert`, a `torch.testing.assert_close`, a `pytest.raises` or a `pytest.warns`.
"""

import functools
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import _pytest
import numpy.testing
import pluggy
import pytest
import torch
from torch.testing._comparison import TensorLikePair, default_tolerances

from spec.harness.places import real

HARNESS = real(__file__).parents[1]
CHECKERS = [real(module.__file__ or "").parent for module in (_pytest, pluggy, torch.testing, numpy.testing)]


@functools.cache  # Hypothesis alone passes thousands of asserts of its own in a test
def _is_checker(name: str) -> bool:
    file = real(name)
    harness = file.is_relative_to(HARNESS) and not file.is_relative_to(HARNESS / "tests")
    return harness or any(map(file.is_relative_to, CHECKERS))


@functools.cache
def _is_within(file: str, folder: Path) -> bool:
    return real(file).is_relative_to(folder)


@dataclass
class Tally:
    """What a test of the specification in `folder` has checked so far."""

    folder: Path
    executed: int = 0
    tolerance_used: float | None = None  # the largest share of a tolerance that a difference took up


tallies: list[Tally] = []  # the last one counts: a run inside a run counts for itself


@contextmanager
def counted(folder: Path) -> Iterator[Tally]:
    """Give one test of the specification in `folder` a tally of its own."""
    tallies.append(Tally(folder))
    try:
        yield tallies[-1]
    finally:
        tallies.pop()


def note_check(share_of_tolerance: float | None = None) -> None:
    """Count one executed check, if the specification made it; libraries and plugins check, too."""
    if not tallies or not _is_within(asserting_file(), tallies[-1].folder):
        return
    mine = tallies[-1]
    mine.executed += 1
    if share_of_tolerance is not None:
        mine.tolerance_used = max(share_of_tolerance, mine.tolerance_used or 0.0)


def count_checks(patch: pytest.MonkeyPatch) -> None:
    """Have `assert_close`, `pytest.raises` and `pytest.warns` counted until `patch` is undone.

    pytest itself tells of asserts.

    What `assert_close` compares, it compares on the CPU: no device is asked whether it is right.
    """
    if hasattr(torch.testing.assert_close, "__wrapped__"):
        return  # a run inside a run, as the harness's own tests make
    patch.setattr(torch.testing, "assert_close", _counted_assert_close(torch.testing.assert_close))
    patch.setattr(TensorLikePair, "_equalize_attributes", _on_the_cpu(TensorLikePair._equalize_attributes))
    for context in (pytest.RaisesExc, type(pytest.warns())):
        patch.setattr(context, "__exit__", _counted_exit(context.__exit__))


def asserting_file() -> str:
    """Return the file of the assert that has just passed: the innermost caller that is no plugin."""
    frame: FrameType | None = sys._getframe(1)
    while frame and _is_checker(frame.f_code.co_filename):
        frame = frame.f_back
    return frame.f_code.co_filename if frame else ""


def _counted_assert_close(real: Any) -> Any:
    @functools.wraps(real)
    def assert_close(actual: Any, expected: Any, **options: Any) -> None:
        __tracebackhide__ = True
        real(actual, expected, **options)
        if not isinstance(actual, (Sequence, Mapping)) or actual:  # else nothing was compared
            note_check(_share_of_tolerance(actual, expected, options.get("rtol"), options.get("atol")))

    return assert_close


def _share_of_tolerance(actual: Any, expected: Any, rtol: float | None, atol: float | None) -> float | None:
    """Return the largest |actual - expected| / (atol + rtol |expected|), None for what has no tolerance."""
    if not all(
        isinstance(each, torch.Tensor) and each.layout == torch.strided for each in (actual, expected)
    ):
        return None
    if (
        not (expected.is_floating_point() or expected.is_complex())
        or expected.is_meta
        or not expected.numel()
    ):
        return None
    if rtol is None or atol is None:
        rtol, atol = default_tolerances(actual, expected)
    actual, expected = actual.detach().cpu(), expected.detach().cpu()
    error = (actual - expected).abs().nan_to_num(0.0).double()
    return float((error / (atol + rtol * expected.abs().double())).nan_to_num(0.0).max())


def _on_the_cpu(real: Any) -> Any:
    """Return the step between the comparison of device, dtype, layout and shape, and that of values."""

    @functools.wraps(real)
    def equalized(pair: TensorLikePair, actual: torch.Tensor, expected: torch.Tensor) -> Any:
        return real(pair, actual.cpu(), expected.cpu())

    return equalized


def _counted_exit(real: Any) -> Any:
    @functools.wraps(real)
    def leave(self: Any, *raised: Any) -> Any:
        __tracebackhide__ = True
        swallowed = real(self, *raised)
        if swallowed or not isinstance(self, pytest.RaisesExc):  # another error than expected goes on its way
            note_check()
        return swallowed

    return leave


def is_own_check(error: BaseException, folder: Path) -> bool:
    """Tell whether `error` is a failed check made in `folder`, and not an accident on the way to one.

    An AssertionError out of PyTorch's own code, or a timeout, is no check of the check.
    """
    failed = isinstance(error, (AssertionError, pytest.fail.Exception))
    raised_in = raising_file(error)
    if not failed or isinstance(error, pytest.xfail.Exception):  # which pytest derives from that of fail
        return False
    return raised_in is not None and raised_in.is_relative_to(folder)


def raising_file(error: BaseException) -> Path | None:
    """Return the file that raised `error`, the checkers that it called left out."""
    files = [frame.f_code.co_filename for frame, _ in traceback.walk_tb(error.__traceback__)]
    return next((real(file) for file in reversed(files) if not _is_checker(file)), None)
