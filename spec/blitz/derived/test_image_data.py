"""blitz/derived/image_data.py: which folders are read, how, and what is refused."""

import re
from pathlib import Path

import pytest
from PIL import Image

from blitz.derived.image_data import centres, crops, read
from blitz.errors import DataError
from spec.blitz.data_folders import make


def write(folder, *parts, classes=("ant", "bee"), size=(150, 130)):
    """Write two JPEG images of each class into each part."""
    for part in parts:
        for name in classes:
            (folder / part / name).mkdir(parents=True)
            for number in range(2):
                Image.new("RGB", size, (100 * number, 50, 0)).save(folder / part / name / f"{number}.jpg")
    return folder


@pytest.mark.parametrize("part", ["val", "test"])
def test_folder_has_train_and_val_or_else_test(tmp_path, part):
    """Classes are numbered as they sort; other folders, and what is hidden or no image, do not count."""
    folder = write(tmp_path / "data", "train", part)
    write(folder, "extra", classes=("cat",))
    (folder / "train" / ".ipynb_checkpoints").mkdir()
    for name in ("notes.txt", "._0.jpg"):
        (folder / "train" / "bee" / name).write_text("no image")

    data = read(folder)

    assert list(data.classes) == ["ant", "bee"]
    assert [label for _, label in data.train] == [label for _, label in data.val] == [0, 0, 1, 1]
    assert centres(data)[0][0].shape == (3, 224, 224)
    assert re.fullmatch(
        r"data [0-9a-f]{8} \(4 training and 4 validation images of 2 classes, scaled to 224x224\)", str(data)
    )


def test_val_goes_before_test(tmp_path):
    """As ImageNet has it, whose test images have no classes."""
    folder = write(tmp_path, "train", "val")
    (folder / "test").mkdir()

    assert len(read(folder).val) == 4


def test_net_sees_64_pixels_of_small_images(tmp_path):
    """The first training image decides."""
    data = read(write(tmp_path, "train", "val", size=(200, 127)))

    assert crops(data, seed=0, epoch=0)[0][0].shape == (3, 64, 64)


def test_name_tells_folders_with_other_images_apart(tmp_path):
    """So a training does not go on with others."""
    folder = write(tmp_path / "data", "train", "val")
    before = read(folder).name
    moved = folder.rename(tmp_path / "elsewhere")
    moved = moved.rename(tmp_path / "data")

    assert read(moved).name == before
    (folder / "train" / "ant" / "1.jpg").unlink()
    assert read(folder).name != before


PARTS = "expected the folders train and val in FOLDER, found no "
SAME = "expected the same classes in FOLDER/train and FOLDER/val, found bee in FOLDER/"
EACH = "expected images of each class in FOLDER/train and FOLDER/val: Found no valid file for the classes bee"
REFUSED = {  # folders with images, folders without, and the sentence
    "no folder": ([], [], PARTS + "train"),
    "no val": (["train/ant"], [], PARTS + "val or test"),
    "no classes": ([], ["train", "val"], "expected a folder for each class in FOLDER/train, found none"),
    "class of train alone": (["train/ant", "train/bee", "val/ant"], [], SAME + "train alone"),
    "class of val alone": (["train/ant", "val/ant", "val/bee"], [], SAME + "val alone"),
    "class without images": (["train/ant", "val/ant"], ["train/bee", "val/bee"], EACH),
}


@pytest.mark.parametrize(("images", "empty", "sentence"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_data_set_is_refused_in_a_sentence(tmp_path, images, empty, sentence):
    """It says what was expected, and what is missing where."""
    for path in map(Path, images):
        write(tmp_path, path.parent, classes=(path.name,))
    make(tmp_path, *empty)

    with pytest.raises(DataError, match=f"^{re.escape(sentence.replace('FOLDER', str(tmp_path)))}"):
        read(tmp_path)
