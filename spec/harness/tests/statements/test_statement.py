"""The rules that collection enforces: one clear message, and nothing is run."""

import pytest

GOOD = """
@statement("nn.good", notes="3.1")
def test_good():
    '''Two is two.'''
    assert 1 + 1 == 2
"""
UNCOLLECTED = ": pytest does not collect the statement nn.good: expected Test... or test_..."
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
    "unittest": (
        "import unittest\nclass TestA(unittest.TestCase):\n"
        '    @statement("nn.unittest", notes="3")\n    def test_a(self):\n        "True."\n',
        "test_a is a unittest or has subtests",
    ),
    "subtests": (
        '@statement("nn.subtests", notes="3")\ndef test_sub(subtests):\n    "True."\n    assert True',
        "test_sub is a unittest or has subtests",
    ),
    "function_that_is_not_collected": (GOOD.replace("test_good", "conv_takes"), "conv_takes" + UNCOLLECTED),
    "class_that_is_not_collected": (
        'class Views:\n    @statement("nn.good", notes="3")\n    def test_it(self):\n        "One."\n',
        "Views.test_it" + UNCOLLECTED,
    ),
    "class_without_a_test": (
        '@statement("nn.good", notes="3")\nclass TestEmpty:\n    "True."\n',
        "TestEmpty" + UNCOLLECTED,
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


def test_tests_elsewhere_need_not_be_statements(run_spec):
    """What blitz promises are plain tests; the rules hold for a statement wherever it lies."""
    file = "spec/blitz/cifar10/test_data.py"
    plain = "def test_plain():\n    assert True\n"

    result = run_spec(plain, file=file)
    broken = run_spec(plain + GOOD.replace("3.1", "9"), file=file)

    assert result.parseoutcomes() == {"passed": 1}
    assert broken.ret == pytest.ExitCode.INTERRUPTED
    broken.stdout.fnmatch_lines(["*the notes have no heading '9'*"])
