"""The rungs: the cause and the advice where a device is not visible, and what each one lets through."""

import stat

import pytest
import torch

from spec.harness.accelerator import cooperation, kernels, learning, pace, rungs, visibility
from spec.harness.accelerator.visibility import RungError, check_architecture, is_visible

CPU = torch.device("cpu")
CUDA = torch.device("cuda")
LISTED = "GPU 0: NVIDIA H200 (UUID: GPU-1)\nGPU 1: NVIDIA H200 (UUID: GPU-2)"


@pytest.fixture
def without_cuda(monkeypatch):
    """Have PyTorch see no CUDA and say why, and nvidia-smi print `smi`, None where it fails."""

    def pretend(said, *, cuda="13.0", visible=None, smi=LISTED):
        def init():
            raise RuntimeError(f"{said}\nmore of it")

        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        monkeypatch.setattr(torch.cuda, "init", init)
        monkeypatch.setattr(torch.version, "cuda", cuda)
        monkeypatch.setattr(torch.version, "hip", None)
        monkeypatch.setattr(visibility, "nvidia_smi", lambda *options: smi)
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        if visible is not None:
            monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)

    return pretend


NO_DRIVER = "Found no NVIDIA driver on your system. Please check that you have an NVIDIA GPU"
TOO_OLD = "The NVIDIA driver on your system is too old (found version 11040). Please update"
NONE = "No CUDA GPUs are available"
CAUSES = {
    "CPU-only build": (
        {"said": "Torch not compiled with CUDA enabled", "cuda": None},
        f"PyTorch {torch.__version__} is built for the CPU only",
        "install the PyTorch for CUDA",
    ),
    "no driver": (
        {"said": NO_DRIVER, "smi": None, "visible": "0"},
        "there is no NVIDIA driver",
        "install one, until nvidia-smi lists the GPU; a container has to be given the GPUs",
    ),
    "old driver": (
        {"said": TOO_OLD, "smi": "| Driver Version: 470.57   CUDA Version: 11.4     |"},
        "the NVIDIA driver is too old for CUDA 13.0, for which this PyTorch is built",
        "update the driver, or install a PyTorch built for CUDA 11.4 or older",
    ),
    "hidden": (
        {"said": NONE, "visible": ""},
        "CUDA_VISIBLE_DEVICES='' hides the 2 GPUs of this machine",
        "unset CUDA_VISIBLE_DEVICES",
    ),
    "anything else": (
        {"said": "CUDA unknown error"},
        "PyTorch sees no GPU: CUDA unknown error",
        "see that nvidia-smi lists the GPU",
    ),
}


@pytest.mark.parametrize(("machine", "seen", "advice"), CAUSES.values(), ids=CAUSES)
def test_advice_depends_on_why_there_is_no_cuda(without_cuda, machine, seen, advice):
    """A build without CUDA, no driver, an old one and hidden devices are told apart."""
    without_cuda(**machine)

    with pytest.raises(RungError) as error:
        is_visible(CUDA)

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
    monkeypatch.setattr(visibility, "nvidia_smi", lambda *options: "580.1\n580.1")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5")

    assert is_visible(torch.device("cuda:1")) == (
        "NVIDIA H200, 140.0 GiB, compute capability 9.0, driver 580.1, CUDA 13.0, cuDNN 91000, "
        f"PyTorch {torch.__version__}"
    )
    with pytest.raises(
        RungError, match=r"no cuda:2: PyTorch sees 2 of that kind, of CUDA_VISIBLE_DEVICES=4,5"
    ):
        is_visible(torch.device("cuda:2"))


def test_a_kind_that_is_not_there_is_told(monkeypatch):
    """Another accelerator than the one that PyTorch sees is not visible."""
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)

    with pytest.raises(RungError, match="sees no xpu device"):
        is_visible(torch.device("xpu"))


def test_nvidia_smi_that_fails_is_none(tmp_path, monkeypatch):
    """A missing nvidia-smi, and one that prints an error, tell nothing."""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert visibility.nvidia_smi() is None

    script = tmp_path / "nvidia-smi"
    script.write_text("#!/bin/sh\necho broken\nexit 9\n")
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    assert visibility.nvidia_smi() is None


def test_a_name_that_pytorch_does_not_know_fails_the_first_rung():
    """A misspelt device is told by PyTorch's own sentence, and nothing above is tried."""
    told = []

    assert not rungs.try_each("cdua", told.append)

    assert [line["rung"] for line in told] == ["visible", "visible"]
    assert "cdua" in told[1]["seen"]


def test_the_last_rung_ends_the_climb():
    """LAST is the rung to stop at."""
    told = []

    assert rungs.try_each("cpu", told.append, last="visible")

    assert len(told) == 2


@pytest.mark.parametrize("name", pace.PARTS)
@pytest.mark.parametrize("dtype", pace.COPIED, ids=str)
def test_a_part_that_comes_back_as_another_is_told(monkeypatch, dtype, name):
    """Whatever a comparison copies to the CPU is held to the bytes that were sent; no rows have none."""
    monkeypatch.setattr(pace, "COPIED", [dtype])
    monkeypatch.setattr(pace, "PARTS", {name: pace.PARTS[name]})
    monkeypatch.setattr(torch.Tensor, "cpu", one_byte_off)

    if name == "no rows":
        assert pace._check_parts(CPU) is None
        return
    with pytest.raises(RungError, match=f"^1 of [0-9]+ bytes changed in a copy of {name} of {dtype}"):
        pace._check_parts(CPU)


def one_byte_off(tensor):
    """Return a copy of a tensor with another last byte, if it has one."""
    numbers = tensor.contiguous().flatten().clone()
    numbers.view(torch.uint8)[-1:].bitwise_xor_(1)
    return numbers.view(tensor.shape)


@pytest.mark.parametrize("kernel", kernels.KERNELS)
def test_each_kernel_is_held_to_the_cpu(monkeypatch, kernel):
    """A kernel that is two percent off in float32 is named."""
    real = kernels.KERNELS[kernel]

    def wrong(inputs):
        return real(inputs) * (1.02 if inputs["a"].dtype == torch.float32 else 1)

    monkeypatch.setattr(kernels, "KERNELS", {kernel: wrong})

    with pytest.raises(RungError, match=f"^{kernel} in float32 is off by 2.0e-02"):
        kernels.kernels_are_right(CPU)


def test_not_a_number_is_an_error():
    """NaN, which is above no bound, is not taken for right."""
    nan, one = torch.tensor([float("nan")]), torch.ones(1, dtype=torch.float64)

    assert not kernels.largest_error(nan, one) <= 1
    with pytest.raises(RungError, match="gradient of w in float32 is off by nan"):
        learning.check_gradients({"w": nan}, {"w": one}, 1.0, "float32")


def test_what_another_accelerator_lacks_is_left_out_and_said(monkeypatch):
    """A type or a kernel that it lacks is named in the detail; what is left has to be right."""

    def lacking(inputs):
        if inputs["a"].dtype == torch.float64 and inputs["a"].is_contiguous():
            raise NotImplementedError("Could not run 'aten::x' with arguments from the 'X' backend")
        return inputs["a"]

    def exact(inputs):
        return inputs["a"]

    calls = iter([lacking, *[exact] * 20])
    monkeypatch.setattr(kernels, "KERNELS", {"x": lambda inputs: next(calls)(inputs)})
    monkeypatch.setattr(kernels, "_formats", lambda device: ["float64", "float32"])

    assert kernels.kernels_are_right(CPU).endswith("; not there: x in float64")


def test_a_missing_gradient_is_told():
    """A parameter without a gradient is named."""
    with pytest.raises(RungError, match="no gradient of w in float32"):
        learning.check_gradients({}, {"w": torch.ones(1)}, 1.0, "float32")


def test_the_reference_of_speed_is_not_measured_against_itself():
    """The CPU, and an accelerator without hardware, have no speed of their own to hold them to."""
    for name in ("cpu", "fake"):
        device = CPU if name == "cpu" else type("Fake", (), {"type": name})
        assert pace.speed_is_above_the_floor(device) == f"not measured: {name} has no hardware of its own"


def test_a_copy_below_the_floor_is_told(monkeypatch):
    """A copy that is slower than half a lane of PCIe fails the rung of speed."""
    monkeypatch.setattr(pace, "seconds", lambda work, device: 1.0)

    with pytest.raises(RungError, match=r"a copy to it makes 0.02 GB/s, expected at least 0.5"):
        pace._copy_to(CPU)


def test_multiprocessors_below_the_floor_are_told(monkeypatch):
    """A GPU with clocks that are locked low makes fewer operations than its multiprocessors should."""
    card = type("Card", (), {"multi_processor_count": 132})
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: card)
    monkeypatch.setattr(torch, "randn", lambda *shape, device: torch.ones(1, 1))
    monkeypatch.setattr(pace, "seconds", lambda work, device: 2 * 4096**3 / 6e12)

    with pytest.raises(RungError, match=r"make 6.0 TFLOP/s, its multiprocessors should make at least 8.4"):
        pace._product_of_all_multiprocessors(CPU)


def test_a_kind_without_a_backend_has_no_process_group(monkeypatch):
    """What PyTorch has no way to do is said, and is no failure."""

    def no_backend(device):
        raise ValueError("Default backend not registered for device")

    monkeypatch.setattr(torch.distributed, "get_default_backend_for_device", no_backend)

    assert cooperation.devices_work_together(CPU) == "no process group: PyTorch has no backend for cpu"


def test_neighbours_that_hand_on_other_bytes_are_told(monkeypatch):
    """A copy between devices is read at its end."""
    real = torch.Tensor.cpu
    monkeypatch.setattr(torch.Tensor, "to", lambda tensor, device: tensor.clone())
    monkeypatch.setattr(torch.Tensor, "cpu", lambda tensor: real(tensor) ^ 1)

    with pytest.raises(RungError, match="bytes changed in a copy from cuda:1 to cuda:0"):
        cooperation._neighbour(torch.device("cuda:1"), 2)
