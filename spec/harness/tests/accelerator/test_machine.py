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
    "two": ("echo 'NVIDIA H200, 143771, 580.95.05, 9.0, Disabled\nNVIDIA H200, 1, 2.3, 9.0, Enabled'", [
        H200, {**H200, "memory_mib": 1, "driver": "2.3", "mig": True},
    ]),
    "what it does not know": (
        "echo 'NVIDIA H200, [N/A], 580.95.05, 9.0, [N/A]'",
        [{**H200, "memory_mib": None, "mig": None}],
    ),
    "no devices": ("echo 'No devices were found'", []),
    "an error": ("echo 'NVIDIA H200, 143771, 580.95.05, 9.0, Disabled'; exit 9", []),
}  # fmt: skip


@pytest.mark.parametrize(("script", "found"), PRINTED.values(), ids=PRINTED)
def test_devices_are_those_that_nvidia_smi_prints(tmp_path, monkeypatch, script, found):
    """Each row is a device; what is not known is None."""
    program = tmp_path / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")

    assert nvidia_devices() == found


def test_a_machine_without_an_accelerator_has_no_devices():
    """Nobody is asked where PyTorch sees none."""
    assert devices(None) == []
