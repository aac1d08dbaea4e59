"""The machine that a run is on: processor, accelerators, their software; no device is initialised."""

import ctypes
import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import torch

from spec.harness.accelerator.devices import accelerator_kind
from spec.harness.children import environment, python

Device = dict[str, Any]
T = TypeVar("T")

# what nvidia-smi calls it -> what we do
FIELDS = {
    "name": "name",
    "memory.total": "memory_mib",
    "driver_version": "driver",
    "compute_cap": "compute_capability",
    "mig.mode.current": "mig",
}


def describe() -> dict[str, Any]:
    """Return what the header of the records says of the machine."""
    kind = known(accelerator_kind)
    return {
        "os": known(platform.platform) or sys.platform,
        "cpu": known(cpu) or platform.machine(),
        "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "accelerator": kind,
        "devices": known(lambda: devices(kind)) or [],
        "visible_devices": os.environ.get("CUDA_VISIBLE_DEVICES"),
        "cuda": torch.version.cuda,
        "cuda_driver": known(cuda_driver),
        "cudnn": known(cudnn),
        "nccl": known(nccl),
    }


def known(ask: Callable[[], T]) -> T | None:
    """Return what `ask` tells, None where it fails: no run is lost for what only describes its machine."""
    try:
        return ask()
    except Exception:  # drivers and libraries that do not fit each other fail in any way
        return None


def cpu() -> str:
    """Return the model of the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.machine()


def devices(kind: str | None) -> list[Device]:
    """Return what is known of each accelerator of this kind, None for what is not.

    The driver is asked for NVIDIA's, all of the machine. Where it cannot be, and for other kinds, PyTorch
    is asked in a process of its own, since it has to initialise the devices.
    """
    if kind is None:
        return []
    return (kind == "cuda" and nvidia_devices()) or _from_pytorch()


def nvidia_devices() -> list[Device]:
    """Return what nvidia-smi tells of each device, [] where there is none or it does not work."""
    rows = output("nvidia-smi", f"--query-gpu={','.join(FIELDS)}", "--format=csv,noheader,nounits")
    cells = [row.split(", ") for row in (rows or "").splitlines()]
    return [_nvidia_device(row) for row in cells if len(row) == len(FIELDS)]


def _nvidia_device(row: list[str]) -> Device:
    """Read a row; "[N/A]", "[Unknown Error]" and the like tell nothing."""
    told = [None if text.startswith(("[", "ERR")) else text for text in row]
    device: Device = dict(zip(FIELDS.values(), told, strict=True))
    memory, mig = device["memory_mib"], device["mig"]
    device["memory_mib"] = memory and int(memory)
    device["mig"] = mig and mig == "Enabled"
    return device


def _from_pytorch() -> list[Device]:
    told = output(*python("-m", "spec.harness.accelerator.machine"), env=environment())
    try:
        found: list[Device] = json.loads((told or "").rpartition("\nDEVICES ")[2])
    except ValueError:
        return []
    return found


def pytorch_devices() -> list[Device]:
    """Return what PyTorch tells of each current accelerator; this initialises them."""
    module = torch.get_device_module()
    kind = accelerator_kind()
    found = []
    for index in range(torch.accelerator.device_count()):
        ask = getattr(module, "get_device_properties", lambda index: None)
        properties = ask(index)
        name = getattr(properties, "name", f"{kind}:{index}")
        memory = getattr(properties, "total_memory", None)
        driver = getattr(properties, "driver_version", None)
        found.append({"name": name, "memory_mib": memory and memory // 2**20, "driver": driver})
    return found


def cuda_driver() -> str | None:
    """Return the newest CUDA that NVIDIA's driver supports, such as "13.0", None without a driver."""
    version = ctypes.c_int()
    try:
        failed = ctypes.CDLL("libcuda.so.1").cuDriverGetVersion(ctypes.byref(version))
    except (OSError, AttributeError):
        return None
    return None if failed else f"{version.value // 1000}.{version.value % 1000 // 10}"


def cudnn() -> int | None:
    """Return the version of cuDNN, None where PyTorch has none."""
    return torch.backends.cudnn.version() if torch.backends.cudnn.is_available() else None


def nccl() -> str | None:
    """Return the version of NCCL, None where PyTorch has none."""
    if not (torch.distributed.is_available() and torch.distributed.is_nccl_available()):
        return None
    return ".".join(map(str, torch.cuda.nccl.version()))


def output(*command: str, cwd: Path | None = None, env: dict[str, str] | None = None) -> str | None:
    """Return what `command` prints, None where it is missing or fails."""
    try:
        done = subprocess.run(
            command,
            cwd=cwd,
            env=env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=True,
            timeout=60,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout


if __name__ == "__main__":
    print(f"\nDEVICES {json.dumps(pytorch_devices())}")
