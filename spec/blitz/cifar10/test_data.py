"""blitz.cifar10.data: which data set is loaded, and what is wrong with one that is not."""

import sys

import pytest
import torch

from blitz.cifar10 import stand_in
from blitz.cifar10.data import find, load
from blitz.errors import DataError
from spec.blitz.data_folders import (
    CLASSES,
    pixels,
    write_archive,
    write_image_folder,
    write_kaggle,
    write_official,
)


@pytest.fixture(autouse=True)
def cache_folder(tmp_path, monkeypatch):
    """An empty cache of this test's own, and no BLITZ_DATA."""
    monkeypatch.setenv("BLITZ_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("BLITZ_DATA", raising=False)
    return tmp_path / "cache"


class TestSource:
    """What `source` names, and what is taken when it names nothing."""

    def test_image_folder_is_loaded(self, tmp_path):
        """A folder with train and test gives uint8 images and int64 labels of ten classes."""
        data = load(write_image_folder(tmp_path / "images"))

        assert data.train.images.shape == (20, 3, 32, 32)
        assert data.train.images.dtype == torch.uint8
        assert data.train.labels.dtype == torch.int64
        assert data.classes == CLASSES

    def test_official_copy_is_loaded(self, tmp_path, monkeypatch):
        """A folder with cifar-10-batches-py gives the same kind of data, also the second time."""
        folder = write_official(tmp_path / "official", monkeypatch)

        first, second = load(folder), load(folder)

        assert first.origin == second.origin == "official"
        assert torch.equal(first.test.images, torch.from_numpy(pixels(count=10, seed=5)))
        assert torch.equal(second.test.images, first.test.images)

    def test_archive_is_loaded_and_cached(self, tmp_path, monkeypatch):
        """The archive gives the same data and is unpacked once; nothing is written beside it."""
        folder = write_official(tmp_path / "official", monkeypatch)
        archive = write_archive(tmp_path / "archive/cifar-10-python.tar.gz", folder, monkeypatch)

        first, expected = load(archive), load(folder)
        monkeypatch.setattr("blitz.cifar10.official.read", None)
        second = load(archive.parent)

        assert torch.equal(first.train.images, expected.train.images)
        assert torch.equal(second.train.images, first.train.images)
        assert list(archive.parent.iterdir()) == [archive]

    def test_what_is_left_out_is_told_in_one_line(self, tmp_path, capsys):
        """Hidden files do not count, and the line on stderr says so, read from the cache or not."""
        folder = write_image_folder(tmp_path / "images")
        (folder / "train/cat/._0.png").touch()

        assert len(load(folder).train.labels) == 20
        first = capsys.readouterr().err
        load(folder)

        assert first == capsys.readouterr().err
        assert first == f"blitz: left out in {folder}: 1 hidden, 0 that are no images of a class\n"

    def test_progress_is_shown_where_it_is_asked_for(self, tmp_path, capsys, monkeypatch):
        """With progress=True the decoding is shown on a terminal; without it nothing is said."""
        monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
        load(write_image_folder(tmp_path / "images"))
        silent = capsys.readouterr().err
        load(write_image_folder(tmp_path / "others"), progress=True)

        assert silent == ""
        assert "30/30" in capsys.readouterr().err

    def test_stand_in_is_asked_for_by_name(self, capsys, cache_folder):
        """The source "stand-in" gives the drawn data set, in silence and without a cache."""
        data = load("stand-in")

        assert data.origin == "stand-in"
        assert capsys.readouterr().err == ""
        assert not cache_folder.exists()

    def test_blitz_data_names_the_default(self, tmp_path, monkeypatch):
        """Without a source, BLITZ_DATA names it, from the home folder on if it begins with ~."""
        folder = write_image_folder(tmp_path / "images")
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.setenv("BLITZ_DATA", "~/images")

        assert find() == ("image folder", folder)
        assert load().origin == "image folder"

    def test_source_goes_before_blitz_data(self, monkeypatch):
        """A source that is given wins over BLITZ_DATA."""
        monkeypatch.setenv("BLITZ_DATA", "/nowhere")

        assert find("stand-in") == ("stand-in", None)

    def test_official_copy_in_the_cache_is_the_default(self, cache_folder, monkeypatch):
        """Without a source and BLITZ_DATA, an official copy in the user's cache is taken."""
        write_official(cache_folder, monkeypatch)

        assert find() == ("official", cache_folder / "cifar-10-batches-py")
        assert load().origin == "official"

    def test_default_without_any_data_is_the_stand_in_and_says_so(self, capsys):
        """Where there is no CIFAR-10 one line on stderr says so, with the command that gets it."""
        data = load()

        said = capsys.readouterr().err
        assert data.origin == "stand-in"
        assert said == (
            "blitz: no CIFAR-10 here, using the drawn stand-in; "
            "blitz train --download fetches the real one, --data PATH names a copy\n"
        )

    def test_find_reads_no_image(self, tmp_path, cache_folder):
        """`find` answers from the layout alone: empty files do for it, and nothing is cached."""
        for part in ("train", "test"):
            (tmp_path / part / "cat").mkdir(parents=True)
            (tmp_path / part / "cat/0.png").touch()

        assert find(tmp_path) == ("image folder", tmp_path)
        assert not cache_folder.exists()


class TestHoldout:
    """Training images as the test part."""

    def test_takes_the_place_of_the_test_part(self, tmp_path):
        """The test images that there are stay out of it, so that a recipe can be tuned without them."""
        folder = write_image_folder(tmp_path / "images")
        whole = load(folder)

        data = load(folder, holdout=10)

        both = torch.cat([data.train.images, data.test.images])
        assert data.test.labels.tolist() == list(range(10))
        assert sorted(both.flatten(1).tolist()) == sorted(whole.train.images.flatten(1).tolist())

    def test_is_the_same_for_who_trains_and_who_evaluates(self, tmp_path):
        """Two loads hold out the same images, the first decoded and the second from the cache."""
        folder = write_image_folder(tmp_path / "images")

        first, second = load(folder, holdout=7), load(folder, holdout=7)

        assert torch.equal(first.test.images, second.test.images)

    @pytest.mark.parametrize("layout", ["no test folder", "test images without classes", "Kaggle's"])
    def test_makes_up_for_a_test_part_that_is_missing(self, tmp_path, layout):
        """Without it the sentence says what is missing, and names the option, before anything is decoded."""
        folder = tmp_path / "data"
        if layout == "Kaggle's":
            write_kaggle(folder)
        else:
            write_image_folder(folder, test=())
        if layout == "test images without classes":
            (folder / "test").mkdir()
            (folder / "test/1.png").touch()

        data = load(folder, holdout=10)

        assert (len(data.train.labels), len(data.test.labels)) == (10, 10)
        with pytest.raises(DataError, match=r"^the test part of .*data is missing, .* --holdout N$"):
            load(folder)

    def test_works_for_the_stand_in(self):
        """The drawn data set has training images like any other."""
        data = load("stand-in", holdout=500)

        assert (len(data.train.labels), len(data.test.labels)) == (4500, 500)


class TestUnusableSource:
    """What is wrong with a source, in one sentence."""

    def test_path_where_nothing_is(self, tmp_path):
        """The path is named."""
        with pytest.raises(
            DataError, match=r"^expected a folder with CIFAR-10, but there is no folder .*/none$"
        ):
            load(tmp_path / "none")

    def test_folder_that_blitz_data_names(self, monkeypatch):
        """Where BLITZ_DATA is at fault the sentence says so."""
        monkeypatch.setenv("BLITZ_DATA", "/nowhere")

        with pytest.raises(DataError, match=r"there is no folder /nowhere \(named by BLITZ_DATA\)$"):
            load()

    def test_download_of_the_stand_in(self):
        """The stand-in is built in, so downloading it is a misunderstanding."""
        with pytest.raises(
            DataError, match=r"^expected a folder to download to, got stand-in, which is built in$"
        ):
            load("stand-in", download=True)


class TestDownload:
    """`download=True`."""

    @pytest.fixture
    def arrivals(self, monkeypatch, tmp_path):
        """The folders of batches downloaded to; what arrives is a small official copy."""
        seen = []

        def arrive(folder):
            seen.append(folder)
            write_official(folder.parent, monkeypatch)

        monkeypatch.setattr("blitz.cifar10.official.download", arrive)
        return seen

    def test_goes_to_the_cache_by_default(self, arrivals, cache_folder):
        """Without a folder the archive goes to the user's cache, and is what is loaded."""
        data = load(download=True)

        assert arrivals == [cache_folder / "cifar-10-batches-py"]
        assert data.origin == "official"

    def test_goes_to_the_folder_of_the_variable(self, arrivals, monkeypatch, tmp_path):
        """Without an argument the archive goes where BLITZ_DATA points to."""
        monkeypatch.setenv("BLITZ_DATA", str(tmp_path / "new"))

        load(download=True)

        assert arrivals == [tmp_path / "new/cifar-10-batches-py"]

    @pytest.mark.parametrize("named", ["new", "new/cifar-10-batches-py"])
    def test_folder_of_the_batches_is_one_and_not_two(self, arrivals, tmp_path, named):
        """Whether the folder is named or the one in it, the batches come to lie in the same place."""
        load(tmp_path / named, download=True)

        assert arrivals == [tmp_path / "new/cifar-10-batches-py"]

    LAYOUTS = ("an archive", "a folder with an archive", "a folder of images")

    @pytest.mark.parametrize("layout", LAYOUTS)
    def test_data_that_are_there_are_only_read(self, arrivals, tmp_path, monkeypatch, layout):
        """Nothing is fetched, and nothing is written beside them: the disk may be read-only."""
        folder = tmp_path / "data"
        if layout == "a folder of images":
            write_image_folder(folder)
        else:
            copy = write_official(tmp_path / "official", monkeypatch)
            archive = write_archive(folder / "cifar-10-python.tar.gz", copy, monkeypatch)
        before = sorted(folder.rglob("*"))

        load(archive if layout == "an archive" else folder, download=True)

        assert arrivals == []
        assert sorted(folder.rglob("*")) == before

    def test_images_in_the_cache_are_no_official_copy(self, arrivals, cache_folder):
        """Without a folder it is the official copy that is wanted, whatever else lies in the user's cache."""
        write_image_folder(cache_folder / "images")

        assert load(download=True).origin == "official"
        assert len(arrivals) == 1

    @pytest.mark.parametrize("name", ["photo.jpg", "cifar-10-python.tar.gz"])
    def test_file_is_no_folder_to_download_to(self, arrivals, tmp_path, name):
        """A file of another kind, and an archive that is not there, are told before anything is fetched."""
        if name == "photo.jpg":
            (tmp_path / name).touch()

        with pytest.raises(DataError, match=f"but .*{name}"):
            load(tmp_path / name, download=True)

        assert arrivals == []

    def test_never_happens_unasked(self, arrivals):
        """Without download=True nothing is fetched, although there is no data."""
        load()

        assert arrivals == []


def test_stand_in_has_the_origin_that_find_names():
    """`find` and `load` agree on what the stand-in is called."""
    assert find("stand-in")[0] == stand_in.draw(train=10, test=10).origin
