"""`pytest --sabotage`: what passes, what fails, and that a fault is undone."""

import pytest
import torch

from spec.harness.tests.accelerator.test_devices import pretend_accelerator

CLAIM = """
@claim("nn.ones", notes="3")
@broken_by(torch, "ones", {fault})
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
    "survived": ("lambda real: real", ONES, "survived: with torch.ones broken, *"),
    "another exception": (
        "lambda real: lambda *shape: 1 / 0",
        ONES,
        "caught by accident: * ended with ZeroDivisionError: division by zero",
    ),
    "another error in pytest.raises": (
        "lambda real: lambda *shape: [][1]",
        "with pytest.raises(RuntimeError): torch.ones(2).view(3)",
        "caught by accident: * ended with IndexError*",
    ),
    "nothing of that name": ("lambda real: real.nothing", ONES, "caught by accident: * AttributeError*"),
}


@pytest.mark.parametrize(("fault", "body"), CAUGHT.values(), ids=CAUGHT)
def test_a_failed_check_of_the_claim_passes(run_spec, fault, body):
    """A sabotage is caught by a failed assert, assert_close, pytest.fail, or a raises that did not raise."""
    result = run_spec(CLAIM.format(fault=fault, body=body), "--sabotage")

    assert result.parseoutcomes() == {"passed": 2}  # the second run is the one without a fault
    result.stdout.fnmatch_lines(["1 caught, 0 survived, 0 caught by accident, 0 missing"])


@pytest.mark.parametrize(("fault", "body", "message"), NOT_CAUGHT.values(), ids=NOT_CAUGHT)
def test_anything_but_a_failed_check_of_the_claim_fails(run_spec, fault, body, message):
    """A survivor fails, and so does every exception that is not a check of the claim's own."""
    result = run_spec(CLAIM.format(fault=fault, body=body), "--sabotage")

    assert result.parseoutcomes() == {"failed": 1, "passed": 1}
    result.stdout.fnmatch_lines([message])


def test_an_assertion_inside_a_library_is_an_accident(run_spec, pytester):
    """An AssertionError out of code that is not the claim's proves nothing about the claim."""
    pytester.makepyfile(some_library="def ones(*shape):\n    assert not shape, 'no shapes'")
    pytester.syspathinsert()

    fault = "lambda real: __import__('some_library').ones"
    result = run_spec(CLAIM.format(fault=fault, body=ONES), "--sabotage")

    assert result.parseoutcomes() == {"failed": 1, "passed": 1}
    result.stdout.fnmatch_lines(["caught by accident: * AssertionError: no shapes*"])


def test_a_timeout_is_an_accident(run_spec):
    """A claim that hangs under its sabotage has not caught it."""
    fault = "lambda real: lambda *shape: __import__('time').sleep(60)"
    result = run_spec(CLAIM.format(fault=fault, body=ONES), "--sabotage", "--timeout=0.2")

    assert result.parseoutcomes() == {"failed": 1, "passed": 1}
    result.stdout.fnmatch_lines(["caught by accident: * Timeout*"])


def test_a_claim_without_a_sabotage_fails(run_spec):
    """A claim that nobody can break is not proven able to fail."""
    source = CLAIM.format(fault="zeros", body=ONES).replace("@broken_by", "# @broken_by")
    result = run_spec(source, "--sabotage")

    assert result.parseoutcomes() == {"failed": 1}
    result.stdout.fnmatch_lines(
        ["no sabotage: plant a fault*", "0 caught, 0 survived, 0 caught by accident, 1 missing"]
    )


def test_each_claim_and_sabotage_is_a_run_and_other_tests_are_left_out(run_spec, make_spec):
    """Two sabotages of a claim are two runs, and one without; a plain test is not run under --sabotage."""
    make_spec("def test_plain():\n    assert True", "spec/blitz/cifar10/test_data.py")
    second = CLAIM.replace("def test", '@broken_by(torch, "ones", lambda real: torch.empty)\ndef test')

    result = run_spec(second.format(fault="zeros", body="assert torch.ones(2).sum() == 2"), "--sabotage")

    assert result.parseoutcomes()["passed"] + result.parseoutcomes().get("failed", 0) == 3
    assert result.parseoutcomes()["deselected"] == 1


@pytest.mark.parametrize("fault", ["zeros", "lambda real: lambda *shape: 1 / 0"])
def test_a_sabotage_is_undone_whatever_happens(run_spec, fault):
    """After a caught sabotage, and after an accident, PyTorch is whole again."""
    before = torch.ones

    run_spec(CLAIM.format(fault=fault, body=ONES), "--sabotage")

    assert torch.ones is before


def test_a_fault_in_an_inherited_method_is_undone_by_removing_it(run_spec):
    """A method that Tensor inherits is inherited again afterwards."""
    source = CLAIM.replace('torch, "ones"', 'torch.Tensor, "tolist"')
    result = run_spec(source.format(fault="lambda real: lambda tensor: []", body=ONES), "--sabotage")

    assert result.parseoutcomes() == {"passed": 2}
    assert "tolist" not in vars(torch.Tensor)


def test_a_fault_holds_for_the_call_alone(run_spec):
    """Fixtures are set up before the fault is planted, so that none of them can carry it on."""
    fixture = "@pytest.fixture\ndef two():\n    return torch.ones(2)\n"
    source = CLAIM.replace("test_ones()", "test_ones(two)").format(
        fault="zeros", body="assert two.sum() == 2"
    )

    result = run_spec(fixture + source, "--sabotage")

    assert result.parseoutcomes() == {"failed": 1, "passed": 1}
    result.stdout.fnmatch_lines(["0 caught, 1 survived, 0 caught by accident, 0 missing"])


DECEPTIONS = {
    "the fault's own assert": (
        "lambda real: lambda *shape: (_ for _ in ()).throw(AssertionError('the fault')) or real(*shape)",
        ONES,
        "caught by accident: * AssertionError: the fault",
    ),
    "an assert while it is planted": (
        "lambda real: (_ for _ in ()).throw(AssertionError('planting'))",
        ONES,
        "caught by accident: torch.ones could not be broken: AssertionError: planting",
    ),
    "not checked": (
        "lambda real: lambda *shape: not_checked('slow')",
        ONES,
        "caught by accident: * slow: *",
    ),
    "xfail": (
        "zeros",
        "torch.ones(2).sum() == 2 or pytest.xfail('hm')\n    assert True",
        "caught by accident: * hm",
    ),
}


@pytest.mark.parametrize(("fault", "body", "message"), DECEPTIONS.values(), ids=DECEPTIONS)
def test_a_fault_that_ends_the_claim_itself_is_an_accident(run_spec, fault, body, message):
    """An assert of the fault's own, or a claim that excuses itself under a fault, catches nothing."""
    result = run_spec(CLAIM.format(fault=fault, body=body), "--sabotage")

    assert result.parseoutcomes() == {"failed": 1, "passed": 1}
    result.stdout.fnmatch_lines([message])


def test_a_claim_that_is_red_without_a_fault_fails(run_spec):
    """A claim that fails anyway seems to catch every fault; the run without one shows it."""
    result = run_spec(
        CLAIM.format(fault="lambda real: real", body="assert torch.ones(2).sum() == 3"), "--sabotage"
    )

    assert result.parseoutcomes() == {"failed": 1, "passed": 1}
    result.stdout.fnmatch_lines(
        ["1 caught, 0 survived, 0 caught by accident, 0 missing, 1 red without a fault"]
    )


@pytest.mark.slow
def test_sabotages_run_under_xdist(run_spec_on_workers):
    """Workers run the sabotages, and the counts come together."""
    other = CLAIM.replace("ones", "tens").replace('"tens"', '"ones"').replace("torch.tens", "torch.ones")
    source = CLAIM.format(fault="zeros", body=ONES) + other.format(fault="lambda real: real", body=ONES)

    result = run_spec_on_workers(source, "--sabotage", "-n1")

    assert result.parseoutcomes() == {"passed": 3, "failed": 1}
    result.stdout.fnmatch_lines(["1 caught, 1 survived, 0 caught by accident, 0 missing"])


def test_sabotage_and_verdicts_exclude_each_other(run_spec):
    """A verdict file records what is true, so no sabotage may write into one."""
    result = run_spec(CLAIM.format(fault="zeros", body=ONES), "--sabotage", "--verdicts=v.jsonl")

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*give one of the two*"])


LACKING = """
@pytest.mark.gpu
@claim("nn.a", notes="3")
@broken_by(torch, "ones", zeros)
def test_a():
    "One is one."
    raise NotImplementedError("Could not run 'aten::sort' with arguments from the 'X' backend.")
"""


def test_a_claim_that_its_accelerator_cannot_check_is_no_accident(run_spec, monkeypatch):
    """What an accelerator lacks it lacks under a fault, too: that run says nothing about the claim."""
    pretend_accelerator(monkeypatch)

    result = run_spec(LACKING, "--sabotage")

    assert result.parseoutcomes() == {"skipped": 2}
    result.stdout.fnmatch_lines(["0 caught, 0 survived, 0 caught by accident, 0 missing"])
