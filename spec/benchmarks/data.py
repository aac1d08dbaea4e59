"""How long a batch of four takes from each source, and decoding the files that CIFAR-10 comes in."""

import itertools
import pickle
import shutil
import tempfile
import weakref
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import torch
from PIL import Image
from torchvision.datasets import CIFAR10

from blitz.cifar10 import official
from blitz.cifar10.data import Split, batches, loader
from blitz.cifar10.images import read_image_folder
from spec.benchmarks.builders import Builder, Operation, drawn, named, synchronised
from spec.blitz.data_folders import CLASSES, md5, pixels

A_BATCH = 4
A_CLASS = 20  # images of each class to decode
A_FILE = 250  # images in each of the official copy's six files


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
    """A folder of 210 JPEG images, decoded."""
    folder = Path(tempfile.mkdtemp(prefix="blitz-"))
    for part, count in (("train", A_CLASS), ("test", 1)):
        for label, name in enumerate(CLASSES):
            (folder / part / name).mkdir(parents=True)
            for index, image in enumerate(drawn(10 * A_CLASS).images[label * A_CLASS :][:count]):
                drawing = Image.fromarray(image.permute(1, 2, 0).numpy())
                drawing.save(folder / part / name / f"{index}.jpg", quality=90)
    return _with(folder, lambda: float(len(read_image_folder(folder).train.labels)))


def decoding_of_the_official_files(device: torch.device) -> Operation:
    """Six files of 250 images, pickled as the official ones, checked and decoded."""
    folder = Path(tempfile.mkdtemp(prefix="blitz-"))
    place = folder / CIFAR10.base_folder
    place.mkdir()
    names = [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]
    for seed, name in enumerate(names):
        images = pixels(count=A_FILE, seed=seed).reshape(A_FILE, 3 * 32 * 32)
        labels = [index % 10 for index in range(A_FILE)]
        (place / name).write_bytes(pickle.dumps({"data": images, "labels": labels}, protocol=2))
    (place / "batches.meta").write_bytes(pickle.dumps({"label_names": list(CLASSES)}, protocol=2))
    listed = [[name, md5(place / name)] for name in names]
    expected = {
        "train_list": listed[:5],
        "test_list": listed[5:],
        "meta": CIFAR10.meta | {"md5": md5(place / "batches.meta")},
    }

    def operation() -> float:
        with patch.multiple(CIFAR10, **expected):
            return float(len(official.read(place).train.labels))

    return _with(folder, operation)


def _with(folder: Path, operation: Operation) -> Operation:
    """Return `operation`, with which its folder goes."""
    weakref.finalize(operation, shutil.rmtree, folder)
    return operation


OPERATIONS = [batches_by_index, batches_by_loader(0), batches_by_loader(2)]
DECODING = [decoding_of_jpeg_images, decoding_of_the_official_files]
