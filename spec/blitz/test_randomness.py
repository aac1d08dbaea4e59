"""blitz/randomness.py: which sample comes when, and the states of the generators."""

import io
import random
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from blitz.randomness import epoch_order, random_states, restore_random_states


def test_order_of_an_epoch_has_each_sample_once():
    """An epoch's order is a permutation."""
    order = epoch_order(1000, seed=3, epoch=1)

    assert order.sort().values.tolist() == list(range(1000))


def test_order_changes_with_epoch_and_seed():
    """Two epochs or two seeds have different orders, the same two the same one."""
    orders = {tuple(epoch_order(100, seed=s, epoch=e).tolist()) for s in (0, 1, 2) for e in (0, 1, 2)}

    assert len(orders) == 9
    assert tuple(epoch_order(100, seed=2, epoch=2).tolist()) in orders


def test_order_leaves_the_global_generator_alone():
    """Drawing an order draws nothing from torch's own generator."""
    before = torch.get_rng_state()

    epoch_order(100, seed=0, epoch=0)

    assert torch.equal(torch.get_rng_state(), before)


ORDERS = {
    "a small seed": (2, 3, [5, 4, 3, 1, 0, 2]),
    "the largest of the command's": (2**32 - 1, 3, [3, 0, 5, 2, 1, 4]),
    "one that no generator takes": (2**70, 1, [1, 5, 2, 0, 3, 4]),
}


@pytest.mark.parametrize(("seed", "epoch", "order"), ORDERS.values(), ids=ORDERS)
def test_order_stays_what_it_was(seed, epoch, order):
    """A later release goes on from an earlier one's checkpoint as that one would have."""
    assert epoch_order(6, seed=seed, epoch=epoch).tolist() == order


def test_states_are_plain_values():
    """What torch.load(weights_only=True) reads of them puts Python's, NumPy's and torch's generator back."""
    file = io.BytesIO()
    torch.save(random_states(torch.device("cpu")), file)
    drawn = random.random(), np.random.rand(), torch.rand(1).item()

    restore_random_states(torch.load(io.BytesIO(file.getvalue()), weights_only=True), torch.device("cpu"))

    assert (random.random(), np.random.rand(), torch.rand(1).item()) == drawn


@pytest.fixture
def generators(monkeypatch):
    """The states of a device's generators, by the device that PyTorch is asked for, None where it is not."""
    states = {}

    def put(state, device=None):
        states[device] = state

    module = SimpleNamespace(get_rng_state=lambda device=None: states[device], set_rng_state=put)
    monkeypatch.setattr(
        torch, "get_device_module", lambda device: {"cuda": module, "mps": module}[device.type]
    )
    return states


DEVICES = {"one of several": ("cuda:1", torch.device("cuda:1")), "the only one": ("mps", None)}


@pytest.mark.parametrize(("name", "asked"), DEVICES.values(), ids=DEVICES)
class TestDevice:
    """Generators of a device other than the CPU; MPS has a single one and takes no name for it."""

    def test_state_of_the_device_comes_back(self, generators, name, asked):
        """It is kept under the device's kind, whatever its number."""
        device = torch.device(name)
        generators[asked] = "before"

        states = random_states(device)
        generators[asked] = "after"
        restore_random_states(states, device)

        assert states[device.type] == "before"
        assert generators == {asked: "before"}

    def test_state_of_another_device_is_passed_over(self, generators, name, asked):
        """A training begun on the CPU goes on elsewhere."""
        generators[asked] = "own"

        restore_random_states(random_states(torch.device("cpu")), torch.device(name))

        assert generators == {asked: "own"}
