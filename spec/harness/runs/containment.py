"""Tests in worker processes: what takes a process down costs one test, and the rest goes on in a fresh one.

A sticky error of an accelerator, a call that never returns and a crash all end the process they happen in.
With an accelerator a run is therefore one of pytest-xdist, with one worker or as many as `-n` says, each with
a device of its own. Without one, two workers share a run of everything, and `blitz verify` has them anywhere.
A process that runs tests has a file for its last words: what it runs and, once it is gone, why.
"""

import faulthandler
import json
import os
from collections.abc import Generator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch

from spec.harness.accelerator.devices import NAMED, SEAT, accelerator, accelerator_kind, on_accelerator
from spec.harness.records.vocabulary import CRASHED, TIMEOUT, Record
from spec.harness.records.writing import plain
from spec.harness.runs.ledger import UNFINISHED, Ledger
from spec.harness.runs.seats import devices_for
from spec.harness.statements.outcomes import Found, ended_by, record

PATIENCE = 15.0  # seconds for a test to end by itself after its timeout, before its process is ended
COLLECTING = 300.0  # seconds to import all tests, PyTorch from a cold disk included
ENDING = 60.0  # seconds for a process to end once its tests have ended
AT = "\nat "  # begins a line about what runs; what follows it are the last words
GOODBYE = b"goodbye"
PLAN = "plan"  # the file of what is to run
MAIN = "main"  # the file of the process in which pytest itself runs the tests
TIMED_OUT = "it did not end in time and could not be interrupted"
NO_WORD = "its process left no word: it was killed, as where memory runs out, or some code called exit"


# In the process that starts workers


class Supervisor:
    """Gives the workers the folder of the run, and tells what became of one that is gone."""

    def __init__(self, folder: Path, ledger: Ledger) -> None:
        self.folder = folder
        self.ledger = ledger
        self.started: set[str] = set()  # workers that may not end before they say goodbye
        self.collected: set[str] = set()
        self.gone: set[str] = set()  # outside of tests

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """Tell a worker where to write."""
        node.workerinput["folder"] = str(self.folder)
        self.started.add(node.gateway.id)

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, node: Any) -> None:
        """Remember who came so far."""
        self.collected.add(node.gateway.id)

    @pytest.hookimpl(optionalhook=True, trylast=True)
    def pytest_testnodedown(self, node: Any, error: object) -> None:
        """End the run where workers end before their time, but not by a test: new ones would do the same."""
        if not error:
            return
        worker = node.gateway.id
        if self.gone or worker not in self.collected:
            pytest.exit(self.ended_early(worker), returncode=UNFINISHED)
        self.gone.add(worker)

    @pytest.hookimpl(optionalhook=True, trylast=True)
    def pytest_sessionfinish(self) -> None:
        """Note the workers that have ended before their time, and not by a test."""
        for worker in sorted(self.started):
            if not said_goodbye(self.folder / worker):
                self.ledger.note(problem=self.ended_early(worker))

    def ended_early(self, worker: str) -> str:
        """Say so of a worker."""
        why = last_words(self.folder / worker).why
        return f"the process of the worker {worker} ended outside of tests: {why}"

    @pytest.hookimpl(optionalhook=True)
    def pytest_handlecrashitem(self, report: Any) -> None:
        """Have the report of a test that took its worker down say what it was and why."""
        gateway = report.node.gateway
        seat, kind = (gateway.spec.env.get(name, "") for name in (SEAT, NAMED))
        last = last_words(self.folder / gateway.id)
        self.gone.discard(gateway.id)
        self.started.discard(gateway.id)
        report.longrepr = last.why
        if last.record is not None:
            report.record = ended_by(last.record, last.outcome, last.why)
            if last.record["gpu"] and seat:
                report.record["device"] = f"{kind.partition(':')[0]}:{seat.partition('/')[0]}"
        climbed(self.folder, seat).unlink(missing_ok=True)  # maybe it would not get as far now


def climbed(folder: Path, seat: str) -> Path:
    """Return the file in which the workers of a seat keep how far its device climbed the ladder."""
    return folder / f"ladder-{seat.partition('/')[0]}"


class LastWords(NamedTuple):
    """What is known of a process that is gone."""

    node: str | None  # the test that it was at
    record: Record | None  # of the check that it was at
    outcome: str
    why: str


def last_words(file: Path) -> LastWords:
    """Return what a process was at, and why it is gone."""
    if not file.exists():
        return LastWords(None, None, CRASHED, NO_WORD)
    _, _, text = file.read_text(errors="replace").rpartition(AT)
    line, _, words = text.partition("\n")
    at = json.loads(line)
    first, _, stacks = words.partition("\n")
    # of all threads; the main one, or the one that crashed, stands last or is called the current one
    stack = stacks.split("Current thread")[-1].split("(most recent call first):\n")[-1].split("\n\n")[0]
    frames = [line.strip() for line in stack.splitlines() if line.startswith("  File ")]
    frames = [frame for frame in frames if "/_pytest/" not in frame and "/pluggy/" not in frame]
    timed_out = first.startswith("Timeout (")
    why = TIMED_OUT if timed_out else first.removeprefix("Fatal Python error: ") or NO_WORD
    outcome = TIMEOUT if timed_out else CRASHED
    return LastWords(at.get("node"), at.get("record"), outcome, "; ".join([why, *frames[:3]]))


def said_goodbye(file: Path) -> bool:
    """Tell whether a process came to its end by itself."""
    return file.exists() and file.read_bytes().endswith(GOODBYE)


def planned(folder: Path) -> list[Record]:
    """Return a record, as it is before it has run, of each check that was collected."""
    plan = folder / PLAN
    return [json.loads(line) for line in plan.read_text().splitlines()] if plan.exists() else []


# In a process that runs tests


class Watched:
    """Keeps the last words of this process, and ends it where it hangs: whoever watches it tells of it."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder
        self.file = os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self.finished = False
        self.note_down(None, None)

    def pytest_sessionstart(self) -> None:
        """Have a crash in native code reported there, and not on a standard error that nobody sees."""
        faulthandler.enable(self.file)
        self.end_after(COLLECTING)

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Write down which checks are to run, where there is a file for what comes of them."""
        faulthandler.cancel_dump_traceback_later()
        if session.config.option.records and not (self.folder / PLAN).exists():
            records = [record(item, Found()) for item in session.items]
            lines = [json.dumps(plain(each)) for each in records if each]
            part = self.folder / f"{PLAN} {os.getpid()}"
            part.write_text("".join(f"{line}\n" for line in lines))
            part.replace(self.folder / PLAN)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, Any, Any]:
        """Write down what is about to run."""
        self.note_down(item.nodeid, plain(record(item, Found())))
        try:
            return (yield)
        finally:
            faulthandler.cancel_dump_traceback_later()

    @pytest.hookimpl(wrapper=True, optionalhook=True)
    def pytest_timeout_set_timer(self, settings: Any) -> Generator[None, Any, Any]:
        """End the process of a test that its timeout does not end, from outside of Python."""
        self.end_after(settings.timeout + min(PATIENCE, settings.timeout))
        return (yield)

    def pytest_enter_pdb(self) -> None:
        """Let a person who debugs take time."""
        faulthandler.cancel_dump_traceback_later()

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_sessionfinish(self) -> Generator[None, Any, Any]:
        """Have what hangs from here on not hang for ever; note whether the session came to its end."""
        self.end_after(ENDING)
        result = yield
        self.finished = True
        return result

    def note_down(self, node: str | None, record: Record | None) -> None:
        """Write down what is about to run, by one call, so that it is never there by half."""
        os.write(self.file, f"{AT}{json.dumps({'node': node, 'record': record})}\n".encode())

    def end_after(self, seconds: float) -> None:
        """End this process, and say where it was, unless that is cancelled before."""
        faulthandler.dump_traceback_later(seconds, exit=True, file=self.file)


class WatchedWorker(Watched):
    """A worker of pytest-xdist: waits for its devices, and ends once its accelerator answers no more."""

    def __init__(self, config: Any) -> None:
        super().__init__(Path(config.workerinput["folder"]), config.workerinput["workerid"])

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, Any, Any]:
        """Run a test, once the devices that it needs for itself are free."""
        with devices_for(item, self.folder):
            return (yield from super().pytest_runtest_protocol(item))

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

    @pytest.hookimpl(trylast=True)
    def pytest_unconfigure(self) -> None:
        """Say goodbye, after a session that came to its end, and wait for the other workers."""
        if self.finished:
            faulthandler.cancel_dump_traceback_later()
            os.write(self.file, GOODBYE)


def sticky_error() -> str | None:
    """Return the error that the accelerator gives at the simplest operation, None if it gives none."""
    try:
        (torch.zeros(1, device=accelerator()) + 1).item()
    except Exception as error:
        return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
    return None
