"""Timed samples of an operation, of which those count during which the device was not throttled.

NVIDIA's driver says why the clocks of a GPU are lower; of other devices nobody can tell.
"""

import ctypes
import functools
from collections import Counter

import pytest
import torch

SAMPLES = 20
AT_LEAST = 10  # samples, for a median that one or two odd ones do not move

# Source: NVIDIA's documentation of NVML, nvmlClocksEventReasons. Idle clocks, clocks that somebody set, and
# clocks that follow another GPU's are no throttling.
THROTTLED = {
    0x04: "power limit",
    0x08: "hardware slowdown",
    0x20: "temperature, by software",
    0x40: "temperature, by hardware",
    0x80: "power brake",
}


def sample(benchmark, operation, device, samples=SAMPLES, at_least=AT_LEAST):
    """Time `operation`, which returns once the device is done, so often; return what it returns.

    A sample is dropped if the device was throttled right before or right after it. With fewer than `at_least`
    left there is no number, neither in the table nor in a file: the result is invalid, and the test fails.
    In a run that times nothing, `operation` is done twice.
    """
    if benchmark.disabled:
        operation()
        return benchmark(operation)
    before, after = [], []
    result = benchmark.pedantic(
        operation,
        setup=lambda: before.append(reasons(device)),
        teardown=lambda: after.append(reasons(device)),
        rounds=samples,
        warmup_rounds=1,
    )
    throttled = [(one or set()) | (other or set()) for one, other in zip(before, after, strict=True)][1:]
    times = benchmark.stats.stats.data
    times[:] = [seconds for seconds, why in zip(times, throttled, strict=True) if not why]
    benchmark.extra_info["samples dropped"] = samples - len(times)
    benchmark.extra_info["throttling"] = "known" if None not in (*before, *after) else "not known here"
    if len(times) < min(at_least, samples):
        benchmark._add_stats.__self__.remove(
            benchmark.stats
        )  # the only way to have it neither shown nor saved
        causes = Counter(word for why in throttled for word in why)
        pytest.fail(
            f"invalid: {samples - len(times)} of {samples} samples were taken while {device} was throttled "
            f"({', '.join(causes)}); let it cool down, or look at its power limit, and measure again",
            pytrace=False,
        )
    return result


def reasons(device: torch.device) -> set[str] | None:
    """Return why the clocks of a device are lowered right now, if they are; None if nobody can tell."""
    handle = _handle(device) if device.type == "cuda" else None
    if handle is None:
        return None
    mask = ctypes.c_ulonglong()
    library = ctypes.CDLL("libnvidia-ml.so.1")
    if library.nvmlDeviceGetCurrentClocksThrottleReasons(handle, ctypes.byref(mask)):
        return None
    return read(mask.value)


def read(mask: int) -> set[str]:
    """Return in words what the bits of NVML's mask say of throttling.

    >>> read(0x05)
    {'power limit'}
    """
    return {words for bit, words in THROTTLED.items() if mask & bit}


@functools.cache
def _handle(device: torch.device) -> ctypes.c_void_p | None:
    """Return NVML's handle of a device; by its UUID, since CUDA_VISIBLE_DEVICES renumbers."""
    uuid = f"GPU-{torch.cuda.get_device_properties(device).uuid}"
    handle = ctypes.c_void_p()
    try:
        library = ctypes.CDLL("libnvidia-ml.so.1")
        failed = library.nvmlInit_v2() or library.nvmlDeviceGetHandleByUUID(
            uuid.encode(), ctypes.byref(handle)
        )
    except (OSError, AttributeError):
        return None
    return None if failed else handle
