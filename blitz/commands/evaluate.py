"""The command `blitz evaluate`."""

import argparse
from pathlib import Path

from torch import nn

from blitz import checkpoint
from blitz.commands.shared import evaluate_test, load_data, print_accuracy
from blitz.devices import find_device
from blitz.errors import CheckpointError
from blitz.nets import net_for
from blitz.recipes import RECIPES, Recipe


def evaluate(arguments: argparse.Namespace) -> int:
    """Print the accuracy of a checkpoint, or of a state_dict saved as the notes do, on the test images.

    Raises:
        BlitzError: the device, the file or the data cannot be used.
    """
    device = find_device(arguments.device)
    net, recipe = _fitting(arguments.checkpoint)
    data = load_data(arguments)
    print_accuracy(evaluate_test(net, data, recipe, device), data)
    return 0


def _fitting(path: Path) -> tuple[nn.Module, Recipe]:
    """Return the net that weights are of, with them loaded, and the first recipe that trains it."""
    failures = []
    for recipe in RECIPES.values():
        net = net_for(recipe)
        try:
            checkpoint.load_weights(net, path)
        except CheckpointError as error:
            failures.append(error)
        else:
            return net, recipe
    raise failures[0]
