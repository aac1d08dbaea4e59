"""blitz/derived/image_data.py: which folders are read, how, and what is refused."""

import re

import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from blitz.derived import image_data
from blitz.derived.image_data import centres, crops, read
from blitz.errors import DataError


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


REFUSED = {
    "no folder": (
        [],
        [],
        "expected the folders train and val in {folder}, found no train",
    ),
    "no val": (
        [("train", "ant")],
        [],
        "expected the folders train and val in {folder}, found no val or test",
    ),
    "no classes": (
        [],
        ["train", "val"],
        "expected a folder for each class in {folder}/train, found none",
    ),
    "class of train alone": (
        [("train", "ant"), ("train", "bee"), ("val", "ant")],
        [],
        "expected the same classes in {folder}/train and {folder}/val, found bee in {folder}/train alone",
    ),
    "class of val alone": (
        [("train", "ant"), ("val", "ant"), ("val", "bee")],
        [],
        "expected the same classes in {folder}/train and {folder}/val, found bee in {folder}/val alone",
    ),
    "class without images": (
        [("train", "ant"), ("val", "ant")],
        ["train/bee", "val/bee"],
        "expected images of each class in {folder}/train and {folder}/val: "
        "Found no valid file for the classes bee",
    ),
}


@pytest.mark.parametrize(("images", "empty", "sentence"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_data_set_is_refused_in_a_sentence(tmp_path, images, empty, sentence):
    """It says what was expected, and what is missing where."""
    for part, name in images:
        write(tmp_path, part, classes=(name,))
    for name in empty:
        (tmp_path / name).mkdir(parents=True)

    with pytest.raises(DataError, match=f"^{re.escape(sentence.format(folder=tmp_path))}"):
        read(tmp_path)


def test_broken_image_is_named(tmp_path):
    """By its path, with the way out."""
    folder = write(tmp_path, "train", "val")
    path = folder / "train" / "bee" / "1.jpg"
    path.write_bytes(path.read_bytes()[:200])

    with pytest.raises(DataError, match=f"^cannot decode {path}, replace or remove it: "):
        crops(read(folder), seed=0, epoch=0)[3]


# Python 3.12 and later warn when a process with threads forks; these workers only crop.
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_workers_see_the_same(monkeypatch):
    """The crops do not depend on which process makes them."""
    views = crops(image_data.draw(), seed=0, epoch=0)

    here, there = (
        torch.cat([pixels for pixels, _ in DataLoader(views, 3, sampler=range(6), num_workers=workers)])
        for workers in (0, 2)
    )

    assert torch.equal(here, there)
