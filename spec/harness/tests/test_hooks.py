"""What fails in a hook of ours fails a test or a rung, and does not end the run without its summary."""

import json

import pytest
import torch

from spec.command_line import main
from spec.harness.accelerator import climbing, ladder, machine
from spec.harness.tests.accelerator.test_devices import pretend_accelerator

MUTE = """
class Mute(Exception):
    def __str__(self):
        raise RuntimeError("no words")
    __repr__ = __str__
"""
FAILURES = {
    "the hook of another plugin": """
@statement("nn.a", notes="3")
def test_a():
    "One is one."
    assert 1 == 1
""",
    "a value on record": """
@statement("nn.a", notes="3")
def test_a(measured):
    "One is one."
    measured["value"] = Mute()
    assert 1 == 1
""",
    "an error without words": """
@statement("nn.a", notes="3")
def test_a():
    "One is one."
    raise Mute()
""",
    "a teardown without words": """
@pytest.fixture
def place():
    yield
    raise Mute()

@statement("nn.a", notes="3")
def test_a(place):
    "One is one."
    assert 1 == 1
""",
}
OTHER = """
@statement("nn.b", notes="3")
def test_b():
    "One is one."
    assert 1 == 1
"""
PLUGIN = """
import pytest

@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    if item.name == "test_a":
        raise RuntimeError("of another plugin")
"""


@pytest.mark.parametrize("name", FAILURES)
def test_a_failure_around_a_check_is_that_checks(run_spec, make_spec, pytester, name):
    """It has a record that says so, and the other statements have theirs."""
    if name == "the hook of another plugin":
        make_spec(PLUGIN, "spec/section_3/conftest.py")

    result = run_spec(MUTE + FAILURES[name] + OTHER, "--records=v.jsonl")

    lines = map(json.loads, (pytester.path / "v.jsonl").read_text().splitlines())
    assert {line["id"]: line["outcome"] for line in lines if "id" in line} == {
        "nn.a": "error",
        "nn.b": "confirmed",
    }
    assert result.ret == 1
    result.stdout.no_fnmatch_line("*INTERNALERROR*")


def test_a_case_that_cannot_tell_what_it_is_has_the_name_of_its_kind(run_spec, pytester):
    """A parameter without words keeps no statement from being checked."""
    case = '@pytest.mark.parametrize("value", [Mute()], ids=["mute"])\n@statement'
    source = OTHER.replace("@statement", case).replace("test_b()", "test_b(value)")

    result = run_spec(MUTE + source, "--records=v.jsonl")

    record = json.loads((pytester.path / "v.jsonl").read_text().splitlines()[1])
    assert (result.ret, record["params"]) == (0, {"value": "Mute"})


def test_a_statement_that_breaks_a_rule_stops_the_run_wherever_it_lies(run_spec):
    """The rules of statements hold for those outside of the sections, too."""
    result = run_spec(OTHER.replace('notes="3"', 'notes="9"'), file="spec/blitz/cifar10/test_data.py")

    assert result.ret == pytest.ExitCode.INTERRUPTED
    result.stdout.fnmatch_lines(["*the notes have no heading '9'*"])


ON_DEVICE = """
@statement("nn.a", notes="3")
def test_a(device):
    "One is one."
    assert 1 == 1
"""


def no_room(*_, **__):
    """Be a machine that starts no process."""
    raise OSError("no room")


def test_a_ladder_that_cannot_be_climbed_fails_the_run_and_blocks(run_spec, monkeypatch):
    """It is told as the first rung; what needs no accelerator is checked."""
    monkeypatch.setattr(machine, "devices", lambda kind: [])
    pretend_accelerator(monkeypatch)
    run_spec("")  # whose preparation replaces the climb
    monkeypatch.setattr(climbing, "climb_here", no_room)

    result = run_spec(ON_DEVICE)

    assert (result.ret, result.parseoutcomes()) == (1, {"passed": 1, "skipped": 1})
    result.stdout.fnmatch_lines(["*visible*failed*the ladder could not be run: OSError: no room"])


def test_a_climb_that_ends_halfway_is_no_good_answer(monkeypatch, capsys):
    """The doctor says so, and does not conclude from the rungs that it heard of."""

    def halfway(device):
        yield ladder._step(device, "visible", "passed", "seen")
        no_room()

    monkeypatch.setattr(ladder, "climbing", halfway)

    assert main(["doctor", "--device", "cpu"]) == 1

    output = capsys.readouterr().out
    assert "the ladder could not be run: OSError: no room" in output
    assert "All rungs passed" not in output


def test_a_machine_that_cannot_be_described_is_described_in_part(monkeypatch):
    """A cuDNN that does not fit raises when it is asked for its version."""

    def incompatible():
        raise RuntimeError("cuDNN version incompatibility")

    monkeypatch.setattr(torch.backends.cudnn, "is_available", incompatible)
    monkeypatch.setattr(machine.platform, "platform", no_room)

    told = machine.describe()

    assert told["cudnn"] is None
    assert told["os"]
    assert told["cpus"] >= 1
