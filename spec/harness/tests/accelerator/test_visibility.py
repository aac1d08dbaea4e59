"""The rung of visibility: what a device is, and the cause and the advice where it is not visible."""

import pytest
import torch

from spec.harness.accelerator import visibility
from spec.harness.accelerator.visibility import RungError, check_architecture, is_visible


@pytest.fixture
def without_cuda(monkeypatch):
    """Have PyTorch see no CUDA and say why, and nvidia-smi print `smi`, None where it fails."""

    def pretend(said, *, cuda="13.0", visible=None, smi=None):
        def init():
            raise RuntimeError(f"{said}\nmore of it")

        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        monkeypatch.setattr(torch.cuda, "init", init)
        monkeypatch.setattr(torch.version, "cuda", cuda)
        monkeypatch.setattr(torch.version, "hip", None)
        monkeypatch.setattr(visibility, "output", lambda *command: smi)
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        if visible is not None:
            monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)

    return pretend


NO_DRIVER = "Found no NVIDIA driver on your system. Please check that you have an NVIDIA GPU"
TOO_OLD = "The NVIDIA driver on your system is too old (found version 11040). Please update"
CAUSES = {
    "CPU-only build": (
        {"said": "Torch not compiled with CUDA enabled", "cuda": None},
        f"PyTorch {torch.__version__} is built for the CPU only",
        "install the PyTorch for CUDA",
    ),
    "no driver": (
        {"said": NO_DRIVER, "visible": "0"},
        "there is no NVIDIA driver",
        "install one, until nvidia-smi lists the GPU; a container has to be given the GPUs",
    ),
    "old driver": (
        {"said": TOO_OLD, "smi": "| Driver Version: 470.57   CUDA Version: 11.4     |"},
        "the NVIDIA driver is too old for CUDA 13.0, for which this PyTorch is built",
        "update the driver, or install a PyTorch built for CUDA 11.4 or older",
    ),
    "hidden": (
        {"said": "No CUDA GPUs are available", "visible": ""},
        "CUDA_VISIBLE_DEVICES='' hides the GPUs of this machine",
        "unset CUDA_VISIBLE_DEVICES",
    ),
    "anything else": (
        {"said": "CUDA unknown error"},
        "PyTorch sees no GPU: CUDA unknown error",
        "see that nvidia-smi or rocm-smi lists the GPU",
    ),
}


@pytest.mark.parametrize(("machine", "seen", "advice"), CAUSES.values(), ids=CAUSES)
def test_advice_depends_on_why_there_is_no_cuda(without_cuda, machine, seen, advice):
    """A build without CUDA, no driver, an old one and hidden devices are told apart."""
    without_cuda(**machine)

    with pytest.raises(RungError) as error:
        is_visible(torch.device("cuda"))

    assert str(error.value) == seen
    assert error.value.advice.startswith(advice)


BUILDS = {
    "its own": ((9, 0), ["sm_80", "sm_90"], True),
    "an older minor number": ((8, 6), ["sm_80"], True),
    "a newer minor number": ((8, 0), ["sm_86"], False),
    "another major number": ((12, 0), ["sm_80", "sm_90"], False),
    "a GPU that is too old": ((6, 1), ["sm_75", "sm_80", "compute_120"], False),
    "PTX of an older one": ((12, 0), ["sm_80", "compute_90"], True),
    "that very GPU alone": ((9, 1), ["sm_90a"], False),
}


@pytest.mark.parametrize(("capability", "built_for", "runs"), BUILDS.values(), ids=BUILDS)
def test_a_gpu_that_this_pytorch_has_no_kernels_for_is_told(capability, built_for, runs):
    """Machine code runs within its major number, PTX on all newer ones."""
    if runs:
        assert check_architecture("card", capability, built_for) is None
        return
    with pytest.raises(RungError, match=r"card has compute capability .*, this PyTorch has kernels for sm_"):
        check_architecture("card", capability, built_for)


def test_a_gpu_is_named_with_its_versions(monkeypatch):
    """Name, memory, compute capability, driver, CUDA, cuDNN and PyTorch stand in one line."""
    card = type("Card", (), {"name": "NVIDIA H200", "total_memory": 140 * 2**30, "major": 9, "minor": 0})
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: card)
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: ["sm_90"])
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.version, "hip", None)
    monkeypatch.setattr(torch.backends.cudnn, "version", lambda: 91000)
    monkeypatch.setattr(visibility, "output", lambda *command: "580.1\n580.1")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5")

    assert is_visible(torch.device("cuda:1")) == (
        "NVIDIA H200, 140.0 GiB, compute capability 9.0, driver 580.1, CUDA 13.0, cuDNN 91000, "
        f"PyTorch {torch.__version__}"
    )
    with pytest.raises(
        RungError, match=r"no cuda:2: PyTorch sees 2 of that kind, of CUDA_VISIBLE_DEVICES=4,5"
    ):
        is_visible(torch.device("cuda:2"))


ABSENT = {"xpu": "sees no xpu device", "cpu:1": "there is no cpu:1: PyTorch sees 1 of that kind"}


@pytest.mark.parametrize(("name", "seen"), ABSENT.items())
def test_a_device_that_is_not_there_is_told(monkeypatch, name, seen):
    """Another accelerator than the one that PyTorch sees is not visible, and there is one CPU."""
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)

    with pytest.raises(RungError, match=seen):
        is_visible(torch.device(name))
