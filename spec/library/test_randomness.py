"""blitz/randomness.py: which sample comes when."""

import torch

from blitz.randomness import epoch_order


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
