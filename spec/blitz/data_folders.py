"""Small copies of CIFAR-10 in every layout, for the tests of what finds, reads and caches them."""

import hashlib
import pickle
import tarfile

import numpy as np
from PIL import Image
from torchvision.datasets import CIFAR10

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def pixels(*, count, seed):
    """Draw `count` noise images, uint8 (count, 3, 32, 32)."""
    return np.random.RandomState(seed).randint(0, 256, (count, 3, 32, 32), dtype=np.uint8)


def write_image_folder(folder, *, train=CLASSES, test=CLASSES):
    """Write class folders of two training images and one test image, as PNG, which loses nothing."""
    for part, names, count in (("train", train, 2), ("test", test, 1)):
        for label, name in enumerate(names):
            place = folder / part / name
            place.mkdir(parents=True)
            for index, image in enumerate(pixels(count=count, seed=label)):
                Image.fromarray(image.transpose(1, 2, 0)).save(place / f"{index}.png")
    return folder


def make(folder, *names):
    """Make empty folders and, where a name has a suffix, empty files in a folder."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch() if path.suffix else path.mkdir()
    return folder


def write_kaggle(folder):
    """Write `train/1.png` to `train/20.png` beside their table, two images of each class in turn."""
    (folder / "train").mkdir(parents=True)
    rows = [f"{number},{CLASSES[(number - 1) % 10]}" for number in range(1, 21)]
    (folder / "trainLabels.csv").write_text("\n".join(["id,label", *rows]) + "\n")
    for number, image in enumerate(pixels(count=20, seed=0), start=1):
        Image.fromarray(image.transpose(1, 2, 0)).save(folder / "train" / f"{number}.png")
    return folder


def write_official(folder, monkeypatch):
    """Write official batches of ten images each, and have torchvision expect them."""
    place = folder / CIFAR10.base_folder
    place.mkdir(parents=True, exist_ok=True)
    names = [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]
    for seed, name in enumerate(names):
        content = {"data": pixels(count=10, seed=seed).reshape(10, 3072), "labels": list(range(10))}
        (place / name).write_bytes(pickle.dumps(content, protocol=2))
    (place / "batches.meta").write_bytes(pickle.dumps({"label_names": list(CLASSES)}, protocol=2))
    listed = [[name, md5(place / name)] for name in names]
    monkeypatch.setattr(CIFAR10, "train_list", listed[:5])
    monkeypatch.setattr(CIFAR10, "test_list", listed[5:])
    monkeypatch.setattr(CIFAR10, "meta", CIFAR10.meta | {"md5": md5(place / "batches.meta")})
    return folder


def write_archive(path, folder, monkeypatch):
    """Pack the official batches of `folder`, and have torchvision expect the archive."""
    path.parent.mkdir(exist_ok=True)
    with tarfile.open(path, "w:gz") as tar:
        tar.add(folder / CIFAR10.base_folder, CIFAR10.base_folder)
    monkeypatch.setattr(CIFAR10, "tgz_md5", md5(path))
    return path


def md5(path):
    """Return the checksum that torchvision compares."""
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()


def cut(path):
    """Keep the first half of a file."""
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
