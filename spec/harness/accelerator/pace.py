"""The rungs of memory and speed: what a copy keeps, and how long copies and products take."""

import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from spec.harness.accelerator.devices import WITHOUT_HARDWARE
from spec.harness.accelerator.precision import float32_precision
from spec.harness.accelerator.visibility import RungError, allowing_gaps

SIZE = 16 * 2**20  # bytes of a copy: long enough for its start not to count
# What every comparison relies on: results come to the CPU in these types, and as these parts of a matrix.
COPIED = (torch.bool, torch.int32, torch.int64, torch.float16, torch.bfloat16, torch.float32, torch.float64)
PARTS: dict[str, Callable[[Tensor], Tensor]] = {
    "a matrix": lambda matrix: matrix,
    "a transposed matrix": lambda matrix: matrix.t(),
    "every other column": lambda matrix: matrix[:, ::2],
    "a corner": lambda matrix: matrix[3:, 5:],
    "a repeated row": lambda matrix: matrix[2].expand(4, -1),
    "one number": lambda matrix: matrix[1, 2],
    "no rows": lambda matrix: matrix[:0],
}
SLOWEST_COPY = 0.5  # GB/s: half of what a lane of PCIe 3.0 carries, and no accelerator has less than one
SLOWEST_PRODUCT = 0.5  # of the CPU's speed: an accelerator below has no point
# float32 operations a second and multiprocessor: each that PyTorch supports has 64 lanes or more, which
# multiply and add at every cycle, and runs at 1 GHz or more when it works. Half of it is the floor.
SLOWEST_MULTIPROCESSOR = 0.5 * 64 * 2 * 1e9


def synchronize(device: torch.device) -> None:
    """Wait until the device has done all that it was given, and raise what went wrong there."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


def seconds(work: Callable[[], object], device: torch.device) -> float:
    """Return how long the device takes for `work`."""
    synchronize(device)
    started = time.perf_counter()
    work()
    synchronize(device)
    return time.perf_counter() - started


def memory_keeps_its_bytes(device: torch.device) -> str:
    """Return how fast bytes are copied to the device, on it, and back.

    Raises:
        RungError: a byte came back as another.
    """
    sent = torch.randint(0, 256, (SIZE,), dtype=torch.uint8)
    there = sent.to(device, copy=True)
    twice = there.clone()
    came = there.to("cpu", copy=True)
    _check(sent, came, "to the device and back")
    _check(sent, twice.to("cpu", copy=True), "on the device")
    _check_parts(device)
    pinned = _pinned(sent, device)
    rates = {
        "to it": _rate(lambda: there.copy_(sent), device),
        "back": _rate(lambda: came.copy_(there), device),
        "on it": _rate(lambda: twice.copy_(there), device),
    }
    if pinned is not None:
        rates["to it from pinned memory"] = _rate(lambda: there.copy_(pinned, non_blocking=True), device)
    return ", ".join(f"{rate:.1f} GB/s {way}" for way, rate in rates.items())


def _check(sent: Tensor, came: Tensor, way: str) -> None:
    wrong = int((sent != came).sum())
    if wrong:
        raise RungError(f"{wrong} of {len(sent)} bytes changed in a copy {way}")


def _check_parts(device: torch.device) -> None:
    """Copy parts of matrices to the device, and from one that is there, in each type that it has."""
    for dtype in COPIED:
        numbers = 100 * torch.randn(64, 64, dtype=torch.float64)
        matrix = numbers > 0 if dtype == torch.bool else numbers.to(dtype)
        with allowing_gaps(device, str(dtype), []):
            there = matrix.to(device, copy=True)
            for name, part in PARTS.items():
                expected, copied = _bytes(part(matrix)), f"of {name} of {dtype}"
                _check(expected, _bytes(part(there).cpu()), f"{copied} from the device")
                sent = part(matrix).to(device, copy=True)
                _check(expected, _bytes(sent.cpu()), f"{copied} to the device and back")


def _bytes(tensor: Tensor) -> Tensor:
    return tensor.contiguous().flatten().view(torch.uint8)


def _pinned(sent: Tensor, device: torch.device) -> Tensor | None:
    """Copy by way of pinned memory, and return what is pinned; None where the kind of device has none."""
    if device.type == "cpu":
        return None
    try:
        pinned = sent.pin_memory()
        target = torch.empty_like(pinned).pin_memory()
    except (RuntimeError, NotImplementedError):
        if device.type == "cuda":
            raise
        return None
    target.copy_(pinned.to(device, non_blocking=True), non_blocking=True)
    synchronize(device)
    _check(sent, target, "that did not wait, by way of pinned memory")
    return pinned


def _rate(copy: Callable[[], object], device: torch.device) -> float:
    """Return GB a second."""
    return SIZE / statistics.median(seconds(copy, device) for _ in range(5)) / 1e9


def speed_is_above_the_floor(device: torch.device) -> str:
    """Return how fast a copy and a product are.

    Raises:
        RungError: one is slower than any healthy device; the bounds above say why.
    """
    if device.type in ("cpu", WITHOUT_HARDWARE):
        return f"not measured: {device.type} has no hardware of its own"
    told = [_copy_to(device), _product_against_the_cpu(device)]
    if device.type == "cuda" and not torch.version.hip:
        told.append(_product_of_all_multiprocessors(device))
    return ", ".join(told)


def _copy_to(device: torch.device) -> str:
    sent = torch.zeros(SIZE, dtype=torch.uint8)
    there = sent.to(device, copy=True)
    rate = _rate(lambda: there.copy_(sent), device)
    if rate < SLOWEST_COPY:
        raise RungError(f"a copy to it makes {rate:.2f} GB/s, expected at least {SLOWEST_COPY}")
    return f"{rate:.1f} GB/s to it"


def _product_against_the_cpu(device: torch.device) -> str:
    """Multiply matrices (2048, 2048) of float32 in turns, which other work on the machine slows alike."""
    here = torch.randn(2048, 2048)
    there = here.to(device, copy=True)
    there @ there  # the first one loads libraries
    turns = []
    with float32_precision("ieee"):
        for _ in range(5):
            on_device = seconds(lambda: there @ there, device)
            started = time.perf_counter()
            here @ here
            turns.append((on_device, time.perf_counter() - started))
    mine, of_cpu = (statistics.median(column) for column in zip(*turns, strict=True))
    if mine * SLOWEST_PRODUCT > of_cpu:
        raise RungError(
            f"a product of float32 takes {mine * 1e3:.1f} ms, on the CPU {of_cpu * 1e3:.1f} ms: "
            f"expected at least {SLOWEST_PRODUCT:.0%} of the CPU's speed"
        )
    return f"float32 products {of_cpu / mine:.1f} times as fast as the CPU's"


def _product_of_all_multiprocessors(device: torch.device) -> str:
    """Multiply matrices (4096, 4096) once the clocks are up; the best turn is the one nothing else slowed."""
    there = torch.randn(4096, 4096, device=device)
    with float32_precision("ieee"):
        end = time.perf_counter() + 0.3
        while time.perf_counter() < end:
            seconds(lambda: there @ there, device)
        best = min(seconds(lambda: there @ there, device) for _ in range(10))
    rate = 2 * 4096**3 / best
    floor = SLOWEST_MULTIPROCESSOR * torch.cuda.get_device_properties(device).multi_processor_count
    if rate < floor:
        raise RungError(
            f"products of float32 make {rate / 1e12:.1f} TFLOP/s, "
            f"its multiprocessors should make at least {floor / 1e12:.1f}"
        )
    return f"{rate / 1e12:.1f} TFLOP/s (floor {floor / 1e12:.1f})"
