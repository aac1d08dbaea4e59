"""`blitz doctor`: which devices climb, what a person reads, and the status."""

import pytest
import torch

from spec.command_line import main
from spec.harness.accelerator import doctor, ladder
from spec.harness.tests.accelerator.test_devices import pretend_accelerator


def step(device, rung="visible", outcome="passed", advice=""):
    """Return a step."""
    return {
        "device": device, "rung": rung, "outcome": outcome, "seen": "x", "advice": advice, "seconds": 0.5,
    }  # fmt: skip


@pytest.fixture
def two_gpus(monkeypatch):
    """Have PyTorch report two CUDA devices."""
    pretend_accelerator(monkeypatch, "cuda")
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: 2)


@pytest.fixture
def climb(monkeypatch, two_gpus):
    """Have each of two devices have climbed these steps, instead of processes; return the doctor's status."""

    def run(*steps):
        monkeypatch.setattr(ladder, "climbing", lambda device: (step(device, *each) for each in steps))
        return main(["doctor"])

    return run


DEVICES = {
    "none named": (None, ["cuda:0", "cuda:1"]),
    "its kind": ("cuda", ["cuda:0", "cuda:1"]),
    "one of them": ("cuda:1", ["cuda:1"]),
    "the CPU": ("cpu", ["cpu"]),
    "another kind": ("xpu", ["xpu"]),
}


@pytest.mark.parametrize(("name", "devices"), DEVICES.values(), ids=DEVICES)
@pytest.mark.usefixtures("two_gpus")
def test_all_devices_of_a_kind_climb_or_the_one_that_is_named(name, devices):
    """A kind means all of its devices that are visible."""
    assert doctor.devices_of(name) == devices


@pytest.mark.parametrize(("built_for", "kind"), [(None, "cuda"), (torch.device("xpu"), "xpu")])
def test_without_an_accelerator_the_one_that_pytorch_is_built_for_climbs(monkeypatch, built_for, kind):
    """The first rung then tells what is missing; a build for the CPU alone is asked for CUDA."""
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: built_for)

    assert doctor.devices_of(None) == [kind]


def test_a_healthy_machine_is_told_rung_by_rung_with_status_0(climb, capsys):
    """Each rung of each device is a line, after one about the machine."""
    assert climb(("visible",), ("memory",)) == 0

    first, *rungs, last = capsys.readouterr().out.splitlines()
    assert first.startswith(f"PyTorch {torch.__version__}, Python ")
    assert first.endswith(", 2 cuda devices")
    assert sorted(line.split()[0] for line in rungs) == ["cuda:0", "cuda:0", "cuda:1", "cuda:1"]
    assert last == "All rungs passed."


def test_first_cause_comes_with_what_to_do_and_status_1(climb, capsys):
    """Under the rung that failed stands what to do, once for two devices, and at the end which one it was."""
    assert climb(("memory", "failed", "reset it")) == 1

    output = capsys.readouterr().out
    assert "memory     failed    0.5 s  x\n         what to do: reset it\n" in output
    assert output.count("what to do: reset it") == 1
    assert output.endswith("First cause: the rung memory on cuda:0, memory on cuda:1.\n")


@pytest.mark.slow
def test_without_an_accelerator_the_first_rung_fails_and_no_traceback_is_shown(capfd):
    """A device that is not there is one failed rung, the others are blocked."""
    assert main(["doctor", "--device", "cuda:77"]) == 1

    output, errors = capfd.readouterr()
    assert "cuda:77  visible    failed" in output
    assert "what to do: " in output
    assert output.count("blocked          by visible") == 8
    assert "Traceback" not in output + errors
