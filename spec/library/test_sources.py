"""blitz.sources: image folders, and which layout a folder has."""

import io
import re
import shutil
import sys
from urllib.error import URLError

import numpy as np
import pytest
from PIL import Image, UnidentifiedImageError

from blitz import sources
from blitz.errors import DataError
from spec.library.data_folders import CLASSES, cut, pixels, write_image_folder


@pytest.fixture
def image_folder(tmp_path):
    """A whole image folder, to be broken."""
    return write_image_folder(tmp_path / "images")


class TestImageFolder:
    """`train/<class>/*` and `test/<class>/*`."""

    def test_pixels_are_those_of_the_files(self, image_folder):
        """Every image comes as it was written, in the order of its class and its name."""
        data = sources.read_image_folder(image_folder)

        expected = np.concatenate([pixels(count=2, seed=label) for label in range(10)])
        assert np.array_equal(data.train.images.numpy(), expected)

    def test_classes_are_the_folder_names_in_order(self, image_folder):
        """The class folders sort into CIFAR-10's own label order."""
        data = sources.read_image_folder(image_folder)

        assert data.classes == CLASSES
        assert data.test.labels.tolist() == list(range(10))
        assert data.origin == "image folder"

    def test_other_files_are_passed_over(self, image_folder):
        """A file that is no image by its name, such as Thumbs.db, is not read."""
        (image_folder / "train/cat/Thumbs.db").write_bytes(b"")

        data = sources.read_image_folder(image_folder)

        assert len(data.train.images) == 20

    def test_images_stay_in_order_when_they_are_many(self, image_folder):
        """Files are read ahead by the hundred, and none is lost or moved on the way."""
        for number in range(200, 400):
            shutil.copy(image_folder / "train/airplane/0.png", image_folder / f"train/airplane/{number}.png")

        data = sources.read_image_folder(image_folder)

        assert len(data.train.images) == len(data.train.labels) == 220
        assert np.array_equal(data.train.images[-2:].numpy(), pixels(count=2, seed=9))

    def test_progress_shows_on_a_terminal(self, image_folder, monkeypatch):
        """With progress=True a bar counts the images; without it, and in a log, nothing is said."""
        shown = []
        for progress, is_terminal in ((True, True), (False, True), (True, False)):
            stream = io.StringIO()
            stream.isatty = lambda is_terminal=is_terminal: is_terminal
            monkeypatch.setattr(sys, "stderr", stream)
            sources.read_image_folder(image_folder, progress=progress)
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
        r"expected an RGB image of 32x32, got RGB of 33x32: .*train/dog/1\.png",
    ),
    "a grey image": (
        lambda f: resave(f / "train/dog/1.png", mode="L"),
        r"expected an RGB image of 32x32, got L of 32x32: .*train/dog/1\.png",
    ),
    "an image with alpha": (
        lambda f: resave(f / "train/dog/1.png", mode="RGBA"),
        r"expected an RGB image of 32x32, got RGBA of 32x32: .*train/dog/1\.png",
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
        sources.read_image_folder(image_folder)


def test_truncated_jpeg_is_refused(image_folder):
    """A JPEG that lacks its last bytes, which a decoder could fill with grey, is an error that names it."""
    path = image_folder / "train/dog/1.jpg"
    Image.fromarray(pixels(count=1, seed=0)[0].transpose(1, 2, 0)).save(path)
    path.write_bytes(path.read_bytes()[:-100])

    with pytest.raises(DataError, match=r"^cannot decode .*dog/1\.jpg, replace or remove it: .*truncated"):
        sources.read_image_folder(image_folder)


REASONS = {
    "several lines": (ValueError("one,\n  two."), "one, two"),
    "the system's words": (
        FileNotFoundError(2, "No such file or directory", "a.png"),
        "No such file or directory",
    ),
    "no words": (EOFError(), "EOFError"),
    "an address": (URLError(ConnectionRefusedError(111, "Connection refused")), "Connection refused"),
    "Pillow's words": (UnidentifiedImageError("cannot identify <BytesIO at 0x7f>"), "it is not an image"),
}


@pytest.mark.parametrize(("error", "words"), REASONS.values(), ids=REASONS)
def test_why_says_what_happened_in_a_few_words(error, words):
    """One line without a full stop, an errno or an address in memory."""
    assert sources.why(error) == words
