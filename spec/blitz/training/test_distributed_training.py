"""blitz/training/fit.py in several processes: each rank is a real one, see spec/ranks.py."""

import itertools

import pytest
import torch
import torch.distributed as dist
from torch import nn

from blitz.errors import BlitzError
from blitz.randomness import epoch_order
from blitz.training.fit import Training
from spec.blitz.runs import SHORT, make_net, make_split

QUICK = SHORT._replace(report_every=2)


def make_training(seed=0, dropout=0.0):
    """Return a training on 18 images: two epochs of 5 mini-batches of 4, the last of them of 2."""
    net = make_net()
    net[2].p = dropout
    return Training(net, make_split(18), QUICK, seed=seed)


def go_on(state, steps, dropout=0.0):
    """In each rank: train from `state` or from the beginning; return the state after so many mini-batches."""
    training = make_training(dropout=dropout)
    if state is not None:
        training.load_state_dict(state)
    for _ in training.steps():
        if training.step == steps:
            break
    return training.state_dict()


def images_of_each_step(steps, first=0):
    """In each rank: return the numbers of the images of each mini-batch from `first` on."""
    training = make_training()
    training.split.images[:, 0, 0, 0] = torch.arange(18)
    training.step, seen = first, []
    training._learn = lambda inputs, labels: (
        seen.append(((inputs[:, 0, 0, 0] + 1) * 127.5).round().int().tolist()),
        setattr(training, "step", training.step + 1),
    )
    training._report = lambda: None
    for _ in training.steps():
        if training.step == steps:
            break
    return seen


def make_large(images=26):
    """Return a training of a net with 1.5 MB of weights: two epochs of 12, 12 and 2 images."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Dropout(0.1), nn.Linear(3072, 120), nn.ReLU(), nn.Linear(120, 10))
    return Training(net, make_split(images), SHORT._replace(batch_size=12))


def differences(stops):
    """In each rank: return by how much weights and losses differ at the end, for a resume after each stop."""
    whole = make_large()
    list(whole.steps())
    found = []
    for stop in stops:
        stopped, resumed = make_large(), make_large()
        for _ in stopped.steps():
            if stopped.step == stop:
                break
        state = stopped.state_dict()
        torch.manual_seed(99)
        resumed.load_state_dict(state)
        list(resumed.steps())
        pairs = zip(resumed.net.parameters(), whole.net.parameters(), strict=True)
        losses = zip(resumed.history, whole.history, strict=True)
        found.append(
            max(
                *((one - other).abs().max().item() for one, other in pairs),
                *(abs(one["loss"] - other["loss"]) for one, other in losses),
            )
        )
    return found


class TestTraining:
    """A training of several processes."""

    def test_weights_and_losses_are_those_of_one_process(self, ranks):
        """Two processes train to the same weights as one, up to rounding, and report the same losses."""
        alone = go_on(None, None)

        first, second = ranks(2, go_on, None, None)

        torch.testing.assert_close(first["model"], alone["model"])
        torch.testing.assert_close(first["model"], second["model"], rtol=0, atol=0)
        assert first["history"] == second["history"]
        assert [line["loss"] for line in first["history"]] == pytest.approx(
            [line["loss"] for line in alone["history"]], rel=1e-5
        )

    @pytest.mark.parametrize("size", [1, 2, 4])
    def test_images_of_a_step_depend_on_seed_and_epoch_alone(self, ranks, size):
        """Whatever the number of processes, together they take batch by batch the order of the epoch.

        At its end the first images of the order are repeated where the last batch cannot be shared equally.
        """
        orders = [epoch_order(18, seed=0, epoch=epoch).tolist() for epoch in range(2)]

        by_rank = ranks(size, images_of_each_step, None)

        together = [sorted(itertools.chain(*parts)) for parts in zip(*by_rank, strict=True)]
        expected = [sorted(order[start : start + 4]) for order in orders for start in range(0, 18, 4)]
        if size == 4:
            expected[4], expected[9] = (sorted([*order[16:], *order[:2]]) for order in orders)
        assert together == expected

    @pytest.mark.parametrize("size", [1, 2, 4])
    def test_images_after_a_resume_are_those_that_are_left(self, ranks, size):
        """From the middle of an epoch on, for any number of processes.

        Where the last batch cannot be shared equally, it is filled up from the beginning of the epoch.
        """
        order = epoch_order(18, seed=0, epoch=0).tolist()

        by_rank = ranks(size, images_of_each_step, 5, 2)

        together = [sorted(itertools.chain(*parts)) for parts in zip(*by_rank, strict=True)]
        last = order[16:] + (order[:2] if size == 4 else [])
        assert together == [sorted(part) for part in (order[8:12], order[12:16], last)]

    @pytest.mark.parametrize("size", [1, 2, 3, 4])
    def test_resumed_training_ends_with_the_same_bits(self, ranks, size):
        """For any number of processes, also where they cannot share the images; DDP fills two buckets."""
        assert ranks(size, differences, [1, 2, 4]) == [[0.0, 0.0, 0.0]] * size

    @pytest.mark.parametrize(("before", "after", "end"), [(2, 1, 9), (1, 2, 9), (2, 4, 4)])
    def test_number_of_processes_may_change_in_between(self, ranks, before, after, end):
        """A training goes on with more or fewer processes, to the same weights up to rounding."""
        whole = ranks(before, go_on, None, end)[0]  # four cannot share the last batch of the epoch, step 5
        state = ranks(before, go_on, None, 3)[0]

        resumed = ranks(after, go_on, state, end)[0]

        torch.testing.assert_close(resumed["model"], whole["model"])
        assert len(resumed["history"]) == end // 2
        assert [line["loss"] for line in resumed["history"]] == pytest.approx(
            [line["loss"] for line in whole["history"]], rel=1e-5
        )

    def test_each_process_draws_random_numbers_of_its_own_and_goes_on_with_them(self, ranks):
        """With dropout, too, a resume by as many processes ends with the same bits."""
        whole = ranks(2, go_on, None, 9, 0.5)
        state = ranks(2, go_on, None, 3, 0.5)[0]

        resumed = ranks(2, go_on, state, 9, 0.5)

        draws = [drawn["torch"].tolist() for drawn in state["random of each process"]]
        assert draws[0] != draws[1]
        for one, other in zip(resumed, whole, strict=True):
            torch.testing.assert_close(one["model"], other["model"], rtol=0, atol=0)
            assert [drawn["torch"].tolist() for drawn in one["random of each process"]] == [
                drawn["torch"].tolist() for drawn in other["random of each process"]
            ]

    def test_first_process_draws_as_it_would_alone_and_each_other_otherwise(self, ranks):
        """From the seed that the caller set: another one has all of them draw other numbers."""
        drawn = [*ranks(4, draws, 1), *ranks(4, draws, 100)]

        assert [drawn[0], drawn[4]] == [draws(1), draws(100)]
        assert len(set(drawn[:4])) == len(set(drawn[4:])) == 4
        assert drawn[1] not in drawn[4:]

    @pytest.mark.parametrize("size", [1, 4])
    def test_processes_go_on_with_the_random_numbers_of_their_ranks(self, ranks, size):
        """With fewer processes and with more, of which the new ones have numbers of their own."""
        state = ranks(2, go_on, None, 3, 0.5)[0]

        drawn = ranks(size, draws_after, state)

        expected = [randoms["torch"].tolist() for randoms in state["random of each process"]]
        assert drawn[:2] == expected[:size]
        assert len({str(each) for each in drawn}) == size

    def test_batch_that_cannot_be_shared_equally_is_refused(self, ranks):
        """Every process says why, before anything is trained."""
        expected = (
            "3 processes cannot share a batch of 4 equally: choose a batch size that is a multiple of 3"
        )

        assert ranks(3, refusal) == [expected] * 3

    def test_divergence_is_seen_by_every_process(self, ranks):
        """A loss that is no number in one process ends all of them, at the same report."""
        assert ranks(2, diverge) == ["the loss is nan at mini-batch 2 of epoch 1"] * 2


def draws(seed):
    """In each rank: return what is drawn in a training after a seed."""
    net, split = make_net(), make_split(18)
    torch.manual_seed(seed)
    Training(net, split, QUICK)
    return tuple(torch.rand(3).tolist())


def draws_after(state):
    """In each rank: return the random state of a training that goes on from `state`."""
    training = make_training()
    training.load_state_dict(state)
    return torch.get_rng_state().tolist()


def refusal():
    """In each rank: return the sentence with which a training is refused."""
    with pytest.raises(BlitzError) as caught:
        make_training()
    return str(caught.value)


def diverge():
    """In each rank: train, with a loss that is no number in the last rank; return the error's beginning."""
    training = make_training()
    criterion = training.criterion
    training.criterion = lambda scores, labels: (
        criterion(scores, labels) * (torch.nan if dist.get_rank() == dist.get_world_size() - 1 else 1)
    )
    with pytest.raises(BlitzError) as caught:
        list(training.steps())
    return str(caught.value).split(":")[0]
