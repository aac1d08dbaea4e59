"""How well a net does, and whether net and images fit each other at all."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from blitz.cifar10.data import Split, normalize
from blitz.errors import BlitzError
from blitz.training.devices import half_precision


class Evaluation(NamedTuple):
    """How a net does on a split; C classes.

    Attributes:
        accuracy: share of images whose highest score is the right class, in [0, 1].
        per_class: the same within each class, float64 (C,), nan where a class has no images.
        confusion: number of images by true class (rows) and prediction (columns), int64 (C, C).
    """

    accuracy: float
    per_class: Tensor
    confusion: Tensor


def evaluate(
    net: nn.Module,
    split: Split,
    *,
    device: torch.device | str = "cpu",
    batch_size: int = 1000,
    half: bool = False,
    views: int = 1,
) -> Evaluation:
    """Return how `net` does on `split`, without gradients and in evaluation mode.

    Moves `net` to `device`, and leaves each of its modules in the mode, train or eval, it was in.

    Args:
        net: takes float (N, 3, 32, 32), returns class scores (N, C).
        split: images, uint8 (N, 3, 32, 32), and labels, int64 (N,) in 0..C-1.
        device: where to evaluate.
        batch_size: images at a time.
        half: as of a recipe.
        views: 1 scores each image as it stands; 2 adds its mirror image; 6 adds both, moved by one pixel up
            and to the left, and down and to the right, at half the weight.

    Raises:
        ValueError: as Training does; or there is no such number of views.
        BlitzError: a score is not a finite number.

    Source: notes 4, step 5.
    """
    split = checked(net.to(device), split, torch.device(device))
    scores = _scores(net, split.images, batch_size, half, views)
    classes = scores.shape[1]
    pairs = split.labels * classes + scores.argmax(1)
    confusion = pairs.cpu().bincount(minlength=classes**2).view(classes, classes)
    right = confusion.diagonal().double()
    return Evaluation(right.sum().item() / len(split.labels), right / confusion.sum(1), confusion)


def probabilities(
    net: nn.Module, images: Tensor, *, device: torch.device | str = "cpu", half: bool, views: int
) -> Tensor:
    """Return what `net` takes images for: the softmax of its mean scores, float (N, C), on the CPU.

    The arguments, and what is raised, are those of evaluate(); images are uint8 (N, 3, 32, 32).
    """
    return _scores(net.to(device), images.to(device), len(images), half, views).float().softmax(1).cpu()


def _scores(net: nn.Module, images: Tensor, batch_size: int, half: bool, views: int) -> Tensor:
    """Return the mean of the scores (N, C) of each view, by its weight."""
    if views not in (1, 2, 6):
        raise ValueError(f"expected 1, 2 or 6 views, got {views}")
    with evaluating(net), half_precision(images.device, half):
        parts = [_seen(net, normalize(part), views) for part in images.split(batch_size)]
    scores = torch.cat(parts)
    lost = int((~scores.isfinite()).any(1).sum())
    if lost:
        raise BlitzError(
            f"the scores of {lost} of {len(images)} images are not finite numbers: "
            "a weight is NaN or infinite, or so large that the net overflows"
        )
    return scores


def _seen(net: nn.Module, inputs: Tensor, views: int) -> Tensor:
    if views == 1:
        return net(inputs)
    scores = net(inputs) + net(inputs.flip(3))
    if views == 2:
        return scores / 2
    padded = pad(inputs, (1, 1, 1, 1), "reflect")
    for moved in (padded[:, :, 2:, 2:], padded[:, :, :-2, :-2]):
        scores = scores + (net(moved) + net(moved.flip(3))) / 2
    return scores / 4


@contextmanager
def evaluating(net: nn.Module) -> Iterator[None]:
    """Switch gradients off and every module to evaluation, then each back to the mode it had."""
    modes = [(module, module.training) for module in net.modules()]
    net.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, training in modes:
            module.training = training


def checked(net: nn.Module, split: Split, device: torch.device) -> Split:
    """Return `split` on `device`, or raise a ValueError before any work is done on it."""
    images, labels = split
    if len(images) != len(labels):
        raise ValueError(f"expected one label per image: {len(images)} images, {len(labels)} labels")
    if len(images) == 0:
        raise ValueError("expected at least one image, got an empty split")
    if images.dtype != torch.uint8 or labels.dtype != torch.int64:
        raise ValueError(f"expected uint8 images and int64 labels, got {images.dtype} and {labels.dtype}")
    split = Split(images.to(device), labels.to(device))
    with evaluating(net):
        classes = net(normalize(split.images[:1])).shape[1]
    # on a GPU a label out of range is no exception but a device assertion, and the process is lost
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= classes:
        raise ValueError(f"expected labels in 0..{classes - 1}, got {low}..{high}")
    return split
