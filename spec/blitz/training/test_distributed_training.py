"""blitz/training/fit.py in several processes: each rank is a real one, see spec/ranks.py."""

import pytest
import torch
from torch import nn

from blitz.training.fit import Training
from spec.blitz.runs import SHORT, make_net, make_split


def go_on(state, steps):
    """In each rank: train from `state` or from the beginning; return the state after so many mini-batches.

    There are 18 images: two epochs of 5 mini-batches of 4, the last of them of 2.
    """
    net = make_net()
    net[2].p = 0.0  # each process would drop other values out
    training = Training(net, make_split(18), SHORT._replace(report_every=2))
    if state is not None:
        training.load_state_dict(state)
    for _ in training.steps():
        if training.step == steps:
            break
    return training.state_dict()


def random_numbers_after(state):
    """In each rank: return the random state of a training that goes on from `state`."""
    Training(make_net(), make_split(18), SHORT._replace(report_every=2)).load_state_dict(state)
    return torch.get_rng_state().tolist()


def make_large():
    """Return a training of a net with 1.5 MB of weights: two epochs of 12, 12 and 2 images."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Dropout(0.1), nn.Linear(3072, 120), nn.ReLU(), nn.Linear(120, 10))
    return Training(net, make_split(26), SHORT._replace(batch_size=12))


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


SIZES = [1, 2, pytest.param(3, marks=pytest.mark.slow), pytest.param(4, marks=pytest.mark.slow)]


@pytest.mark.parametrize("size", SIZES)
def test_resumed_training_ends_with_the_same_bits(ranks, size):
    """For any number of processes, also where they cannot share the images; DDP fills two buckets."""
    assert ranks(size, differences, [1, 2, 4]) == [[0.0, 0.0, 0.0]] * size


@pytest.mark.parametrize(("before", "after", "end"), [(2, 1, 9), (1, 2, 9), (2, 4, 4)])
def test_weights_and_losses_are_those_of_one_process(ranks, before, after, end):
    """Up to rounding, and in every process, also where the number of processes changes in between.

    Four cannot share the last batch of an epoch, mini-batch 5.
    """

    def train(size, *arguments):
        return [go_on(*arguments)] if size == 1 else ranks(size, go_on, *arguments)

    alone = go_on(None, end)
    state = train(before, None, 3)[0]

    trained = train(after, state, end)

    for each in trained:
        torch.testing.assert_close(each["model"], alone["model"])
        assert [line["loss"] for line in each["history"]] == pytest.approx(
            [line["loss"] for line in alone["history"]], rel=1e-5
        )


def test_each_process_goes_on_with_random_numbers_of_its_own(ranks):
    """Those of its rank, and others if there was none of this rank."""
    state = ranks(2, go_on, None, 3)[0]

    drawn = ranks(4, random_numbers_after, state)

    assert drawn[:2] == [randoms["torch"].tolist() for randoms in state["random of each process"]]
    assert len({str(each) for each in drawn}) == 4
