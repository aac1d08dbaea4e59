"""Each test starts from a random state of its own, whatever ran before it."""

import hashlib
import random

import numpy as np
import pytest
import torch


def seed_of(item: pytest.Item) -> int:
    """Return a seed in [0, 2**32) from the node id, the same on every device and under every sabotage."""
    case = sorted((key, value) for key, value in cases(item).items() if key != "device")
    name = f"{item.nodeid.split('[')[0]}{case}"
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big")


def cases(item: pytest.Item) -> dict[str, str]:
    """Return the parameters of a test as text, the sabotage left out."""
    callspec = getattr(item, "callspec", None)
    params = callspec.params if callspec is not None else {}
    return {key: str(value) for key, value in params.items() if key != "sabotage"}


def sow(seed: int) -> None:
    """Seed Python, NumPy, and PyTorch on the CPU and on every device."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
