"""Notes 5, its link: DistributedDataParallel (DDP) splits no data, the DistributedSampler does."""

import itertools

import pytest
import torch
import torch.distributed as dist
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.utils.data import DistributedSampler

from spec.harness import OUTDATED, fault, statement

SPLITS = "DDP splits the input across the devices along the batch axis (documentation of PyTorch 1.10)"


def shapes():
    """In each rank: its number of rows plus two through DDP; return what the net saw, and what comes out."""
    net, seen = nn.Linear(3, 1), []
    net.register_forward_hook(lambda net, inputs, output: seen.append(tuple(inputs[0].shape)))
    output = nn.parallel.DistributedDataParallel(net)(torch.ones(dist.get_rank() + 2, 3))
    return seen, tuple(output.shape)


def split_in_forward(real):
    """Fault: DDP gives the net a part of its input."""
    return lambda ddp, x: real(ddp, x.chunk(dist.get_world_size())[dist.get_rank()])


@statement("parallel.ddp-does-not-split", notes="5, its link", verdict=OUTDATED, says=SPLITS)
@fault("DDP splits its input", nn.parallel.DistributedDataParallel, "forward", split_in_forward)
def test_ddp_gives_the_net_the_whole_input_of_its_process(ranks):
    """DistributedDataParallel (DDP) does not split its input. The net in each process gets all rows that this
    process passes to DDP. The number of rows may differ between the processes.
    """
    assert ranks(2, shapes) == [([(2, 3)], (2, 1)), ([(3, 3)], (3, 1))]


SHARES = {
    # ranks and options; then what ten samples are shared out to
    "the first ones again": (4, {}, [[0, 4, 8], [1, 5, 9], [2, 6, 0], [3, 7, 1]]),
    "drop_last": (4, {"drop_last": True}, [[0, 4], [1, 5], [2, 6], [3, 7]]),
}


def shares(length, size, **options):
    """Return the indices of each of `size` ranks for so many samples."""
    return [list(DistributedSampler(range(length), size, rank, **options)) for rank in range(size)]


def order(seed=0, epoch=None):
    """Return the order of rank 0 of two in an epoch, or without set_epoch()."""
    sampler = DistributedSampler(range(50), 2, 0, seed=seed)
    if epoch is not None:
        sampler.set_epoch(epoch)
    return list(sampler)


# Faults


def whole(real):
    """Every rank gets all indices."""
    return lambda sampler: iter(range(len(sampler.dataset)))


def unpadded(real):
    """Nothing is repeated, and the last ranks get less."""
    return lambda sampler: iter(range(len(sampler.dataset))[sampler.rank :: sampler.num_replicas])


def forcing(**forced):
    """Return a fault: some of the sampler's options are what they are not said to be."""
    return lambda real: lambda sampler, *data, **options: real(sampler, *data, **options | forced)


def of_the_global_generator(real):
    """A permutation is drawn from what torch.manual_seed has set."""
    return lambda length, generator: real(length)


@statement("parallel.distributed-sampler", notes="5, its link", verdict=OUTDATED, says=SPLITS)
@fault("every rank gets all", DistributedSampler, "__iter__", whole)
@fault("nothing is repeated", DistributedSampler, "__iter__", unpadded)
@fault("nothing is dropped", DistributedSampler, "__init__", forcing(drop_last=False))
@fault("set_epoch has no effect", DistributedSampler, "set_epoch", lambda real: lambda sampler, epoch: None)
@fault("the global generator shuffles", torch, "randperm", of_the_global_generator)
class TestDistributedSampler:
    """A `DistributedSampler` gives each of n processes every n-th sample. To make the shares equal, the
    sampler repeats the first samples, or drops the last samples with `drop_last=True`. The shuffled order
    stays the same until `set_epoch()` sets another epoch.
    """

    @pytest.mark.parametrize(("size", "options", "expected"), SHARES.values(), ids=SHARES)
    def test_indices_are_dealt_out_in_turn(self, size, options, expected):
        assert shares(10, size, shuffle=False, **options) == expected

    @given(length=st.integers(1, 60), size=st.integers(1, 9), shuffle=st.booleans())
    def test_shares_are_equal_and_cover_the_data(self, length, size, shuffle):
        dealt = shares(length, size, shuffle=shuffle)

        each = -(-length // size)
        assert {len(share) for share in dealt} == {each}
        assert len(DistributedSampler(range(length), size, 0)) == each
        counts = torch.tensor([*itertools.chain(*dealt)]).bincount(minlength=length)
        assert counts.min() >= 1
        assert counts.max() - counts.min() <= 1

    def test_order_depends_on_seed_plus_epoch_alone(self):
        torch.manual_seed(5)
        told = [order(epoch=epoch) for epoch in range(3)]
        torch.manual_seed(6)

        assert order() == order() == told[0] != sorted(told[0])
        assert order(seed=1) == told[1]
        assert order(seed=1, epoch=1) == told[2]
        assert all(set(one) != set(other) for one, other in itertools.combinations(told, 2))
