"""The rules that collection enforces: one clear message, and nothing is run."""

import pytest

from spec.harness import fault, statement

GOOD = """
@statement("nn.good", notes="3.1")
def test_good():
    '''Two is two.'''
    assert 1 + 1 == 2
"""
METHOD = """
class {}:
    @statement("nn.same", notes="3")
    def test_it(self):
        "True."
        assert 1
"""

RULES = {
    "no docstring": (
        '@statement("nn.a", notes="3")\ndef test_a():\n    assert True',
        "test_a: the statement nn.a has no docstring",
    ),
    "repeated id": (
        GOOD.replace("test_good", "test_again"),
        "test_again: the id nn.good is taken by *test_good",
    ),
    "unknown verdict": (
        '@statement("nn.a", notes="3", verdict="maybe")\ndef test_a():\n    "True."\n    assert True',
        "unknown verdict 'maybe'; expected one of holds, qualified, outdated, wrong, answered",
    ),
    "says missing": (
        '@statement("nn.a", notes="3", verdict=WRONG)\ndef test_a():\n    "True."\n    assert True',
        "the verdict is 'wrong', so says= must tell what the notes say",
    ),
    "no statement": (
        "def test_a():\n    assert True",
        "test_a checks no statement: put it into a class below @statement(...)",
    ),
    "no statement, in a class": (
        "class TestA:\n    def test_a(self):\n        assert True",
        "test_a checks no statement: put it into a class below @statement(...)",
    ),
    "same name in two classes": (
        "".join(METHOD.format(name) for name in ("TestA", "TestB")),
        "TestB::test_it: the id nn.same is taken by *TestA::test_it",
    ),
    "unittest": (
        "import unittest\nclass TestA(unittest.TestCase):\n"
        '    @statement("nn.a", notes="3")\n    def test_a(self):\n        "True."\n',
        "test_a is a unittest or has subtests",
    ),
    "subtests": (
        '@statement("nn.a", notes="3")\ndef test_a(subtests):\n    "True."\n    assert True',
        "test_a is a unittest or has subtests",
    ),
    "a name that is not collected": (
        '@statement("nn.a", notes="3")\ndef conv_takes():\n    "True."\n    assert True',
        "conv_takes is a statement that pytest does not collect",
    ),
    "a class that is not collected": (
        METHOD.format("Views"),
        "Views.test_it is a statement that pytest does not collect",
    ),
    "a file that skips itself": ("pytest.importorskip('no_such_module')", "test_example.py skips itself"),
    "unknown heading": (
        '@statement("nn.a", notes="3; 9")\ndef test_a():\n    "True."\n    assert True',
        "the notes have no heading '9'; expected one of 1, 2, 3, 3.1, 4, 5",
    ),
    "two faults of one name": (
        '@statement("nn.a", notes="3")\n'
        + '@fault("x", torch, "ones", zeros)\n' * 2
        + 'def test_a():\n    "True."\n    assert True',
        "two faults of nn.a are called 'x'",
    ),
    "a fault that cannot be typed": (
        '@statement("nn.a", notes="3")\n@fault("x²", torch, "ones", zeros)\n'
        'def test_a():\n    "True."\n    assert True',
        "'x²' cannot be typed after -k: use ASCII in the names of faults",
    ),
    "a class without a test": (
        '@statement("nn.a", notes="3")\nclass TestA:\n    "True."\n',
        "TestA is a statement that pytest does not collect",
    ),
}


@pytest.mark.parametrize(("source", "message"), RULES.values(), ids=RULES)
def test_collection_stops_with_one_message_on_a_broken_rule(run_spec, source, message):
    """A test of a section that breaks a rule of statements stops the run before any test."""
    result = run_spec(GOOD + source)

    assert result.ret == pytest.ExitCode.INTERRUPTED
    assert result.parseoutcomes() == {"errors": 1}
    result.stdout.fnmatch_lines([f"*{message}*"])
    result.stdout.no_fnmatch_line("*Traceback*")


def test_collection_stops_on_an_id_repeated_in_another_file(make_spec, run_spec):
    """Ids are unique over all files, not only within one."""
    make_spec(GOOD, "spec/section_1/test_first.py")

    result = run_spec(GOOD)

    assert result.ret == pytest.ExitCode.INTERRUPTED
    result.stdout.fnmatch_lines(
        ["*test_example.py::test_good: the id nn.good is taken by section_1/test_first.py::test_good*"]
    )


@pytest.mark.slow
def test_collection_stops_under_xdist_too(run_spec_on_workers):
    """A broken rule is one message under xdist as well."""
    result = run_spec_on_workers("def test_a():\n    assert True", "-n1")

    assert result.ret != 0
    result.stdout.fnmatch_lines(["*test_a checks no statement*"])


def test_tests_elsewhere_need_not_be_statements(run_spec):
    """Only the folders of the sections hold statements; what blitz promises are plain tests."""
    result = run_spec("def test_plain():\n    assert True", file="spec/blitz/cifar10/test_data.py")

    assert result.parseoutcomes() == {"passed": 1}


def test_a_parametrized_statement_has_one_id(run_spec):
    """The cases of one statement are no repetition of its id."""
    result = run_spec(
        GOOD.replace("@statement", '@pytest.mark.parametrize("n", [1, 2])\n@statement').replace(
            "good()", "good(n)"
        )
    )

    assert result.parseoutcomes() == {"passed": 2}


def test_sentence_is_the_first_paragraph_in_one_line():
    """What is true is the docstring up to the first blank line."""

    @statement("nn.a", notes="3")
    class Proof:
        """One
        and two.

        Three.
        """

    assert Proof.statement.sentence == "One and two."


def test_faults_stand_in_their_order_and_a_subclass_has_its_own():
    """The faults are those above the class, the first one first."""

    @statement("nn.a", notes="3")
    @fault("one", pytest, "fail", lambda real: real)
    @fault("two", pytest, "skip", lambda real: real)
    class Proof:
        """One."""

    @statement("nn.b", notes="3")
    @fault("three", pytest, "fail", lambda real: real)
    class Another(Proof):
        """Two."""

    assert [str(fault) for fault in Proof.statement.faults] == ["one", "two"]
    assert [str(fault) for fault in Another.statement.faults] == ["three"]
