"""Images of any size in folders of classes, or the stand-in, and how a training sees them.

Source: https://github.com/pytorch/examples/tree/main/imagenet.
"""

import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset
from torchvision import transforms
from torchvision.datasets import ImageFolder
from torchvision.datasets.folder import default_loader

from blitz.cifar10 import stand_in
from blitz.cifar10.data import Images
from blitz.cifar10.folders import IMAGES, is_hidden, subfolders
from blitz.errors import DataError, why
from blitz.randomness import epoch_generator

STAND_IN = "the built-in stand-in, NOT ImageNet"


class Labelled(Protocol):
    """Images as Pillow has them, each with the number of its class."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> tuple[Image.Image, int]: ...


class ImageData(NamedTuple):
    """What to train on and to validate on; of an image the net sees `size` x `size` pixels."""

    name: str
    train: Labelled
    val: Labelled
    classes: Sequence[str]
    size: int

    def __str__(self) -> str:
        images = f"{len(self.train)} training and {len(self.val)} validation images"
        return f"{self.name} ({images} of {len(self.classes)} classes, scaled to {self.size}x{self.size})"


def draw() -> ImageData:
    """Return the stand-in of blitz.cifar10, 2000 images to train on and 500 to validate on, for 64x64."""
    data = stand_in.draw(train=2000, test=500)
    return ImageData(STAND_IN, Images(data.train, _same), Images(data.test, _same), data.classes, 64)


def _same(image: Image.Image) -> Image.Image:
    return image


def read(folder: str | Path) -> ImageData:
    """Return the images in `train/CLASS/*` and `val/CLASS/*`, or `test/CLASS/*` where there is no `val`.

    They may be of any size, and the classes as many as there are folders. The net sees 224x224 pixels, or
    64x64 if the first training image has less than 128 on a side. Images are decoded when they are needed.

    Raises:
        DataError: a part or the images of a class are missing, or the two parts have not the same classes.
    """
    train, val = Path(folder, "train"), Path(folder, "val")
    val = val if val.is_dir() else Path(folder, "test")
    for part, name in ((train, "train"), (val, "val or test")):
        if not part.is_dir():
            raise DataError(f"expected the folders train and val in {folder}, found no {name}")
    first, second = (set(subfolders(part)) for part in (train, val))
    if not first:
        raise DataError(f"expected a folder for each class in {train}, found none")
    if first != second:
        name = min(first ^ second)
        place = train if name in first else val
        raise DataError(f"expected the same classes in {train} and {val}, found {name} in {place} alone")
    try:
        parts = tuple(_Folder(part, loader=_decoded, is_valid_file=_is_image) for part in (train, val))
    except FileNotFoundError as error:  # in torchvision's words
        raise DataError(f"expected images of each class in {train} and {val}: {why(error)}") from error
    files = [[(Path(path).relative_to(folder).as_posix()) for path, _ in part.samples] for part in parts]
    name = f"{Path(folder).resolve().name} {zlib.crc32(repr(files).encode()):08x}"  # knows it after a move
    size = 64 if min(parts[0][0][0].size) < 128 else 224
    return ImageData(name, parts[0], parts[1], parts[0].classes, size)


class _Folder(ImageFolder):  # type: ignore[misc]  # torchvision ships no types
    def find_classes(self, directory: str | Path) -> tuple[list[str], dict[str, int]]:
        names = subfolders(Path(directory))  # without the hidden ones
        return names, {name: number for number, name in enumerate(names)}


def _is_image(path: str) -> bool:
    return path.lower().endswith(IMAGES) and not is_hidden(Path(path).name)


def _decoded(path: str) -> Image.Image:
    try:
        return default_loader(path)
    except Exception as error:  # what Pillow raises depends on the format and on the damage
        raise DataError(f"cannot decode {path}, replace or remove it: {why(error)}") from error


class Views(Dataset[tuple[Tensor, int]]):
    """Images through a view, which draws by the seed of each image, int64 (N,), and by nothing else.

    So the workers of a DataLoader, a resumed training and several processes all see the same.
    """

    def __init__(self, images: Labelled, view: Callable[[Image.Image], Tensor], seeds: Tensor) -> None:
        self.images, self.view, self.seeds = images, view, seeds

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image, label = self.images[index]
        with torch.random.fork_rng(devices=[]):  # torchvision draws from the global generator
            torch.default_generator.manual_seed(int(self.seeds[index]))
            return self.view(image), label


def crops(data: ImageData, *, seed: int, epoch: int) -> Views:
    """Return each training image as an epoch sees it, uint8 (3, size, size): a part of it, mirrored or not.

    The part has 8 % to 100 % of the area, and 3/4 to 4/3 of its height as its width.
    """
    crop = [transforms.RandomResizedCrop(data.size), transforms.RandomHorizontalFlip()]
    seeds = torch.randint(2**32, (len(data.train),), generator=epoch_generator(seed, epoch, stream=1))
    return Views(data.train, transforms.Compose([*crop, transforms.PILToTensor()]), seeds)


def centres(data: ImageData) -> Views:
    """Return the centre of each validation image, 7/8 of its shorter side, uint8 (3, size, size)."""
    crop = [transforms.Resize(data.size * 8 // 7), transforms.CenterCrop(data.size)]
    nothing_drawn = torch.zeros(len(data.val), dtype=torch.int64)
    return Views(data.val, transforms.Compose([*crop, transforms.PILToTensor()]), nothing_drawn)


def normalized(pixels: Tensor) -> Tensor:
    """Return float (N, 3, H, W) of uint8: of mean 0 and standard deviation 1 over ImageNet, by colour."""
    mean, deviation = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]], device=pixels.device)
    return (pixels / 255 - mean[:, None, None]) / deviation[:, None, None]
