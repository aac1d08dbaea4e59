"""`pytest --sabotage`: which matrix passes, which fails and how, and that a fault is undone."""

import pytest
import torch

from spec.harness.tests.accelerator.test_devices import pretend_accelerator

STATEMENT = """
{mark}
@statement("nn.{name}", notes="3")
@fault("ones are zeros", torch, "ones", {fault})
def test_{name}({fixtures}):
    '''Ones are ones.'''
    {body}
"""
ONES = "assert torch.ones(2).tolist() == [1, 1]"


def statement(fault="zeros", body=ONES, name="ones", mark="", fixtures=""):
    """Return the source of a statement with one fault."""
    return STATEMENT.format(fault=fault, body=body, name=name, mark=mark, fixtures=fixtures)


CAUGHT = {
    "an_assert": ("zeros", ONES),
    "assert_close": ("zeros", "torch.testing.assert_close(torch.ones(2), torch.tensor([1.0, 1.0]))"),
    "pytest_fail": ("zeros", "torch.ones(2).sum() == 2 or pytest.fail('no ones')"),
    "did_not_raise": ("zeros", "with pytest.raises(ZeroDivisionError): 1 / (1 - torch.ones(1).item())"),
    "another_message": (
        "lambda real: lambda *shape: real(9)",
        "with pytest.raises(RuntimeError, match='input of size 2'): torch.ones(2).view(3)",
    ),
}
ACCIDENTS = {
    "another_exception": ("lambda real: lambda *shape: 1 / 0", ONES, "ended with ZeroDivisionError*"),
    "another_error_in_raises": (
        "lambda real: lambda *shape: [][1]",
        "with pytest.raises(RuntimeError): torch.ones(2).view(3)",
        "ended with IndexError*",
    ),
    "nothing_of_that_name": ("lambda real: real.nothing", ONES, "could not be planted: AttributeError*"),
    "own_assert_of_the_fault": (
        "lambda real: lambda *shape: (_ for _ in ()).throw(AssertionError('the fault')) or real(*shape)",
        ONES,
        "ended with AssertionError: the fault",
    ),
    "assert_while_it_is_planted": (
        "lambda real: (_ for _ in ()).throw(AssertionError('planting'))",
        ONES,
        "could not be planted: AssertionError: planting",
    ),
    "check_that_excuses_itself": ("lambda real: lambda *shape: not_checked('slow')", ONES, "*slow: *"),
    "xfail": ("zeros", "torch.ones(2).sum() == 2 or pytest.xfail('hm')\n    assert True", "*: hm"),
    "assert_of_a_library": (
        "lambda real: __import__('some_library').ones",
        ONES,
        "ended with AssertionError: no shapes*",
    ),
    "timeout": (
        "lambda real: lambda *shape: __import__('time').sleep(60)",
        ONES,
        "ended with Failed: Timeout*",
    ),
}


def test_a_failed_check_catches_a_fault(run_spec):
    """A fault is caught by a failed assert, assert_close, pytest.fail, or a raises that did not raise."""
    result = run_spec("".join(statement(*row, name) for name, row in CAUGHT.items()), "--sabotage")

    assert (result.ret, result.parseoutcomes()) == (0, {"passed": 2 * len(CAUGHT)})  # once without a fault
    totals = f"{len(CAUGHT)} caught, 0 survived, 0 caught by accident, 0 missing, 0 idle"
    result.stdout.fnmatch_lines([totals])


def test_what_ends_a_check_in_another_way_is_an_accident(run_spec, pytester):
    """A fault that only breaks the check fails the run, and so does a failed assert of somebody else."""
    pytester.makepyfile(some_library="def ones(*shape):\n    assert not shape, 'no shapes'")
    pytester.syspathinsert()
    source = "".join(statement(*row, name) for name, (*row, _) in ACCIDENTS.items())
    hanging = '@statement("nn.timeout"'

    result = run_spec(source.replace(hanging, f"@pytest.mark.timeout(0.5)\n{hanging}"), "--sabotage")

    assert result.ret == 1
    for name, (*_, how) in ACCIDENTS.items():
        accident = f"nn.{name}: * was caught by accident: no assertion failed; *::test_{name} {how}"
        result.stdout.fnmatch_lines([accident])
    result.stdout.fnmatch_lines([f"0 caught, 0 survived, {len(ACCIDENTS)} caught by accident, *"])


TWO = "@pytest.fixture\ndef two():\n    return torch.ones(2)\n"
AMISS = [
    statement(name="missing").replace("@fault", "# @fault"),
    statement("lambda real: real", name="unchanged"),
    TWO + statement(body="assert two.sum() == 2", name="met_by_a_fixture", fixtures="two"),
    statement(body="assert torch.ones(2).sum() == 3", name="failing_anyway"),
]


def test_what_is_not_proven_able_to_fail_fails_the_run(run_spec):
    """A statement without a fault, one that survives, a check that would seem to catch them all."""
    result = run_spec("".join(AMISS), "--sabotage")

    assert result.ret == 1
    result.stdout.fnmatch_lines(
        [
            "no fault: plant one *",
            "nn.unchanged: 'ones are zeros' survived: every check passed with the fault planted",
            "nn.met_by_a_fixture: 'ones are zeros' survived: *",
            "1 caught, 2 survived, 0 caught by accident, 1 missing, 2 idle, 1 red without a fault",
        ]
    )


CLASS = """
@statement("nn.ones", notes="3")
@fault("ones are zeros", torch, "ones", zeros)
@fault("zeros are ones", torch, "zeros", lambda real: torch.ones)
class TestOnes:
    "Ones are ones, and zeros are zeros."

    @pytest.mark.parametrize("size", [1, 2])
    def test_ones(self, size, device):
        assert torch.ones(size).tolist() == [1] * size

    def test_other(self, device):
        assert {other}
"""
GOOD = ["2 caught, 0 survived, 0 caught by *"]
MATRICES = {
    "each check catches one fault": ("torch.zeros(1).item() == 0", 0, GOOD),
    "one catches what ends another by accident": (
        "1 / (1 + torch.zeros(1).item()) == 1 / torch.ones(1).item()",
        0,
        GOOD,
    ),
    "a check catches nothing": (
        "torch.zeros(1).numel() == 1",
        1,
        [
            "nn.ones: 'zeros are ones' survived: *",
            "nn.ones: spec/section_3/test_example.py::TestOnes::test_other is idle: *",
            "1 caught, 1 survived, 0 caught by accident, 0 missing, 1 idle",
        ],
    ),
}


@pytest.mark.parametrize(("other", "status", "lines"), MATRICES.values(), ids=MATRICES)
def test_each_fault_needs_one_check_and_each_check_one_fault(run_spec, monkeypatch, other, status, lines):
    """No check has to catch them all; what is left out for lack of an accelerator hides nothing."""
    monkeypatch.setattr("torch.accelerator.is_available", lambda *args, **kwargs: False)

    result = run_spec(CLASS.format(other=other), "--sabotage")

    assert result.ret == status
    result.stdout.fnmatch_lines(lines)


def test_what_is_left_out_may_be_what_catches(run_spec):
    """A fault that no check caught is not held against a statement of which a check was left out."""
    source = CLASS.format(other="torch.zeros(1).item() == 0")
    slow = source.replace("    def test_other", "    @pytest.mark.slow\n    def test_other")

    for result in (run_spec(slow, "--sabotage"), run_spec(source, "--sabotage", "-k", "test_ones")):
        assert result.ret == 0
        result.stdout.fnmatch_lines(["1 caught, 0 survived, *, 1 not checked"])
    run_spec(slow, "--sabotage", "--slow").stdout.fnmatch_lines(["2 caught, 0 survived, *, 0 idle"])


def test_a_weak_row_hides_behind_a_strong_one_unless_each_has_to_catch(run_spec):
    """Of the rows of a check one has to catch a fault; with @each_row, all of them."""
    body, rows = "assert torch.ones(size).tolist() == [1] * size", "@pytest.mark.parametrize('size', [0, 1])"

    weak = run_spec(statement(body=body, mark=rows, fixtures="size"), "--sabotage")
    each = run_spec(statement(body=body, mark=f"{rows}\n@each_row", fixtures="size"), "--sabotage")

    assert (weak.ret, each.ret) == (0, 1)
    each.stdout.fnmatch_lines(["nn.ones: *::test_ones[[]0] is idle: *", "1 caught, *, 1 idle"])


def test_a_fault_is_undone(run_spec):
    """PyTorch is whole again after a run, also where what was replaced is inherited."""
    real = torch.ones
    inherited = statement("lambda real: lambda tensor: []", name="inherited").replace(
        'torch, "ones"', 'torch.Tensor, "tolist"'
    )

    result = run_spec(statement() + inherited, "--sabotage")

    assert result.ret == 0
    assert torch.ones is real
    assert "tolist" not in vars(torch.Tensor)


def test_sabotage_and_records_exclude_each_other(run_spec):
    """Records hold what is true, so no sabotage may write them."""
    result = run_spec(statement(), "--sabotage", "--records=v.jsonl")

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*use one of the two*"])


def test_what_an_accelerator_lacks_is_no_accident(run_spec, monkeypatch):
    """What an accelerator lacks it lacks under a fault, too: that run says nothing about the check."""
    pretend_accelerator(monkeypatch)
    lacking = "raise NotImplementedError(\"Could not run 'aten::sort' with arguments from the 'X' backend.\")"

    result = run_spec(statement(body=lacking, mark="@pytest.mark.gpu"), "--sabotage")

    assert result.parseoutcomes() == {"skipped": 2}
    result.stdout.fnmatch_lines(["0 caught, 0 survived, 0 caught by accident, *, 1 not checked"])
