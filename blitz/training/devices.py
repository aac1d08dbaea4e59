"""Which device a command uses."""

import os

import torch

from blitz.errors import BlitzError


def find_device(name: str) -> torch.device:
    """Return the device of that name, or for "auto" the accelerator if there is one, else the CPU.

    Raises:
        BlitzError: there is no such device here.

    >>> find_device("cpu")
    device(type='cpu')
    """
    if name.startswith("cpu:") and name != "cpu:0":  # which PyTorch would take for the first
        raise BlitzError(f"there is no device {name}: PyTorch has one CPU, which is called cpu or cpu:0")
    accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    if name == "auto":
        return accelerator or torch.device("cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).item()
    except (RuntimeError, AssertionError) as error:  # each backend refuses in its own way
        here = f"cpu and {accelerator}" if accelerator else "only cpu"
        raise BlitzError(
            f"there is no device {name} here: PyTorch {torch.__version__} sees {here}"
        ) from error
    return device


def take_own_accelerator(name: str) -> None:
    """Make the accelerator that torchrun meant for this process the current one: cuda is then cuda:1, say.

    Args:
        name: the device that the person asked for; nothing is done for the CPU.

    Raises:
        BlitzError: the machine has fewer accelerators than processes, or `name` says which one to take.
    """
    kind, _, index = name.partition(":")
    accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    if accelerator is None or kind not in ("auto", accelerator.type):
        return
    if index:
        raise BlitzError(f"each process takes a device of its own: --device {kind}, not {name}")
    number, devices = int(os.environ["LOCAL_RANK"]), torch.accelerator.device_count()
    if number >= devices:
        raise BlitzError(
            f"this machine has {devices} {accelerator} devices for {os.environ['LOCAL_WORLD_SIZE']} "
            f"processes: start as many with --nproc-per-node {devices}, or train on the CPU with --device cpu"
        )
    torch.accelerator.set_device_index(number)


def has_bfloat16(device: torch.device) -> bool:
    """Tell whether a device computes products in bfloat16 itself, sooner than in float32.

    A CPU needs AVX-512 BF16 or AMX for it; what has neither would convert back and forth.

    >>> has_bfloat16(torch.device("meta"))
    False
    """
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "cpu":
        questions = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
        return any(getattr(torch.cpu, question, lambda: False)() for question in questions)
    return False


def half_precision(device: torch.device, wanted: bool = True) -> torch.autocast:
    """Return a context in which products and convolutions are computed in bfloat16, if `device` has it.

    Weights stay in float32: a step that is small beside its weight would be lost in bfloat16.

    >>> with half_precision(torch.device("meta")):
    ...     (torch.ones(2, 2) @ torch.ones(2, 2)).dtype
    torch.float32
    """
    enabled = wanted and has_bfloat16(device)
    return torch.autocast(device.type if enabled else "cpu", torch.bfloat16, enabled=enabled)
