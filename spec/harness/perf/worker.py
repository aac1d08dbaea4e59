"""One side of `blitz perf`: times the operations of the tree that it is started in, as it is told.

It is run by its path, with the interpreter of the side, so that both sides are measured by this very code,
whatever their own. Orders come as lines of JSON, and so do answers, both by descriptors that the operations
do not know, so that they may print what they like.
"""

import ctypes
import gc
import importlib
import importlib.util
import json
import os
import platform
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

OPERATIONS = "spec.benchmarks.operations"
WARM_UP = 0.02  # seconds
CORES = sorted(os.sched_getaffinity(0)) if sys.platform == "linux" else []  # where a process can choose


def main() -> None:
    """Say what there is to time; then prepare and time until nobody asks any more."""
    orders, answers = os.dup(sys.stdin.fileno()), os.dup(sys.stdout.fileno())  # which no child inherits
    with open(os.devnull) as nothing:
        os.dup2(nothing.fileno(), sys.stdin.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    _end_with_parent()
    with open(orders) as lines, open(answers, "w") as out:
        try:
            builders, device = _found()
            _tell(out, names=list(builders), **_self(device))
            initial = _threads()
            gc.freeze()  # PyTorch and all that lives as long: the collection before a sample is quicker
            operation: Callable[[], float] | None = None
            for line in lines:
                order = json.loads(line)
                if "prepare" in order:
                    operation = None
                    _begin_alike(initial)
                    operation = builders[order["prepare"]](device)
                    fastest = _warmed_up(operation)
                    _expect_own_blitz()
                    _tell(out, seconds=fastest)
                else:
                    assert operation is not None
                    _move(order["core"])
                    _tell(out, seconds=timed(operation, order["calls"], order["timings"]))
        except Exception as error:
            text = str(error).strip().splitlines()
            _tell(out, error=f"{type(error).__name__}{': ' + text[0] if text else ''}")


def timed(operation: Callable[[], float], calls: int, timings: int) -> list[float]:
    """Return the seconds a call, measured so many times over so many calls, without garbage collection."""
    gc.collect()
    gc.disable()
    try:
        seconds = []
        for _ in range(timings):
            begin = time.perf_counter()
            for _ in range(calls):
                operation()
            seconds.append((time.perf_counter() - begin) / calls)
        return seconds
    finally:
        gc.enable()


def _warmed_up(operation: Callable[[], float]) -> float:
    """Run the operation until what happens only at first is over; return the least seconds of a call."""
    operation()
    fastest, end = float("inf"), time.perf_counter() + WARM_UP
    while fastest == float("inf") or time.perf_counter() < end:
        fastest = min(fastest, timed(operation, 1, 1)[0])
    return fastest


def _found() -> tuple[dict[str, Callable[[Any], Callable[[], float]]], Any]:
    """Return the builders of this tree by name, none if it has no such module, and the device for them."""
    try:
        package = importlib.util.find_spec("spec")
        if package is None or not _lies_here(package.origin):
            return {}, None  # or those of an installed blitz would be taken for this tree's
        module = importlib.import_module(OPERATIONS)
    except ModuleNotFoundError as error:
        if error.name and f"{OPERATIONS}.".startswith(f"{error.name}."):
            return {}, None
        raise
    torch = sys.modules.get("torch")  # operations that do without are given no device
    if torch is None:
        device = None
    elif torch.accelerator.is_available():
        device = torch.accelerator.current_accelerator()
    else:
        device = torch.device("cpu")
    return {builder.__name__: builder for builder in module.OPERATIONS}, device


def _expect_own_blitz() -> None:
    """Refuse to time an installed package in the place of this tree's."""
    blitz = sys.modules.get("blitz")
    if blitz and not _lies_here(blitz.__file__):
        raise ImportError(f"expected the package blitz of {Path.cwd()}, got {blitz.__file__}")


def _lies_here(file: str | None) -> bool:
    return file is not None and Path(file).resolve().is_relative_to(Path.cwd().resolve())


def _self(device: Any) -> dict[str, Any]:
    torch = sys.modules.get("torch")
    return {
        "python": platform.python_version(),
        "torch": torch and str(torch.__version__),
        "threads": _threads(),
        "device": device and device.type,
    }


def _threads() -> int | None:
    torch = sys.modules.get("torch")
    return torch.get_num_threads() if torch else None


def _begin_alike(threads: int | None) -> None:
    """Take back what the operation before may have changed for all."""
    if CORES:
        os.sched_setaffinity(0, CORES)  # also for the processes that the operation starts while it warms up
    torch = sys.modules.get("torch")
    if torch:
        torch.set_num_threads(threads)
        torch.manual_seed(0)


def _move(core: int) -> None:
    """Go to a core by its number, the one that the other side is sent to as well.

    By itself each process stays on a core of its own, and one core may be half as fast for a while: on a
    rented machine somebody else computes on the same one. Several threads need all cores.
    """
    if CORES and _threads() in (None, 1):
        os.sched_setaffinity(0, {CORES[core % len(CORES)]})


def _tell(out: TextIO, **answer: Any) -> None:
    out.write(json.dumps(answer) + "\n")
    out.flush()


def _end_with_parent() -> None:
    """Have Linux end this process with the one that started it, even amidst an operation that never ends."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


if __name__ == "__main__":
    main()
