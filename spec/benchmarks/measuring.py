"""The clock and the memory of what is measured by a script instead of pytest-benchmark."""

import resource
import time

import torch


def now(device):
    """Return the time in seconds, once the device has done what it was told."""
    if device.type != "cpu":
        torch.accelerator.synchronize()
    return time.perf_counter()


def memory(device):
    """Return the most memory in MB that this process held: of each GPU that it used, or of the machine.

    Of the machine, too, where the accelerator does not tell, as one without memory of its own.
    """
    of_device = getattr(torch.get_device_module(device), "max_memory_allocated", None)
    if device.type == "cpu" or of_device is None:
        return [resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024]
    peaks = map(of_device, range(torch.accelerator.device_count()))
    return [peak / 2**20 for peak in peaks if peak]
