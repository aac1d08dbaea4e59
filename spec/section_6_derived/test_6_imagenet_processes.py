"""Notes 6, the link to PyTorch's ImageNet example: what several processes do under torchrun."""

import copy

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.nn import functional as F

from blitz.derived import imagenet
from blitz.derived.image_data import crops, normalized
from blitz.randomness import epoch_order
from blitz.training import distributed
from spec.faults import then
from spec.harness import fault, statement
from spec.section_5_data_parallel.distributed_faults import SUMMED, by_rank, local
from spec.section_6_derived.small_imagenet import BATCH, make_training, shrink, with_norm, without_norm

DDP = nn.parallel.DistributedDataParallel


def train(make_net, first=0):
    """Train a small net for three batches, the last in a second epoch; return its state, and the history."""
    with pytest.MonkeyPatch.context() as patch:
        shrink(patch, make_net)
        training = make_training("cpu", first, steps=3)
        list(training.steps())
    return dict(training.net.state_dict()), training.history


def train_in_rank(make_net):
    """In each rank: train from first weights of its own."""
    return train(make_net, first=dist.get_rank())


def train_by_halves():
    """Train as two ranks should, in one process: by the mean of the gradients of the halves of each batch."""
    with pytest.MonkeyPatch.context() as patch:
        shrink(patch)
        training = make_training("cpu", steps=3)
    net = training.net
    for step, (epoch, start) in enumerate([(0, 0), (0, BATCH), (1, 0)]):
        views = crops(training.data, seed=0, epoch=epoch)
        batch = epoch_order(20, seed=0, epoch=epoch)[start : start + BATCH]
        training.optimizer.zero_grad()
        training.optimizer.param_groups[0]["lr"] = imagenet.learning_rate(step, 3)
        ranks = [copy.deepcopy(net), copy.deepcopy(net)]  # whose BatchNorms begin with the same statistics
        for number, each in enumerate(ranks):
            pixels, labels = zip(*map(views.__getitem__, batch[number::2].tolist()), strict=True)
            (F.cross_entropy(each(normalized(torch.stack(pixels))), torch.tensor(labels)) / 2).backward()
        for weight, *theirs in zip(*(each.parameters() for each in (net, *ranks)), strict=True):
            weight.grad = theirs[0].grad + theirs[1].grad
        training.optimizer.step()
        ends = step > 0  # of an epoch, and of the training: validations, which take the mean
        for buffer, *theirs in zip(*(each.buffers() for each in (net, *ranks)), strict=True):
            buffer.copy_((theirs[0] + theirs[1]) / 2 if ends else theirs[0])
    return dict(net.state_dict())


def first_half(real):
    """Return what gives both ranks the first half of an order."""
    return lambda order: order[: len(order) // distributed.size()]


@statement("derived.imagenet-processes", notes="6 ImageNet")
@fault("ranks keep their gradients", DDP, "forward", local)
@fault("gradients are summed", DDP, "__init__", SUMMED)
@fault("ranks have first weights of their own", DDP, "__init__", then(lambda ddp: by_rank(ddp.parameters())))
@fault("ranks have the same part", distributed, "own_indices", first_half)
class TestProcesses:
    """Up to rounding, two processes with DistributedDataParallel train as one process does that averages the
    gradients of the two halves of each batch. If the net has no BatchNorm, they also train as one process
    does with whole batches. BatchNorm normalizes each half separately.
    """

    def test_two_without_batch_norm_train_as_one(self, ranks):
        weights, history = train(without_norm)

        for state, each in ranks(2, train_in_rank, without_norm):
            torch.testing.assert_close(state, weights)
            assert [line["loss"] for line in each] == pytest.approx([line["loss"] for line in history])
            assert [line["top-5"] for line in each] == [line["top-5"] for line in history]

    def test_two_with_batch_norm_train_as_one_by_halves(self, ranks):
        halves, (whole, _) = train_by_halves(), train(with_norm)

        for state, _ in ranks(2, train_in_rank, with_norm):
            torch.testing.assert_close(state, halves)
        differences = [(halves[name] - whole[name]).abs().max() for name in ("0.weight", "1.running_var")]
        assert min(differences) > 1e-4
