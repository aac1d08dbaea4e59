"""The rung of comparison: each question has both answers, and a wrong one is told."""

import pytest
import torch

from spec.harness.accelerator import comparisons
from spec.harness.accelerator.comparisons import COMPARISONS, DTYPES, answers, comparisons_are_right
from spec.harness.accelerator.visibility import RungError

CPU = torch.device("cpu")


def leaves(answer):
    """Return the numbers in nested lists."""
    return [leaf for part in answer for leaf in leaves(part)] if isinstance(answer, list) else [answer]


@pytest.mark.parametrize("name", COMPARISONS)
def test_both_answers_occur_in_each_type(name):
    """A device that gives the same answer whatever it is asked gives a wrong one."""
    found = [set(leaves(answers(COMPARISONS[name], dtype, CPU))) for dtype in DTYPES]

    assert min(map(len, found)) > 1


@pytest.mark.parametrize("name", COMPARISONS)
def test_a_device_that_answers_otherwise_is_told(monkeypatch, name):
    """The comparison is named, with what it gives there and on the CPU."""
    real, calls = COMPARISONS[name], []

    def misjudged(a, b):
        calls.append(name)
        first, *rest = real(a, b)
        if len(calls) == 1:  # the CPU is asked first
            return [first, *rest]
        return [first.logical_not() if isinstance(first, torch.Tensor) else not first, *rest]

    monkeypatch.setattr(comparisons, "COMPARISONS", {name: misjudged})

    with pytest.raises(RungError, match=rf"^{name} in torch.float64 gives .*, on the CPU "):
        comparisons_are_right(CPU)
