"""Each test starts from a random state of its own, whatever ran before it."""

import hashlib
import random
import re

import hypothesis
import numpy as np
import pytest
import torch

from spec.harness.accelerator.devices import accelerator_kind
from spec.harness.places import node_of
from spec.harness.statements.statement import statement_of


def seed_of(item: pytest.Item) -> int:
    """Return a seed in [0, 2**32) from statement and case, the same on every device and under every fault."""
    case = sorted((key, value) for key, value in cases(item).items() if key != "device")
    statement = statement_of(item)
    name = statement.id if statement else node_of(item).split("[")[0]
    return seed_from(f"{name}{case}")


def seed_from(name: str) -> int:
    """Return a seed in [0, 2**32) from a name."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big")


def cases(item: pytest.Item) -> dict[str, str]:
    """Return the parameters of a test as text, the sabotage left out."""
    callspec = getattr(item, "callspec", None)
    params = callspec.params if callspec is not None else {}
    return {key: _text(value) for key, value in params.items() if key != "sabotage"}


def _text(value: object) -> str:
    """Return a value as text that is the same in every process: without its address."""
    return re.sub(r" at 0x[0-9a-f]+", "", getattr(value, "__name__", None) or str(value))


def sow(seed: int) -> None:
    """Seed Python, NumPy, and PyTorch on the CPU and on every device."""
    random.seed(seed)
    np.random.seed(seed)
    if accelerator_kind() is None:
        torch.default_generator.manual_seed(seed)  # manual_seed would note each call for when there is one
    else:
        torch.manual_seed(seed)


def draw_the_same_cases(*, shrink: bool) -> None:
    """Let Hypothesis draw the same cases in every run, and make a failing one small if `shrink`."""
    phases = [hypothesis.Phase.explicit, hypothesis.Phase.generate]
    hypothesis.settings.register_profile(
        "blitz",
        deadline=None,  # the machine's speed decides nothing
        database=None,
        derandomize=True,
        phases=[*phases, hypothesis.Phase.shrink] if shrink else phases,
        report_multiple_bugs=False,
        suppress_health_check=[
            hypothesis.HealthCheck.function_scoped_fixture,  # a device stays the same in every case
            hypothesis.HealthCheck.differing_executors,  # pytest makes an instance of a class for each test
            hypothesis.HealthCheck.too_slow,
        ],
    )
    hypothesis.settings.load_profile("blitz")
