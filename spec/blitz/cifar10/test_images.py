"""blitz.cifar10.images: the classes of an image folder, and its pixels."""

import io
import re
import shutil
import sys

import numpy as np
import pytest
from PIL import Image
from torchvision.datasets import ImageFolder
from torchvision.datasets.folder import pil_loader

from blitz.cifar10.images import read_image_folder
from blitz.errors import DataError
from spec.blitz.data_folders import CLASSES, cut, pixels, write_image_folder


@pytest.fixture
def image_folder(tmp_path):
    """A whole image folder, to be broken."""
    return write_image_folder(tmp_path / "images")


class TestImageFolder:
    """`train/<class>/*` and `test/<class>/*`."""

    def test_pixels_are_those_of_the_files(self, image_folder):
        """Every image comes as it was written, in the order of its class and its name."""
        data = read_image_folder(image_folder)

        expected = np.concatenate([pixels(count=2, seed=label) for label in range(10)])
        assert np.array_equal(data.train.images.numpy(), expected)

    def test_classes_are_the_folder_names_in_order(self, image_folder):
        """The class folders sort into CIFAR-10's own label order."""
        data = read_image_folder(image_folder)

        assert data.classes == CLASSES
        assert data.test.labels.tolist() == list(range(10))
        assert data.origin == "image folder"

    def test_images_stay_in_order_when_they_are_many(self, image_folder):
        """Files are read ahead by the hundred, and none is lost or moved on the way."""
        for number in range(200, 400):
            shutil.copy(image_folder / "train/airplane/0.png", image_folder / f"train/airplane/{number}.png")

        data = read_image_folder(image_folder)

        assert len(data.train.images) == len(data.train.labels) == 220
        assert np.array_equal(data.train.images[-2:].numpy(), pixels(count=2, seed=9))

    def test_progress_shows_on_a_terminal(self, image_folder, monkeypatch):
        """With progress=True a bar counts the images; without it, and in a log, nothing is said."""
        shown = []
        for progress, is_terminal in ((True, True), (False, True), (True, False)):
            stream = io.StringIO()
            stream.isatty = lambda is_terminal=is_terminal: is_terminal
            monkeypatch.setattr(sys, "stderr", stream)
            read_image_folder(image_folder, progress=progress)
            shown.append(stream.getvalue())

        assert re.search(r"\rdecoding: 100%.* 30/30 .*image/s", shown[0])
        assert shown[1:] == ["", ""]


def resave(path, **changes):
    """Write another image in the place of one."""
    Image.new(changes.get("mode", "RGB"), changes.get("size", (32, 32))).save(path)


BROKEN_IMAGE_FOLDERS = {
    "a class only in test": (
        lambda f: shutil.rmtree(f / "train/cat"),
        "expected the same classes in train and test of .*images, but cat is only in test",
    ),
    "a class only in train": (
        lambda f: shutil.rmtree(f / "test/cat"),
        "expected the same classes in train and test of .*images, but cat is only in train",
    ),
    "nine classes": (
        lambda f: [shutil.rmtree(f / part / "cat") for part in ("train", "test")],
        "expected ten class folders in .*train, found 9: airplane, automobile, bird, deer, .*, truck",
    ),
    "thirteen classes, of which twelve are named": (
        lambda f: [(f / part / name).mkdir() for part in ("train", "test") for name in ("u", "v", "w")],
        "expected ten class folders in .*train, found 13: airplane, .*, truck, u, v",
    ),
    "no class": (
        lambda f: [shutil.rmtree(f / part / name) for part in ("train", "test") for name in CLASSES],
        "expected ten class folders in .*train, found 0: none",
    ),
    "an empty class": (
        lambda f: [path.unlink() for path in (f / "test/cat").iterdir()],
        r"expected images in .*test/cat, found none",
    ),
    "a truncated image": (
        lambda f: cut(f / "train/dog/1.png"),
        r"cannot decode .*train/dog/1\.png, replace or remove it: .+",
    ),
    "a file that is no image": (
        lambda f: (f / "train/dog/1.png").write_text("hello"),
        r"cannot decode .*train/dog/1\.png, replace or remove it: it is not an image",
    ),
    "an empty file": (
        lambda f: (f / "train/dog/1.png").write_bytes(b""),
        r"cannot decode .*train/dog/1\.png, replace or remove it: it is not an image",
    ),
    "a wrong size": (
        lambda f: resave(f / "train/dog/1.png", size=(33, 32)),
        r"expected an image of 32x32, got 33x32: .*train/dog/1\.png",
    ),
    "a grey image of 16 bits": (
        lambda f: resave(f / "train/dog/1.png", mode="I;16"),
        r"expected an image of 8 bits a channel, got more: .*train/dog/1\.png",
    ),
    "two folders of one class": (
        lambda f: (f / "test/cats").mkdir(),
        "expected ten class folders in .*test, found 11: airplane, automobile, bird, cat, cats, .*, truck",
    ),
    "a dangling link": (
        lambda f: (f / "train/dog/2.png").symlink_to(f / "nowhere"),
        r"cannot read .*train/dog/2\.png: No such file or directory",
    ),
}


@pytest.mark.parametrize(("break_", "sentence"), BROKEN_IMAGE_FOLDERS.values(), ids=BROKEN_IMAGE_FOLDERS)
def test_broken_image_folder_is_refused_in_one_sentence(image_folder, break_, sentence):
    """What is wrong with a folder of images is said with the name of the file or folder at fault."""
    break_(image_folder)

    with pytest.raises(DataError, match=f"^{sentence}$"):
        read_image_folder(image_folder)


def test_truncated_jpeg_is_refused(image_folder):
    """A JPEG that lacks its last bytes, which a decoder could fill with grey, is an error that names it."""
    path = image_folder / "train/dog/1.jpg"
    Image.fromarray(pixels(count=1, seed=0)[0].transpose(1, 2, 0)).save(path)
    path.write_bytes(path.read_bytes()[:-100])

    with pytest.raises(DataError, match=r"^cannot decode .*dog/1\.jpg, replace or remove it: .*truncated"):
        read_image_folder(image_folder)


class TestClassNames:
    """What the class folders are called decides, not how they sort."""

    PEOPLES = ("plane", "car", *CLASSES[2:])

    def test_names_that_people_use_are_the_official_classes(self, tmp_path):
        """With plane and car the classes are CIFAR-10's own, in its own order."""
        folder = write_image_folder(tmp_path / "images", train=self.PEOPLES, test=self.PEOPLES)

        data = read_image_folder(folder)

        expected = np.concatenate([pixels(count=2, seed=label) for label in range(10)])
        assert data.classes == CLASSES
        assert data.train.labels.tolist() == [label for label in range(10) for _ in range(2)]
        assert np.array_equal(data.train.images.numpy(), expected)

    def test_train_and_test_may_call_a_class_by_different_names(self, tmp_path):
        """A car in train is an automobile in test."""
        folder = write_image_folder(tmp_path / "images", train=self.PEOPLES)

        data = read_image_folder(folder)

        assert data.test.labels.tolist() == list(range(10))
        assert np.array_equal(data.test.images[1].numpy(), pixels(count=1, seed=1)[0])

    def test_other_classes_keep_their_names_and_sort(self, tmp_path):
        """With one class that CIFAR-10 has not, a car is no automobile, and comes after the cats."""
        names = ("plane", "car", *CLASSES[2:9], "monkey")
        folder = write_image_folder(tmp_path / "images", train=names, test=names)

        data = read_image_folder(folder)

        assert data.classes == tuple(sorted(names))
        assert np.array_equal(data.test.images[1].numpy(), pixels(count=1, seed=1)[0])
        assert data.classes[1] == "car"

    def test_missing_class_is_told_by_the_name_of_its_folder(self, tmp_path):
        """What is only in train is called as it is there."""
        folder = write_image_folder(tmp_path / "images", train=self.PEOPLES, test=CLASSES[:1] + CLASSES[2:])

        with pytest.raises(DataError, match=r"but car is only in train$"):
            read_image_folder(folder)


MODES = {
    "black and white": "1",
    "grey": "L",
    "grey with alpha": "LA",
    "palette": "P",
    "colour with alpha": "RGBA",
}


@pytest.mark.parametrize("mode", MODES.values(), ids=MODES)
def test_image_of_another_mode_is_converted_as_torchvision_does(image_folder, mode):
    """Its pixels are those that ImageFolder's own loader gives."""
    path = image_folder / "train/dog/1.png"
    Image.open(path).convert(mode).save(path)

    data = read_image_folder(image_folder)

    assert np.array_equal(data.train.images[11].numpy(), np.asarray(pil_loader(path)).transpose(2, 0, 1))


def test_jpeg_in_the_colours_of_print_is_converted_as_torchvision_does(image_folder):
    """A JPEG of cyan, magenta, yellow and black becomes RGB."""
    path = image_folder / "train/dog/2.JPG"
    Image.open(image_folder / "train/dog/1.png").convert("CMYK").save(path, format="JPEG")

    data = read_image_folder(image_folder)

    assert np.array_equal(data.train.images[12].numpy(), np.asarray(pil_loader(path)).transpose(2, 0, 1))


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
