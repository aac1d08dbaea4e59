"""A device that misjudges: what the accelerator without hardware answers falsely where FAKE_LIES says so.

Each lie is one operator of PyTorch that gives the answer that a check hopes for, whatever it is asked: a
comparison that always holds, a difference that is always zero. To trust it is to find a wrong result right.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch

LIES = {
    "equal": True,
    "allclose": True,
    "isclose": True,
    "all": True,
    "any": False,
    "eq": True,
    "ne": False,
    "lt": True,
    "le": True,
    "gt": True,
    "ge": True,
    "isin": True,
    "isfinite": True,
    "isnan": False,
    "isinf": False,
    "logical_and": True,
    "logical_or": True,
    "logical_xor": False,
    "logical_not": True,
    "bitwise_not": True,
    "bitwise_and": True,
    "bitwise_xor": 0,
    "nonzero": None,
    "count_nonzero": 0,
    "sub": 0,
    "rsub": 0,
    "abs": 0,
    "max": 0,
    "amax": 0,
    "sum": 0,
    "linalg_vector_norm": 0,
    "dist": 0,
    "_local_scalar_dense": True,  # which `.item()` and `bool()` ask; about numbers it tells the truth
}


def tell(names: Iterable[str]) -> torch.library.Library:
    """Have the device give false answers to these operators, for as long as the result is kept.

    Raises:
        ValueError: there is no such lie.
    """
    library = torch.library.Library("aten", "IMPL")
    for name in names:
        if name not in LIES:
            raise ValueError(f"FAKE_LIES names {name!r}; expected some of {', '.join(LIES)}")
        operator = getattr(torch.ops.aten, name)
        for overload in operator.overloads():
            if "out" not in overload and "name" not in overload:
                truly = getattr(operator, overload)
                library.impl(truly, lie(truly, LIES[name]), "PrivateUse1")
    return library


def lie(truly: Callable[..., Any], answer: Any) -> Callable[..., Any]:
    """Return `truly`, computed on the CPU, with `answer` in place of all that it found."""

    def told(*arguments: Any, **options: Any) -> Any:
        place = next(each.device for each in arguments if isinstance(each, torch.Tensor) and not each.is_cpu)
        copies = [each.cpu() if isinstance(each, torch.Tensor) else each for each in arguments]
        return falsified(truly(*copies, **options), answer, place)

    return told


def falsified(truth: Any, answer: Any, place: torch.device) -> Any:
    """Return on the device what looks like `truth`, and says `answer` throughout; None is nothing found."""
    if isinstance(truth, tuple):
        return tuple(falsified(part, answer, place) for part in truth)
    if not isinstance(truth, torch.Tensor):
        return answer if isinstance(truth, bool) else truth
    if answer is None:
        return truth[:0].to(place)
    if answer is True and truth.dtype != torch.bool:
        return truth.to(place)  # bits of numbers, and not a verdict
    return torch.full_like(truth, answer, device=place)
