"""Who is accused is no judge: what an accelerator computed is compared on the CPU, after a copy.

`torch.testing.assert_close` makes that copy itself (see `checks`). What else turns tensors into an answer is
refused on another device, while a test on an accelerator runs and if the test itself asks.
"""

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from spec.harness.statements.checks import asserting_file

ANSWERS = {
    Tensor: ("__bool__", "__contains__", "is_nonzero", "equal", "allclose", "isclose", "item"),
    torch: ("is_nonzero", "equal", "allclose", "isclose"),
}


class JudgedByTheAccusedError(Exception):
    """A test asked an accelerator whether what the accelerator computed is right."""


@contextmanager
def judged_on_the_cpu(folder: Path) -> Iterator[None]:
    """Refuse an answer that a file in `folder` asks of a tensor on another device than the CPU."""
    with pytest.MonkeyPatch.context() as patch:
        for owner, names in ANSWERS.items():
            for name in names:
                patch.setattr(owner, name, _refused(getattr(owner, name), name, folder))
        yield


def _refused(real: Any, name: str, folder: Path) -> Any:
    @functools.wraps(real)
    def answer(*arguments: Any, **options: Any) -> Any:
        tensors = [each for each in (*arguments, *options.values()) if isinstance(each, Tensor)]
        if name == "item":  # of a number it is a copy
            tensors = [tensor for tensor in tensors if tensor.dtype == torch.bool]
        elsewhere = {str(tensor.device) for tensor in tensors if tensor.device.type != "cpu"}
        if elsewhere and Path(asserting_file()).is_relative_to(folder):
            raise JudgedByTheAccusedError(
                f"{name} would have {', '.join(elsewhere)} judge what it computed: expected a comparison "
                "on the CPU, by assert_close, or after .cpu() or .tolist()"
            )
        return real(*arguments, **options)

    return answer
