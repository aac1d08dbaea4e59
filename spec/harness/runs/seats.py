"""Which processes run the tests: this one, or workers, each with a device of its own."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import torch
from filelock import FileLock

from spec.harness.accelerator.devices import NAMED, SEAT, accelerator_kind, on_accelerator

RESTARTS = "9999"  # of workers: each crash costs a test, and there are not so many
SHARERS = 2  # of a run of everything; each takes seconds to begin, so that more of them are for -n to ask


def seat_workers(config: pytest.Config, *, contain: bool = False) -> None:
    """Have the run made by workers: each with a device of its own, or two that share a run of everything.

    Not where the user wants to be in the process (`-n0`, `--pdb`, `-s`), nor for benchmarks. With `contain`
    chosen tests have workers of their own, too.
    """
    option = config.option
    if not hasattr(option, "tx") or hasattr(config, "workerinput"):
        return
    in_process = option.usepdb or option.capture == "no" or option.numprocesses == 0
    benchmarks = not contain and any("benchmarks" in argument for argument in config.args)
    if in_process or benchmarks or option.collectonly or option.tx:
        return
    kind = accelerator_kind()
    option.maxworkerrestart = option.maxworkerrestart or RESTARTS
    if kind is None:
        if option.numprocesses is None and (contain or is_of_everything(config)):
            option.numprocesses = min(SHARERS, config.hook.pytest_xdist_auto_num_workers(config=config))
        return
    devices = torch.accelerator.device_count()
    _, _, named = os.environ.get(NAMED, "").partition(":")
    seats = [int(named)] if named else list(range(devices))
    workers = 1 if option.numprocesses is None else option.numprocesses
    if workers in ("auto", "logical"):
        workers = config.hook.pytest_xdist_auto_num_workers(config=config)
    if "gpu" in option.markexpr and "not gpu" not in option.markexpr:
        workers = min(workers, len(seats))  # another one would only wait for a device
    places = [place(kind, seats[worker % len(seats)], devices) for worker in range(workers)]
    option.tx = ["//".join(["popen", *(f"env:{k}={v}" for k, v in place.items())]) for place in places]
    option.numprocesses, option.dist = None, "load"


def is_of_everything(config: pytest.Config) -> bool:
    """Tell whether no tests were chosen; chosen ones may be over before a second process has begun."""
    option = config.option
    chosen = option.keyword or option.markexpr or config.getoption("lf", False)
    return config.args_source is pytest.Config.ArgsSource.TESTPATHS and not chosen


def place(kind: str, seat: int, devices: int) -> dict[str, str]:
    """Return the environment of a worker whose own device is number `seat` of those that the caller sees.

    On CUDA its own device is its first one, and the others follow, for the checks that need several.
    """
    if kind != "cuda":
        return {SEAT: f"{seat}/{devices}", NAMED: f"{kind}:{seat}"}
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = visible.split(",")[:devices] if visible is not None else [str(n) for n in range(devices)]
    own_first = ",".join(names[seat:] + names[:seat])
    return {SEAT: f"{seat}/{devices}", NAMED: kind, "CUDA_VISIBLE_DEVICES": own_first}


@contextmanager
def devices_for(item: pytest.Item, folder: Path) -> Iterator[None]:
    """Hold the lock of a worker's device for a test on it, and those of all for one that needs them all."""
    seat, _, devices = os.environ.get(SEAT, "").partition("/")
    several = item.get_closest_marker("multi_gpu")
    alone = item.get_closest_marker("timed") or (several and several.args[0] > 1)
    taken = [] if not (seat and on_accelerator(item)) else range(int(devices)) if alone else [int(seat)]
    with ExitStack() as locks:
        for number in taken:  # in one order everywhere, so that no two wait for each other
            locks.enter_context(FileLock(folder / f"device-{number}.lock").acquire(poll_interval=0.01))
        yield
