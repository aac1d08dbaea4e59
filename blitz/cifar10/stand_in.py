"""The stand-in: ten drawn classes in CIFAR-10's shape, so that everything runs offline in seconds.

A class is a shape or a pattern. Place, size, phase and colours are random, and a shape is as often darker
as brighter than its ground, so the mean image of every class is grey: a linear model finds little to go by,
a convolutional net learns the classes in seconds. No statement about CIFAR-10 is ever confirmed on it.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from blitz.cifar10.sources import Cifar10, Split

Integers = NDArray[np.integer[Any]]
Booleans = NDArray[np.bool_]

# What lies inside: x and y from the centre, (N, 1, 32) and (N, 32, 1); radius and period, (N, 1, 1).
SHAPES: dict[str, Callable[[Integers, Integers, Integers, Integers], Booleans]] = {
    "disc": lambda x, y, r, p: x * x + y * y <= r * r,
    "ring": lambda x, y, r, p: (x * x + y * y <= r * r) & (x * x + y * y > (r - 3) ** 2),
    "square": lambda x, y, r, p: np.maximum(abs(x), abs(y)) <= r,
    "frame": lambda x, y, r, p: (np.maximum(abs(x), abs(y)) <= r) & (np.maximum(abs(x), abs(y)) > r - 3),
    "plus": lambda x, y, r, p: (np.maximum(abs(x), abs(y)) <= r) & (np.minimum(abs(x), abs(y)) <= 1),
    "saltire": lambda x, y, r, p: (np.maximum(abs(x), abs(y)) <= r) & (abs(abs(x) - abs(y)) <= 1),
    "horizontal bars": lambda x, y, r, p: y // p % 2 == 0,
    "vertical bars": lambda x, y, r, p: x // p % 2 == 0,
    "diagonal bars": lambda x, y, r, p: (x + y) // p % 2 == 0,
    "checkerboard": lambda x, y, r, p: (x // p + y // p) % 2 == 0,
}
CLASSES = tuple(SHAPES)


def draw(train: int = 5_000, test: int = 1_000) -> Cifar10:
    """Draw the stand-in: `train` and `test` images, as many of each class; the same bytes everywhere.

    >>> draw(train=20, test=10).train.images.shape
    torch.Size([20, 3, 32, 32])
    """
    return Cifar10(_draw(train, seed=0), _draw(test, seed=1), CLASSES, "stand-in")


def _draw(count: int, seed: int) -> Split:
    # RandomState, not default_rng: NumPy promises its stream for ever (NEP 19). Integers: nothing rounds.
    random = np.random.RandomState(seed)
    labels = random.permutation(np.arange(count) % len(CLASSES))

    def each(low: int, high: int) -> Integers:
        """One whole number from low up to, without, high for each image, (count, 1, 1)."""
        return random.randint(low, high, (count, 1, 1), dtype=np.int16)

    inside = _inside(labels, x=each(11, 21), y=each(11, 21), radius=each(6, 11), period=each(2, 5))
    ground = random.randint(0, 256, (count, 3, 1, 1), dtype=np.uint8)
    noise = random.randint(0, 32, (count, 3, 32, 32), dtype=np.uint8)
    images = np.where(inside[:, None], ground ^ 128, ground) // 8 * 7 + noise  # at most 217 + 31
    return Split(torch.from_numpy(images), torch.from_numpy(labels.astype(np.int64)))


def _inside(labels: Integers, *, x: Integers, y: Integers, radius: Integers, period: Integers) -> Booleans:
    """Tell which pixels of each image belong to its shape, (N, 32, 32)."""
    inside = np.empty((len(labels), 32, 32), dtype=np.bool_)
    for label, shape in enumerate(SHAPES.values()):
        chosen = labels == label
        across = np.arange(32, dtype=np.int16) - x[chosen]
        down = np.arange(32, dtype=np.int16)[:, None] - y[chosen]
        inside[chosen] = shape(across, down, radius[chosen], period[chosen])
    return inside
