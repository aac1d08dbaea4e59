"""blitz/training/devices.py: which device a command uses."""

import pytest
import torch

from blitz.errors import BlitzError
from blitz.training import devices
from blitz.training.devices import find_device, half_precision, has_bfloat16, take_own_accelerator


@pytest.mark.parametrize(("available", "expected"), [(True, "mps"), (False, "cpu")])
def test_auto_is_the_accelerator_or_else_the_cpu(monkeypatch, available, expected):
    """A build of PyTorch for an accelerator that this machine lacks does not count."""
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: available)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: torch.device("mps"))

    assert find_device("auto") == torch.device(expected)


def test_there_is_one_cpu():
    """It may be called by its number, as an accelerator may; another number would mean the same CPU."""
    assert find_device("cpu:0").type == "cpu"
    with pytest.raises(BlitzError, match=r"^there is no device cpu:1: PyTorch has one CPU"):
        find_device("cpu:1")


class TestOwnAccelerator:
    """Which accelerator a process takes that torchrun started."""

    @pytest.fixture(autouse=True)
    def taken(self, monkeypatch):
        """Two CUDA devices, three processes, of which this is the second; the devices that it takes."""
        taken = []
        monkeypatch.setenv("LOCAL_RANK", "1")
        monkeypatch.setenv("LOCAL_WORLD_SIZE", "3")
        monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
        monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: torch.device("cuda"))
        monkeypatch.setattr(torch.accelerator, "device_count", lambda: 2)
        monkeypatch.setattr(torch.accelerator, "set_device_index", taken.append)
        return taken

    @pytest.mark.parametrize("name", ["auto", "cuda"])
    def test_process_takes_the_accelerator_of_its_number_on_the_machine(self, taken, name):
        """Asked for by its kind or not at all."""
        take_own_accelerator(name)

        assert taken == [1]

    @pytest.mark.parametrize("name", ["cpu", "cpu:0"])
    def test_nothing_is_taken_for_the_cpu(self, taken, name):
        """With --device cpu the accelerators stay free."""
        take_own_accelerator(name)

        assert taken == []

    def test_nothing_is_taken_where_there_is_nothing(self, taken, monkeypatch):
        """Without an accelerator the processes train on the CPU."""
        monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)

        take_own_accelerator("auto")

        assert taken == []

    def test_more_processes_than_accelerators_are_refused(self, taken, monkeypatch):
        """The sentence tells both numbers, and two ways out."""
        monkeypatch.setenv("LOCAL_RANK", "2")

        with pytest.raises(BlitzError) as caught:
            take_own_accelerator("auto")

        assert taken == []
        assert str(caught.value) == (
            "this machine has 2 cuda devices for 3 processes: start as many with --nproc-per-node 2, "
            "or train on the CPU with --device cpu"
        )

    def test_one_accelerator_for_all_is_refused(self, taken):
        """A name with an index would put every process on the same one."""
        with pytest.raises(
            BlitzError, match=r"^each process takes a device of its own: --device cuda, not cuda:1$"
        ):
            take_own_accelerator("cuda:1")

        assert taken == []

    def test_name_of_no_device_is_left_to_who_looks_for_it(self, taken):
        """find_device has the sentence for it."""
        take_own_accelerator("nowhere")

        assert taken == []


class TestHasBfloat16:
    """has_bfloat16(device)."""

    @pytest.mark.parametrize("avx", [True, False])
    @pytest.mark.parametrize("amx", [True, False])
    def test_a_cpu_has_it_with_one_of_two_extensions(self, monkeypatch, avx, amx):
        """AVX-512 BF16 or AMX."""
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx, raising=False)
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx, raising=False)

        assert has_bfloat16(torch.device("cpu")) == (avx or amx)

    def test_a_pytorch_that_cannot_tell_has_none(self, monkeypatch):
        """Its questions have no public name, and may go."""
        monkeypatch.delattr(torch.cpu, "_is_avx512_bf16_supported", raising=False)
        monkeypatch.delattr(torch.cpu, "_is_amx_tile_supported", raising=False)

        assert not has_bfloat16(torch.device("cpu"))

    def test_a_gpu_must_not_only_emulate_it(self, monkeypatch):
        """PyTorch is asked so."""
        asked = []
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **how: asked.append(how) or True)

        assert has_bfloat16(torch.device("cuda"))
        assert asked == [{"including_emulation": False}]

    def test_other_devices_are_not_known_to(self):
        """They compute in float32, which all have."""
        assert not has_bfloat16(torch.device("mps"))


class TestHalfPrecision:
    """half_precision(device, wanted)."""

    @pytest.mark.parametrize(("there", "wanted"), [(True, True), (True, False), (False, True)])
    def test_products_are_in_bfloat16_where_it_is_wanted_and_there(self, monkeypatch, there, wanted):
        """Otherwise nothing changes."""
        monkeypatch.setattr(devices, "has_bfloat16", lambda device: there)
        x = torch.ones(2, 2)

        with half_precision(torch.device("cpu"), wanted):
            product = x @ x

        assert product.dtype == (torch.bfloat16 if there and wanted else torch.float32)
        assert (x @ x).dtype == torch.float32

    def test_a_device_that_autocast_does_not_know_computes_as_it_does(self):
        """Nothing is refused, and nothing changes."""
        with half_precision(torch.device("meta")):
            product = torch.ones(2, 2, device="meta") @ torch.ones(2, 2, device="meta")

        assert product.dtype == torch.float32
