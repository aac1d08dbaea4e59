"""Which checks a test executed, and whether a failure is one of its own checks.

A check is an executed `assert`, a `torch.testing.assert_close`, a `pytest.raises` or a `pytest.warns`.
"""

import functools
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType, ModuleType, TracebackType
from typing import Any

import _pytest
import numpy.testing
import pluggy
import pytest
import torch
from torch.testing._comparison import TensorLikePair

from spec.harness.places import real

# Source: the table of default tolerances in the documentation of torch.testing.assert_close.
TOLERANCES = {
    torch.float16: (1e-3, 1e-5),
    torch.bfloat16: (1.6e-2, 1e-5),
    torch.float32: (1.3e-6, 1e-5),
    torch.float64: (1e-7, 1e-7),
    torch.complex64: (1.3e-6, 1e-5),
    torch.complex128: (1e-7, 1e-7),
}


def _folder(module: ModuleType) -> Path:
    return real(module.__file__ or "").parent


HARNESS = real(__file__).parents[1]
CHECKERS = list(map(_folder, (_pytest, pluggy, torch.testing, numpy.testing)))


def _is_harness(file: Path) -> bool:
    return file.is_relative_to(HARNESS) and not file.is_relative_to(HARNESS / "tests")


@functools.cache  # Hypothesis alone passes thousands of asserts of its own in a test
def _is_checker(file: str) -> bool:
    return _is_harness(real(file)) or any(real(file).is_relative_to(checker) for checker in CHECKERS)


@functools.cache
def _is_within(file: str, folder: Path) -> bool:
    return real(file).is_relative_to(folder)


@dataclass
class Tally:
    """What the running test has checked so far."""

    executed: int = 0
    tolerance_used: float | None = None
    folder: Path | None = None

    def note(self, share_of_tolerance: float | None = None) -> None:
        """Count one executed check, if the specification made it; libraries and plugins check, too."""
        if self.folder is None or not _is_within(asserting_file(), self.folder):
            return
        self.executed += 1
        if share_of_tolerance is not None:
            self.tolerance_used = max(share_of_tolerance, self.tolerance_used or 0.0)

    @contextmanager
    def of_its_own(self, folder: Path) -> Iterator["Tally"]:
        """Give one test of the specification in `folder` a tally of its own, filled when it ends.

        A run inside a run counts for itself.
        """
        mine, around = Tally(), (self.executed, self.tolerance_used, self.folder)
        self.executed, self.tolerance_used, self.folder = 0, None, folder
        try:
            yield mine
        finally:
            mine.executed, mine.tolerance_used = self.executed, self.tolerance_used
            self.executed, self.tolerance_used, self.folder = around


tally = Tally()


def count_checks(patch: pytest.MonkeyPatch) -> None:
    """Have `assert_close`, `pytest.raises` and `pytest.warns` counted until `patch` is undone.

    Asserts are counted by pytest.

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
        if isinstance(actual, (Sequence, Mapping)) and not actual:
            return  # nothing was compared
        tally.note(_share_of_tolerance(actual, expected, options.get("rtol"), options.get("atol")))

    return assert_close


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
            tally.note()
        return swallowed

    return leave


def _share_of_tolerance(actual: Any, expected: Any, rtol: float | None, atol: float | None) -> float | None:
    """Return the largest |actual - expected| / (atol + rtol |expected|), None for what has no tolerance."""
    if not (isinstance(actual, torch.Tensor) and isinstance(expected, torch.Tensor)):
        return None
    if expected.dtype not in TOLERANCES or not expected.numel() or expected.is_meta:
        return None
    if actual.layout != torch.strided or expected.layout != torch.strided:
        return None
    if rtol is None or atol is None:
        pairs = [TOLERANCES[t.dtype] for t in (actual, expected) if t.dtype in TOLERANCES]
        rtol, atol = (max(values) for values in zip(*pairs, strict=True))
    actual, expected = actual.detach().cpu(), expected.detach().cpu()
    error = (actual - expected).abs().nan_to_num(0.0).double()
    share = (error / (atol + rtol * expected.abs().double())).nan_to_num(0.0).max()
    return float(share)


def is_own_check(error: BaseException, folder: Path) -> bool:
    """Tell whether `error` is a failed check made in `folder`, and not an accident on the way to one.

    An AssertionError out of PyTorch's own code, or a timeout, is no check of the check.
    """
    if not isinstance(error, (AssertionError, pytest.fail.Exception)):
        return False
    if isinstance(error, pytest.xfail.Exception):  # pytest derives it from the exception of fail
        return False
    raised_in = raising_file(error)
    return raised_in is not None and raised_in.is_relative_to(folder)


def raising_file(error: BaseException) -> Path | None:
    """Return the file that raised `error`, the checkers that it called left out."""
    frame: TracebackType | None = error.__traceback__
    found = None
    while frame is not None:
        file = frame.tb_frame.f_code.co_filename
        if not _is_checker(file):
            found = real(file)
        frame = frame.tb_next
    return found
