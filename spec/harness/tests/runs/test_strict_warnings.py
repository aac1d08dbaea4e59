"""A warning fails the test that gives it, and nothing that pytest has to warn of fails a run."""

import pytest

GIVERS = {
    "a function of PyTorch": ("call", "torch.nn.functional.softmax(torch.ones(2))"),
    "an operator of PyTorch": ("call", "torch.tensor(torch.ones(1))"),
    "NumPy": ("call", "numpy.float32(1) / numpy.float32(0)"),
    "a destructor": ("call", "Careless()"),
    "our own code in setup": ("setup", "warnings.warn('old')"),
    "our own code in teardown": ("teardown", "warnings.warn('old')"),
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
WARNS = TEST + "    warnings.warn('old')\n" + PLACES["call"]


@pytest.mark.parametrize(("place", "giver"), GIVERS.values(), ids=GIVERS)
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
    source = f"""
class TestNothing:
    def __init__(self): pass
{TEST}    warnings.warn(pytest.PytestWarning("(rm_rf) error removing a folder"))
"""
    result = run_spec(source + PLACES["call"], "-o", "cache_dir=/proc/nowhere")

    assert (result.ret, result.parseoutcomes()) == (0, {"passed": 1, "warnings": 3})
    result.stdout.fnmatch_lines(["*PytestCacheWarning: *", "in all * 1 *"])
