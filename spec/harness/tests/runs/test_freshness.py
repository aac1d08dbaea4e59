"""A run that does not begin with a fresh PyTorch says what differs, and so does a test."""

from contextlib import contextmanager

import numpy as np
import pytest
import torch
from torch import _tensor_str

from spec.harness.runs.freshness import differences


@contextmanager
def changed(change, value, fresh):
    """Have a setting changed for a while."""
    change(value)
    try:
        yield
    finally:
        change(fresh)


DTYPE = torch.set_default_dtype, torch.float64, torch.float32
PRODUCTS = torch.set_float32_matmul_precision, "medium", "highest"
CHANGES = {
    "the default dtype is torch.float64": lambda: changed(*DTYPE),
    "the default device is meta": lambda: torch.device("meta"),
    "grad mode is False": torch.no_grad,
    "inference mode is True": torch.inference_mode,
    "anomaly mode is True": lambda: torch.autograd.set_detect_anomaly(True),
    "autocast on the CPU is True": lambda: torch.autocast("cpu", torch.bfloat16),
    "the deterministic debug mode is 1": lambda: changed(torch.set_deterministic_debug_mode, 1, 0),
    "warn-always is True": lambda: changed(torch.set_warn_always, True, False),
    "the precision of float32 products is medium": lambda: changed(*PRODUCTS),
    "the number of modes that see each call is 1": torch.overrides.BaseTorchFunctionMode,
    "flush_denormal is True": lambda: changed(torch.set_flush_denormal, True, False),
    "tensors are printed is tensor([    0.0, 33333.3,": lambda: _tensor_str.printoptions(precision=1),
    "how NumPy treats errors is ('raise', 'raise', 'raise', 'raise')": lambda: np.errstate(all="raise"),
}
STATEMENTS = """
@statement("nn.a", notes="3")
def test_a():
    "One is one."
    assert 1 == 1
    torch.set_default_dtype(torch.float64)

@statement("nn.b", notes="3")
def test_b():
    "One is one."
    assert 1 == 1
"""


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_what_was_changed_is_told(request, change):
    """Each setting by its name, with what it is; nothing differs once it was put back."""
    with change():
        told = differences()

    assert request.node.callspec.id in told
    assert differences() == ""


def test_a_run_that_would_not_begin_fresh_is_refused_in_a_sentence(run_spec):
    """All differences are named, before anything is collected."""
    with np.errstate(divide="ignore"), torch.no_grad():
        result = run_spec(STATEMENTS, "-k", "test_b")

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        ["ERROR: PyTorch is not in its initial state: grad mode is False, and was True in a fresh*; how *"]
    )
    result.stdout.no_fnmatch_line("*collected*")


IN_MODULE = STATEMENTS.replace("    torch.set", "torch.set")
LEFT = {
    "by a test": (STATEMENTS, {"passed": 1, "errors": 1}, "*::test_a"),
    "by a module that is collected": (IN_MODULE, {"errors": 2}, "the run"),
}


@pytest.mark.parametrize(("source", "outcomes", "since"), LEFT.values(), ids=LEFT)
def test_what_is_left_behind_is_told_by_the_next_test(run_spec, source, outcomes, since):
    """It is told what it is and since when, instead of a failure that nobody can explain."""
    try:
        result = run_spec(source)
    finally:
        torch.set_default_dtype(torch.float32)

    assert (result.ret, result.parseoutcomes()) == (1, outcomes)
    result.stdout.fnmatch_lines(
        [f"PyTorch is not in its initial state since {since} began: the default dtype is *64*"]
    )
