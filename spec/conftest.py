"""Fixtures that several sections use."""

import functools
import gc
import importlib
from contextlib import suppress

import pytest
import torch

from spec import ranks as processes
from spec.harness.accelerator.devices import accelerator, on_accelerator
from spec.harness.statements.contract import not_checked
from spec.harness.statements.statement import Fault, statement_of
from spec.notes import NOTES


def pytest_notes():
    """Tell the harness of the notes."""
    return NOTES


def pytest_collection_finish(session):
    """Keep what was imported out of the garbage collector's sight, and prepare the processes of `ranks`.

    A search of a million objects takes a third of a second. pytest makes five when a run ends, and Python
    makes more when the process exits. The processes of `ranks` import what they need here, before the first
    of them is asked for.
    """
    gc.freeze()
    if session.config.option.collectonly:
        return
    if any("ranks" in getattr(item, "fixturenames", ()) for item in session.items):
        with suppress(Exception):  # the tests that need it ask again, and each one tells the error as its own
            processes.prepare()


@pytest.fixture
def gymnasium():
    """Gymnasium, which the extra `dqn` installs."""
    try:
        return importlib.import_module("gymnasium")
    except ImportError:
        not_checked("no-package", "gymnasium is not installed: pip install 'blitz[dqn]'")


@pytest.fixture
def repeated_warnings():
    """Have PyTorch repeat the warnings that it gives only once in a process."""
    before = torch.is_warn_always_enabled()
    torch.set_warn_always(True)
    yield
    torch.set_warn_always(before)


@pytest.fixture
def moved_in_place(request):
    """Leave out an accelerator to which PyTorch moves a net by making new parameters.

    It does so where tensors differ from the CPU's through and through, as a third party's may.
    """
    place = accelerator() if on_accelerator(request.node) else torch.device("cpu")
    if not torch._has_compatible_shallow_copy_type(torch.empty(0), torch.empty(0, device=place)):
        not_checked("not-implemented", f"a net that is moved to {place.type} gets new parameters")


@pytest.fixture
def ranks(request, tmp_path):
    """`ranks(size, work, *arguments)`: what `work` gives in each of so many processes, by rank.

    A fault is planted in them, too.
    """
    sabotage = getattr(request.node, "callspec", None) and request.node.callspec.params.get("sabotage")
    planted = None
    if isinstance(sabotage, Fault):
        proof = statement_of(request.node).proof
        planted = (proof.__module__, proof.__qualname__, proof.faults.index(sabotage))
    return functools.partial(processes.run, folder=tmp_path, planted=planted)
