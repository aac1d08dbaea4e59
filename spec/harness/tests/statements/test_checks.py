"""The vacuity guard, and what counts as a check."""

from pathlib import Path

import pytest
import torch

from spec.harness.statements.checks import TOLERANCES, tally

TEST = """
def test_it():
    {body}
"""
CHECKS = {
    "assert": "assert torch.ones(1).item() == 1",
    "assert_close": "torch.testing.assert_close(torch.ones(1), torch.ones(1))",
    "raises": "with pytest.raises(ValueError): raise ValueError('expected')",
    "raises, called": "pytest.raises(ZeroDivisionError, lambda: 1 / 0)",
    "warns": "with pytest.warns(UserWarning): __import__('warnings').warn('expected', stacklevel=1)",
}
NO_CHECKS = {
    "nothing": "pass",
    "an early return": "return\n    assert False",
    "a loop over nothing": "for each in []:\n        assert each",
    "a trace that PyTorch checks": """
    __import__("warnings").simplefilter("ignore")  # torch.jit is deprecated since PyTorch 2.11
    torch.jit.trace(torch.relu, torch.ones(2))""",
    "an error that was not expected": (
        "try:\n        with pytest.raises(ValueError): raise TypeError\n    except TypeError:\n        pass"
    ),
    "a comparison of nothing": "torch.testing.assert_close([], [])",
    "a dropped comparison": "torch.equal(torch.ones(1), torch.zeros(1))",
}


@pytest.mark.parametrize("body", CHECKS.values(), ids=CHECKS)
def test_an_executed_check_counts(run_spec, body):
    """An assert, an assert_close, a raises and a warns each make a test more than vacuous."""
    result = run_spec(TEST.format(body=body), file="spec/blitz/cifar10/test_data.py")

    assert result.parseoutcomes() == {"passed": 1}


@pytest.mark.parametrize("body", NO_CHECKS.values(), ids=NO_CHECKS)
def test_a_test_without_an_executed_check_fails(run_spec, body):
    """A test that ends without having checked anything fails, statement or not."""
    result = run_spec(TEST.format(body=body), file="spec/blitz/cifar10/test_data.py")

    assert result.parseoutcomes() == {"failed": 1}
    result.stdout.fnmatch_lines(["vacuous: the test ended without one executed check"])


def test_checks_of_an_inner_run_are_not_counted_here(run_spec):
    """A run inside a test leaves the tally of that test as it was."""
    before = tally.executed

    run_spec(TEST.format(body=CHECKS["assert"]), file="spec/blitz/cifar10/test_data.py")

    after = tally.executed
    assert after == before


def test_the_hook_that_counts_asserts_is_required(run_spec):
    """Without pytest's hook every test would seem vacuous, so the run does not start."""
    result = run_spec(TEST.format(body="assert True"), "-o", "enable_assertion_pass_hook=false")

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*set enable_assertion_pass_hook = true*"])


def test_the_share_of_the_tolerance_is_the_largest_of_all_comparisons():
    """Half of atol used once and a quarter used later make a half."""
    with tally.of_its_own(Path(__file__).parent) as mine:
        for error in (0.5, 0.25):
            torch.testing.assert_close(torch.tensor(error), torch.tensor(0.0), atol=1.0, rtol=0.0)

    assert mine.executed == 2
    assert mine.tolerance_used == pytest.approx(0.5)


def test_tensors_without_strides_have_no_share_of_a_tolerance():
    """Sparse tensors are compared, and a tolerance is not asked of them."""
    sparse = torch.eye(2).to_sparse()

    with tally.of_its_own(Path(__file__).parent) as mine:
        torch.testing.assert_close(sparse, sparse.clone())

    assert (mine.executed, mine.tolerance_used) == (1, None)


@pytest.mark.parametrize("dtype", TOLERANCES, ids=str)
def test_the_table_of_default_tolerances_is_pytorchs(dtype):
    """An error just inside the table's tolerance passes, one just outside fails."""
    rtol, atol = TOLERANCES[dtype]
    expected = torch.zeros(1, dtype=dtype)

    torch.testing.assert_close(expected + 0.9 * atol, expected)
    with pytest.raises(AssertionError):
        torch.testing.assert_close(expected + 1.2 * atol, expected)
    torch.testing.assert_close(1000 + 0.8 * 1000 * rtol + expected, 1000 + expected)
    with pytest.raises(AssertionError):
        torch.testing.assert_close(1000 + 1.6 * 1000 * rtol + expected, 1000 + expected)


COUNTED = """
@statement("nn.a", notes="3")
def test_a():
    "Checks are counted."
    assert torch.testing.assert_close.__wrapped__
    assert all(hasattr(each.__exit__, "__wrapped__") for each in (pytest.RaisesExc, type(pytest.warns())))
"""


def test_what_counts_checks_is_put_back_at_the_end_of_the_run(run_spec, monkeypatch):
    """A program that runs pytest in its own process has its PyTorch and its pytest back afterwards."""
    contexts = pytest.RaisesExc, type(pytest.warns())
    places = [(torch.testing, "assert_close"), *((context, "__exit__") for context in contexts)]
    for owner, name in places:  # as before this run
        monkeypatch.setattr(owner, name, getattr(owner, name).__wrapped__)
    before = [getattr(owner, name) for owner, name in places]

    result = run_spec(COUNTED)

    after = [getattr(owner, name) for owner, name in places]
    monkeypatch.undo()  # pytest.raises counts again from here on
    assert result.ret == 0
    assert after == before
