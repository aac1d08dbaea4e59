"""What several commands do: load the data and say which, evaluate, and print what the notes print."""

import argparse

import torch
from torch import nn

from blitz.data import Cifar10, find, load
from blitz.evaluation import Evaluation, evaluate
from blitz.recipes import Recipe


def load_data(arguments: argparse.Namespace) -> Cifar10:
    """Load the data that --data names, and print which it is."""
    holdout = arguments.holdout
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
