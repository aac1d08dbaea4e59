"""The rungs of the ladder: what a device has to do right, the simplest first, before checks mean a thing.

`python -m spec.harness.accelerator.rungs DEVICE` climbs in this process, and prints a line of JSON when a
rung has ended. The ladder watches over such a process.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from typing import NamedTuple

import torch

from spec.harness.accelerator import pace
from spec.harness.accelerator.comparisons import comparisons_are_right
from spec.harness.accelerator.cooperation import devices_work_together
from spec.harness.accelerator.kernels import kernels_are_right
from spec.harness.accelerator.learning import (
    a_batch_is_overfitted,
    checkpoint_is_the_same,
    gradients_are_right,
)
from spec.harness.accelerator.visibility import RungError, is_visible

LONGEST = 400  # characters of a line that a person is to read


class Rung(NamedTuple):
    """One step up: its name, what is checked, and what to do where that fails."""

    name: str
    check: Callable[[torch.device], str]  # returns one line of detail, raises where it fails
    advice: str


RUNGS = (
    Rung(
        "visible",
        is_visible,
        "see that the name of the device is one that this PyTorch knows, and that its driver works",
    ),
    Rung(
        "memory",
        pace.memory_keeps_its_bytes,
        "see what else holds its memory (nvidia-smi); where bytes changed, or copies fail on an idle device, "
        "look for Xid and ECC errors (dmesg, nvidia-smi -q -d ECC) and reset or replace it",
    ),
    Rung(
        "comparison",
        comparisons_are_right,
        "our checks do not ask the device whether it is right, but programs do: try another device, "
        "then `pip install --force-reinstall torch`; where that does not help, report this line to PyTorch",
    ),
    Rung(
        "kernels",
        kernels_are_right,
        "an error near 1e-3 in float32 is that of TF32 or bfloat16: see what sets NVIDIA_TF32_OVERRIDE or "
        "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE; any other is that of PyTorch, its libraries or the device: try "
        "another device, then `pip install --force-reinstall torch`",
    ),
    Rung(
        "autograd",
        gradients_are_right,
        "the kernels are right forwards and not backwards: report it to PyTorch with this line, "
        "and try its release before",
    ),
    Rung(
        "training",
        a_batch_is_overfitted,
        "the gradients are right, but the weights do not follow them: see whether something has replaced "
        "torch.optim, and reinstall PyTorch",
    ),
    Rung(
        "checkpoint",
        checkpoint_is_the_same,
        "where it cannot be written, see that the folder for temporary files (TMPDIR) is there and not full; "
        "bits that change are a fault of that disk or of the memory; another error is PyTorch's own for this "
        "kind of device: report it with this line",
    ),
    Rung(
        "parallel",
        devices_work_together,
        "run it again with NCCL_DEBUG=INFO; where devices disagree, with NCCL_P2P_DISABLE=1: if that helps, "
        "turn off the IOMMU or PCIe ACS of the machine (nvidia-smi topo -m shows how they are connected)",
    ),
    Rung(
        "speed",
        pace.speed_is_above_the_floor,
        "see what else runs on it and what holds it back (nvidia-smi -q -d PERFORMANCE,CLOCK,TEMPERATURE): "
        "heat, a power cap, clocks that are locked low, or a PCIe slot with too few lanes",
    ),
)
NAMES = [rung.name for rung in RUNGS]
ADVISE_ON_ERRORS = ("visible", "memory", "checkpoint", "parallel")  # and not on what comes out alone
SEE_IT = "`CUDA_LAUNCH_BLOCKING=1 python -m spec.harness.accelerator.rungs DEVICE` shows it happen"
RAISED = (
    "an operation that should work has raised an error: look for Xid errors (dmesg), try another device, "
    f"then another release of PyTorch; {SEE_IT}"
)
DIED = (
    "see whether the machine ended the process (dmesg says so, and lists Xid errors of the device), and "
    f"whether driver, CUDA and PyTorch fit each other; {SEE_IT}"
)
HUNG = (
    "the device, or a library, does not answer: see what else runs on it (nvidia-smi), look for Xid errors "
    f"(dmesg), reset the device or restart the machine; {SEE_IT}"
)


def try_each(name: str, tell: Callable[[dict[str, object]], None]) -> bool:
    """Climb in this process with the device `name`; return whether nothing failed.

    Args:
        name: the device's.
        tell: is given what came of a rung when it has ended.
    """
    for rung in RUNGS:
        started = time.monotonic()
        outcome, advice = "passed", ""
        try:
            device = torch.device(name)
            torch.manual_seed(0)
            seen = rung.check(device)
            pace.synchronize(device)  # an error that the device tells late belongs to this rung
        except RungError as error:
            outcome, advice, seen = "failed", error.advice or rung.advice, str(error)
        except Exception as error:
            outcome, seen = "failed", f"{type(error).__name__}: {error}"
            advice = rung.advice if rung.name in ADVISE_ON_ERRORS else RAISED
        seconds = round(time.monotonic() - started, 3)
        seen = " ".join(seen.split())[:LONGEST]
        tell({"rung": rung.name, "outcome": outcome, "seen": seen, "advice": advice, "seconds": seconds})
        if outcome == "failed":
            return False
    return True


def main() -> int:
    """Climb as the command line says; only our own lines go to the output, whatever libraries print."""
    output = os.dup(1)
    os.dup2(2, 1)

    def tell(line: dict[str, object]) -> None:
        os.write(output, (json.dumps(line) + "\n").encode())

    return 0 if try_each(sys.argv[1], tell) else 1


if __name__ == "__main__":
    sys.exit(main())
