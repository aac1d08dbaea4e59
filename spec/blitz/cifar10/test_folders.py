"""blitz.cifar10.folders: the parts of an image folder, and which files in them count."""

import os
import shutil

import pytest
from torchvision.datasets.folder import IMG_EXTENSIONS

from blitz.cifar10 import folders
from blitz.cifar10.folders import find_parts, list_images
from blitz.errors import DataError
from spec.blitz.data_folders import make

PART_NAMES = {
    "as ever": ("train", "test"),
    "capital": ("Train", "TEST"),
    "long": ("training", "testing"),
    "val": ("train", "val"),
    "valid": ("train", "valid"),
    "validation": ("Training", "Validation"),
}


@pytest.fixture
def folder(tmp_path):
    """A folder of three images, which are empty."""
    return make(tmp_path, "train/cat/0.png", "train/dog/0.png", "test/cat/0.png")


@pytest.mark.parametrize(("train", "test"), PART_NAMES.values(), ids=PART_NAMES)
def test_parts_are_known_by_the_names_that_people_use(folder, train, test):
    """Other words for train and test are read, in small letters and in capital ones."""
    (folder / "train").rename(folder / train)
    (folder / "test").rename(folder / test)

    files, left_out = list_images(folder)

    assert find_parts(folder) == (folder / train, folder / test, None)
    assert (len(files), left_out) == (3, 0)


def test_test_goes_before_val_unless_it_has_no_labels(folder):
    """Test images that lie in no class folders, as competitions have them, are no test part."""
    make(folder, "val/cat/0.png")
    assert find_parts(folder).test == folder / "test"

    shutil.rmtree(folder / "test/cat")

    assert find_parts(folder).test == folder / "val"


def test_table_of_labels_counts_in_the_layout_of_kaggle(tmp_path):
    """The table is listed with the images; test images, which it does not name, are not."""
    folder = make(tmp_path, "train/1.png", "train/2.png", "test/1.png", "trainLabels.csv")

    files, left_out = list_images(folder)

    assert find_parts(folder) == (folder / "train", None, folder / "trainLabels.csv")
    assert files.keys() == {"trainLabels.csv", "train/1.png", "train/2.png"}
    assert left_out == 0


def test_class_folders_go_before_a_table_of_labels(folder):
    """Who has sorted Kaggle's images into class folders may keep the table."""
    make(folder, "trainLabels.csv")

    assert find_parts(folder) == (folder / "train", folder / "test", None)


LEFT_OUT = {
    "by macOS": "train/.DS_Store",
    "by macOS, of an image": "train/cat/nested/._0.png",
    "by an archive of macOS": "test/__MACOSX/cat/0.png",
    "by a notebook": "train/cat/.ipynb_checkpoints/0-checkpoint.png",
    "by Windows": "test/cat/Thumbs.db",
    "by Synology": "test/cat/@eaDir/0.png/thumb.jpg",
    "of another kind": "train/cat/note.txt",
    "of no class": "train/0.png",
}


@pytest.mark.parametrize("name", LEFT_OUT.values(), ids=LEFT_OUT)
def test_what_is_hidden_or_no_image_of_a_class_never_counts(folder, name):
    """What file managers, notebooks and downloads leave changes nothing but the count, at any depth."""
    before, _ = list_images(folder)
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).touch()

    assert list_images(folder) == (before, 1)


def resize(path):
    """Lengthen a file by a byte and keep its time."""
    before = path.stat()
    path.write_bytes(path.read_bytes() + b"\0")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


CHANGES = {
    "another time": lambda image: os.utime(image, ns=(0, 0)),
    "another size": resize,
    "another name": lambda image: image.rename(image.with_name("2.png")),
    "another class": lambda image: image.rename(image.parents[1] / "dog/2.png"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_changed_image_shows_without_being_opened(folder, change):
    """Names, sizes and times tell a cache that it has to decode again."""
    before = list_images(folder)

    change(folder / "train/cat/0.png")

    assert list_images(folder) != before


def test_file_that_cannot_be_looked_at_is_one_sentence(folder):
    """A link to nowhere among the images is named."""
    (folder / "train/dog/1.png").symlink_to("nowhere")

    with pytest.raises(DataError, match=r"^cannot read .*/train/dog/1\.png: No such file or directory$"):
        list_images(folder)


def test_images_are_what_torchvision_takes_for_images():
    """The endings are those of ImageFolder, whose module takes long to import."""
    assert folders.IMAGES == IMG_EXTENSIONS
