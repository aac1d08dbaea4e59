"""`pytest --sabotage`: which matrix passes, which fails and how, and that a fault is undone."""

import pytest
import torch

from spec.harness.tests.accelerator.test_devices import pretend_accelerator

STATEMENT = """
@statement("nn.ones", notes="3")
@fault("ones are zeros", torch, "ones", {fault})
def test_ones():
    '''Ones are ones.'''
    {body}
"""
ONES = "assert torch.ones(2).tolist() == [1, 1]"

CAUGHT = {
    "assert": ("zeros", ONES),
    "assert_close": ("zeros", "torch.testing.assert_close(torch.ones(2), torch.tensor([1.0, 1.0]))"),
    "pytest.fail": ("zeros", "torch.ones(2).sum() == 2 or pytest.fail('no ones')"),
    "did not raise": ("zeros", "with pytest.raises(ZeroDivisionError): 1 / (1 - torch.ones(1).item())"),
    "another message": (
        "lambda real: lambda *shape: real(9)",
        "with pytest.raises(RuntimeError, match='input of size 2'): torch.ones(2).view(3)",
    ),
}
NOT_CAUGHT = {
    "no fault": ("lambda real: real", ONES, "nn.ones: 'ones are zeros' survived: every check passed *"),
    "another exception": (
        "lambda real: lambda *shape: 1 / 0",
        ONES,
        "nn.ones: 'ones are zeros' was caught by accident: *test_ones ended with ZeroDivisionError*",
    ),
    "another error in pytest.raises": (
        "lambda real: lambda *shape: [][1]",
        "with pytest.raises(RuntimeError): torch.ones(2).view(3)",
        "*caught by accident: *test_ones ended with IndexError*",
    ),
    "nothing of that name": (
        "lambda real: real.nothing",
        ONES,
        "*caught by accident: *test_ones could not be planted: AttributeError*",
    ),
    "the fault's own assert": (
        "lambda real: lambda *shape: (_ for _ in ()).throw(AssertionError('the fault')) or real(*shape)",
        ONES,
        "*caught by accident: * AssertionError: the fault",
    ),
    "an assert while it is planted": (
        "lambda real: (_ for _ in ()).throw(AssertionError('planting'))",
        ONES,
        "*caught by accident: *could not be planted: AssertionError: planting",
    ),
    "a check that excuses itself": (
        "lambda real: lambda *shape: not_checked('slow')",
        ONES,
        "*caught by accident: * slow: *",
    ),
    "xfail": (
        "zeros",
        "torch.ones(2).sum() == 2 or pytest.xfail('hm')\n    assert True",
        "*caught by accident: * hm",
    ),
}


@pytest.mark.parametrize(("fault", "body"), CAUGHT.values(), ids=CAUGHT)
def test_a_failed_check_catches_a_fault(run_spec, fault, body):
    """A fault is caught by a failed assert, assert_close, pytest.fail, or a raises that did not raise."""
    result = run_spec(STATEMENT.format(fault=fault, body=body), "--sabotage")

    assert (result.ret, result.parseoutcomes()) == (0, {"passed": 2})  # the second run is without a fault
    result.stdout.fnmatch_lines(["1 caught, 0 survived, 0 caught by accident, 0 missing, 0 idle"])


@pytest.mark.parametrize(("fault", "body", "message"), NOT_CAUGHT.values(), ids=NOT_CAUGHT)
def test_anything_else_fails_the_run(run_spec, fault, body, message):
    """A fault that survives fails the run, and so does one that ends the check in any other way."""
    result = run_spec(STATEMENT.format(fault=fault, body=body), "--sabotage")

    assert result.ret == 1
    result.stdout.fnmatch_lines([message, "0 caught, *"])


def test_an_assertion_inside_a_library_is_an_accident(run_spec, pytester):
    """An AssertionError out of code that is not the specification's proves nothing about the check."""
    pytester.makepyfile(some_library="def ones(*shape):\n    assert not shape, 'no shapes'")
    pytester.syspathinsert()

    fault = "lambda real: __import__('some_library').ones"
    result = run_spec(STATEMENT.format(fault=fault, body=ONES), "--sabotage")

    assert result.ret == 1
    result.stdout.fnmatch_lines(["*caught by accident: * AssertionError: no shapes*"])


def test_a_timeout_is_an_accident(run_spec):
    """A check that hangs under a fault has not caught it."""
    fault = "lambda real: lambda *shape: __import__('time').sleep(60)"
    result = run_spec(STATEMENT.format(fault=fault, body=ONES), "--sabotage", "--timeout=0.2")

    assert result.ret == 1
    result.stdout.fnmatch_lines(["*caught by accident: * Timeout*"])


def test_a_statement_without_a_fault_fails(run_spec):
    """A statement that nobody can break is not proven able to fail."""
    source = STATEMENT.format(fault="zeros", body=ONES).replace("@fault", "# @fault")
    result = run_spec(source, "--sabotage")

    assert (result.ret, result.parseoutcomes()) == (1, {"failed": 1})
    result.stdout.fnmatch_lines(["no fault: plant one *", "0 caught, *, 1 missing, 0 idle"])


CLASS = """
@statement("nn.ones", notes="3")
@fault("ones are zeros", torch, "ones", zeros)
@fault("zeros are ones", torch, "zeros", lambda real: torch.ones)
class TestOnes:
    "Ones are ones, and zeros are zeros."

    @pytest.mark.parametrize("size", [1, 2])
    def test_ones(self, size):
        assert torch.ones(size).tolist() == [1] * size

    def test_other(self):
        {body}
"""


def test_each_fault_needs_one_check_and_each_check_one_fault(run_spec):
    """Rows and checks times faults, and each row once without a fault; no check has to catch them all."""
    result = run_spec(CLASS.format(body="assert torch.zeros(1).item() == 0"), "--sabotage")

    assert (result.ret, result.parseoutcomes()) == (0, {"passed": 9})
    result.stdout.fnmatch_lines(["2 caught, 0 survived, 0 caught by accident, 0 missing, 0 idle"])


def test_a_fault_that_one_check_catches_may_end_another_by_accident(run_spec):
    """What one assertion catches is caught, whatever becomes of the other checks."""
    result = run_spec(
        CLASS.format(body="assert 1 / (1 + torch.zeros(1).item()) == 1 / torch.ones(1).item()"), "--sabotage"
    )

    assert result.ret == 0
    result.stdout.fnmatch_lines(["2 caught, 0 survived, *"])


def test_a_check_that_catches_nothing_is_idle(run_spec):
    """A check that passes under every fault of its statement is named."""
    result = run_spec(CLASS.format(body="assert torch.zeros(1).numel() == 1"), "--sabotage")

    assert result.ret == 1
    result.stdout.fnmatch_lines(
        [
            "nn.ones: 'zeros are ones' survived: *",
            "nn.ones: spec/section_3/test_example.py::TestOnes::test_other is idle: *",
            "1 caught, 1 survived, 0 caught by accident, 0 missing, 1 idle",
        ]
    )


ROWS = """
@statement("nn.ones", notes="3")
@fault("ones are zeros", torch, "ones", zeros)
@pytest.mark.parametrize("size", [0, 1])
{mark}
def test_ones(size):
    "Ones are ones."
    assert torch.ones(size).tolist() == [1] * size
"""


def test_a_weak_row_hides_behind_a_strong_one_unless_each_has_to_catch(run_spec):
    """Of the rows of a check one has to catch a fault; with @each_row, all of them."""
    assert run_spec(ROWS.format(mark=""), "--sabotage").ret == 0

    result = run_spec(ROWS.format(mark="@each_row"), "--sabotage")

    assert result.ret == 1
    result.stdout.fnmatch_lines(["nn.ones: *::test_ones[[]0] is idle: *", "1 caught, *, 1 idle"])


def test_what_is_left_out_may_be_what_catches(run_spec):
    """A fault that no check caught is not held against a statement of which a check was left out."""
    source = CLASS.format(body="assert torch.zeros(1).item() == 0").replace("def test_other", "def test_slow")
    source = source.replace("    def test_slow", "    @pytest.mark.slow\n    def test_slow")

    for options in (["--sabotage"], ["--sabotage", "-k", "test_ones"]):
        result = run_spec(source, *options)

        assert result.ret == 0
        result.stdout.fnmatch_lines(["1 caught, 0 survived, *, 1 not checked"])
    assert run_spec(source, "--sabotage", "--slow").ret == 0


ON_DEVICES = """
@statement("nn.ones", notes="3")
@fault("ones are zeros", torch, "ones", zeros)
@fault("zeros are ones", torch, "zeros", lambda real: torch.ones)
class TestOnes:
    "Ones are ones."

    def test_ones(self, device):
        assert torch.ones(1).item() == 1

    def test_nothing(self, device):
        assert torch.ones(1).numel() == 1
"""


def test_what_is_left_out_on_an_accelerator_alone_hides_nothing(run_spec, monkeypatch):
    """Where a check ran on the CPU, its row on an accelerator is not what might have caught the fault."""
    monkeypatch.setattr("torch.accelerator.is_available", lambda *args, **kwargs: False)

    result = run_spec(ON_DEVICES, "--sabotage")

    assert result.ret == 1
    result.stdout.fnmatch_lines(
        [
            "nn.ones: 'zeros are ones' survived: *",
            "nn.ones: *::TestOnes::test_nothing is idle: *",
            "1 caught, 1 survived, 0 caught by accident, 0 missing, 1 idle",
        ]
    )


def test_other_tests_are_left_out(run_spec, make_spec):
    """What checks no statement is not run under --sabotage."""
    make_spec("def test_plain():\n    assert True", "spec/blitz/cifar10/test_data.py")

    result = run_spec(STATEMENT.format(fault="zeros", body=ONES), "--sabotage")

    assert result.parseoutcomes() == {"passed": 2, "deselected": 1}


@pytest.mark.parametrize("fault", ["zeros", "lambda real: lambda *shape: 1 / 0"])
def test_a_fault_is_undone_whatever_happens(run_spec, fault):
    """After a caught fault, and after an accident, PyTorch is whole again."""
    before = torch.ones

    run_spec(STATEMENT.format(fault=fault, body=ONES), "--sabotage")

    assert torch.ones is before


def test_a_fault_in_an_inherited_method_is_undone_by_removing_it(run_spec):
    """A method that Tensor inherits is inherited again afterwards."""
    source = STATEMENT.replace('torch, "ones"', 'torch.Tensor, "tolist"')
    result = run_spec(source.format(fault="lambda real: lambda tensor: []", body=ONES), "--sabotage")

    assert result.ret == 0
    assert "tolist" not in vars(torch.Tensor)


def test_a_fault_holds_for_the_call_alone(run_spec):
    """Fixtures are set up before the fault is planted, so that none of them can carry it on."""
    fixture = "@pytest.fixture\ndef two():\n    return torch.ones(2)\n"
    source = STATEMENT.replace("test_ones()", "test_ones(two)").format(
        fault="zeros", body="assert two.sum() == 2"
    )

    result = run_spec(fixture + source, "--sabotage")

    assert result.ret == 1
    result.stdout.fnmatch_lines(["0 caught, 1 survived, *"])


def test_a_check_that_fails_without_a_fault_fails(run_spec):
    """A check that fails anyway seems to catch every fault; the run without one shows it."""
    result = run_spec(
        STATEMENT.format(fault="lambda real: real", body="assert torch.ones(2).sum() == 3"), "--sabotage"
    )

    assert (result.ret, result.parseoutcomes()) == (1, {"failed": 1, "passed": 1})
    result.stdout.fnmatch_lines(["1 caught, *, 1 red without a fault"])


@pytest.mark.slow
def test_sabotage_runs_under_xdist(run_spec_on_workers):
    """Workers run the matrix, and it is judged as a whole."""
    source = CLASS.format(body="assert torch.zeros(1).numel() == 1")

    result = run_spec_on_workers(source, "--sabotage", "-n2")

    assert result.ret == 1
    result.stdout.fnmatch_lines(["1 caught, 1 survived, 0 caught by accident, 0 missing, 1 idle"])


def test_sabotage_and_records_exclude_each_other(run_spec):
    """Records hold what is true, so no sabotage may write them."""
    result = run_spec(STATEMENT.format(fault="zeros", body=ONES), "--sabotage", "--records=v.jsonl")

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*use one of the two*"])


LACKING = """
@pytest.mark.gpu
@statement("nn.a", notes="3")
@fault("ones are zeros", torch, "ones", zeros)
def test_a():
    "One is one."
    raise NotImplementedError("Could not run 'aten::sort' with arguments from the 'X' backend.")
"""


def test_what_an_accelerator_lacks_is_no_accident(run_spec, monkeypatch):
    """What an accelerator lacks it lacks under a fault, too: that run says nothing about the check."""
    pretend_accelerator(monkeypatch)

    result = run_spec(LACKING, "--sabotage")

    assert result.parseoutcomes() == {"skipped": 2}
    result.stdout.fnmatch_lines(
        ["0 caught, 0 survived, 0 caught by accident, 0 missing, 0 idle, 1 not checked"]
    )
