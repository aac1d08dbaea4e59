"""How long a person waits for an answer that needs no computation."""

import subprocess
import sys
from pathlib import Path

import torch

from spec.benchmarks.builders import Operation


def help_of_blitz(device: torch.device) -> Operation:
    """`blitz --help` of this tree, as a process of its own; the goal is 0.3 s."""
    command = [sys.executable, "-m", "blitz", "--help"]
    root = Path(__file__).parents[2]
    return lambda: float(len(subprocess.run(command, cwd=root, capture_output=True, check=True).stdout))
