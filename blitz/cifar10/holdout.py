"""A test part where there is none, or none to look at yet: some of the training images."""

import numpy as np
import torch

from blitz.cifar10.sources import Cifar10, Split
from blitz.errors import DataError


def hold_out(data: Cifar10, count: int) -> Cifar10:
    """Return the data set with `count` of its training images as the test part, in the place of another.

    They are always the same ones, and the same share of each class, as far as that goes.

    Raises:
        DataError: nothing would be left to train on.
    """
    labels = data.train.labels.numpy()
    if not 0 < count < len(labels):
        raise DataError(f"expected to hold out 1 to {len(labels) - 1} of the training images, got {count}")
    # Each image gets its place within its class, from 0 to 1; the first places of all classes are held out.
    # RandomState, not default_rng: NumPy promises its stream for ever (NEP 19).
    shuffled = np.random.RandomState(0).permutation(len(labels))
    places = np.empty(len(labels))
    for label in np.unique(labels):
        members = shuffled[labels[shuffled] == label]
        places[members] = (np.arange(len(members)) + 0.5) / len(members)
    held = np.zeros(len(labels), dtype=np.bool_)
    held[places.argsort(kind="stable")[:count]] = True
    train, test = (
        Split(data.train.images[chosen], data.train.labels[chosen])
        for chosen in (torch.from_numpy(~held), torch.from_numpy(held))
    )
    return data._replace(train=train, test=test)
