"""The rung of comparison: what a device takes for equal, larger, true or finite, held to the CPU exactly.

No check lets a device judge what it computed. Programs do, and take a wrong turn where it misjudges.
"""

from collections.abc import Callable
from itertools import product
from typing import Any

import torch
from torch import Tensor

from spec.harness.accelerator.visibility import RungError, allowing_gaps, not_there

DTYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64)
# Rows that are the same, all different, or partly so, with a zero or without; no row has a number twice.
A = [[0, 1, 2, 3], [1, 2, 3, 4], [3, 2, 1, 0], [2, 0, 4, 1]]
B = [[0, 1, 2, 3], [4, 3, 2, 1], [3, 2, 1, 0], [2, 4, 0, 1]]

Comparison = Callable[[Tensor, Tensor], list[Any]]
# Each takes A and B as tensors. Numbers are small and whole: no rounding excuses a difference. What is made
# of other comparisons comes after them, so that the first cause is told.
COMPARISONS: dict[str, Comparison] = {
    "eq": lambda a, b: [a == b, a == 1, a.bool() == b.bool()],
    "ne": lambda a, b: [a != b, a != 1, a.bool() != b.bool()],
    "lt": lambda a, b: [a < b, a < 1],
    "le": lambda a, b: [a <= b, a <= 1],
    "gt": lambda a, b: [a > b, a > 1],
    "ge": lambda a, b: [a >= b, a >= 1],
    "all": lambda a, b: [a.all(), a[1].all(), a.all(0), (a == b).all(1)],
    "any": lambda a, b: [a.any(), a[:1, :1].any(), a[:2].any(0), (a == b).any(1)],
    "logical": lambda a, b: [torch.logical_and(a, b), torch.logical_or(a, b), torch.logical_xor(a, b)],
    "logical_not": lambda a, b: [torch.logical_not(a), ~a.bool()],
    "bitwise": lambda a, b: [a.bool() & b.bool(), a.bool() | b.bool(), a.bool() ^ b.bool()],
    "isnan": lambda a, b: [torch.isnan(a / b)],
    "isinf": lambda a, b: [torch.isinf(a / b)],
    "isfinite": lambda a, b: [torch.isfinite(a / b)],
    "where": lambda a, b: [torch.where(a > b, a, b)],
    "nonzero": lambda a, b: [a.nonzero(), a.count_nonzero(), a[a == b]],
    "max and min": lambda a, b: [a.max(), *a.max(1), a.min(), *a.min(1), a.maximum(b), a.minimum(b)],
    "amax and amin": lambda a, b: [a.amax(), a.amax(1), a.amin(), a.amin(1)],
    "argmax and argmin": lambda a, b: [a.argmax(1), a.argmin(1)],
    "item": lambda a, b: [bool(a[0, 0]), (a == b)[0, 0].item(), (a == b)[1, 0].item(), a[0, 1].item() == 1],
    "difference": lambda a, b: [a - b, 1 - a, (a - b).abs(), (a - b).abs().max(), (a - b).abs().sum()],
    "equal": lambda a, b: [torch.equal(a, b), torch.equal(a, a.clone())],
    "isclose": lambda a, b: [torch.isclose(a, b)],
    "allclose": lambda a, b: [torch.allclose(a, b), torch.allclose(a, a.clone())],
    "isin": lambda a, b: [torch.isin(a, b[0])],
}


def comparisons_are_right(device: torch.device) -> str:
    """Return how many comparisons were held to the CPU, and which the device has not.

    Raises:
        RungError: one gives another answer than on the CPU.
    """
    left_out: list[str] = []
    for dtype, (name, compare) in product(DTYPES, COMPARISONS.items()):
        expected = answers(compare, dtype, torch.device("cpu"))
        with allowing_gaps(device, f"{name} in {dtype}", left_out):
            for seen, right in zip(answers(compare, dtype, device), expected, strict=True):
                if seen != right:
                    raise RungError(f"{name} in {dtype} gives {seen}, on the CPU {right}")
    answered = f"{len(COMPARISONS)} comparisons in {len(DTYPES)} types answer as the CPU does"
    return answered + not_there(left_out)


def answers(compare: Comparison, dtype: torch.dtype, device: torch.device) -> list[object]:
    """Return what the device answers, copied into numbers and truth values of Python."""
    a, b = (torch.tensor(rows).to(dtype).to(device) for rows in (A, B))
    return [answer.tolist() if isinstance(answer, Tensor) else answer for answer in compare(a, b)]
