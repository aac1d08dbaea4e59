"""Notes 5, DistributedDataParallel: the DistributedSampler, which shares out the data."""

import itertools

import pytest
import torch
import torch.distributed as dist
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader, DistributedSampler

from spec.harness import OUTDATED, broken_by, claim

SPLITS = "DDP splits the input across the devices along the batch (documentation of 1.10)"

lengths, sizes = st.integers(1, 60), st.integers(1, 9)


def shares(length, size, **options):
    """Return the indices of each of `size` ranks for so many samples."""
    samplers = [
        DistributedSampler(range(length), num_replicas=size, rank=rank, **options) for rank in range(size)
    ]
    return [list(sampler) for sampler in samplers]


def orders(sampler, epochs, set_epoch=True):
    """Return the order of each epoch."""
    found = []
    for epoch in range(epochs):
        if set_epoch:
            sampler.set_epoch(epoch)
        found.append(list(sampler))
    return found


# Faults


def whole(real):
    """Fault: every rank gets all indices."""
    return lambda sampler: iter(range(len(sampler.dataset)))


def in_blocks(real):
    """Fault: a rank's share is a block of neighbours."""

    def iterate(sampler):
        indices = [*range(len(sampler.dataset)), *range(sampler.total_size - len(sampler.dataset))]
        return iter(indices[sampler.rank * sampler.num_samples :][: sampler.num_samples])

    return iterate


def unpadded(real):
    """Fault: nothing is repeated, and the last ranks get less."""
    return lambda sampler: iter(range(len(sampler.dataset))[sampler.rank :: sampler.num_replicas])


def padded_by_the_last(real):
    """Fault: what lacks is filled up by the last index."""
    return lambda sampler: iter(min(index, len(sampler.dataset) - 1) for index in interleaved(sampler))


def interleaved(sampler):
    """Return every so many-th of enough indices for all."""
    return range(sampler.total_size)[sampler.rank :: sampler.num_replicas]


def shuffled_within(real):
    """Fault: a rank shuffles its share, which is the same in every epoch."""

    def iterate(sampler):
        share = [index % len(sampler.dataset) for index in interleaved(sampler)]
        generator = torch.Generator().manual_seed(sampler.seed + sampler.epoch)
        return iter(
            [share[place] for place in torch.randperm(len(share), generator=generator)]
            if sampler.shuffle
            else share
        )

    return iterate


def padded_unshuffled(real):
    """Fault: where samples are shuffled, the first ones of the data are repeated, not those of the order."""

    def iterate(sampler):
        order = [*range(len(sampler.dataset))]
        if sampler.shuffle:
            order = torch.randperm(len(order), generator=torch.Generator().manual_seed(sampler.seed)).tolist()
        return iter([*order, *range(len(order))][sampler.rank : sampler.total_size : sampler.num_replicas])

    return iterate


def by_rank(real):
    """Fault: each rank shuffles for itself."""

    def iterate(sampler):
        sampler.seed += sampler.rank
        indices = list(real(sampler))
        sampler.seed -= sampler.rank
        return iter(indices)

    return iterate


def forcing(**forced):
    """Return a fault: some of the sampler's options are what they are not said to be."""
    return lambda real: lambda sampler, *data, **options: real(sampler, *data, **options | forced)


def first_asked(real):
    """Fault: in a process group it is asked whatever the sampler is told."""
    return lambda sampler, data, *told, **more: real(
        sampler, data, **more | ({"num_replicas": None, "rank": None} if dist.is_initialized() else {})
    )


def alone(real):
    """Fault: a sampler that is not told takes all, if there is no process group either."""
    return lambda sampler, data, *told, **more: real(
        sampler, data, *told, **({} if dist.is_initialized() else {"num_replicas": 1, "rank": 0}) | more
    )


def own_share(told=None):
    """In a rank: return the indices of its share of four."""
    return list(DistributedSampler(range(4), shuffle=False, **told or {}))


class TestShares:
    """Which rank gets which sample."""

    @claim("parallel.ddp-does-not-split-sampler", notes="5, its link", verdict=OUTDATED, says=SPLITS)
    @broken_by(DistributedSampler, "__iter__", whole)
    @broken_by(DistributedSampler, "__iter__", in_blocks)
    @broken_by(DistributedSampler, "__iter__", unpadded)
    @broken_by(DistributedSampler, "__iter__", padded_by_the_last)
    @broken_by(DistributedSampler, "__iter__", padded_unshuffled)
    @broken_by(DistributedSampler, "__iter__", shuffled_within)
    def test_sampler_deals_the_indices_out_and_repeats_the_first_ones(self):
        """A DistributedSampler deals indices out in turn, and the first ones again until shares are equal.

        So it does with shuffled ones.
        """
        dealt, [order] = shares(10, 4, shuffle=False), shares(10, 1)

        assert shares(10, 4) == [[order[place] for place in share] for share in dealt]
        assert dealt == [[0, 4, 8], [1, 5, 9], [2, 6, 0], [3, 7, 1]]

    @claim("parallel.ddp-does-not-split-sampler-covers", notes="5, its link", verdict=OUTDATED, says=SPLITS)
    @broken_by(DistributedSampler, "__iter__", whole)
    @broken_by(DistributedSampler, "__iter__", unpadded)
    @broken_by(DistributedSampler, "__iter__", by_rank)
    @broken_by(DistributedSampler, "__len__", lambda real: lambda sampler: real(sampler) + 1)
    @given(length=lengths, size=sizes, shuffle=st.booleans())
    def test_shares_are_equal_and_cover_the_data(self, length, size, shuffle):
        """On every generated number of samples and ranks shares are equally long, and cover all samples.

        So many samples come once more often than others as it takes to make the shares equal.
        """
        dealt = shares(length, size, shuffle=shuffle)

        each = -(-length // size)
        assert {len(share) for share in dealt} == {each}
        assert {len(DistributedSampler(range(length), size, rank)) for rank in range(size)} == {each}
        counts = torch.tensor([*itertools.chain(*dealt)]).bincount(minlength=length)
        assert counts.min() >= 1
        assert counts.max() - counts.min() <= 1
        assert counts.sum() == each * size

    @claim("parallel.ddp-does-not-split-sampler-drop", notes="5, its link", verdict=OUTDATED, says=SPLITS)
    @broken_by(DistributedSampler, "__init__", forcing(drop_last=False))
    @broken_by(DistributedSampler, "__iter__", in_blocks)
    @given(length=lengths, size=sizes)
    def test_with_drop_last_shares_are_disjoint(self, length, size):
        """With drop_last=True no sample comes twice; what cannot be shared equally at the end is left out."""
        dealt = shares(length, size, shuffle=False, drop_last=True)

        each = length // size
        assert dealt == [list(range(rank, each * size, size)) for rank in range(size)]

    @claim("parallel.ddp-does-not-split-sampler-batches", notes="5, its link", verdict=OUTDATED, says=SPLITS)
    @broken_by(DistributedSampler, "__iter__", in_blocks)
    @broken_by(DistributedSampler, "__iter__", whole)
    def test_batches_of_the_ranks_together_are_the_batches_of_one_process(self):
        """Without shuffling, batch number k of all ranks together is batch number k of one process."""
        loaders = [
            DataLoader(range(24), batch_size=4, sampler=DistributedSampler(range(24), 2, rank, shuffle=False))
            for rank in range(2)
        ]

        together = [sorted(torch.cat(batches).tolist()) for batches in zip(*loaders, strict=True)]

        assert together == [batch.tolist() for batch in DataLoader(range(24), batch_size=8)]


class TestOrder:
    """In which order."""

    @claim("parallel.ddp-does-not-split-sampler-epoch", notes="5, its link", verdict=OUTDATED, says=SPLITS)
    @broken_by(DistributedSampler, "set_epoch", lambda real: lambda sampler, epoch: None)
    @broken_by(DistributedSampler, "__init__", forcing(shuffle=False))
    @broken_by(DistributedSampler, "__iter__", shuffled_within)
    def test_order_changes_with_set_epoch_alone(self):
        """A sampler shuffles and deals each epoch alike, unless set_epoch(epoch) is called before."""
        sampler = DistributedSampler(range(50), 2, 0)

        told, untold = orders(sampler, 3), orders(DistributedSampler(range(50), 2, 0), 3, set_epoch=False)

        assert all(set(one) != set(other) for one, other in itertools.combinations(told, 2))
        assert untold == [told[0]] * 3
        assert told[0] != sorted(told[0])

    @claim("parallel.ddp-does-not-split-sampler-seed", notes="5, its link", verdict=OUTDATED, says=SPLITS)
    @broken_by(DistributedSampler, "__init__", forcing(seed=0))
    @broken_by(
        torch, "randperm", lambda real: lambda length, generator: real(length)
    )  # of the global generator
    @broken_by(
        DistributedSampler,
        "set_epoch",
        lambda real: lambda sampler, epoch: real(sampler, epoch * (sampler.seed + 1)),
    )
    def test_order_depends_on_seed_and_epoch_alone(self):
        """The order is a function of the sampler's seed plus the epoch, not of torch.manual_seed."""
        found = []
        for seed, epoch, elsewhere in ((0, 1, 5), (0, 1, 6), (1, 0, 7), (3, 0, 5), (1, 2, 8)):
            torch.manual_seed(elsewhere)
            sampler = DistributedSampler(range(50), 2, 0, seed=seed)
            sampler.set_epoch(epoch)
            found.append(list(sampler))

        assert found[0] == found[1] == found[2]
        assert found[3] == found[4] != found[0]

    @claim("parallel.ddp-does-not-split-sampler-loader", notes="5, its link", verdict=OUTDATED, says=SPLITS)
    @broken_by(
        DataLoader, "__init__", lambda real: lambda self, data, shuffle, **how: real(self, data, **how)
    )
    def test_loader_takes_a_sampler_or_shuffles(self):
        """A DataLoader with a sampler refuses shuffle=True: it is the sampler that shuffles."""
        with pytest.raises(ValueError, match="mutually exclusive with shuffle"):
            DataLoader(range(4), shuffle=True, sampler=DistributedSampler(range(4), 2, 0))

    @claim("parallel.ddp-does-not-split-sampler-ranks", notes="5, its link", verdict=OUTDATED, says=SPLITS)
    @broken_by(DistributedSampler, "__init__", alone)
    @broken_by(DistributedSampler, "__init__", forcing(rank=0))
    @broken_by(DistributedSampler, "__init__", first_asked)
    def test_sampler_asks_the_process_group_unless_it_is_told(self, ranks):
        """A DistributedSampler asks the process group for the number of ranks, and its own, if not told."""
        with pytest.raises((ValueError, RuntimeError), match="process group"):
            DistributedSampler(range(4))

        assert ranks(2, own_share) == [[0, 2], [1, 3]]
        assert ranks(2, own_share, {"num_replicas": 4, "rank": 3}) == [[3], [3]]
