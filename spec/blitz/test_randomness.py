"""blitz/randomness.py: which sample comes when, and the states of the generators."""

from types import SimpleNamespace

import pytest
import torch

from blitz.randomness import epoch_order, random_states, restore_random_states

ORDERS = {
    "a small seed": (2, 3, [5, 4, 3, 1, 0, 2]),
    "another epoch": (2, 4, [3, 5, 4, 0, 1, 2]),
    "one that no generator takes": (2**70, 1, [1, 5, 2, 0, 3, 4]),
}


@pytest.mark.parametrize(("seed", "epoch", "order"), ORDERS.values(), ids=ORDERS)
def test_order_of_an_epoch_depends_on_it_and_the_seed_alone(seed, epoch, order):
    """A later release goes on from a checkpoint as the earlier one would have; nothing else is drawn."""
    before = torch.get_rng_state()

    assert epoch_order(6, seed=seed, epoch=epoch).tolist() == order

    assert torch.equal(torch.get_rng_state(), before)


DEVICES = {"one of several": ("cuda:1", torch.device("cuda:1")), "the only one": ("mps", None)}


@pytest.mark.parametrize(("name", "asked"), DEVICES.values(), ids=DEVICES)
def test_state_of_a_device_comes_back(monkeypatch, name, asked):
    """It is kept under the device's kind; MPS has a single one and takes no name for it."""
    device, states = torch.device(name), {asked: "before"}
    module = SimpleNamespace(
        get_rng_state=lambda device=None: states[device],
        set_rng_state=lambda state, device=None: states.update({device: state}),
    )
    monkeypatch.setattr(torch, "get_device_module", {device: module}.get)

    saved = random_states(device)
    states[asked] = "after"
    restore_random_states(saved, device)

    assert states == {asked: "before"}


def test_state_of_another_device_is_passed_over():
    """A training begun elsewhere goes on on the CPU."""
    states = random_states(torch.device("cpu"))
    drawn = torch.rand(1)

    restore_random_states({**states, "cuda": "another"}, torch.device("cpu"))

    assert torch.equal(torch.rand(1), drawn)
