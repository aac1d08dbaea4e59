"""blitz.cifar10.sources: what lies at a path, and what is said of what cannot be used."""

import re
import shutil

import pytest

from blitz.cifar10.sources import ARCHIVE, OFFICIAL, look, official_files, refusal
from blitz.errors import DataError
from spec.blitz.data_folders import pack, write_image_folder, write_kaggle, write_official


@pytest.fixture
def official(tmp_path, monkeypatch):
    """A folder that holds a whole official copy."""
    return write_official(tmp_path / "official", monkeypatch)


class TestLook:
    """Where the data set is, from the path that a person gives."""

    def test_folder_that_holds_the_batches(self, official):
        """As torchvision has it, with the batches in a folder of their own."""
        assert look(official) == ("official", official / OFFICIAL)

    def test_folder_of_the_batches_itself(self, official):
        """The folder whose name everybody knows."""
        assert look(official / OFFICIAL) == ("official", official / OFFICIAL)

    def test_folder_of_the_batches_by_another_name(self, official):
        """Its first batch tells what it is."""
        renamed = (official / OFFICIAL).rename(official / "cifar10")

        assert look(renamed) == ("official", renamed)

    def test_incomplete_batches_are_found(self, official):
        """What is missing is told when they are read."""
        (official / OFFICIAL / "data_batch_1").unlink()

        assert look(official / OFFICIAL) == ("official", official / OFFICIAL)

    @pytest.mark.parametrize("name", [ARCHIVE, "cifar-10-python (1).tar.gz"])
    def test_archive_itself(self, official, tmp_path, name):
        """It may have another name, as a second download has."""
        archive = pack(tmp_path / name, official / OFFICIAL)

        assert look(archive) == ("official", archive)

    def test_folder_that_holds_the_archive(self, official, tmp_path):
        """What is packed need not be unpacked."""
        archive = pack(tmp_path / ARCHIVE, official / OFFICIAL)
        shutil.rmtree(official)

        assert look(tmp_path) == ("official", archive)

    def test_batches_go_before_the_archive(self, official):
        """Who has unpacked the archive may keep it."""
        pack(official / ARCHIVE, official / OFFICIAL)

        assert look(official) == ("official", official / OFFICIAL)

    def test_official_copy_goes_before_images(self, official):
        """A folder that holds both layouts is read as the official copy."""
        write_image_folder(official)

        assert look(official) == ("official", official / OFFICIAL)

    def test_image_folder(self, tmp_path):
        """A training part is enough: whether there is a test part is asked later."""
        (tmp_path / "train").mkdir()

        assert look(tmp_path) == ("image folder", tmp_path)

    def test_kaggle_folder(self, tmp_path):
        """Images beside a table are a folder of images."""
        assert look(write_kaggle(tmp_path)) == ("image folder", tmp_path)

    def test_folder_above_a_data_set(self, tmp_path):
        """One of its folders holds a data set, the others do not."""
        (tmp_path / "__MACOSX/train").mkdir(parents=True)
        (tmp_path / "runs").mkdir()
        folder = write_image_folder(tmp_path / "cifar10-jpeg")

        assert look(tmp_path) == ("image folder", folder)

    def test_folder_above_several_data_sets(self, official, tmp_path):
        """Which of them is meant has to be said."""
        folder = write_image_folder(tmp_path / "images")

        sentence = (
            f"expected one data set in {tmp_path}, found 2, name one of them: {folder}, {official / OFFICIAL}"
        )
        with pytest.raises(DataError, match=f"^{re.escape(sentence)}$"):
            look(tmp_path)

    def test_nothing(self, tmp_path):
        """An empty folder, and a path where nothing is."""
        assert look(tmp_path) is None
        assert look(tmp_path / "none") is None


def foreign(path, name):
    """Pack an empty folder of that name, and leave the archive alone."""
    (path.parent / name).mkdir()
    pack(path, path.parent / name)
    (path.parent / name).rmdir()
    return path


NOTHING_USED = (
    "expected cifar-10-batches-py, cifar-10-python.tar.gz, or train and test, in the folder PATH, found "
)
WRONG = {
    "a path where nothing is": (
        lambda f: f / "none",
        "expected a folder with CIFAR-10, but there is no folder PATH",
    ),
    "CIFAR-100": (
        lambda f: foreign(f / "cifar-100-python.tar.gz", "cifar-100-python"),
        "expected cifar-10-batches-py or cifar-10-python.tar.gz, but PATH is CIFAR-100: "
        "blitz train --download fetches the right one",
    ),
    "the binary archive": (
        lambda f: foreign(f / "cifar-10-binary.tar.gz", "cifar-10-batches-bin"),
        "expected cifar-10-batches-py or cifar-10-python.tar.gz, but PATH is the binary version of CIFAR-10: "
        "blitz train --download fetches the right one",
    ),
    "the binary folder": (
        lambda f: (f / "cifar-10-batches-bin").mkdir() or f / "cifar-10-batches-bin",
        "expected cifar-10-batches-py or cifar-10-python.tar.gz, but PATH is the binary version of CIFAR-10: "
        "blitz train --download fetches the right one",
    ),
    "an archive of images": (
        lambda f: foreign(f / "cifar10-jpeg.tar.gz", "cifar10-jpeg"),
        "expected a folder or cifar-10-python.tar.gz, but PATH is cifar10-jpeg, packed: unpack it first",
    ),
    "a file of another kind": (
        lambda f: (f / "photo.jpg").touch() or f / "photo.jpg",
        "expected a folder or cifar-10-python.tar.gz, but PATH is another file, or damaged",
    ),
    "a part": (
        lambda f: write_image_folder(f) / "train",
        "expected a whole data set, but PATH lies within one: name FOLDER",
    ),
    "a class": (
        lambda f: write_image_folder(f) / "train/cat",
        "expected a whole data set, but PATH lies within one: name FOLDER",
    ),
    "an empty folder": (
        lambda f: f,
        NOTHING_USED + "nothing",
    ),
    "a folder of other things": (
        lambda f: [(f / name).mkdir() for name in ("f", "e", "d", "c", "b", "a", ".git")] and f,
        NOTHING_USED + "a, b, c, d, e",
    ),
    "a folder that holds another archive": (
        lambda f: foreign(f / "cifar-10-binary.tar.gz", "cifar-10-batches-bin").parent,
        NOTHING_USED + "cifar-10-binary.tar.gz; cifar-10-binary.tar.gz is the binary version of CIFAR-10",
    ),
    "a folder that holds another data set": (
        lambda f: (f / "cifar-100-python").mkdir() or f,
        NOTHING_USED + "cifar-100-python; cifar-100-python is CIFAR-100",
    ),
    "what Kaggle gives, still packed": (
        lambda f: [(f / name).touch() for name in ("train.7z", "trainLabels.csv", "test.7z")] and f,
        NOTHING_USED
        + "test.7z, train.7z, trainLabels.csv; test.7z is still packed; train.7z is still packed",
    ),
}


@pytest.mark.parametrize(("make", "sentence"), WRONG.values(), ids=WRONG)
def test_what_is_no_data_set_is_told_in_one_sentence(tmp_path, make, sentence):
    """The sentence says what was expected, what lies there, and the way out where there is one."""
    folder = tmp_path / "folder"
    folder.mkdir()
    path = make(folder)

    assert look(path) is None
    assert str(refusal(path)) == sentence.replace("PATH", str(path)).replace("FOLDER", str(folder))


def test_official_files_leave_out_what_is_hidden(official):
    """What Finder writes into the folder of the batches changes nothing."""
    before = official_files(official / OFFICIAL)
    (official / OFFICIAL / ".DS_Store").touch()

    assert official_files(official / OFFICIAL) == before
    assert len(before) == 7


def test_archive_is_its_own_only_file(official, tmp_path):
    """A second archive of the same name and place is noticed by its size and time."""
    archive = pack(tmp_path / ARCHIVE, official / OFFICIAL)

    (stamp,) = official_files(archive).values()

    assert stamp.startswith(f"{archive.stat().st_size} ")
