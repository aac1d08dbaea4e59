"""Little trainings for the tests of blitz.training.fit and blitz.commands: in Python, and by the command."""

import torch
from torch import nn

from blitz.cifar10.data import Split
from blitz.training.fit import Training
from blitz.training.recipes import Recipe
from spec.command_line import main

SHORT = Recipe(
    "short", batch_size=4, epochs=2, learning_rate=0.01, momentum=0.9, schedule="one cycle", report_every=3
)


def make_split(length, *, seed=0):
    """Return random images and labels."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (length, 3, 32, 32), dtype=torch.uint8, generator=generator)
    return Split(images, torch.randint(0, 10, (length,), generator=generator))


REFUSED = {
    "labels missing": (
        Split(make_split(3).images, torch.tensor([1])),
        "one label per image: 3 images, 1 labels",
    ),
    "empty": (make_split(0), "^expected at least one image, got an empty split$"),
    "float images": (
        Split(torch.zeros(2, 3, 32, 32), torch.tensor([1, 2])),
        "uint8 images and int64 labels, got torch.float32 and torch.int64",
    ),
    "int32 labels": (
        Split(make_split(2).images, torch.tensor([1, 2], dtype=torch.int32)),
        "uint8 images and int64 labels, got torch.uint8 and torch.int32",
    ),
    "label 10": (Split(make_split(2).images, torch.tensor([0, 10])), r"labels in 0\.\.9, got 0\.\.10"),
    "label -1": (Split(make_split(2).images, torch.tensor([-1, 3])), r"labels in 0\.\.9, got -1\.\.3"),
    "wrong size": (
        Split(torch.zeros(2, 3, 28, 28, dtype=torch.uint8), torch.tensor([1, 2])),
        r"\(2, 3, 28, 28\)|\(1, 3, 28, 28\)",
    ),
}


def make_net():
    """Return a small net that draws random numbers as it trains, the same one at each call."""
    torch.manual_seed(0)
    return nn.Sequential(nn.AvgPool2d(8), nn.Flatten(), nn.Dropout(0.2), nn.Linear(48, 10))


def make_stopped(steps, *, recipe=SHORT, **options):
    """Return a training stopped after so many mini-batches."""
    training = Training(make_net(), make_split(18), recipe, **options)
    for _ in training.steps():
        if training.step == steps:
            break
    return training


def train(out, *words, recipe="tutorial"):
    """Run `blitz train` on the CPU, in this process, and return its exit status."""
    return main(["train", "--recipe", recipe, "--device", "cpu", "--out", str(out), *map(str, words)])


def weights(out):
    """Return the bytes of the weights that a training left."""
    return (out / "cifar_net.pth").read_bytes()
