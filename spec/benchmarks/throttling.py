"""Whether a GPU ran as fast as it can while it was timed: NVIDIA's driver says why its clocks are lower."""

import ctypes
import functools

import torch

# Source: NVIDIA's documentation of NVML, nvmlClocksEventReasons. Idle clocks, clocks that somebody set, and
# clocks that follow another GPU's are no throttling.
THROTTLED = {
    0x04: "power limit",
    0x08: "hardware slowdown",
    0x20: "temperature, by software",
    0x40: "temperature, by hardware",
    0x80: "power brake",
}


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
