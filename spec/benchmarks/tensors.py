"""What tensors from arrays cost that share their memory or copy it, and views against copies."""

import torch

from spec.benchmarks.builders import Operation, drawn, repeated

TIMES = 2_000  # each on a batch of four, 48 kB


def from_numpy(device: torch.device) -> Operation:
    """Two thousand tensors that share the memory of an array, each moved to the device."""
    array = drawn(4).images.float().numpy()
    return repeated(lambda: torch.from_numpy(array).to(device), TIMES, device)


def tensor_of_an_array(device: torch.device) -> Operation:
    """Two thousand tensors that copy an array, on the device."""
    array = drawn(4).images.float().numpy()
    return repeated(lambda: torch.tensor(array, device=device), TIMES, device)


def view(device: torch.device) -> Operation:
    """Two thousand views (4, 3072) of a batch (4, 3, 32, 32)."""
    images = drawn(4).images.float().to(device)
    return repeated(lambda: images.view(4, -1), TIMES, device)


def clone(device: torch.device) -> Operation:
    """Two thousand copies of a batch, as it lies in memory."""
    images = drawn(4).images.float().to(device)
    return repeated(images.clone, TIMES, device)


OPERATIONS = [from_numpy, tensor_of_an_array, view, clone]
