"""How long a batch of four takes from each source, and decoding a folder of images."""

import itertools
import shutil
import tempfile
import weakref
from collections.abc import Iterator
from pathlib import Path

import torch
from PIL import Image

from blitz.cifar10.classes import CLASSES
from blitz.cifar10.data import Split, batches, loader
from blitz.cifar10.images import read_image_folder
from spec.benchmarks.builders import Builder, Operation, drawn, named, synchronised

A_BATCH = 4


def batches_by_index(device: torch.device) -> Operation:
    """A hundred batches of four, picked by index on the device."""
    images, labels = drawn(100 * A_BATCH)
    split = Split(images.to(device), labels.to(device))
    return synchronised(lambda: float(sum(len(labels) for _, labels in batches(split, A_BATCH))), device)


def batches_by_loader(workers: int) -> Builder:
    """Return the builder of twenty batches of the tutorial's DataLoader and transforms, moved to the device.

    Its epochs follow one another without end: starting the worker processes is no part of it, and with
    workers a few batches may be ready when the clock starts.
    """

    def builder(device: torch.device) -> Operation:
        endless = _endless(workers)

        def operation() -> float:
            count = 0
            for inputs, labels in itertools.islice(endless, 20):
                count += len(inputs.to(device)) + len(labels.to(device))
            return float(count)

        return synchronised(operation, device)

    return named(f"batches_by_loader_with_{workers}_workers", builder)


def _endless(workers: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    trainloader = loader(drawn(5_000), batch_size=A_BATCH, shuffle=True, num_workers=workers)
    while True:
        yield from trainloader


def decoding_of_jpeg_images(device: torch.device) -> Operation:
    """A folder of 210 JPEG images, decoded; it goes with the operation."""
    folder = Path(tempfile.mkdtemp(prefix="blitz-"))
    images = iter(drawn(210).images.permute(0, 2, 3, 1).numpy())
    for part, count in (("train", 20), ("test", 1)):
        for name in CLASSES:
            (folder / part / name).mkdir(parents=True)
            for index in range(count):
                Image.fromarray(next(images)).save(folder / part / name / f"{index}.jpg", quality=90)

    def operation() -> float:
        return float(len(read_image_folder(folder).train.labels))

    weakref.finalize(operation, shutil.rmtree, folder)
    return operation


OPERATIONS = [batches_by_index, batches_by_loader(0), batches_by_loader(2)]
