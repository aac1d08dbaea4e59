"""Recipes: what a training depends on besides data and seed."""

import math
import typing
from collections.abc import Callable
from typing import NamedTuple

if typing.TYPE_CHECKING:
    from torch import Tensor, nn


class Recipe(NamedTuple):
    """What a training depends on besides data and seed, as plain values.

    Attributes:
        name: what it is called in RECIPES.
        batch_size: images a step.
        epochs: how often each image is seen.
        learning_rate: of SGD, the highest of its schedule.
        momentum: of SGD.
        nesterov: whether SGD looks ahead.
        weight_decay: of SGD.
        schedule: how all learning rates change from step to step, one of SCHEDULES.
        report_every: the running loss is reported so often, in mini-batches, as its mean over them.
        muon_learning_rate: the highest of Muon, which takes the weights of two dimensions and more, and
            leaves the biases and the last layer to SGD; 0 leaves all to SGD.
        muon_momentum: of Muon.
        label_smoothing: share of each label that is spread over all classes.
        shift: by how many pixels images move at most (see blitz.cifar10.augmentation).
        flip: whether images are mirrored in every other epoch.
        half: whether convolutions and products are computed in bfloat16, on hardware that has it.
        views: over how many views of each test image the scores are averaged (see blitz.evaluate).
        for_gpu: whether it is sized for a data-centre GPU.
        cuda_graph: whether a single CUDA device takes its steps as one graph (see blitz.training.cuda_graph).
        widths: the channels of each block of a blitz.WhitenedNet; none mean the notes' CifarNet.
        first_layer: filters, patch and stride of that net's first layer.
        activation: what stands between the layers of that net, "relu" or "gelu".
        train_first_bias: whether the biases of that net's first layer are trained.
    """

    name: str
    batch_size: int
    epochs: int
    learning_rate: float
    momentum: float
    nesterov: bool = False
    weight_decay: float = 0.0
    schedule: str = "constant"
    report_every: int = 2000
    muon_learning_rate: float = 0.0
    muon_momentum: float = 0.9
    label_smoothing: float = 0.0
    shift: int = 0
    flip: bool = False
    half: bool = False
    views: int = 1
    for_gpu: bool = False
    cuda_graph: bool = False
    widths: tuple[int, ...] = ()
    first_layer: tuple[int, int, int] = (32, 4, 2)
    activation: str = "relu"
    train_first_bias: bool = False


RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe("tutorial", batch_size=4, epochs=2, learning_rate=0.001, momentum=0.9),
        Recipe(
            "fast",
            batch_size=200,
            epochs=1,
            learning_rate=0.05,
            momentum=0.9,
            nesterov=True,
            weight_decay=5e-4,
            schedule="straight",
            report_every=100,
            muon_learning_rate=0.07,
        ),
        Recipe(
            "strong",
            batch_size=500,
            epochs=5,
            learning_rate=1.0,
            momentum=0.9,
            nesterov=True,
            weight_decay=1e-3,
            schedule="straight",
            report_every=50,
            muon_learning_rate=0.14,
            muon_momentum=0.6,
            label_smoothing=0.2,
            shift=2,
            flip=True,
            half=True,
            views=6,
            widths=(64, 128, 256),
            activation="gelu",
        ),
        Recipe(
            "record",
            batch_size=2000,
            epochs=8,
            learning_rate=1.0,
            momentum=0.85,
            nesterov=True,
            weight_decay=1e-3,
            schedule="straight",
            report_every=25,
            muon_learning_rate=0.24,
            muon_momentum=0.6,
            label_smoothing=0.2,
            shift=2,
            flip=True,
            half=True,
            views=6,
            for_gpu=True,
            cuda_graph=True,
            widths=(64, 256, 256),
            first_layer=(24, 2, 1),
            activation="gelu",
            train_first_bias=True,
        ),
    )
}


def one_cycle(highest: float, step: int, total_steps: int) -> float:
    """Return the learning rate of mini-batch `step`, counted from 0 over all epochs.

    It climbs along half a cosine from 1/25 of the highest, for 30 % of the steps, and falls to 1/250,000 of
    it: torch's OneCycleLR as a function of the step, so that a resume needs no scheduler state and one
    release of PyTorch reads what another wrote.

    >>> [round(one_cycle(0.05, step, 11), 4) for step in (0, 2, 3, 10)]
    [0.002, 0.048, 0.049, 0.0]
    """
    turn = 0.3 * total_steps - 1
    if step <= turn:
        start, end, share = highest / 25, highest, step / turn
    else:
        start, end, share = highest, highest / 250_000, (step - turn) / (total_steps - 1 - turn)
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2


def straight(highest: float, step: int, total_steps: int) -> float:
    """Return the learning rate of mini-batch `step`, counted from 0, which falls to 0 in a straight line.

    >>> [straight(0.5, step, 5) for step in range(5)]
    [0.5, 0.4, 0.3, 0.2, 0.1]
    """
    return highest * (total_steps - step) / total_steps


SCHEDULES: dict[str, Callable[[float, int, int], float]] = {
    "constant": lambda highest, step, total_steps: highest,
    "one cycle": one_cycle,
    "straight": straight,
}


def net_for(recipe: Recipe, images: "Tensor | None" = None) -> "nn.Module":
    """Return the net that a recipe trains, its weights drawn by the global generator.

    Args:
        recipe: one of RECIPES, or one of your own.
        images: the training's, uint8 (N, 3, 32, 32), from which a WhitenedNet takes its first layer; not
            needed where weights are loaded afterwards.

    >>> type(net_for(RECIPES["tutorial"])).__name__
    'CifarNet'
    """
    from blitz.training.nets import CifarNet, WhitenedNet  # PyTorch takes seconds, and the help does without

    if not recipe.widths:
        return CifarNet()
    filters, patch, stride = recipe.first_layer
    return WhitenedNet(
        images,
        widths=recipe.widths,
        patch=patch,
        stride=stride,
        filters=filters,
        activation=recipe.activation,
        train_first_bias=recipe.train_first_bias,
    )
