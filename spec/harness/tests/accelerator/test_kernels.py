"""The rungs of kernels and autograd: each result is held to the CPU, and what is no number is wrong."""

import pytest
import torch

from spec.harness.accelerator import kernels, learning
from spec.harness.accelerator.visibility import RungError

CPU = torch.device("cpu")


@pytest.mark.parametrize("kernel", kernels.KERNELS)
def test_each_kernel_is_held_to_the_cpu(monkeypatch, kernel):
    """A kernel that is two percent off in float32 is named."""
    real = kernels.KERNELS[kernel]

    def wrong(inputs):
        return real(inputs) * (1.02 if inputs["a"].dtype == torch.float32 else 1)

    monkeypatch.setattr(kernels, "KERNELS", {kernel: wrong})

    with pytest.raises(RungError, match=f"^{kernel} in float32 is off by 2.0e-02"):
        kernels.kernels_are_right(CPU)


GRADIENTS = {
    "missing": ({}, "no gradient of w in float32"),
    "not a number": ({"w": torch.tensor([float("nan")])}, "gradient of w in float32 is off by nan"),
}


@pytest.mark.parametrize(("actual", "seen"), GRADIENTS.values(), ids=GRADIENTS)
def test_a_gradient_that_is_none_is_told(actual, seen):
    """A parameter without a gradient is named; NaN, which is above no bound, is not taken for right."""
    with pytest.raises(RungError, match=seen):
        learning.check_gradients(actual, {"w": torch.ones(1)}, 1.0, "float32")


def test_what_another_accelerator_lacks_is_left_out_and_said(monkeypatch):
    """A kernel that it lacks is named in the detail, and what is left has to be right."""

    def lacking(inputs):
        if inputs["a"].dtype == torch.float16:
            raise NotImplementedError("Could not run 'aten::x' with arguments from the 'X' backend")
        return inputs["a"]

    monkeypatch.setattr(kernels, "KERNELS", {"x": lacking})

    seen = kernels.kernels_are_right(CPU)

    assert seen.startswith("1 kernels in float64, float32, float16, bfloat16, at most 0%")
    assert seen.endswith("; not there: x in float16")
