"""What the benchmarks time: each builder prepares a device and returns an operation that returns a number."""

from collections.abc import Callable

import torch

from blitz import data
from blitz.data import batches, loader
from blitz.nets import CifarNet
from blitz.recipes import RECIPES
from blitz.training import evaluate, fit


def synchronised(operation: Callable[[], float], device: torch.device) -> Callable[[], float]:
    """Return `operation` as one that ends when the device has, so that a clock sees all of it."""
    if device.type == "cpu":
        return operation

    def ended() -> float:
        result = operation()
        torch.accelerator.synchronize()
        return result

    return ended


def training_steps(device: torch.device) -> Callable[[], float]:
    """A hundred mini-batches of four by the tutorial's recipe: forward, loss, backward, update."""
    whole = data.load("stand-in").train
    split = data.Split(whole.images[:400], whole.labels[:400])
    recipe = RECIPES["tutorial"]._replace(epochs=1)
    net = CifarNet()
    return synchronised(lambda: fit(net, split, recipe, device=device)[-1]["loss"], device)


def evaluation(device: torch.device) -> Callable[[], float]:
    """Accuracy on the stand-in's 1,000 test images."""
    split = data.load("stand-in").test
    net = CifarNet()
    return lambda: evaluate(net, split, device=device).accuracy


def batches_by_index(device: torch.device) -> Callable[[], float]:
    """A hundred batches of four, picked by index on the device."""
    whole = data.load("stand-in").train
    split = data.Split(whole.images[:400].to(device), whole.labels[:400].to(device))
    return synchronised(lambda: float(sum(len(labels) for _, labels in batches(split, 4))), device)


def batches_by_loader(device: torch.device) -> Callable[[], float]:
    """The same hundred batches by the tutorial's DataLoader and transforms, without worker processes."""
    whole = data.load("stand-in").train
    trainloader = loader(data.Split(whole.images[:400], whole.labels[:400]), shuffle=False, num_workers=0)

    def operation() -> float:
        pairs = ((inputs.to(device), labels.to(device)) for inputs, labels in trainloader)
        return float(sum(len(labels) for _, labels in pairs))

    return synchronised(operation, device)


OPERATIONS = [training_steps, evaluation, batches_by_index, batches_by_loader]
