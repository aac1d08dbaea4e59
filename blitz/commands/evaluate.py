"""The command `blitz evaluate`."""

import argparse

from blitz.commands.shared import evaluate_test, labelled_as, load_data, load_net, print_accuracy
from blitz.training.devices import find_device


def evaluate(arguments: argparse.Namespace) -> int:
    """Print the accuracy of saved weights, as `torch.save` or a training left them, on the test images.

    Raises:
        BlitzError: the device, the file or the data cannot be used, or the data has other classes.
    """
    device = find_device(arguments.device)
    net, recipe, classes = load_net(arguments.weights)
    if classes is None:
        print("Weights: they name no classes, so the order of the data is assumed")
    data = labelled_as(load_data(arguments), classes, arguments.weights)
    print_accuracy(evaluate_test(net, data, recipe, device), data)
    return 0
