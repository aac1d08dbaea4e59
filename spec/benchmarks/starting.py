"""How long a person waits for an answer that needs no computation."""

import os
import subprocess
import sys
from pathlib import Path

import torch

from spec.benchmarks.builders import Operation

ROOT = Path(__file__).parents[2]


def help_of_blitz(device: torch.device) -> Operation:
    """`blitz --help`, as a process of its own; the goal is 0.3 s."""
    return _process("blitz", "--help")


def start_of_pytest(device: torch.device) -> Operation:
    """`pytest --collect-only` of one file of statements: all that a plain run waits for but the other files.

    The whole specification takes three times as long, and grows by the number of its tests.
    """
    words = ["--collect-only", "-q", "-p", "no:cacheprovider", "spec/section_1_tensor"]
    return _process("pytest", *words)


def _process(*words: str) -> Operation:
    """Return an operation that runs a module of this tree, wherever another one is installed."""
    ours = ("PYTEST_", "BLITZ_REQUIRE")  # what a run of pytest tells its children
    environment = {name: value for name, value in os.environ.items() if not name.startswith(ours)}

    def operation() -> float:
        command = [sys.executable, "-m", *words]
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, check=True)
        return float(len(done.stdout))

    return operation


OPERATIONS = [help_of_blitz, start_of_pytest]
