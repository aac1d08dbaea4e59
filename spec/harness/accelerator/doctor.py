"""`blitz doctor`: every device of a kind climbs the ladder, all at once; a person sees the first cause."""

import os
import platform
from collections.abc import Iterator
from queue import SimpleQueue
from threading import Thread

import torch

from spec.harness.accelerator import ladder
from spec.harness.accelerator.steps import Step, first_cause, step_lines


def doctor(name: str | None) -> int:
    """Climb with the device `name`, or all devices of its kind; return 0 if all rungs passed, else 1."""
    devices = devices_of(name)
    count = torch.accelerator.device_count() if torch.accelerator.is_available() else 0
    kind = torch.accelerator.current_accelerator() if count else None
    sees = f"{count} {kind} device{'s' if count > 1 else ''}" if count else "no accelerator"
    print(
        f"PyTorch {torch.__version__}, Python {platform.python_version()}, {os.cpu_count()} cores, {sees}",
        flush=True,
    )
    causes: list[str] = []
    advised: set[str] = set()
    for step in climb_together(devices):
        if first_cause([step]):
            causes.append(f"{step['rung']} on {step['device']}")
        if step["advice"] in advised:
            step["advice"] = ""  # eight devices may have one cause
        advised.add(step["advice"])
        print("\n".join(step_lines([step])), flush=True)
    print(f"First cause: the rung {', '.join(sorted(causes))}." if causes else "All rungs passed.")
    return 1 if causes else 0


def devices_of(name: str | None) -> list[str]:
    """Return the names of the devices to climb with; leaves them alone.

    Args:
        name: one device, such as "cuda:1", or a kind, which means all that are visible; None for the
            accelerator that is there, or that this PyTorch is built for, or else CUDA.
    """
    if name is None:
        built_for = torch.accelerator.current_accelerator()
        name = built_for.type if built_for is not None else "cuda"
    current = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    if current is None or name != current.type:
        return [name]  # one to climb with, or to be told what is missing
    return [f"{name}:{index}" for index in range(torch.accelerator.device_count())]


def climb_together(devices: list[str]) -> Iterator[Step]:
    """Yield the steps of all devices as they end."""
    steps: SimpleQueue[Step | None] = SimpleQueue()

    def climb_with(device: str) -> None:
        try:
            for step in ladder.climbing(device):
                steps.put(step)
        except Exception as error:  # which nobody would hear from a thread, and see only what had passed
            steps.put(ladder.not_climbed(device, error))
        finally:
            steps.put(None)

    for device in devices:
        Thread(target=climb_with, args=[device], daemon=True).start()
    on_their_way = len(devices)
    while on_their_way:
        step = steps.get()
        if step is None:
            on_their_way -= 1
        else:
            yield step
