"""blitz.cifar10.folders: the parts of an image folder, and which files in them count."""

import shutil

import pytest
from torchvision.datasets.folder import IMG_EXTENSIONS

from blitz.cifar10 import folders
from blitz.cifar10.folders import find_parts, list_images
from blitz.errors import DataError
from spec.blitz.data_folders import write_image_folder, write_kaggle


@pytest.fixture
def folder(tmp_path):
    """A whole image folder."""
    return write_image_folder(tmp_path / "images")


PART_NAMES = {
    "as ever": ("train", "test"),
    "capital": ("Train", "TEST"),
    "long": ("training", "testing"),
    "val": ("train", "val"),
    "valid": ("train", "valid"),
    "validation": ("Training", "Validation"),
}


@pytest.mark.parametrize(("train", "test"), PART_NAMES.values(), ids=PART_NAMES)
def test_parts_are_known_by_the_names_that_people_use(folder, train, test):
    """Other words for train and test are read, in small letters and in capital ones."""
    (folder / "train").rename(folder / train)
    (folder / "test").rename(folder / test)

    assert find_parts(folder) == (folder / train, folder / test, None, [])
    assert len(list_images(folder)[0]) == 30


def test_test_goes_before_val_and_says_so(folder):
    """Where both lie beside train, the test part is test."""
    shutil.copytree(folder / "test", folder / "val")

    files, sentences = list_images(folder)

    assert sentences == [f"the test part of {folder} is test, not val"]
    assert not any(name.startswith("val/") for name in files)


def test_labelled_val_goes_before_a_test_without_labels(folder):
    """Test images that lie in no class folders, as competitions have them, are no test part."""
    (folder / "test").rename(folder / "val")
    (folder / "test").mkdir()
    (folder / "test/1.png").touch()

    assert find_parts(folder).test == folder / "val"
    assert list_images(folder)[1] == [f"the test part of {folder} is val, not test"]


def test_folder_of_training_images_alone_has_no_test_part(folder):
    """What is missing is None."""
    shutil.rmtree(folder / "test")

    assert find_parts(folder) == (folder / "train", None, None, [])
    assert len(list_images(folder)[0]) == 20


def test_table_of_labels_counts_in_the_layout_of_kaggle(tmp_path):
    """The table is listed with the images; test images, which it does not name, are not."""
    folder = write_kaggle(tmp_path)
    (folder / "test").mkdir()
    (folder / "test/1.png").touch()

    files, _ = list_images(folder)

    assert find_parts(folder).labels == folder / "trainLabels.csv"
    assert {"trainLabels.csv", "train/1.png"} < files.keys()
    assert len(files) == 21


def test_class_folders_go_before_a_table_of_labels(folder):
    """Who has sorted Kaggle's images into class folders may keep the table."""
    (folder / "trainLabels.csv").touch()

    assert find_parts(folder) == (folder / "train", folder / "test", None, [])


def test_folder_without_a_training_part_is_one_sentence(tmp_path):
    """It may vanish between the look and the reading."""
    with pytest.raises(DataError, match=r"^expected a folder train in .*, found none$"):
        find_parts(tmp_path)


LEFT_BEHIND = [
    "train/.DS_Store",
    "train/cat/._0.png",
    "train/.ipynb_checkpoints/0-checkpoint.png",
    "train/cat/.ipynb_checkpoints/0-checkpoint.png",
    "train/cat/nested/.hidden.png",
    "test/__MACOSX/cat/0.png",
    "test/cat/Thumbs.db",
    "test/cat/desktop.ini",
    "test/cat/@eaDir/0.png/thumb.jpg",
]


@pytest.mark.parametrize("name", LEFT_BEHIND)
def test_what_is_hidden_never_counts(folder, name):
    """What file managers, notebooks and downloads leave changes nothing but the count, at any depth."""
    before, _ = list_images(folder)
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).touch()

    files, sentences = list_images(folder)

    assert files == before
    assert sentences == [f"left out in {folder}: 1 hidden, 0 that are no images of a class"]


def test_what_is_left_out_is_counted_in_one_sentence(folder):
    """Hidden files and folders count as one each; so do files of another kind, and images of no class."""
    for name in ("train/cat/._0.png", "train/.git", "train/cat/note.txt", "train/0.png", "test/cat/a.gif"):
        (folder / name).touch()

    _, sentences = list_images(folder)

    assert sentences == [f"left out in {folder}: 2 hidden, 3 that are no images of a class"]


def test_nothing_is_said_of_a_tidy_folder(folder):
    """Where everything counts there is no sentence."""
    assert list_images(folder)[1] == []


def test_images_are_what_torchvision_takes_for_images():
    """The endings are those of ImageFolder, whose module takes long to import."""
    assert folders.IMAGES == IMG_EXTENSIONS
