"""Notes 4, steps 4 and 5 with "Training on GPU": a net that is saved on one device and loaded on another."""

import pytest
import torch
from torch import nn

from blitz.training.nets import CifarNet
from spec.harness import QUALIFIED, fault, statement
from spec.harness.accelerator.devices import accelerator
from spec.section_4_cifar10.faults import given, giving

# where a state was saved, the map_location that it is loaded with, and where it is then
PLACES = {
    "where it was": ("accelerator", None, "accelerator"),
    "on the CPU": ("accelerator", "cpu", "cpu"),
    "on the accelerator": ("cpu", "accelerator", "accelerator"),
}


def assert_same_bits(actual, expected):
    """Fail unless two states hold the same values of the same types, wherever they are."""
    actual, expected = ({name: value.cpu() for name, value in state.items()} for state in (actual, expected))
    torch.testing.assert_close(actual, expected, rtol=0, atol=0)


@pytest.fixture
def saved_on_cuda(tmp_path, monkeypatch):
    """A file that says of its tensor that it was on cuda:0, where PyTorch sees no CUDA device."""
    with monkeypatch.context() as patch:
        patch.setattr(torch.serialization, "location_tag", lambda storage: "cuda:0")
        torch.save({"weight": torch.tensor([2.0, 3.0])}, tmp_path / "net.pth")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    return tmp_path / "net.pth"


@statement(
    "cifar.saved-on-gpu",
    notes="4 step 5; 4 GPU",
    verdict=QUALIFIED,
    says="load_state_dict(torch.load(PATH)) brings back what torch.save saved",
)
@fault("all is loaded on the CPU", torch, "load", given(map_location="cpu"))
@fault("map_location is ignored", torch, "load", given(map_location=None))
@fault(
    "the last bit is lost",
    torch,
    "load",
    giving(lambda state: {k: v * (1 + 2**-23) for k, v in state.items()}),
)
@fault("nothing is loaded", nn.Module, "load_state_dict", lambda real: lambda net, state: None)
class TestSavedOnGpu:
    """A state is loaded on the device on which it was saved, and refused where that is missing, unless
    `map_location` names another. A net takes it from anywhere, and stays on its own device.
    """

    @pytest.mark.gpu
    @pytest.mark.parametrize(("saved", "map_location", "loaded"), PLACES.values(), ids=PLACES)
    def test_state_is_loaded_where_it_was_or_where_map_location_says(
        self, saved, map_location, loaded, tmp_path
    ):
        places = {"accelerator": accelerator(), "cpu": torch.device("cpu"), None: None}
        state = CifarNet().to(places[saved]).state_dict()
        torch.save(state, tmp_path / "net.pth")

        found = torch.load(tmp_path / "net.pth", map_location=places[map_location])

        assert {value.device for value in found.values()} == {places[loaded]}
        assert_same_bits(found, state)

    def test_file_from_cuda_is_refused_without_cuda_and_the_way_out_named(self, saved_on_cuda):
        with pytest.raises(RuntimeError, match=r"on a CUDA device but.* is False") as refused:
            torch.load(saved_on_cuda)
        assert "map_location=torch.device('cpu')" in str(refused.value)

    def test_file_from_cuda_is_loaded_on_the_cpu_without_cuda(self, saved_on_cuda):
        loaded = torch.load(saved_on_cuda, map_location="cpu")

        assert loaded["weight"].device == torch.device("cpu")
        assert loaded["weight"].tolist() == [2, 3]

    def test_net_takes_a_state_from_elsewhere_and_stays_where_and_as_it_is(self, device):
        net, state = CifarNet().to(device, torch.float16), CifarNet().state_dict()

        net.load_state_dict(state)

        assert {(x.device, x.dtype) for x in net.state_dict().values()} == {(device, torch.float16)}
        assert_same_bits(net.state_dict(), {name: value.half() for name, value in state.items()})
