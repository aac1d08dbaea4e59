"""A warning fails the test that gives it, and nothing that pytest has to warn of fails a run."""

import pytest

GIVERS = {
    "a function of PyTorch": "torch.nn.functional.softmax(torch.ones(2))",
    "an operator of PyTorch": "torch.tensor(torch.ones(1))",
    "NumPy": "numpy.float32(1) / numpy.float32(0)",
    "our own code": "warnings.warn('old')",
    "a destructor": "Careless()",
}
PLACES = {
    "setup": "@pytest.fixture\ndef place():\n    {}\n",
    "call": "@pytest.fixture\ndef place(): pass\n",
    "teardown": "@pytest.fixture\ndef place():\n    yield\n    {}\n",
}
TEST = """
import numpy, warnings

class Careless:
    def __del__(self):
        raise ValueError("too late")

@statement("nn.a", notes="3")
def test_a(place):
    "One is one."
    assert 1 == 1
"""


@pytest.mark.parametrize("giver", GIVERS.values(), ids=GIVERS)
@pytest.mark.parametrize("place", PLACES)
def test_a_warning_fails_the_test_that_gives_it(run_spec, place, giver):
    """Whoever gives it and wherever: in setup, in the test or in teardown."""
    in_test = f"    {giver}\n" if place == "call" else ""

    result = run_spec(TEST + in_test + PLACES[place].format(giver))

    assert result.ret == 1
    result.assert_outcomes(passed=int(place == "teardown"), failed=int(place == "call"),
                           errors=int(place != "call"))  # fmt: skip


def test_the_mark_of_a_test_counts_more(run_spec):
    """What a test says of a warning by its own mark, its class's or its module's, holds."""
    marks = '@pytest.mark.filterwarnings("ignore:old")\n@statement'

    result = run_spec(TEST.replace("@statement", marks) + "    warnings.warn('old')\n" + PLACES["call"])

    assert (result.ret, result.parseoutcomes()) == (0, {"passed": 1})


def test_ignoring_warnings_by_an_option_does_not_turn_a_test_green(run_spec):
    """`-W ignore` is for what is printed; a test that gives a warning is as red as without."""
    result = run_spec(TEST + "    warnings.warn('old')\n" + PLACES["call"], "-W", "ignore")

    assert (result.ret, result.parseoutcomes()) == (1, {"failed": 1})


def test_a_run_without_pytests_care_for_warnings_does_not_start(run_spec):
    """`-p no:warnings` would let every warning pass."""
    result = run_spec(TEST + PLACES["call"], "-p", "no:warnings")

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*do not use -p no:warnings*"])


def test_a_cache_that_cannot_be_written_does_not_fail_the_run(run_spec, pytester):
    """In a checkout that is read-only the run ends as it would, with its summary, and pytest's warning."""
    settings = pytester.path / "pyproject.toml"
    settings.write_text(settings.read_text().replace(', "-p", "no:cacheprovider"', ""))

    result = run_spec(TEST + PLACES["call"], "-o", "cache_dir=/proc/nowhere")

    assert result.ret == 0
    result.stdout.fnmatch_lines(["*PytestCacheWarning: *", "in all * 1 *", "*1 passed, 1 warning*"])


def test_what_pytest_warns_of_does_not_fail_a_run(run_spec):
    """A class that cannot be collected, and a folder that could not be removed after a test."""
    source = f"""
class TestNothing:
    def __init__(self): pass
{TEST}    warnings.warn(pytest.PytestWarning("(rm_rf) error removing a folder"))
"""
    result = run_spec(source + PLACES["call"])

    assert (result.ret, result.parseoutcomes()) == (0, {"passed": 1, "warnings": 2})


def test_no_warning_is_an_error_outside_of_a_test(pytestconfig):
    """The settings of the run itself make none an error, or the cache's would end it."""
    assert pytestconfig.getini("filterwarnings") == []
