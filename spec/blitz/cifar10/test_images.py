"""blitz.cifar10.images: the classes of an image folder, and its pixels."""

import shutil

import numpy as np
import pytest
from PIL import Image
from torchvision.datasets import ImageFolder
from torchvision.datasets.folder import pil_loader

from blitz.cifar10.images import read_image_folder
from blitz.errors import DataError
from spec.blitz.data_folders import CLASSES, pixels, write_image_folder

PEOPLES = ("plane", "car", *CLASSES[2:])


@pytest.mark.parametrize("train", [CLASSES, PEOPLES], ids=["official names", "names that people use"])
def test_images_come_as_they_were_written_in_the_order_of_their_classes(tmp_path, train):
    """Whatever a class folder is called, in train or in test: the classes are CIFAR-10's own, in order."""
    data = read_image_folder(write_image_folder(tmp_path, train=train))

    expected = np.concatenate([pixels(count=2, seed=label) for label in range(10)])
    assert np.array_equal(data.train.images.numpy(), expected)
    assert data.train.labels.tolist() == [label for label in range(10) for _ in range(2)]
    assert np.array_equal(data.test.images.numpy(), expected[::2])
    assert data.test.labels.tolist() == list(range(10))
    assert (data.classes, data.origin) == (CLASSES, "image folder")


def test_other_classes_keep_their_names_and_sort(tmp_path):
    """With one class that CIFAR-10 has not, a car is no automobile, and comes after the birds."""
    names = ("plane", "car", *CLASSES[2:9], "monkey")
    folder = write_image_folder(tmp_path, train=names, test=names)

    data = read_image_folder(folder)

    assert data.classes == tuple(sorted(names))
    assert np.array_equal(data.test.images[1].numpy(), pixels(count=1, seed=1)[0])
    assert data.classes[1] == "car"


def resave(path, **changes):
    """Write another image in the place of one."""
    Image.new(changes.get("mode", "RGB"), changes.get("size", (32, 32))).save(path)


def write_cut_jpeg(path):
    """Write a JPEG that lacks its last bytes, which a decoder could fill with grey."""
    Image.fromarray(pixels(count=1, seed=0)[0].transpose(1, 2, 0)).save(path)
    path.write_bytes(path.read_bytes()[:-100])


BROKEN = {
    "a class called otherwise in test": (
        lambda f: (f / "test/cat").rename(f / "test/kitten"),
        "expected the same classes in .*images/train and .*images/test, got kitten in the latter",
    ),
    "thirteen classes, of which twelve are named": (
        lambda f: [(f / "train" / name).mkdir() for name in ("u", "v", "w")],
        "expected ten class folders in .*train, found 13: airplane, .*, truck, u, v",
    ),
    "two folders of one class": (
        lambda f: (f / "test/dog").rename(f / "test/cats"),
        "expected images of each class in .*test, found none of dog",
    ),
    "an empty class": (
        lambda f: [path.unlink() for path in (f / "train/cat").iterdir()],
        "expected images of each class in .*train, found none of cat",
    ),
    "a truncated JPEG": (
        lambda f: write_cut_jpeg(f / "train/dog/1.jpg"),
        r"cannot decode .*dog/1\.jpg, replace or remove it: .*truncated.*",
    ),
    "a file that is no image": (
        lambda f: (f / "train/dog/1.png").write_text("hello"),
        r"cannot decode .*train/dog/1\.png, replace or remove it: cannot identify image file .*",
    ),
    "a wrong size": (
        lambda f: resave(f / "train/dog/1.png", size=(33, 32)),
        r"expected an image of 32x32, got 33x32: .*train/dog/1\.png",
    ),
    "a grey image of 16 bits": (
        lambda f: resave(f / "train/dog/1.png", mode="I;16"),
        r"expected an image of 8 bits a channel, got more: .*train/dog/1\.png",
    ),
}


@pytest.mark.parametrize(("break_", "sentence"), BROKEN.values(), ids=BROKEN)
def test_broken_image_folder_is_refused_in_one_sentence(image_folder, break_, sentence):
    """What is wrong with a folder of images is said with the name of the file or folder at fault."""
    break_(image_folder)

    with pytest.raises(DataError, match=f"^{sentence}$"):
        read_image_folder(image_folder)


def test_image_of_another_mode_is_converted_as_torchvision_does(image_folder):
    """Black and white, grey or coloured with alpha, by a palette, or in the colours of print."""
    folder = image_folder / "train/dog"
    names = {"1": "2.png", "LA": "3.png", "P": "4.png", "RGBA": "5.png", "CMYK": "6.JPEG"}
    for mode, name in names.items():
        Image.open(folder / "1.png").convert(mode).save(folder / name)

    data = read_image_folder(image_folder)

    expected = np.stack([np.asarray(pil_loader(folder / name)) for name in names.values()])
    assert np.array_equal(data.train.images[12:17].numpy(), expected.transpose(0, 3, 1, 2))


def test_images_come_in_the_order_of_image_folder(image_folder):
    """In nested folders, too, as torchvision's ImageFolder lists them."""
    for name in ("b/0.png", "a/b/0.png", "a.png", "a-/0.png"):
        path = image_folder / "train/cat" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(image_folder / f"train/{CLASSES[len(name)]}/0.png", path)

    data = read_image_folder(image_folder)

    expected = ImageFolder(image_folder / "train")
    assert data.train.labels.tolist() == expected.targets
    assert data.train.images.tolist() == [np.asarray(x).transpose(2, 0, 1).tolist() for x, _ in expected]
