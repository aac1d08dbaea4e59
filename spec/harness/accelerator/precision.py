"""How CUDA multiplies float32: as IEEE 754 says, or sooner in TF32, which keeps 10 of the fraction's 23 bits.

PyTorch has two settings for it, the flags `allow_tf32` and, since 2.9, `fp32_precision`. Where they disagree,
to read a flag is an error, inside torch.compile, too. Here both are set, so that they agree.
"""

import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal, NamedTuple

import torch


@contextmanager
def float32_precision(precision: Literal["ieee", "tf32"]) -> Iterator[None]:
    """Compute float32 products and convolutions on CUDA in this precision, afterwards in the one before.

    What the block itself sets of it is undone, too. Inside, every flag can be read, and afterwards each that
    could be read before. Products on the CPU are as IEEE says inside, in either precision: one flag of
    PyTorch is about them, too.

    Args:
        precision: "ieee" or "tf32"; a GPU of a compute capability below 8.0 computes as IEEE says.

    >>> with float32_precision("tf32"):
    ...     precision_flags()["cuda_matmul"]
    'tf32'
    """
    with _quietly():
        before = _settings()
    try:
        with _quietly():
            _choose(precision)
        yield
    finally:
        with _quietly():
            _put_back(before)


def precision_flags() -> dict[str, str | bool | None]:
    """Return what decides on precision and on repeatability, as it stands; leaves the device alone.

    `cuda_matmul` and `cuda_convolution` are "ieee" or "tf32". `float32_matmul` is what
    torch.get_float32_matmul_precision() says, "mixed" where PyTorch refuses to say. `tf32_override` is the
    environment variable NVIDIA_TF32_OVERRIDE, which NVIDIA's libraries heed whatever is set here.

    >>> precision_flags()["default_dtype"]
    'torch.float32'
    """
    cuda, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    with _quietly():
        return {
            "default_dtype": str(torch.get_default_dtype()),
            "float32_matmul": _if_agreed(torch.get_float32_matmul_precision) or "mixed",
            "cuda_matmul": _precision(cuda, lambda: cuda.allow_tf32),
            "cuda_convolution": _precision(getattr(cudnn, "conv", cudnn), lambda: cudnn.allow_tf32),
            "float16_reduced_reduction": cuda.allow_fp16_reduced_precision_reduction,
            "bfloat16_reduced_reduction": cuda.allow_bf16_reduced_precision_reduction,
            "deterministic": torch.are_deterministic_algorithms_enabled(),
            "cudnn_deterministic": cudnn.deterministic,
            "cudnn_benchmark": cudnn.benchmark,
            "tf32_override": os.environ.get("NVIDIA_TF32_OVERRIDE"),
        }


class _Settings(NamedTuple):
    """Both settings; a flag is None where PyTorch refuses to read it."""

    matmul: str | None
    cudnn: bool | None
    levels: list[str]  # of _levels()


def _settings() -> _Settings:
    return _Settings(
        _if_agreed(torch.get_float32_matmul_precision),
        _if_agreed(lambda: torch.backends.cudnn.allow_tf32),
        [level.fp32_precision for level in _levels()],
    )


def _levels() -> list[Any]:
    """Return what has an `fp32_precision`, first the two that others inherit from; [] before PyTorch 2.9."""
    backends: Any = torch.backends
    if not hasattr(backends.cudnn, "conv"):
        return []
    operators = [backends.cuda.matmul, backends.cudnn.conv, backends.cudnn.rnn]
    on_cpu = [backends.mkldnn.matmul, backends.mkldnn.conv, backends.mkldnn.rnn]
    return [backends, backends.cudnn, *operators, *on_cpu]


def _choose(precision: Literal["ieee", "tf32"]) -> None:
    tf32 = precision == "tf32"
    torch.set_float32_matmul_precision("highest")
    torch.backends.cuda.matmul.allow_tf32 = tf32
    torch.backends.cudnn.allow_tf32 = tf32
    for level in _levels()[2:5]:  # the flags leave to a level above what they do not allow
        level.fp32_precision = precision


def _put_back(before: _Settings) -> None:
    values = list(zip(_levels(), before.levels, strict=True))
    for level, value in values[:2]:
        _put(level, value)
    products, convolutions = (level == "tf32" for level in before.levels[2:4] or (False, False))
    torch.set_float32_matmul_precision(before.matmul or ("high" if products else "highest"))
    torch.backends.cudnn.allow_tf32 = convolutions if before.cudnn is None else before.cudnn
    for level, value in values[2:]:
        _put(level, value)


def _put(level: Any, value: str) -> None:
    """Set a level, or leave it to the one above where that comes to the same."""
    level.fp32_precision = "none"
    if level.fp32_precision != value:
        level.fp32_precision = value


def _precision(level: Any, flag: Callable[[], bool]) -> str:
    """Return the precision that a level has, or before PyTorch 2.9 its flag."""
    tf32 = level.fp32_precision == "tf32" if _levels() else flag()
    return "tf32" if tf32 else "ieee"


def _if_agreed(read: Callable[[], Any]) -> Any:
    """Return what `read` does, None where PyTorch refuses because the settings disagree."""
    try:
        return read()
    except RuntimeError:
        return None


@contextmanager
def _quietly() -> Iterator[None]:
    """Keep to ourselves that PyTorch 2.9.0 warns of the flags, which it still heeds and checks."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        yield
