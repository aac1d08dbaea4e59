"""What fails in a hook of ours fails a test or a rung, and does not end the run without its summary."""

import json

import pytest
import torch

from spec.command_line import main
from spec.harness.accelerator import climbing, ladder, machine
from spec.harness.tests.accelerator.test_devices import pretend_accelerator

STATEMENTS = """
@statement("nn.a", notes="3")
def test_a(device, measured):
    "One is one."
    measured["value"] = torch.ones(1, device="meta")
    assert 1 == 1

@statement("nn.b", notes="3")
def test_b():
    "One is one."
    assert 1 == 1
"""
PLUGIN = """
import pytest

@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    if "test_a" in item.name:
        raise RuntimeError("of another plugin")
"""


@pytest.mark.parametrize("plugin", [PLUGIN, ""], ids=["the hook of another plugin", "a value on record"])
def test_a_failure_around_a_check_is_that_checks(run_spec, make_spec, pytester, plugin):
    """It has a record that says so, and the other statements have theirs."""
    make_spec(plugin, "spec/section_3/conftest.py")

    result = run_spec(STATEMENTS, "--records=v.jsonl", "-k", "not accelerator")

    lines = map(json.loads, (pytester.path / "v.jsonl").read_text().splitlines())
    outcomes = {line["id"]: line["outcome"] for line in lines if "id" in line}
    assert (result.ret, outcomes) == (1, {"nn.a": "error", "nn.b": "confirmed"})
    result.stdout.no_fnmatch_line("*INTERNALERROR*")


def no_room(*_, **__):
    """Be a machine that starts no process."""
    raise OSError("no room")


def test_a_ladder_that_cannot_be_climbed_fails_the_run_and_blocks(run_spec, monkeypatch):
    """It is told as the first rung; what needs no accelerator is checked."""
    monkeypatch.setattr(machine, "devices", lambda kind: [])
    pretend_accelerator(monkeypatch)
    monkeypatch.setattr(climbing, "climb_here", no_room)

    result = run_spec(STATEMENTS, "-k", "test_b or accelerator")

    assert (result.ret, result.parseoutcomes()) == (1, {"passed": 1, "skipped": 1, "deselected": 1})
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
    monkeypatch.setattr(torch.backends.cudnn, "is_available", no_room)
    monkeypatch.setattr(machine.platform, "platform", no_room)

    told = machine.describe()

    assert told["cudnn"] is None
    assert told["os"]
