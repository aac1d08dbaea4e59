"""What a machine cannot check, by a closed list of reasons, and what a run may require of it."""

import re
from collections.abc import Iterable
from typing import NoReturn

import pytest
import torch

from spec.harness.records.vocabulary import REASONS

FORBIDDEN = pytest.StashKey[set[str]]()  # the reasons that no check of a run may give


def not_checked(reason: str, detail: str = "") -> NoReturn:
    """End the running test as not checked, for one of REASONS."""
    if reason not in REASONS:
        raise ValueError(f"expected a reason among {', '.join(REASONS)}, got {reason!r}")
    raise NotChecked(reason, detail or REASONS[reason])


class NotChecked(pytest.skip.Exception):  # type: ignore[misc,name-defined]
    """A skip with a reason from the closed list."""

    __module__ = "builtins"  # as for pytest's own: the report then shows the name alone

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}", _use_item_location=True)
        self.reason, self.detail = reason, detail


LACKS = re.compile(
    r"Could not run 'aten::\S+' with arguments from"  # the dispatcher finds no kernel
    r"|is not currently (implemented|supported)"  # MPS
    r"|doesn't support float64"
    r"|has no implementation for the backend"
)


def lacks(error: BaseException | None, kind: str | None) -> bool:
    """Tell whether a check ended because an accelerator of this `kind` lacks an operator or a type.

    Not on CUDA, where all that the checks need is there: a gap is an error.
    """
    is_check = error is None or isinstance(error, AssertionError)
    return kind not in (None, "cuda") and not is_check and bool(LACKS.search(str(error)))


def check_requirements(config: pytest.Config, requirements: Iterable[str]) -> set[str]:
    """Hold this machine to `requirements`; return the reasons that no check may give any more.

    Raises:
        pytest.UsageError: a requirement is unknown, or this machine does not meet it.
    """
    forbidden: set[str] = set()
    others = {name: check for its in config.hook.pytest_requirements() for name, check in its.items()}
    for requirement in requirements:
        if cuda := re.fullmatch(r"cuda(?::([1-9]\d*))?", requirement):
            forbidden |= _require_cuda(int(cuda[1] or 1))
        elif requirement in others:
            forbidden |= others[requirement]()
        else:
            known = ", ".join(["cuda", "cuda:N (N devices)", *others])
            raise pytest.UsageError(f"unknown requirement {requirement!r}: expected one of {known}")
    return forbidden


def _require_cuda(count: int) -> set[str]:
    found = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if found < count:
        raise pytest.UsageError(
            f"--require cuda{f':{count}' if count > 1 else ''}: this machine shows {found} CUDA devices to "
            f"PyTorch {torch.__version__}; look at nvidia-smi, at CUDA_VISIBLE_DEVICES, and whether "
            "torch.version.cuda names a CUDA build that the driver supports"
        )
    return {"no-accelerator"} if count == 1 else {"no-accelerator", "too-few-devices"}
