"""The benchmarks of two trees, timed in turn: rounds of fresh processes, in each of which order is balanced.

Two processes of the same code may differ for as long as they live, by where their memory happens to lie: so
each round starts two new ones. A machine gets slower and faster by the moment: so the sides take turns of a
few milliseconds on the same core, and neither comes first more often. Only one of the two computes at any
time.
"""

import json
import math
import os
import select
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from tqdm import tqdm

from spec.harness import git
from spec.harness.errors import HarnessError
from spec.harness.perf.sides import Side

WORKER = Path(__file__).with_name("worker.py")
PATIENCE = 300.0  # seconds for an answer

# Begun by either side, the first four of these cancel a steady drift, eight a bent one as well, and so on
# (Thue and Morse); each two are one turn of either side.
TURNS = tuple(number.bit_count() % 2 for number in range(32))
TIMING = 0.5e-3  # seconds, so that the clock costs nothing
SAMPLE = 6e-3  # seconds without the other side's turn
LONGEST = 1.0  # seconds of a sample of the slower side, if it takes more than one call; of all turns alike


class Shape(NamedTuple):
    """How a benchmark is timed, on both sides and in all rounds alike."""

    calls: int  # between two looks at the clock
    timings: int  # a sample
    turns: int  # a round, of both sides together


class Measured(NamedTuple):
    """What came of it: for each benchmark of both sides the seconds a call, (BASE, HEAD) by round."""

    about: tuple[dict[str, Any], dict[str, Any]]  # each side's torch, Python, threads, device
    seconds: dict[str, list[tuple[float, float]]]
    missing: list[str]
    new: list[str]
    failed: dict[str, str]  # what could not be timed, and why


def measure(base: Side, head: Side, *, rounds: int, select: str = "") -> Measured:
    """Time the benchmarks that both sides have; one that fails, on either side, costs no other.

    A round is a pair of processes. Of the words in `select`, if any, a benchmark has one in its name.

    Raises:
        HarnessError: a side does not start, or there is nothing to time.
    """
    with _pair(base, head) as (_, about):
        both, missing, new = chosen(about[0]["names"], about[1]["names"], select)
    shapes: dict[str, Shape] = {}
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in both}
    failed: dict[str, str] = {}
    with tqdm(total=rounds * len(both), desc="blitz perf", unit="benchmark", disable=None) as bar:
        for number in range(rounds):
            left = list(seconds)[:: -1 if number % 2 else 1]
            while left:  # once, and again after each failure: who knows what it leaves in its processes
                with _pair(base, head) as (workers, _):
                    while left:
                        name = left.pop(0)
                        try:
                            seconds[name].append(_round(workers, name, shapes, number))
                        except HarnessError as error:
                            del seconds[name]
                            failed[name] = str(error)
                            bar.update(rounds - number)
                            break
                        bar.update()
    return Measured(about, seconds, missing, new, failed)


def chosen(base: list[str], head: list[str], select: str) -> tuple[list[str], list[str], list[str]]:
    """Return which of the selected benchmarks are in both, in BASE alone and in HEAD alone.

    >>> chosen(["view", "clone"], ["clone", "copy"], "")
    (['clone'], ['view'], ['copy'])
    """
    words = select.replace(",", " ").split()
    names = list(dict.fromkeys([*base, *head]))
    strange = [word for word in words if not any(word in name for name in names)]
    taken = [name for name in names if not words or any(word in name for word in words)]
    if not names:
        raise HarnessError(
            "neither BASE nor HEAD has benchmarks: expected a list spec.benchmarks.operations.OPERATIONS"
        )
    if strange:
        raise HarnessError(
            f"no benchmark has {' or '.join(strange)} in its name: there are {', '.join(names)}"
        )
    return (
        [name for name in taken if name in base and name in head],
        [name for name in taken if name not in head],
        [name for name in taken if name not in base],
    )


def shape(base: float, head: float) -> Shape:
    """Return how to time an operation, a call of which takes these seconds on the two sides.

    >>> shape(3e-6, 3e-6), shape(2.0, 2.1)
    (Shape(calls=167, timings=12, turns=32), Shape(calls=1, timings=1, turns=2))
    """
    faster, slower = min(base, head), max(base, head)
    calls = max(1, min(math.ceil(TIMING / faster), int(LONGEST / slower)))
    timings = max(1, min(math.ceil(SAMPLE / (calls * faster)), int(LONGEST / (calls * slower))))
    fitting = max(2, min(len(TURNS), int(LONGEST / (calls * timings * slower))))
    return Shape(calls, timings, turns=2 ** (fitting.bit_length() - 1))


def turns(count: int, number: int) -> list[int]:
    """Return whose turn it is in round `number`: 0 is BASE, 1 is HEAD, which begins every other round.

    >>> turns(4, 0), turns(4, 1)
    ([0, 1, 1, 0], [1, 0, 0, 1])
    """
    return [(turn + number) % 2 for turn in TURNS[:count]]


def _round(
    workers: "tuple[Worker, Worker]", name: str, shapes: dict[str, Shape], number: int
) -> tuple[float, float]:
    """Time one benchmark in one pair of processes; return its seconds a call on either side."""
    for worker in workers:
        worker.order(name, prepare=name)
    calls = [worker.answer()["seconds"] for worker in workers]
    how = shapes.setdefault(name, shape(*calls))
    quartiles: tuple[list[float], list[float]] = ([], [])
    for place, turn in enumerate(turns(how.turns, number)):
        core = number + place // 2  # both sides have the same one, and as often
        workers[turn].order(name, calls=how.calls, timings=how.timings, core=core)
        quartiles[turn].append(lower_quartile(workers[turn].answer()["seconds"]))
    return typical(list(zip(*quartiles, strict=True)))


def lower_quartile(seconds: list[float]) -> float:
    """Return the lower quartile: what else runs on a machine makes a call slower, never faster.

    >>> lower_quartile([1.0, 1.1, 1.2, 9.0])
    1.1
    """
    return sorted(seconds)[len(seconds) // 4]


def typical(pairs: list[tuple[float, float]]) -> tuple[float, float]:
    """Return seconds of BASE and HEAD whose ratio is the median of the pairs' ratios.

    What disturbs both turns of a pair leaves their ratio as it is, and what disturbs one is one of many.

    >>> [round(side, 2) for side in typical([(1.0, 1.21), (2.0, 2.42), (1.0, 9.0)])]
    [2.0, 2.42]
    """
    ratio = math.exp(median(math.log(head / base) for base, head in pairs))
    middle = median(math.sqrt(base * head) for base, head in pairs)
    return middle / math.sqrt(ratio), middle * math.sqrt(ratio)


@contextmanager
def _pair(
    base: Side, head: Side
) -> "Iterator[tuple[tuple[Worker, Worker], tuple[dict[str, Any], dict[str, Any]]]]":
    """Start a process for each side, lend them with what they say of themselves, and end them."""
    with closing(Worker(base)) as one, closing(Worker(head)) as other:
        yield (one, other), (one.answer(), other.answer())


class Worker:
    """A process of one side; see worker.py."""

    def __init__(self, side: Side) -> None:
        self.side = side
        self.doing = ""
        self.errors = tempfile.TemporaryFile()  # noqa: SIM115 (close() closes it)
        self.unread = b""
        try:
            self.process = subprocess.Popen(
                [side.python, "-P", WORKER],
                bufsize=0,
                cwd=side.tree,
                env=environment(side.tree),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self.errors,
                start_new_session=True,  # Ctrl-C is for the parent, and the whole group can be ended
            )
        except OSError as error:
            self.errors.close()
            raise HarnessError(f"cannot run {side}: {error}") from error

    def order(self, name: str, **order: Any) -> None:
        """Have the process do something for the benchmark `name`."""
        self.doing = f" at {name}"
        assert self.process.stdin
        with suppress(BrokenPipeError):  # of a process that is dead, as answer() tells
            self.process.stdin.write(json.dumps(order).encode() + b"\n")

    def answer(self) -> dict[str, Any]:
        """Return what the process says next.

        Raises:
            HarnessError: it could not do it, died, or is silent for too long.
        """
        assert self.process.stdout
        pipe = self.process.stdout.fileno()
        end = time.monotonic() + PATIENCE
        while b"\n" not in self.unread:
            # a child of the operation may hold the pipe open: look at the process itself as well
            if select.select([pipe], [], [], 0.1)[0]:
                data = os.read(pipe, 2**16)
                if not data:
                    raise self._dead()
                self.unread += data
            elif self.process.poll() is not None:
                raise self._dead()
            elif time.monotonic() > end:
                raise self._silent()
        line, self.unread = self.unread.split(b"\n", 1)
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise HarnessError(f"{self.side} failed{self.doing or ' to start'}: {answer['error']}")
        return answer

    def close(self) -> None:
        """End the process and all that it started."""
        with suppress(ProcessLookupError, PermissionError):  # the latter is what macOS says of a zombie
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout, self.errors):
            assert stream
            stream.close()

    def _silent(self) -> HarnessError:
        return HarnessError(f"{self.side} gave no answer within {PATIENCE:g} s{self.doing}")

    def _dead(self) -> HarnessError:
        try:
            status = self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:  # it lives, and has closed what it answers by
            return self._silent()
        self.errors.seek(0)
        lines = self.errors.read().decode(errors="replace").strip().splitlines()
        how = f"with status {status}" if status >= 0 else f"by {signal.Signals(-status).name}"
        return HarnessError(
            f"{self.side}: its process ended {how}{self.doing or ' before it could begin'}"
            f"{': ' + lines[-1] if lines else ''}"
        )


def environment(tree: Path) -> dict[str, str]:
    """Return the environment of a side: its tree before any installed one, also for what it starts."""
    mine = git.environment()
    # a fresh checkout would be compiled anew at each start, and a folder that is in use not
    mine.pop("PYTHONDONTWRITEBYTECODE", None)
    mine.update(PYTHONPATH=str(tree), PYTHONHASHSEED="0", PYTHONUNBUFFERED="1")
    mine.setdefault("OMP_NUM_THREADS", "1")  # threads that wait for each other tell of the machine's load
    return mine
