"""Tests in worker processes: what takes a process down costs one test, and the rest goes on in a fresh one.

A sticky error of an accelerator, a call that never returns and a crash all end the process they happen in.
With an accelerator a run is therefore one of pytest-xdist, with one worker or as many as `-n` says, each with
a device of its own. Without one two workers share a run of everything, for time alone. A worker has a file
for its last words: what it runs and, once it is gone, why.
"""

import faulthandler
import json
import os
import tempfile
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from filelock import FileLock

from spec.harness.claims import claim_of
from spec.harness.devices import NAMED, SEAT, accelerator, accelerator_kind, on_accelerator
from spec.harness.outcomes import CRASHED, TIMEOUT, Record, begin
from spec.harness.verdicts import plain

PATIENCE = 15.0  # seconds for a test to end by itself after its timeout, before its process is ended
TIMED_OUT = "it did not end in time and could not be interrupted"
KILLED = "its process was killed and left no word, as happens where memory runs out"
SHARERS = 2  # of a run of everything; each takes seconds to begin, so that more of them are for -n to ask


# In the process that the user started


def seat_workers(config: pytest.Config) -> None:
    """Have the run made by workers: each with a device of its own, or two that share a run of everything.

    Not where the user wants to be in the process (`-n0`, `--pdb`, `-s`), nor for benchmarks.
    """
    option = config.option
    if not hasattr(option, "tx") or hasattr(config, "workerinput"):
        return
    in_process = option.usepdb or option.capture == "no" or option.numprocesses == 0
    benchmarks = any("benchmarks" in argument for argument in config.args)
    if in_process or benchmarks or option.collectonly or option.tx:
        return
    kind = accelerator_kind()
    if kind is None:
        if option.numprocesses is None and is_of_everything(config):
            cores = config.hook.pytest_xdist_auto_num_workers(config=config)
            option.numprocesses = SHARERS if cores >= SHARERS else None
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

    On CUDA its own device is its first one, and the others follow, for the claims that need several.
    """
    if kind != "cuda":
        return {SEAT: f"{seat}/{devices}", NAMED: f"{kind}:{seat}"}
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = visible.split(",")[:devices] if visible is not None else [str(n) for n in range(devices)]
    own_first = ",".join(names[seat:] + names[:seat])
    return {SEAT: f"{seat}/{devices}", NAMED: kind, "CUDA_VISIBLE_DEVICES": own_first}


class Supervisor:
    """Gives the workers a folder, and tells what became of one that is gone."""

    def __init__(self) -> None:
        self.folder = tempfile.TemporaryDirectory(prefix="blitz-")

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """Tell a worker where to write."""
        node.workerinput["folder"] = self.folder.name

    @pytest.hookimpl(optionalhook=True)
    def pytest_handlecrashitem(self, report: Any) -> None:
        """Have the report of a test that took its worker down say what it was and why."""
        gateway = report.node.gateway
        seat, kind = (gateway.spec.env.get(name, "") for name in (SEAT, NAMED))
        record, why = last_words(Path(self.folder.name) / gateway.id)
        report.longrepr = why
        if record is not None:
            outcome = TIMEOUT if why.startswith(TIMED_OUT) else CRASHED
            report.record = {**record, "outcome": outcome, "seen": why}
            if record["gpu"] and seat:
                report.record["device"] = f"{kind.partition(':')[0]}:{seat.partition('/')[0]}"
        climbed(Path(self.folder.name), seat).unlink(missing_ok=True)  # maybe it would not get as far now

    def pytest_unconfigure(self) -> None:
        """Remove the folder."""
        self.folder.cleanup()


def climbed(folder: Path, seat: str) -> Path:
    """Return the file in which the workers of a seat keep how far its device climbed the ladder."""
    return folder / f"ladder-{seat.partition('/')[0]}"


def last_words(file: Path) -> tuple[Record | None, str]:
    """Return the record of the claim that a worker was at, if it was at one, and why it is gone."""
    try:
        record, _, words = file.read_text(errors="replace").partition("\n")
    except OSError:
        return None, KILLED
    first, _, stacks = words.partition("\n")
    # of all threads; the main one, or the one that crashed, stands last or is called the current one
    stack = stacks.split("Current thread")[-1].split("(most recent call first):\n")[-1].split("\n\n")[0]
    frames = [line.strip() for line in stack.splitlines() if line.startswith("  File ")]
    frames = [frame for frame in frames if "/_pytest/" not in frame and "/pluggy/" not in frame]
    if first.startswith("Timeout ("):
        first = TIMED_OUT
    why = first.removeprefix("Fatal Python error: ") or KILLED
    return json.loads(record or "null"), "; ".join([why, *frames[:3]])


# In a worker


class Worker:
    """Keeps the last words of its process, and ends it once its accelerator answers no more."""

    def __init__(self, config: Any) -> None:
        self.folder = Path(config.workerinput["folder"])
        self.file = os.open(
            self.folder / config.workerinput["workerid"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600
        )
        self.seconds = 0.0

    def pytest_sessionstart(self) -> None:
        """Have a crash in native code reported there, and not on a standard error that nobody sees."""
        faulthandler.enable(self.file)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, Any, Any]:
        """Run a test, once the devices that it needs for itself are free."""
        claim = claim_of(item)
        record = plain(begin(claim, item)) if claim else None
        os.ftruncate(self.file, 0)
        os.write(self.file, (json.dumps(record) + "\n").encode())
        try:
            with devices_for(item, self.folder):
                return (yield)
        finally:
            faulthandler.cancel_dump_traceback_later()

    @pytest.hookimpl(wrapper=True, optionalhook=True)
    def pytest_timeout_set_timer(self, settings: Any) -> Generator[None, Any, Any]:
        """End the process of a test that its timeout does not end, from outside of Python."""
        patience = min(PATIENCE, settings.timeout)
        faulthandler.dump_traceback_later(settings.timeout + patience, exit=True, file=self.file)
        return (yield)

    @pytest.hookimpl(wrapper=True, trylast=True)
    def pytest_pyfunc_call(self, pyfuncitem: pytest.Function) -> Generator[None, Any, Any]:
        """Have an error that the accelerator tells late be the error of the test that made it."""
        result = yield
        if on_accelerator(pyfuncitem) and accelerator_kind():
            torch.accelerator.synchronize()
        return result

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, Any, Any]:
        """End the process if the accelerator fails at whatever it is asked, since a test failed."""
        skipped = call.excinfo is not None and call.excinfo.errisinstance(pytest.skip.Exception)
        if call.excinfo and not skipped and on_accelerator(item) and (error := sticky_error()):
            os.write(self.file, f"the accelerator fails at everything since: {error}".encode())
            os._exit(1)
        return (yield)


def sticky_error() -> str | None:
    """Return the error that the accelerator gives at the simplest operation, None if it gives none."""
    try:
        (torch.zeros(1, device=accelerator()) + 1).item()
    except Exception as error:
        return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
    return None


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
