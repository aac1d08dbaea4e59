"""The process that was started only watches: it forks the one that runs pytest, and settles its ledger.

A check may end the process that it runs in, with any status: to a shell, a native library that calls exit(0)
looks like a run that passed. So what pytest says of itself is not enough. The exit status is 0 only if every
collected check came to one end, none of them is broken, and the process said goodbye.
"""

import gc
import os
import shutil
import signal
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import pytest
import torch

from spec.harness.accelerator import machine
from spec.harness.children import end_with_parent
from spec.harness.errors import HarnessError
from spec.harness.records.vocabulary import NOT_CHECKED
from spec.harness.records.writing import RecordFile
from spec.harness.runs.containment import MAIN, NO_WORD, LastWords, last_words, planned
from spec.harness.runs.ledger import UNFINISHED, Account, Ledger
from spec.harness.statements.outcomes import ended_by

PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
NO_RUN = ("help", "version", "showfixtures", "show_fixtures_per_test", "markers", "cacheshow", "collectonly")


@dataclass
class Run:
    """What the process that runs the tests shares with the one that watches it."""

    folder: Path  # of the ledger, and of the last words of each process
    ledger: Ledger
    file: RecordFile | None
    watched: bool = False


RUN = pytest.StashKey[Run]()
watching = False  # a run inside a run is watched by nobody: what ends it ends the run around it


def begin(config: pytest.Config) -> Run:
    """Make the folder of a run, and open the file that it is to write."""
    path = config.option.records if not config.option.collectonly else None
    file = RecordFile(Path(path)) if path else None
    try:
        folder = Path(tempfile.mkdtemp(prefix="blitz-"))
    except OSError as error:
        raise pytest.UsageError(f"expected a folder for temporary files (TMPDIR): {error}") from None
    return Run(folder, Ledger(folder), file)


def can_watch(config: pytest.Config) -> bool:
    """Tell whether there is a run to watch, and whether it can be: debuggers and coverage follow no fork."""
    return (
        not watching
        and hasattr(signal, "sigwaitinfo")
        and sys.gettrace() is None
        and not any(getattr(config.option, name, False) for name in NO_RUN)
    )


def watch(config: pytest.Config, run: Run) -> int:
    """Run pytest in another process, and return the exit status that it deserves."""
    global watching
    watching = run.watched = True
    sys.stdout.flush()
    sys.stderr.flush()
    gc.freeze()  # a search for garbage would copy the memory that both share, and take long at the exit
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD, *PASSED_ON])
    process = os.fork()
    if process == 0:
        end_with_parent()
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        _run(config, run)
    try:
        return settle(run, wait(process))
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        watching = False


def _run(config: pytest.Config, run: Run) -> NoReturn:
    """Run pytest, say goodbye in the ledger, and end this process."""
    try:
        # CUDA that was asked for its devices before a fork shows none after it
        if getattr(torch.cuda, "_is_in_bad_fork", bool)() and machine.cuda_driver():
            raise pytest.UsageError(
                "a plugin or a conftest.py used CUDA before pytest began: use CUDA inside tests only"
            )
        status = int(config.hook.pytest_cmdline_main(config=config))
    except pytest.UsageError as error:
        print(*(f"ERROR: {line}" for line in error.args), sep="\n", file=sys.stderr)
        status = int(pytest.ExitCode.USAGE_ERROR)
    run.ledger.note(status=status)
    raise SystemExit(status)


def wait(process: int) -> int:
    """Return the exit status of a process, negative for a signal; what is sent to this one is passed on."""
    while True:
        told = signal.sigwaitinfo({signal.SIGCHLD, *PASSED_ON})
        if told.si_signo == signal.SIGCHLD:
            ended, status = os.waitpid(process, os.WNOHANG)
            if ended:
                return os.waitstatus_to_exitcode(status)
        elif told.si_code <= 0:  # by another process; what a terminal sends has reached that process as well
            os.kill(process, told.si_signo)


def settle(run: Run, status: int) -> int:
    """Close the books of a run that ended with `status`; return the status that it deserves."""
    account, last = run.ledger.account(), None
    if status != account.status:  # without the last line, which says so
        last = last_words(run.folder / MAIN)
        how = f"by {signal.Signals(-status).name}" if status < 0 else f"with status {status}"
        where = f", at {last.node}" if last.node else ""
        why = "" if last.why == NO_WORD else f": {last.why}"
        account.problems.insert(0, f"the process that ran the checks ended {how}{where}{why}")
        print(f"\nblitz: this run did not finish: {'; '.join(account.problems)}", file=sys.stderr)
        status = UNFINISHED
    status = account.deserved(status)
    if run.file:
        try:
            _end_file(run, account, last, status)
        except HarnessError as error:
            print(f"blitz: {error}", file=sys.stderr)
            status = UNFINISHED
        finally:
            run.file.close()
    shutil.rmtree(run.folder, ignore_errors=True)
    return status


def _end_file(run: Run, account: Account, last: LastWords | None, status: int) -> None:
    """Write a record for each check that was not reached, and the last line."""
    assert run.file
    if account.begun:
        left = [record for record in planned(run.folder) if record["node"] not in account.recorded]
        for record in left:
            if last and last.record and record["node"] == last.record["node"]:
                run.file.write(ended_by(record, last.outcome, last.why))
            else:
                run.file.write(ended_by(record, NOT_CHECKED, None))
        run.file.write(
            {
                "kind": "end",
                "collected": account.collected,
                "ended": account.ended,
                "records": len(account.recorded) + len(left),
                "exit_status": status,
                "seen": "; ".join(account.problems) or None,
            }
        )
