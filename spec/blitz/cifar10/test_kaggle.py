"""blitz.cifar10.kaggle: images without class folders, beside the table of their labels."""

import re

import numpy as np
import pytest

from blitz.cifar10.images import read_image_folder
from blitz.errors import DataError
from spec.blitz.data_folders import CLASSES, pixels, write_kaggle


@pytest.fixture
def folder(tmp_path):
    """Kaggle's layout of twenty images, to be broken."""
    return write_kaggle(tmp_path / "kaggle")


def test_images_have_the_labels_of_their_rows(folder):
    """They come in the order of the table, where 2 goes before 10; there are no test images."""
    data = read_image_folder(folder)

    assert data.train.labels.tolist() == [*range(10), *range(10)]
    assert np.array_equal(data.train.images.numpy(), pixels(count=20, seed=0))
    assert (data.classes, data.origin) == (CLASSES, "image folder")
    assert (data.test.images.shape, data.test.labels.shape) == ((0, 3, 32, 32), (0,))


def test_table_that_excel_has_saved_is_read(folder):
    """A mark at the beginning, other ends of lines, spaces and an empty line are nothing."""
    table = folder / "trainLabels.csv"
    words = table.read_text().replace("id,label", "Id, Label").replace("\n", "\r\n")
    table.write_bytes(b"\xef\xbb\xbf" + words.encode() + b"\r\n")

    assert len(read_image_folder(folder).train.labels) == 20


ROW = "expected a new id and a class of CIFAR-10 in each row of TABLE, got "
NO_IMAGE = "expected an image for each row of TABLE, found none for id 0"
BROKEN = {  # what is changed in the table to what, and the sentence
    "a wrong header": ("id,label", "id;label", "expected the header id,label in TABLE, got 'id;label'"),
    "no label": ("\n5,deer", "\n5", ROW + "'5'"),
    "an unknown label": ("\n6,dog", "\n6,puppy", ROW + "'6,puppy'"),
    "an id twice": ("\n6,dog", "\n5,dog", ROW + "'5,dog'"),
    "an image without a row": ("\n6,dog", "", "expected a row for each image in TABLE, found none for id 6"),
    "a row without an image": ("\n6,", "\n0,cat\n6,", NO_IMAGE),
    "another encoding": ("dog", "d\xf6g", "cannot read TABLE as a table in UTF-8: invalid start byte"),
}


@pytest.mark.parametrize(("old", "new", "sentence"), BROKEN.values(), ids=BROKEN)
def test_broken_table_is_refused_in_one_sentence(folder, old, new, sentence):
    """What does not fit is told with the row or the id at fault."""
    table = folder / "trainLabels.csv"
    table.write_text(table.read_text().replace(old, new), encoding="latin-1")

    expected = re.escape(sentence.replace("TABLE", str(table)))
    with pytest.raises(DataError, match=f"^{expected}$"):
        read_image_folder(folder)
