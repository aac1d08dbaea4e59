"""Notes 4, steps 4 and 5 with "Training on GPU": a net that is saved on one device and loaded on another."""

import hashlib

import pytest
import torch
from torch import nn

from blitz.training.nets import CifarNet
from spec.harness import QUALIFIED, broken_by, claim
from spec.harness.accelerator.devices import accelerator

PLAIN = "torch.save(net.state_dict(), PATH), and load_state_dict(torch.load(PATH)) brings it back"


def with_option(**forced):
    """Return a fault: torch.load is given an option."""
    return lambda real: lambda path, **options: real(path, **{**options, **forced})


def last_bit_lost(real):
    """Fault: the last bit of what is loaded is lost."""
    return lambda path, **options: {
        name: value * (1 + 2**-23) for name, value in real(path, **options).items()
    }


def devices_of(state):
    """Return the devices of the tensors of a state."""
    return {value.device for value in state.values()}


def bits_of(state):
    """Return a digest of the bytes of each tensor of a state: to show how two states differ takes minutes."""
    return [hashlib.sha256(value.cpu().numpy().tobytes()).hexdigest() for value in state.values()]


@pytest.fixture
def saved_on_cuda(tmp_path, monkeypatch):
    """A file that says of each tensor that it was on cuda:0, where PyTorch sees no CUDA device."""
    with monkeypatch.context() as patch:
        patch.setattr(torch.serialization, "location_tag", lambda storage: "cuda:0")
        torch.save(CifarNet().state_dict(), tmp_path / "net.pth")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    return tmp_path / "net.pth"


class TestSavedOnAnAccelerator:
    """A file remembers where each tensor was."""

    @pytest.mark.gpu
    @claim("cifar.saved-on-gpu", notes="4 step 4; 4 GPU", verdict=QUALIFIED, says=PLAIN)
    @broken_by(torch, "load", with_option(map_location="cpu"))
    @broken_by(torch, "load", last_bit_lost)
    def test_state_saved_on_an_accelerator_is_loaded_there(self, tmp_path):
        """What was on an accelerator when it was saved is there again when it is loaded, bit for bit."""
        state = CifarNet().to(accelerator()).state_dict()
        torch.save(state, tmp_path / "net.pth")

        loaded = torch.load(tmp_path / "net.pth")

        assert devices_of(loaded) == {accelerator()}
        assert bits_of(loaded) == bits_of(state)

    @pytest.mark.gpu
    @claim("cifar.saved-on-gpu-loaded-on-cpu", notes="4 step 5; 4 GPU", verdict=QUALIFIED, says=PLAIN)
    @broken_by(torch, "load", with_option(map_location=None))
    @broken_by(torch, "load", last_bit_lost)
    def test_map_location_loads_it_on_the_cpu(self, tmp_path):
        """With map_location="cpu" what was saved on an accelerator is loaded on the CPU, bit for bit."""
        state = CifarNet().to(accelerator()).state_dict()
        torch.save(state, tmp_path / "net.pth")

        loaded = torch.load(tmp_path / "net.pth", map_location="cpu")

        assert devices_of(loaded) == {torch.device("cpu")}
        assert bits_of(loaded) == bits_of(state)

    @pytest.mark.gpu
    @claim("cifar.saved-on-gpu-loaded-from-cpu", notes="4 step 5; 4 GPU", verdict=QUALIFIED, says=PLAIN)
    @broken_by(torch, "load", with_option(map_location="cpu"))
    @broken_by(torch, "load", last_bit_lost)
    def test_map_location_loads_on_the_accelerator_what_was_on_the_cpu(self, tmp_path):
        """With map_location=device what was saved on the CPU is loaded there, bit for bit."""
        state = CifarNet().state_dict()
        torch.save(state, tmp_path / "net.pth")

        loaded = torch.load(tmp_path / "net.pth", map_location=accelerator())

        assert devices_of(loaded) == {accelerator()}
        assert bits_of(loaded) == bits_of(state)


class TestSavedOnCuda:
    """The same file where there is no CUDA device."""

    @claim("cifar.saved-on-gpu-refused", notes="4 step 5; 4 GPU", verdict=QUALIFIED, says=PLAIN)
    @broken_by(torch, "load", with_option(map_location="cpu"))
    def test_file_from_cuda_is_refused_without_cuda(self, saved_on_cuda):
        """Where PyTorch sees no CUDA device, a state that was saved on one is refused, with the way out."""
        with pytest.raises(
            RuntimeError, match=r"on a CUDA device but torch.cuda.is_available\(\) is False.*"
        ):
            torch.load(saved_on_cuda)
        with pytest.raises(RuntimeError, match=r"map_location=torch.device\('cpu'\)"):
            torch.load(saved_on_cuda)

    @claim("cifar.saved-on-gpu-without-gpu", notes="4 step 5; 4 GPU", verdict=QUALIFIED, says=PLAIN)
    @broken_by(nn.Module, "load_state_dict", lambda real: lambda net, state: None)
    @broken_by(
        nn.Module, "load_state_dict", lambda real: lambda net, state: real(net.to(torch.float64), state)
    )
    def test_file_from_cuda_is_loaded_on_the_cpu_without_cuda(self, saved_on_cuda, monkeypatch):
        """With map_location="cpu" a net on the CPU takes it without any CUDA device."""
        net = CifarNet()

        loaded = torch.load(saved_on_cuda, map_location="cpu")
        net.load_state_dict(loaded)

        assert devices_of(loaded) == {torch.device("cpu")}
        assert bits_of(net.state_dict()) == bits_of(loaded)


class TestLoadStateDict:
    """What a net makes of a state from elsewhere."""

    @claim("cifar.saved-on-gpu-net-stays", notes="4 step 5; 4 GPU", verdict=QUALIFIED, says=PLAIN)
    @broken_by(nn.Module, "load_state_dict", lambda real: lambda net, state: real(net, state, assign=True))
    @broken_by(nn.Module, "load_state_dict", lambda real: lambda net, state: None)
    def test_net_takes_a_state_from_elsewhere_and_stays_where_and_as_it_is(self, device):
        """load_state_dict copies the values of a state on another device or of another type into the net."""
        net = CifarNet().to(device, torch.float64)
        state = CifarNet().state_dict()

        net.load_state_dict(state)

        assert {(value.device, value.dtype) for value in net.state_dict().values()} == {
            (device, torch.float64)
        }
        assert bits_of(net.state_dict()) == bits_of({name: value.double() for name, value in state.items()})
