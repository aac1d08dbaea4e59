"""The pytest plugin: its options, and what has to stand before the first test is collected."""

import os
import shlex
import shutil
import sys
from typing import Any

import pytest
import torch

from spec.harness.accelerator.climbing import Climb
from spec.harness.accelerator.devices import NAMED, OnAccelerator, name_device
from spec.harness.children import end_with_parent, python
from spec.harness.runs import guard
from spec.harness.runs.containment import MAIN, Supervisor, Watched, WatchedWorker
from spec.harness.runs.findings import Findings
from spec.harness.runs.freshness import Freshness
from spec.harness.runs.seats import seat_workers
from spec.harness.runs.strict_warnings import StrictWarnings
from spec.harness.statements.checks import count_checks
from spec.harness.statements.contract import FORBIDDEN, check_requirements
from spec.harness.statements.seeds import draw_the_same_cases
from spec.harness.surroundings import keep_sockets_short, name_the_user, open_streams

pytest_plugins = ["spec.harness.statements.collection", "spec.harness.statements.running"]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of the harness."""
    group = parser.getgroup("blitz")
    group.addoption(
        "--require",
        action="append",
        default=[],
        metavar="WHAT",
        help="cuda, cuda:N, cifar10 or browser: stop at once where it is missing, fail what is not checked "
        "for it; may be repeated; also BLITZ_REQUIRE, separated by spaces",
    )
    group.addoption(
        "--device",
        metavar="NAME",
        help="the accelerator to check: its kind, such as cuda, xpu, mps or a PrivateUse1 name, "
        "or one device, such as cuda:1; cpu for none; also BLITZ_DEVICE",
    )
    group.addoption(
        "--contain",
        action="store_true",
        help="run chosen tests in workers, too: one that takes its process down then costs nothing else",
    )
    group.addoption("--slow", action="store_true", help="run the checks that take longer, too")
    group.addoption(
        "--history",
        action="store_true",
        help="run the checks that need a newer PyTorch, too: here each has to be refuted",
    )
    group.addoption(
        "--sabotage", action="store_true", help="run each check under each fault of its statement"
    )
    group.addoption("--records", metavar="PATH", help="write the records of the run there (JSON lines)")


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> int | None:
    """Have another process run all this, and watch it; there choose the accelerator and the workers."""
    open_streams()  # or the file of the run would take the number of one that is closed
    if hasattr(config, "workerinput"):
        guard.watching = True  # by who has started this worker; nobody watches a run inside one of its tests
        end_with_parent()  # without this, a test that hangs would go on, and hold its device
        return None
    if guard.RUN not in config.stash:
        run = config.stash[guard.RUN] = guard.begin(config)
        if guard.can_watch(config):
            return guard.watch(config, run)
        config.add_cleanup(lambda: shutil.rmtree(run.folder, ignore_errors=True))
    named = config.option.device or os.environ.get(NAMED)
    if named:
        name_device(named)
    seat_workers(config, contain=config.option.contain and config.stash[guard.RUN].watched)
    return None


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes(specs: list[Any]) -> None:
    """Have workers import nothing that lies in the current folder."""
    for spec in specs:
        if spec.popen and not spec.python:
            spec.python = shlex.join(python())


def pytest_configure(config: pytest.Config) -> None:
    """Hold the machine to what is required, before anything else is done."""
    name_the_user()
    keep_sockets_short()
    if not config.getini("enable_assertion_pass_hook"):
        raise pytest.UsageError(
            "set enable_assertion_pass_hook = true: executed assertions are counted by it"
        )
    if sys.flags.optimize > 1:
        raise pytest.UsageError(
            "do not use -OO or PYTHONOPTIMIZE=2: they remove the docstrings, which are the statements"
        )
    if config.option.sabotage and config.option.records:
        raise pytest.UsageError(
            "--records records what is true, and --sabotage breaks it: use one of the two"
        )
    required = [*config.option.require, *os.environ.get("BLITZ_REQUIRE", "").split()]
    config.stash[FORBIDDEN] = check_requirements(config, required)
    patch = pytest.MonkeyPatch()
    count_checks(patch)
    config.add_cleanup(patch.undo)
    draw_the_same_cases(shrink=not config.option.sabotage)
    torch.set_num_threads(1)  # at these sizes a second thread only waits for the first
    config.pluginmanager.register(OnAccelerator())
    config.pluginmanager.register(StrictWarnings(config))
    config.pluginmanager.register(Freshness())
    if hasattr(config, "workerinput"):
        config.pluginmanager.register(WatchedWorker(config))
    else:
        run = config.stash[guard.RUN]
        config.pluginmanager.register(Supervisor(run.folder, run.ledger))
        config.pluginmanager.register(Findings(config, run), "blitz-findings")
        if run.watched and not getattr(config.option, "tx", None) and not config.option.usepdb:
            config.pluginmanager.register(Watched(run.folder, MAIN))
    if not config.option.sabotage:
        config.pluginmanager.register(Climb(config))
