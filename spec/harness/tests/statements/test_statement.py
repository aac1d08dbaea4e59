"""The rules that collection enforces: one clear message, and nothing is run."""

import pytest

from spec.harness import fault, statement

GOOD = """
@statement("nn.good", notes="3.1")
def test_good():
    '''Two is two.'''
    assert 1 + 1 == 2
"""
RULES = {
    "no_docstring": (
        '@statement("nn.a", notes="3")\ndef test_a():\n    assert True',
        "test_a: the statement nn.a has no docstring",
    ),
    "unknown_verdict": (
        GOOD.replace('"3.1"', '"3", verdict="maybe"'),
        "unknown verdict 'maybe'; expected one of holds, qualified, outdated, wrong, answered",
    ),
    "says_missing": (
        GOOD.replace('"3.1"', '"3", verdict=WRONG'),
        "the verdict is 'wrong', so says= must tell what the notes say",
    ),
    "no_statement": (
        "class TestA:\n    def test_a(self):\n        assert True",
        "TestA::test_a checks no statement: put it into a class below @statement(...)",
    ),
    "repeated_id": (
        GOOD.replace("test_good", "test_again"),
        "test_again: the id nn.good is taken by section_3/test_example.py::test_good",
    ),
    "repeated_id_of_one_name": (
        "".join(
            f'class {name}:\n    @statement("nn.same", notes="3")\n    def test_it(self):\n        "One."\n'
            for name in ("TestA", "TestB")
        ),
        "TestB::test_it: the id nn.same is taken by section_3/test_*.py::TestA::test_it",
    ),
    "unittest": (
        "import unittest\nclass TestA(unittest.TestCase):\n"
        '    @statement("nn.unittest", notes="3")\n    def test_a(self):\n        "True."\n',
        "test_a is a unittest or has subtests",
    ),
    "subtests": (
        '@statement("nn.subtests", notes="3")\ndef test_sub(subtests):\n    "True."\n    assert True',
        "test_sub is a unittest or has subtests",
    ),
    "function_that_is_not_collected": (
        GOOD.replace("test_good", "conv_takes"),
        "conv_takes: pytest does not collect the statement nn.good: expected Test... or test_...",
    ),
    "class_that_is_not_collected": (
        'class Views:\n    @statement("nn.a", notes="3")\n    def test_it(self):\n        "One."\n',
        "Views.test_it: pytest does not collect the statement nn.a: expected Test... or test_...",
    ),
    "class_without_a_test": (
        '@statement("nn.empty", notes="3")\nclass TestEmpty:\n    "True."\n',
        "TestEmpty: pytest does not collect the statement nn.empty: expected Test... or test_...",
    ),
    "file_that_skips_itself": (
        "pytest.importorskip('no_such_module')",
        "test_file_that_skips_itself.py skips itself; a check that cannot be run is not_checked(...)",
    ),
    "unknown_heading": (
        GOOD.replace("nn.good", "nn.heading").replace('"3.1"', '"3; 9"'),
        "the notes have no heading '9'; expected one of 1, 2, 3, 3.1, 4, 5",
    ),
    "two_faults_of_one_name": (
        GOOD.replace("def", '@fault("x", torch, "ones", zeros)\n' * 2 + "def"),
        "test_good: two faults are called 'x'",
    ),
    "fault_that_cannot_be_typed": (
        GOOD.replace("def", '@fault("x²", torch, "ones", zeros)\ndef'),
        "'x²' cannot be typed after -k: use ASCII in the names of faults",
    ),
}


def test_collection_stops_with_one_message_for_each_file_that_breaks_a_rule(make_spec, run_spec):
    """A test of a section that breaks a rule of statements stops the run before any test."""
    for name, (source, _) in RULES.items():
        make_spec(source, f"spec/section_3/test_{name}.py")

    result = run_spec(GOOD)

    assert result.ret == pytest.ExitCode.INTERRUPTED
    assert result.parseoutcomes() == {"errors": len(RULES)}
    for _, message in RULES.values():
        result.stdout.fnmatch_lines([f"*{message}*"])
    result.stdout.no_fnmatch_line("*Traceback*")


@pytest.mark.slow
def test_collection_stops_under_xdist_too(run_spec_on_workers):
    """A broken rule is one message under xdist as well."""
    result = run_spec_on_workers("def test_a():\n    assert True", "-n1")

    assert result.ret != 0
    result.stdout.fnmatch_lines(["*test_a checks no statement*"])


def test_tests_elsewhere_need_not_be_statements(run_spec):
    """What blitz promises are plain tests; the rules hold for a statement wherever it lies."""
    file = "spec/blitz/cifar10/test_data.py"
    plain = run_spec("def test_plain():\n    assert True", file=file)
    broken = run_spec(GOOD.replace("3.1", "9"), file=file)

    assert plain.parseoutcomes() == {"passed": 1}
    assert broken.ret == pytest.ExitCode.INTERRUPTED
    broken.stdout.fnmatch_lines(["*the notes have no heading '9'*"])


def test_a_parametrized_statement_has_one_id(run_spec):
    """The cases of one statement are no repetition of its id."""
    rows = '@pytest.mark.parametrize("n", [1, 2])\n@statement'

    result = run_spec(GOOD.replace("@statement", rows).replace("good()", "good(n)"))

    assert result.parseoutcomes() == {"passed": 2}


def test_a_statement_has_the_first_paragraph_and_the_faults_above_its_class():
    """What is true is the docstring up to the first blank line; a subclass has faults of its own."""

    @statement("nn.a", notes="3")
    @fault("one", pytest, "fail", lambda real: real)
    @fault("two", pytest, "skip", lambda real: real)
    class TestIt:
        """One
        and two.

        Three.
        """

        def test_it(self):
            """Check it."""

    @statement("nn.b", notes="3")
    @fault("three", pytest, "fail", lambda real: real)
    class TestAnother(TestIt):
        """Two."""

    assert TestIt.statement.sentence == "One and two."
    assert [str(fault) for fault in TestIt.statement.faults] == ["one", "two"]
    assert [str(fault) for fault in TestAnother.statement.faults] == ["three"]
