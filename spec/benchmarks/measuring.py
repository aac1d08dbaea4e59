"""The clock and the memory of what is measured by a script instead of pytest-benchmark, and its machine."""

import resource
import time
from functools import partial

import torch

from spec.harness.accelerator import machine


def now(device):
    """Return the time in seconds, once the device has done what it was told."""
    if device.type != "cpu":
        torch.accelerator.synchronize()
    return time.perf_counter()


def timed(work, device):
    """Return what `work()` returns, and its seconds: by the device's events, else by the clock of now()."""
    pair = events(device)
    if pair is None:
        begin = now(device)
        return work(), now(device) - begin
    first, last = pair
    first.record()
    result = work()
    last.record()
    last.synchronize()
    return result, first.elapsed_time(last) / 1000


def events(device):
    """Return two events of the current device that measure the time between them, None if it has none."""
    event = torch.cuda.Event if device.type == "cuda" else partial(torch.Event, device)
    try:
        pair = [event(enable_timing=True) for _ in range(2)]
        for one in pair:
            one.record()
        pair[1].synchronize()
        pair[0].elapsed_time(pair[1])
    except RuntimeError:  # each backend refuses in its own way: NotImplementedError is one, too
        return None
    return pair


def memory(device):
    """Return the most memory in MB that this process held: of each GPU that it used, or of the machine.

    Of the machine, too, where the accelerator does not tell, as one without memory of its own.
    """
    of_device = getattr(torch.get_device_module(device), "max_memory_allocated", None)
    if device.type == "cpu" or of_device is None:
        return [resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024]
    peaks = map(of_device, range(torch.accelerator.device_count()))
    return [peak / 2**20 for peak in peaks if peak]


def place(device):
    """Name the device, or the processor and its cores."""
    if device.type != "cpu":
        return getattr(torch.get_device_module(device), "get_device_name", str)(device)
    about = machine.describe()
    return f"{about['cpu']}, {about['cpus']} cores"
