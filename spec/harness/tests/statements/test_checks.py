"""The vacuity guard, and what counts as a check."""

from pathlib import Path

import pytest
import torch

from spec.harness.statements.checks import counted

CHECKS = {
    "assert": "assert torch.ones(1).item() == 1",
    "assert_close": "torch.testing.assert_close(torch.ones(1), torch.ones(1))",
    "raises": "with pytest.raises(ValueError): raise ValueError('expected')",
    "raises_called": "pytest.raises(ZeroDivisionError, lambda: 1 / 0)",
    "warns": "with pytest.warns(UserWarning): __import__('warnings').warn('expected', stacklevel=1)",
}
NO_CHECKS = {
    "nothing": "pass",
    "early_return": "return\n    assert False",
    "loop_over_nothing": "for each in []:\n        assert each",
    "trace_that_pytorch_checks": """
    __import__("warnings").simplefilter("ignore")  # torch.jit is deprecated since PyTorch 2.11
    torch.jit.trace(torch.relu, torch.ones(2))""",
    "error_that_was_not_expected": (
        "try:\n        with pytest.raises(ValueError): raise TypeError\n    except TypeError:\n        pass"
    ),
    "comparison_of_nothing": "torch.testing.assert_close([], [])",
    "dropped_comparison": "torch.equal(torch.ones(1), torch.zeros(1))",
}


def source(bodies):
    """Return the source of a test for each body."""
    return "".join(f"\ndef test_{name}():\n    {body}\n" for name, body in bodies.items())


def test_a_test_without_an_executed_check_fails(run_spec):
    """It is vacuous, statement or not; an assert, an assert_close, a raises and a warns each are a check."""
    result = run_spec(source(CHECKS | NO_CHECKS), file="spec/blitz/cifar10/test_data.py")

    assert result.parseoutcomes() == {"passed": len(CHECKS), "failed": len(NO_CHECKS)}
    assert result.outlines.count("vacuous: the test ended without one executed check") == len(NO_CHECKS)


def test_the_hook_that_counts_asserts_is_required(run_spec):
    """Without pytest's hook every test would seem vacuous, so the run does not start."""
    result = run_spec(source(CHECKS), "-o", "enable_assertion_pass_hook=false")

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*set enable_assertion_pass_hook = true*"])


COMPARED = {
    "by default": (torch.tensor([0.65e-6]), torch.zeros(1), {}, 0.065),
    "far from zero": (torch.tensor([1.5]), torch.ones(1), {"rtol": 1.0, "atol": 1.0}, 0.25),
    "equal infinities": (torch.tensor([torch.inf]), torch.tensor([torch.inf]), {}, 0),
    "integers": (torch.ones(1, dtype=torch.int64), torch.ones(1, dtype=torch.int64), {}, None),
    "sparse": (torch.eye(2).to_sparse(), torch.eye(2).to_sparse(), {}, None),
}


@pytest.mark.parametrize(("actual", "expected", "options", "share"), COMPARED.values(), ids=COMPARED)
def test_the_share_of_the_tolerance_is_that_of_the_largest_difference(actual, expected, options, share):
    """What has no tolerance has no share of it."""
    with counted(Path(__file__).parent) as tally:
        torch.testing.assert_close(expected, expected, **options)
        torch.testing.assert_close(actual, expected, **options)

    assert tally.executed == 2
    assert tally.tolerance_used == (share if share is None else pytest.approx(share))
