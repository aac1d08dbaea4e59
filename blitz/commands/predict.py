"""The command `blitz predict`."""

import argparse
import sys
from itertools import chain

from blitz.cifar10.classes import CLASSES
from blitz.commands.photos import images_in, read_photo
from blitz.commands.shared import load_net
from blitz.errors import DataError
from blitz.training.devices import find_device
from blitz.training.evaluation import probabilities


def predict(arguments: argparse.Namespace) -> int:
    """Print for each image the three classes that saved weights hold most probable.

    A file that is no image is told on stderr, and the others go on; the status is then 2.

    Raises:
        BlitzError: the device or the weights cannot be used.
    """
    device = find_device(arguments.device)
    net, recipe, classes = load_net(arguments.weights)
    if classes is None:
        print("Weights: they name no classes, so CIFAR-10's in their official order are assumed")
        classes = CLASSES
    print("Images: of each the square in the middle, scaled to 32x32", flush=True)
    status = 0
    for path in chain.from_iterable(map(images_in, arguments.images)):
        try:
            images = read_photo(path).unsqueeze(0)
        except DataError as error:
            print(f"blitz: {error}", file=sys.stderr)
            status = error.status
            continue
        shares = probabilities(net, images, device=device, half=recipe.half, views=recipe.views)[0]
        best = ", ".join(f"{classes[label]} {100 * shares[label]:.1f} %" for label in shares.topk(3).indices)
        print(f"{path}: {best}", flush=True)
    return status
