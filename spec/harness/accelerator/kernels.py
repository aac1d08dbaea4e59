"""The rung of kernels: what the device computes, held to the CPU in float64."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from spec.harness.accelerator.precision import float32_precision
from spec.harness.accelerator.visibility import RungError, allowing_gaps, not_there

# The largest error that is allowed, in parts of the largest value. IEEE float32 comes to a few 1e-7, in
# convolutions by Winograd's method to a few 1e-6; TF32 in these products to about 4e-4, bfloat16 to ten times
# that. TF32, float16 and bfloat16 may have four times the distance from 1 to the next number, 2**-10 or
# 2**-7: they sum up products in float32, and round once or twice.
FORMATS = {
    "float64": (torch.float64, 1e-12),
    "float32": (torch.float32, 1e-5),
    "TF32": (torch.float32, 4 * 2**-10),
    "float16": (torch.float16, 4 * 2**-10),
    "bfloat16": (torch.bfloat16, 4 * 2**-7),
}

Inputs = dict[str, Tensor]
# Each takes matrices a and b (256, 256), images (8, 16, 20, 20), weight (32, 16, 3, 3), bias (256,) and index
# (256,) with the numbers 0 to 63, four times each.
KERNELS: dict[str, Callable[[Inputs], Tensor]] = {
    "copy": lambda x: x["a"].t().contiguous(),
    "addition": lambda x: x["a"] + x["b"],
    "subtraction": lambda x: x["a"] - x["b"],
    "abs": lambda x: x["a"].abs(),
    "norm": lambda x: x["a"].norm(dim=1),
    "distance": lambda x: torch.dist(x["a"], x["b"]),
    "division": lambda x: x["a"] / (1 + x["b"] ** 2),
    "exp": lambda x: x["a"].exp(),
    "tanh": lambda x: x["a"].tanh(),
    "comparison": lambda x: torch.where(x["a"] > x["b"], x["a"], x["b"]),
    "sum": lambda x: x["a"].sum(0),
    "mean": lambda x: x["images"].mean((1, 2)),
    "max": lambda x: x["a"].max(1).values,
    "sort": lambda x: x["a"].sort(1).values,
    "indexing": lambda x: x["a"][x["index"]],
    "index_add": lambda x: torch.zeros_like(x["a"]).index_add(0, x["index"], x["b"]),
    "concatenation": lambda x: torch.cat([x["a"], x["b"]], 1),
    "softmax": lambda x: x["a"].softmax(1),
    "log_softmax": lambda x: x["a"].log_softmax(1),
    "cross_entropy": lambda x: F.cross_entropy(x["a"], x["index"]),
    "matmul": lambda x: x["a"] @ x["b"],
    "linear": lambda x: F.linear(x["a"], x["b"], x["bias"]),
    "batched matmul": lambda x: torch.bmm(x["a"].view(4, 64, 256), x["b"].view(4, 256, 64)),
    "conv2d": lambda x: F.conv2d(x["images"], x["weight"], padding=1),
    "max_pool2d": lambda x: F.max_pool2d(x["images"], 2),
    "batch_norm": lambda x: F.batch_norm(x["images"], None, None, training=True),
    "layer_norm": lambda x: F.layer_norm(x["a"], (256,)),
}


def kernels_are_right(device: torch.device) -> str:
    """Return which formats were held to the CPU, and how much of their tolerance was used.

    Raises:
        RungError: a kernel is off by more than the tolerance of its format.
    """
    inputs = _inputs()
    checked: list[str] = []
    left_out: list[str] = []
    most = 0.0
    for form in _formats(device):
        dtype, tolerance = FORMATS[form]
        rounded = {name: values.to(dtype) if name != "index" else values for name, values in inputs.items()}
        exact = {name: values.double() if name != "index" else values for name, values in rounded.items()}
        precision = float32_precision("tf32" if form == "TF32" else "ieee")
        with allowing_gaps(device, form, left_out), precision:
            there = {name: values.to(device) for name, values in rounded.items()}
            for name, kernel in KERNELS.items():
                with allowing_gaps(device, f"{name} in {form}", left_out):
                    off = largest_error(kernel(there), kernel(exact))
                    if not off <= tolerance:  # NaN is no number below it
                        raise RungError(
                            f"{name} in {form} is off by {off:.1e} of its largest value, "
                            f"expected {tolerance:.0e} at most"
                        )
                    most = max(most, off / tolerance)
            checked.append(form)
    if not checked:
        raise RungError(f"{device.type} has none of the types {', '.join(FORMATS)}")
    used = f"at most {most:.0%} of what is allowed"
    return f"{len(KERNELS)} kernels in {', '.join(checked)}, {used}{not_there(left_out)}"


def _inputs() -> Inputs:
    return {
        "a": torch.randn(256, 256),
        "b": torch.randn(256, 256),
        "images": torch.randn(8, 16, 20, 20),
        "weight": torch.randn(32, 16, 3, 3),
        "bias": torch.randn(256),
        "index": torch.randperm(256) % 64,
    }


def _formats(device: torch.device) -> list[str]:
    """Return the formats that this kind of device computes in; TF32 is CUDA's own."""
    names = list(FORMATS)
    if device.type != "cuda" or torch.version.hip:
        names.remove("TF32")
    if device.type == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False):
        names.remove("bfloat16")  # what emulates it covers half of the kernels
    return names


def largest_error(actual: Tensor, expected: Tensor) -> float:
    """Return the largest difference, in parts of the largest expected value."""
    scale = expected.abs().max()
    return float((actual.cpu().double() - expected).abs().max() / scale)
