"""blitz.cifar10.kaggle: images without class folders, beside the table of their labels."""

import re

import numpy as np
import pytest

from blitz.cifar10.data import load
from blitz.cifar10.images import read_image_folder
from blitz.errors import DataError
from spec.blitz.data_folders import CLASSES, pixels, write_kaggle


@pytest.fixture
def folder(tmp_path):
    """Kaggle's layout of twenty images, to be broken."""
    return write_kaggle(tmp_path / "kaggle")


def test_images_have_the_labels_of_their_rows(folder):
    """They come in the order of the table, where 2 goes before 10; the classes are the official ones."""
    data = read_image_folder(folder)

    assert data.train.labels.tolist() == [*range(10), *range(10)]
    assert np.array_equal(data.train.images.numpy(), pixels(count=20, seed=0))
    assert (data.classes, data.origin) == (CLASSES, "image folder")


def test_there_are_no_test_images(folder):
    """Kaggle keeps the labels of its test images to itself."""
    data = read_image_folder(folder)

    assert data.test.images.shape == (0, 3, 32, 32)
    assert data.test.labels.shape == (0,)


def test_table_that_excel_has_saved_is_read(folder):
    """A mark at the beginning, other ends of lines, spaces and an empty line are nothing."""
    table = folder / "trainLabels.csv"
    words = table.read_text().replace("id,label", "Id, Label").replace("\n", "\r\n")
    table.write_bytes(b"\xef\xbb\xbf" + words.encode() + b"\r\n")

    assert len(read_image_folder(folder).train.labels) == 20


def rewrite(folder, old, new):
    """Change the table."""
    table = folder / "trainLabels.csv"
    table.write_text(table.read_text().replace(old, new))


def test_table_of_labels_that_changes_is_read_again(folder, tmp_path, monkeypatch):
    """What was decoded before the change is not taken from the cache."""
    monkeypatch.setenv("BLITZ_CACHE", str(tmp_path / "cache"))
    before = load(folder, holdout=1)
    rewrite(folder, "truck", "horse")

    after = load(folder, holdout=1)

    assert 9 in before.train.labels
    assert 9 not in after.train.labels


BROKEN = {
    "an empty table": (
        lambda f: (f / "trainLabels.csv").write_text(""),
        "expected the header id,label in TABLE, got ''",
    ),
    "a wrong header": (
        lambda f: rewrite(f, "id,label", "id;label"),
        "expected the header id,label in TABLE, got 'id;label'",
    ),
    "no id": (
        lambda f: rewrite(f, "\n5,deer", "\n,deer"),
        "expected an id and a label in line 6 of TABLE, got ',deer'",
    ),
    "no label": (
        lambda f: rewrite(f, "\n5,deer", "\n5"),
        "expected an id and a label in line 6 of TABLE, got '5'",
    ),
    "an unknown label": (
        lambda f: rewrite(f, "\n6,dog", "\n6,puppy"),
        "expected a class of CIFAR-10 in line 7 of TABLE, got 'puppy'",
    ),
    "an id twice": (
        lambda f: rewrite(f, "\n6,dog", "\n5,dog"),
        "expected one row for each id of TABLE, got a second for id 5 in line 7",
    ),
    "an image without a row": (
        lambda f: rewrite(f, "\n6,dog", ""),
        "expected a row for each image in TABLE, found none for id 6",
    ),
    "a row without an image": (
        lambda f: (f / "train/6.png").unlink(),
        "expected an image for each row of TABLE, found none for id 6",
    ),
    "rows without an image": (
        lambda f: [(f / f"train/{number}.png").unlink() for number in (10, 9, 11)],
        "expected an image for each row of TABLE, found none for id 9 and 2 more",
    ),
    "two images of an id": (
        lambda f: (f / "train/6.jpg").touch(),
        "expected one image for each id of TABLE, got train/6.jpg and train/6.png",
    ),
    "a table in another encoding": (
        lambda f: (f / "trainLabels.csv").write_bytes(b"id,label\n\xff"),
        "expected text in UTF-8 in TABLE, got another encoding",
    ),
}


@pytest.mark.parametrize(("break_", "sentence"), BROKEN.values(), ids=BROKEN)
def test_broken_table_is_refused_in_one_sentence(folder, break_, sentence):
    """What does not fit is told with the line, the id or the image at fault."""
    break_(folder)

    expected = re.escape(sentence.replace("TABLE", str(folder / "trainLabels.csv")))
    with pytest.raises(DataError, match=f"^{expected}$"):
        read_image_folder(folder)
