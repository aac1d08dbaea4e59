"""The first rung: is the device there, what is it, and if PyTorch sees none, for which of the many causes."""

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch

from spec.harness.accelerator.machine import output
from spec.harness.statements.contract import lacks

INSTALL = "https://pytorch.org/get-started/locally"


class RungError(Exception):
    """What a rung found wrong, in a sentence, and what to do where that depends on what it found."""

    def __init__(self, seen: str, advice: str | None = None) -> None:
        super().__init__(seen)
        self.advice = advice


@contextmanager
def allowing_gaps(device: torch.device, name: str, left_out: list[str]) -> Iterator[None]:
    """Add `name` to `left_out` where an accelerator other than CUDA lacks what the block asks of it."""
    try:
        yield
    except Exception as error:
        if not lacks(error, device.type):
            raise
        left_out.append(name)


def not_there(left_out: list[str]) -> str:
    """Return the end of a rung's line: what was left out, if anything."""
    return f"; not there: {', '.join(left_out)}" if left_out else ""


def is_visible(device: torch.device) -> str:
    """Return what the device is.

    Raises:
        RungError: PyTorch does not see it, or was built for others; the advice depends on the cause.
    """
    if device.type == "cpu":
        _check_index(device, 1)
        return f"the CPU, {os.cpu_count()} cores, PyTorch {torch.__version__}"
    if device.type == "cuda":
        return _cuda(device)
    return _other(device)


def _cuda(device: torch.device) -> str:
    if not torch.cuda.is_available():
        raise _why_no_cuda()
    _check_index(device, torch.cuda.device_count())
    card = torch.cuda.get_device_properties(device)
    if torch.version.hip:
        versions = [f"ROCm {torch.version.hip}"]
    else:
        check_architecture(card.name, (card.major, card.minor), torch.cuda.get_arch_list())
        driver = output("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader") or "unknown"
        versions = [
            f"compute capability {card.major}.{card.minor}",
            f"driver {driver.splitlines()[0]}",
            f"CUDA {torch.version.cuda}",
            f"cuDNN {torch.backends.cudnn.version()}",
        ]
    memory = f"{card.total_memory / 2**30:.1f} GiB"
    return ", ".join([card.name, memory, *versions, f"PyTorch {torch.__version__}"])


def _other(device: torch.device) -> str:
    current = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    if current is None or current.type != device.type:
        raise RungError(
            f"PyTorch {torch.__version__} sees no {device.type} device",
            f"install the driver of {device.type} and a PyTorch built for it ({INSTALL}), or its own package",
        )
    _check_index(device, torch.accelerator.device_count())
    name = getattr(torch.get_device_module(device.type), "get_device_name", None)
    return f"{name(device) if name else device.type}, PyTorch {torch.__version__}"


def _check_index(device: torch.device, count: int) -> None:
    if device.index is not None and device.index >= count:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES") if device.type == "cuda" else None
        hidden = f", of CUDA_VISIBLE_DEVICES={visible}" if visible is not None else ""
        raise RungError(
            f"there is no {device}: PyTorch sees {count} of that kind{hidden}",
            f"name one below {device.type}:{count}; {device.type} alone means all of them",
        )


def _why_no_cuda() -> RungError:
    """Tell the cause by what PyTorch itself says when it is asked for CUDA."""
    if torch.version.cuda is None and torch.version.hip is None:
        return RungError(
            f"PyTorch {torch.__version__} is built for the CPU only",
            f"install the PyTorch for CUDA, by the line that {INSTALL} gives for this machine; "
            "an environment that holds the CPU's keeps it until it is uninstalled",
        )
    said = _cuda_error()
    if "no NVIDIA driver" in said:
        return RungError(
            "there is no NVIDIA driver",
            "install one, until nvidia-smi lists the GPU; a container has to be given the GPUs, "
            "as by docker run --gpus all",
        )
    if "too old" in said:
        known = re.search(r"CUDA Version: (\S+)", output("nvidia-smi") or "")
        of_driver = f"CUDA {known.group(1)}" if known else "the CUDA that nvidia-smi shows"
        return RungError(
            f"the NVIDIA driver is too old for CUDA {torch.version.cuda}, for which this PyTorch is built",
            f"update the driver, or install a PyTorch built for {of_driver} or older ({INSTALL})",
        )
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return RungError(
            f"CUDA_VISIBLE_DEVICES={visible!r} hides the GPUs of this machine",
            "unset CUDA_VISIBLE_DEVICES, or name in it what nvidia-smi -L lists, such as 0",
        )
    return RungError(
        f"PyTorch sees no GPU: {said}",
        "see that nvidia-smi or rocm-smi lists the GPU (after an update of the driver, once the machine was "
        "started anew), and that this user may open /dev/nvidia*",
    )


def _cuda_error() -> str:
    try:
        torch.cuda.init()
    except Exception as error:
        return str(error).splitlines()[0]
    return "it counts no device"


def check_architecture(name: str, capability: tuple[int, int], built_for: Iterable[str]) -> None:
    """Raise a RungError where no kernel of this PyTorch runs on a GPU of this compute capability.

    Args:
        name: the GPU's.
        capability: its major and minor number.
        built_for: what torch.cuda.get_arch_list() says.
    """
    built_for = list(built_for)
    if not any(_runs_on(capability, architecture) for architecture in built_for):
        raise RungError(
            f"{name} has compute capability {capability[0]}.{capability[1]}, "
            f"this PyTorch has kernels for {' '.join(built_for)}",
            f"install a PyTorch that is built for this GPU: a newer one for a new GPU, an older one, or one "
            f"for an older CUDA, for an old GPU ({INSTALL})",
        )


def _runs_on(capability: tuple[int, int], architecture: str) -> bool:
    """Tell whether a GPU runs what was compiled for `architecture`, such as sm_86, sm_90a or compute_120.

    Machine code (sm) runs within its major number, from its minor number on, PTX (compute) on all newer ones.
    What ends in "a" runs on that very GPU alone, what ends in "f" is machine code of its family.
    """
    match = re.fullmatch(r"(sm|compute)_(\d+)(\d)([af]?)", architecture)
    if match is None:
        return False
    form, major, minor, suffix = match.groups()
    target = (int(major), int(minor))
    if suffix == "a":
        return target == capability
    return target <= capability and (form == "compute" or target[0] == capability[0])
