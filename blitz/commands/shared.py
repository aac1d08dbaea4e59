"""What several commands do: load the data and say which, evaluate, and print what the notes print."""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from blitz.cifar10.data import Cifar10, Split, find, load
from blitz.errors import CheckpointError
from blitz.training import checkpoint
from blitz.training.evaluation import Evaluation, evaluate
from blitz.training.recipes import RECIPES, Recipe, net_for
from blitz.training.weights import find as find_weights
from blitz.training.weights import remembered_recipe


def load_data(arguments: argparse.Namespace) -> Cifar10:
    """Load the data that --data names, and print which it is."""
    holdout = arguments.holdout or 0
    data = load(arguments.data, download=arguments.download, holdout=holdout, progress=True)
    sizes = f"{len(data.train.labels)} training and {len(data.test.labels)} test images"
    if holdout:
        sizes += ", held out of the training part"
    if data.origin == "stand-in":
        line = f"the built-in stand-in, NOT CIFAR-10 ({sizes}); --download fetches CIFAR-10"
    else:
        line = f"{data.origin} {find(arguments.data, holdout=holdout)[1]} ({sizes})"
    print(f"Data: {line}", flush=True)
    return data


def given(arguments: argparse.Namespace, options: Sequence[str]) -> list[str]:
    """Return the words that give a command these options again; those that it lacks are passed over."""
    words = []
    for name in options:
        value = getattr(arguments, name, None)
        if value is True:
            words += [f"--{name}"]
        elif value is not None and value is not False and value != "auto":
            words += [f"--{name}", str(value)]
    return words


def choose_threads(batch_size: int) -> None:
    """Take one thread where more would wait for each other, unless OMP_NUM_THREADS says how many."""
    # below a batch of 32 a second thread gains nothing, and beside other work the two wait for each other
    # in a loop: at batch 4 that is 14 to 25 times slower
    if batch_size < 32 and "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(1)


def load_net(path: Path) -> tuple[nn.Module, Recipe, tuple[str, ...] | None]:
    """Return the net that weights are of, the recipe that trains it, and the classes if they are told.

    Weights of ours name their recipe; of others it is the first one whose net they fit. Prints what the
    weights were taken out of.

    Raises:
        CheckpointError: the file cannot be used, or has weights of none of these nets.
    """
    content = checkpoint.read(path)
    try:
        named = remembered_recipe(content)
        recipes = [named] if named else list(RECIPES.values())
        with torch.device("meta"):  # names and shapes alone, whatever a file calls for
            nets = [net_for(recipe) for recipe in recipes]
        number, weights = find_weights(content, nets)
    except (ValueError, TypeError, RuntimeError) as error:
        raise CheckpointError(f"{path} {error}") from error
    net = nets[number].to_empty(device="cpu")
    net.load_state_dict(weights.tensors)
    if weights.wrapping:
        print(f"Weights: found {weights.wrapping}")
    if weights.classes is not None and len(set(weights.classes)) != 10:
        names = ", ".join(weights.classes) or "none"
        raise CheckpointError(f"expected ten classes in {path}, it names {names}")
    return net, recipes[number], weights.classes


def labelled_as(data: Cifar10, classes: Sequence[str] | None, path: Path) -> Cifar10:
    """Return `data` with its classes in the order that the file at `path` gives them, if it does.

    Raises:
        CheckpointError: they are not the same classes.
    """
    if classes is None or tuple(classes) == data.classes:
        return data
    if set(classes) != set(data.classes):
        raise CheckpointError(
            f"{path} was trained on the classes {', '.join(classes)}, and the data has "
            f"{', '.join(data.classes)}: name the data of its training with --data"
        )
    order = torch.tensor([classes.index(name) for name in data.classes])
    train, test = (Split(images, order[labels]) for images, labels in (data.train, data.test))
    return Cifar10(train, test, tuple(classes), data.origin)


def evaluate_test(net: nn.Module, data: Cifar10, recipe: Recipe, device: torch.device) -> Evaluation:
    """Return how a net does on the test images, seen as its recipe says."""
    return evaluate(net, data.test, device=device, half=recipe.half, views=recipe.views)


def print_accuracy(evaluation: Evaluation, data: Cifar10) -> None:
    """Print what the notes print, in whole per cent, rounded down as their %d does."""
    right, images = evaluation.confusion.diagonal(), evaluation.confusion.sum(1)
    note = " of the stand-in (NOT CIFAR-10)" if data.origin == "stand-in" else ""
    share = 100 * int(right.sum()) // int(images.sum())
    print(f"Accuracy of the network on the {int(images.sum())} test images{note}: {share} %")
    width = max(map(len, data.classes))
    for name, hits, total in zip(data.classes, right.tolist(), images.tolist(), strict=True):
        print(f"Accuracy of {name:>{width}} : {f'{100 * hits // total:2d} %' if total else 'no images'}")
