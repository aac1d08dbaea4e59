"""blitz.cifar10.holdout: training images as the test part."""

import pytest
import torch

from blitz.cifar10.data import Cifar10, Split
from blitz.cifar10.holdout import hold_out
from blitz.errors import DataError


def numbered(counts):
    """Return a data set whose class c has counts[c] training images; image i is a picture of i alone."""
    labels = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    images = torch.arange(len(labels), dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 3, 32, 32)
    test = Split(images[:1] + 255, labels[:1])
    return Cifar10(Split(images, labels), test, tuple(map(str, range(len(counts)))), "image folder")


SHARES = {
    "equal": ([20, 20, 20], 30, [10, 10, 10]),
    "as far as it goes": ([20, 20, 20], 4, [2, 1, 1]),
    "of small classes less": ([80, 40, 20], 14, [8, 4, 2]),
}


@pytest.mark.parametrize(("counts", "count", "expected"), SHARES.values(), ids=SHARES)
def test_every_class_gives_its_share(counts, count, expected):
    """As many images as asked for, the same share of each class."""
    data = hold_out(numbered(counts), count)

    assert data.test.labels.bincount(minlength=len(counts)).tolist() == expected


def test_every_training_image_is_in_one_part_with_its_label():
    """Nothing is lost, nothing is in both, and the test images that there were are in neither."""
    whole = numbered([20, 30])

    data = hold_out(whole, 10)

    train, test = (split.images[:, 0, 0, 0].tolist() for split in (data.train, data.test))
    assert sorted(train + test) == list(range(50))
    assert data.train.labels.tolist() == whole.train.labels[train].tolist()
    assert data.test.labels.tolist() == whole.train.labels[test].tolist()


def test_the_same_images_are_held_out_each_time():
    """The draw has a seed of its own, which no other seed moves; these are the images."""
    torch.manual_seed(1)

    assert hold_out(numbered([10, 10]), 4).test.images[:, 0, 0, 0].tolist() == [1, 8, 18, 19]


@pytest.mark.parametrize("count", [0, 20])
def test_nothing_to_train_or_test_on_is_one_sentence(count):
    """At least one image stays, and one is held out."""
    sentence = f"^expected to hold out 1 to 19 of the training images, got {count}$"

    with pytest.raises(DataError, match=sentence):
        hold_out(numbered([20]), count)
