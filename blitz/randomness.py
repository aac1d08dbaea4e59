"""Where chance comes from: the order of samples, and the states of the global generators."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor


def epoch_order(length: int, *, seed: int, epoch: int) -> Tensor:
    """Return the order of the samples in an epoch, counted from 0, by seed and epoch alone: int64 (length,).

    >>> epoch_order(5, seed=0, epoch=1).sort().values
    tensor([0, 1, 2, 3, 4])
    """
    return torch.randperm(length, generator=epoch_generator(seed, epoch))


def epoch_generator(seed: int, epoch: int, *, stream: int = 0) -> torch.Generator:
    """Return a generator on the CPU for what one epoch draws; draws of one kind have a stream of their own.

    >>> [torch.randint(100, (), generator=epoch_generator(0, 3)).item() for _ in range(2)] == [
    ...     torch.randint(100, (), generator=epoch_generator(0, 3)).item() for _ in range(2)
    ... ]
    True
    """
    # the CPU generator reads 32 bits of its seed; the prime keeps a million epochs of two seeds apart, and of
    # each million a stream takes the next 250,000
    return torch.Generator().manual_seed((seed * 1_000_003 + epoch + stream * 250_000) % 2**32)


def random_states(device: torch.device) -> dict[str, Tensor]:
    """Return the states of PyTorch's generators on the CPU and on the device, by the kind of device."""
    states = {"torch": torch.get_rng_state()}
    if device.type != "cpu":
        states[device.type] = _device_state(device, "get")
    return states


def restore_random_states(states: Mapping[str, Tensor], device: torch.device) -> None:
    """Put the generators back to where random_states() found them; another device's state is passed over."""
    torch.set_rng_state(states["torch"])
    if device.type in states:
        _device_state(device, "set", states[device.type])


def _device_state(device: torch.device, verb: str, *state: Tensor) -> Any:
    # cuda, xpu and the like name the device; mps has only one and takes no name for it
    where = () if device.type == "mps" else (device,)
    return getattr(torch.get_device_module(device), f"{verb}_rng_state")(*state, *where)
