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

    @pytest.mark.parametrize(("name", "expected"), [("auto", [1]), ("cuda", [1]), ("cpu", []), ("cpu:0", [])])
    def test_process_takes_the_accelerator_of_its_number_on_the_machine(self, taken, name, expected):
        """With --device cpu the accelerators stay free."""
        take_own_accelerator(name)

        assert taken == expected

    def test_nothing_is_taken_where_there_is_nothing(self, taken, monkeypatch):
        """Without an accelerator the processes train on the CPU."""
        monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)

        take_own_accelerator("auto")

        assert taken == []

    @pytest.mark.parametrize(
        ("number", "name", "sentence"),
        [
            (
                "2",
                "auto",
                "this machine has 2 cuda devices for 3 processes: start as many with --nproc-per-node 2, "
                "or train on the CPU with --device cpu",
            ),
            ("1", "cuda:1", "each process takes a device of its own: --device cuda, not cuda:1"),
        ],
        ids=["more processes than accelerators", "one accelerator for all"],
    )
    def test_process_without_an_accelerator_of_its_own_is_refused(
        self, taken, monkeypatch, number, name, sentence
    ):
        """The sentence tells the way out."""
        monkeypatch.setenv("LOCAL_RANK", number)

        with pytest.raises(BlitzError) as caught:
            take_own_accelerator(name)

        assert (taken, str(caught.value)) == ([], sentence)


@pytest.mark.parametrize(
    ("avx", "amx", "expected"), [(True, False, True), (False, True, True), (False, False, False)]
)
def test_a_cpu_has_bfloat16_with_one_of_two_extensions(monkeypatch, avx, amx, expected):
    """AVX-512 BF16 or AMX."""
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx, raising=False)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx, raising=False)

    assert has_bfloat16(torch.device("cpu")) == expected


def test_a_gpu_must_not_only_emulate_bfloat16(monkeypatch):
    """Emulated, it is slower than float32."""
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation)

    assert not has_bfloat16(torch.device("cuda"))


@pytest.mark.parametrize(("there", "wanted"), [(True, True), (True, False), (False, True)])
def test_products_are_in_bfloat16_where_it_is_wanted_and_there(monkeypatch, there, wanted):
    """Otherwise nothing changes."""
    monkeypatch.setattr(devices, "has_bfloat16", lambda device: there)
    x = torch.ones(2, 2)

    with half_precision(torch.device("cpu"), wanted):
        product = x @ x

    assert product.dtype == (torch.bfloat16 if there and wanted else torch.float32)
    assert (x @ x).dtype == torch.float32
