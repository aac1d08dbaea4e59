"""A warning fails the test that gives it, and nothing that pytest has to warn of fails a run."""

import pytest

GIVERS = {
    "function_of_pytorch": ("call", "torch.nn.functional.softmax(torch.ones(2))"),
    "operator_of_pytorch": ("call", "torch.tensor(torch.ones(1))"),
    "numpy": ("call", "numpy.float32(1) / numpy.float32(0)"),
    "destructor": ("call", "Careless()"),
    "own_code_in_setup": ("setup", "warnings.warn('old')"),
    "own_code_in_teardown": ("teardown", "warnings.warn('old')"),
}
HEADER = """
import numpy, warnings

class Careless:
    def __del__(self):
        raise ValueError("too late")
"""
TEST = """
@pytest.fixture
def place_{name}():
    {setup}
    yield
    {teardown}

@statement("nn.{name}", notes="3")
def test_{name}(place_{name}):
    "One is one."
    assert 1 == 1
    {call}
"""
NOWHERE = {"setup": "pass", "call": "pass", "teardown": "pass"}
WARNS = HEADER + TEST.format(name="a", **NOWHERE | {"call": "warnings.warn('old')"})


def test_a_warning_fails_the_test_that_gives_it(run_spec):
    """Whoever gives it and wherever: in setup, in the test or in teardown."""
    tests = [TEST.format(name=name, **NOWHERE | {place: giver}) for name, (place, giver) in GIVERS.items()]

    result = run_spec(HEADER + "".join(tests))

    assert result.parseoutcomes() == {"failed": 4, "errors": 2, "passed": 1}
    for name, (place, _) in GIVERS.items():
        how = "FAILED" if place == "call" else "ERROR"
        result.stdout.fnmatch_lines([f"{how} spec/section_3/test_example.py::test_{name} - *"])


def test_the_mark_of_a_test_counts_more(run_spec):
    """What a test says of a warning by its own mark, its class's or its module's, holds."""
    marks = '@pytest.mark.filterwarnings("ignore:old")\n@statement'

    result = run_spec(WARNS.replace("@statement", marks))

    assert (result.ret, result.parseoutcomes()) == (0, {"passed": 1})


def test_no_option_turns_a_test_green_that_gives_a_warning(run_spec):
    """`-W ignore` is for what is printed alone; `-p no:warnings` would let every warning pass."""
    ignored = run_spec(WARNS, "-W", "ignore")
    refused = run_spec(WARNS, "-p", "no:warnings")

    assert (ignored.ret, ignored.parseoutcomes()) == (1, {"failed": 1})
    assert refused.ret == pytest.ExitCode.USAGE_ERROR
    refused.stderr.fnmatch_lines(["*do not use -p no:warnings*"])


def test_what_pytest_warns_of_does_not_fail_a_run(run_spec, pytester):
    """A class that cannot be collected, a folder that cannot be removed, a cache that cannot be written."""
    settings = pytester.path / "pyproject.toml"
    settings.write_text(settings.read_text().replace(', "-p", "no:cacheprovider"', ""))
    nothing = "class TestNothing:\n    def __init__(self): pass\n"
    removing = 'warnings.warn(pytest.PytestWarning("(rm_rf) error removing a folder"))'

    result = run_spec(
        nothing + WARNS.replace("warnings.warn('old')", removing), "-o", "cache_dir=/proc/nowhere"
    )

    assert (result.ret, result.parseoutcomes()) == (0, {"passed": 1, "warnings": 3})
    result.stdout.fnmatch_lines(["*PytestCacheWarning: *", "in all * 1 *"])
