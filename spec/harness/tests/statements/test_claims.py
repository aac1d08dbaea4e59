"""The rules that collection enforces: one clear message, and nothing is run."""

import pytest

from spec.harness.statements.claims import Claim, Sabotage, problems

GOOD = """
@claim("nn.good", notes="3.1")
def test_good():
    '''Two is two.'''
    assert 1 + 1 == 2
"""
METHOD = """
class {}:
    @claim("nn.same", notes="3")
    def test_it(self):
        "True."
        assert 1
"""

RULES = {
    "no docstring": (
        '@claim("nn.a", notes="3")\ndef test_a():\n    assert True',
        "test_a: the claim nn.a has no docstring",
    ),
    "repeated id": (
        GOOD.replace("test_good", "test_again"),
        "test_again: the id nn.good is taken by *test_good",
    ),
    "unknown verdict": (
        '@claim("nn.a", notes="3", verdict="maybe")\ndef test_a():\n    "True."\n    assert True',
        "unknown verdict 'maybe'; expected one of holds, qualified, outdated, wrong, answered",
    ),
    "says missing": (
        '@claim("nn.a", notes="3", verdict=WRONG)\ndef test_a():\n    "True."\n    assert True',
        "the verdict is 'wrong', so says= must tell what the notes say",
    ),
    "no claim": ("def test_a():\n    assert True", "test_a is not a claim: put @claim(...) above it"),
    "no claim, in a class": (
        "class TestA:\n    def test_a(self):\n        assert True",
        "test_a is not a claim: put @claim(...) above it",
    ),
    "same name in two classes": (
        "".join(METHOD.format(name) for name in ("TestA", "TestB")),
        "TestB::test_it: the id nn.same is taken by *TestA::test_it",
    ),
    "unittest": (
        "import unittest\nclass TestA(unittest.TestCase):\n"
        '    @claim("nn.a", notes="3")\n    def test_a(self):\n        "True."\n',
        "test_a is a unittest or has subtests",
    ),
    "subtests": (
        '@claim("nn.a", notes="3")\ndef test_a(subtests):\n    "True."\n    assert True',
        "test_a is a unittest or has subtests",
    ),
    "a name that is not collected": (
        '@claim("nn.a", notes="3")\ndef conv_takes():\n    "True."\n    assert True',
        "conv_takes is a claim that pytest does not collect",
    ),
    "a class that is not collected": (
        METHOD.format("Views"),
        "Views.test_it is a claim that pytest does not collect",
    ),
    "a file that skips itself": ("pytest.importorskip('no_such_module')", "test_3_example.py skips itself"),
    "unknown section": (
        '@claim("poetry.a", notes="3")\ndef test_a():\n    "True."\n    assert True',
        "the id 'poetry.a' names no section; expected one of tensor, autograd, nn",
    ),
}


@pytest.mark.parametrize(("source", "message"), RULES.values(), ids=RULES)
def test_collection_stops_with_one_message_on_a_broken_rule(run_spec, source, message):
    """A test in spec/test_*.py that breaks a rule of claims stops the run before any test."""
    result = run_spec(GOOD + source)

    assert result.ret == pytest.ExitCode.INTERRUPTED
    assert result.parseoutcomes() == {"errors": 1}
    result.stdout.fnmatch_lines([f"*{message}*"])
    result.stdout.no_fnmatch_line("*Traceback*")


def test_collection_stops_on_an_id_repeated_in_another_file(make_spec, run_spec):
    """Ids are unique over all files, not only within one."""
    make_spec(GOOD, "spec/test_1_first.py")

    result = run_spec(GOOD)

    assert result.ret == pytest.ExitCode.INTERRUPTED
    result.stdout.fnmatch_lines(
        ["*test_3_example.py::test_good: the id nn.good is taken by test_1_first.py::test_good*"]
    )


@pytest.mark.slow
def test_collection_stops_under_xdist_too(run_spec_on_workers):
    """A broken rule is one message under xdist as well."""
    result = run_spec_on_workers("def test_a():\n    assert True", "-n1")

    assert result.ret != 0
    result.stdout.fnmatch_lines(["*test_a is not a claim*"])


def test_tests_elsewhere_need_not_be_claims(run_spec):
    """Only spec/test_*.py holds claims; what blitz promises are plain tests."""
    result = run_spec("def test_plain():\n    assert True", file="spec/blitz/cifar10/test_data.py")

    assert result.parseoutcomes() == {"passed": 1}


def test_a_parametrized_claim_has_one_id(run_spec):
    """The cases of one claim are no repetition of its id."""
    result = run_spec(
        GOOD.replace("@claim", '@pytest.mark.parametrize("n", [1, 2])\n@claim').replace("good()", "good(n)")
    )

    assert result.parseoutcomes() == {"passed": 2}


def test_sentence_is_the_first_paragraph_in_one_line():
    """What is true is the docstring up to the first blank line."""

    def proof():
        """One
        and two.

        Three.
        """

    claim = Claim("nn.a", "3", "holds", None, None, proof)

    assert claim.sentence == "One and two."
    assert claim.graph is None
    assert list(problems("test_a", claim, {})) == []


def test_sabotages_in_one_place_are_numbered():
    """A second fault in the same place gets a name of its own."""

    def proof():
        """True."""

    proof.sabotages = [Sabotage(pytest, name, lambda real: None) for name in ("fail", "skip", "fail")]

    assert Claim("nn.a", "3", "holds", None, None, proof).sabotage_names == [
        "pytest.fail",
        "pytest.skip",
        "pytest.fail#2",
    ]
