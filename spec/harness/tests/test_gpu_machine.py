"""What .ci/gpu asks before it begins: whether this Python has what is needed, and what the machine is."""

import importlib.util
import sys

import pytest
import torch

from spec.harness.accelerator import devices
from spec.harness.children import ROOT


@pytest.fixture
def machine():
    """Return .ci/machine.py as a module."""
    spec = importlib.util.spec_from_file_location("ci_machine", ROOT / ".ci" / "machine.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


NEEDED = {
    "a package that is there": ("pytest", []),
    "a release that is there": ("torch>=2", []),
    "a package that is missing": ("no-such-package", ["no-such-package (found none)"]),
    "another release": ("pytest<5", [f"pytest<5 (found {pytest.__version__})"]),
}


@pytest.mark.parametrize(("package", "lacking"), NEEDED.values(), ids=NEEDED)
def test_what_a_project_needs_and_python_lacks_is_named(machine, tmp_path, package, lacking):
    """With what was found instead."""
    (tmp_path / "pyproject.toml").write_text(f'[project]\ndependencies = ["{package}"]')

    assert list(machine.missing(tmp_path / "pyproject.toml")) == lacking


def test_a_development_version_of_pytorch_is_taken(machine, tmp_path, monkeypatch):
    """As the vendors of GPUs build them."""
    (tmp_path / "pyproject.toml").write_text('[project]\ndependencies = ["torch>=2.6,<2.16"]')
    monkeypatch.setattr(machine.importlib.metadata, "version", lambda name: "2.11.0a0+git123")

    assert list(machine.missing(tmp_path / "pyproject.toml")) == []


def lack(machine, patch):
    """Take a package away."""
    patch.setattr(machine, "missing", lambda project: ["jsonschema (found none)", "pytest>=9 (found 8)"])


def lack_packaging(machine, patch):
    """Take away what reads the requirements."""
    patch.setitem(sys.modules, "packaging.requirements", None)


def age(machine, patch):
    """Make Python an older one."""
    patch.setattr(machine.sys, "version_info", (3, 10, 1))


REFUSALS = {
    "missing packages": (lack, "cpu", "expected jsonschema (found none), pytest>=9 (found 8); name a folder"),
    "no packaging": (lack_packaging, "cpu", "expected packaging (found none); name a folder with the wheels"),
    "an old Python": (age, "cpu", "expected Python 3.11 or newer, got 3."),
    "no such device": (None, "cuda:99", "--device cuda:99: no such device here; PyTorch"),
    "no accelerator": (None, "cpu", "expected an accelerator in DEVICE, got cpu"),
}


@pytest.mark.parametrize(("spoil", "device", "sentence"), REFUSALS.values(), ids=REFUSALS)
def test_a_machine_that_cannot_run_it_is_refused_in_a_sentence(
    machine, monkeypatch, capsys, spoil, device, sentence
):
    """It says the way out."""
    monkeypatch.setitem(devices.os.environ, devices.NAMED, "")  # which the device that is asked for takes
    if spoil:
        spoil(machine, monkeypatch)

    with pytest.raises(SystemExit) as refused:
        machine.main(device)

    assert refused.value.code.startswith(f".ci/gpu: {sentence}")
    assert refused.value.code.count("\n") == 0
    assert capsys.readouterr().out == ""


def test_a_machine_is_described_as_far_as_it_is_known(machine, monkeypatch, capsys):
    """The first line is a headline; then come the accelerators, the software and the processor."""
    gpu = {"name": "NVIDIA H200", "memory_mib": 143771, "driver": "580.1", "mig": None}
    told = {"devices": [gpu], "cuda": "13.0", "cuda_driver": None, "cudnn": 9, "nccl": None, "cpu": "a CPU"}
    monkeypatch.setattr(
        "spec.harness.accelerator.machine.describe", lambda: told | {"cpus": 2, "os": "an OS"}
    )
    monkeypatch.setattr(devices, "name_device", lambda name: None)
    monkeypatch.setattr(devices, "accelerator_kind", lambda: "cuda")
    monkeypatch.setattr("spec.harness.git.commit", lambda root: None)

    machine.main("cuda")

    python = sys.version.split()[0]
    assert capsys.readouterr().out.splitlines() == [
        "# blitz on cuda",
        "",
        "- name NVIDIA H200, memory mib 143771, driver 580.1",
        f"- PyTorch {torch.__version__}, CUDA 13.0, cuDNN 9, Python {python}",
        "- a CPU, 2 cores, an OS",
    ]
