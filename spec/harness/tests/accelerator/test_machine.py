"""What is told of NVIDIA's devices is what nvidia-smi prints, and nothing where it prints nothing of use."""

import pytest

from spec.harness.accelerator.machine import devices, nvidia_devices

H200 = {
    "name": "NVIDIA H200",
    "memory_mib": 143771,
    "driver": "580.95.05",
    "compute_capability": "9.0",
    "mig": False,
}
PRINTED = {
    "one": ("NVIDIA H200, 143771, 580.95.05, 9.0, Disabled", [H200]),
    "two": ("NVIDIA H200, 143771, 580.95.05, 9.0, Disabled\n" * 2, [H200] * 2),
    "cut into instances": ("NVIDIA H200, 143771, 580.95.05, 9.0, Enabled", [{**H200, "mig": True}]),
    "what it does not know": (
        "NVIDIA H200, [N/A], 580.95.05, 9.0, [N/A]",
        [{**H200, "memory_mib": None, "mig": None}],
    ),
    "no devices": ("No devices were found", []),
}


def nvidia_smi(folder, monkeypatch, script):
    """Put a program of this name in front of all others."""
    program = folder / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


@pytest.mark.parametrize(("text", "found"), PRINTED.values(), ids=PRINTED)
def test_devices_are_those_that_nvidia_smi_prints(tmp_path, monkeypatch, text, found):
    """Each row is a device; what is not known is None."""
    nvidia_smi(tmp_path, monkeypatch, f"cat <<'END'\n{text}\nEND")

    assert nvidia_devices() == found


def test_an_older_driver_is_asked_for_less(tmp_path, monkeypatch):
    """A nvidia-smi that refuses a field it does not know is asked without the newer ones."""
    script = "case $1 in *compute_cap*) exit 2;; esac; echo 'Tesla K80, 11441, 470.1'"
    nvidia_smi(tmp_path, monkeypatch, script)

    assert nvidia_devices() == [
        {"name": "Tesla K80", "memory_mib": 11441, "driver": "470.1", "compute_capability": None, "mig": None}
    ]


def test_a_machine_without_an_accelerator_has_no_devices():
    """Nobody is asked where PyTorch sees none."""
    assert devices(None) == []
