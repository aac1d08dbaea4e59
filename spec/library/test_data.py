"""blitz.data: which data set is loaded, and what is wrong with one that is not."""

import sys

import pytest
import torch

from blitz import stand_in
from blitz.data import find, load
from blitz.errors import DataError
from spec.library.data_folders import CLASSES, pixels, write_image_folder, write_official


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

    def test_official_copy_goes_before_images(self, tmp_path, monkeypatch):
        """A folder that holds both layouts is read as the official copy."""
        folder = write_official(write_image_folder(tmp_path / "both"), monkeypatch)

        assert find(folder) == ("official", folder)

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

        assert find() == ("official", cache_folder)
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
            (tmp_path / part).mkdir()

        assert find(tmp_path) == ("image folder", tmp_path)
        assert not cache_folder.exists()


class TestUnusableSource:
    """What is wrong with a source, in one sentence."""

    def test_folder_that_is_not_there(self, tmp_path):
        """The folder is named."""
        with pytest.raises(
            DataError, match=r"^expected a folder with CIFAR-10, but there is no folder .*/none$"
        ):
            load(tmp_path / "none")

    def test_folder_that_blitz_data_names(self, monkeypatch):
        """Where BLITZ_DATA is at fault the sentence says so."""
        monkeypatch.setenv("BLITZ_DATA", "/nowhere")

        with pytest.raises(DataError, match=r"there is no folder /nowhere \(named by BLITZ_DATA\)$"):
            load()

    def test_file_instead_of_a_folder(self, tmp_path):
        """A file, such as the archive itself, is no folder."""
        archive = tmp_path / "cifar-10-python.tar.gz"
        archive.touch()

        with pytest.raises(DataError, match=r"there is no folder .*/cifar-10-python\.tar\.gz$"):
            load(archive)

    def test_folder_of_neither_layout(self, tmp_path):
        """The sentence says what was looked for and what lies there instead."""
        for name in ("train", "f", "e", "d", "c", "b"):
            (tmp_path / name).mkdir()

        with pytest.raises(
            DataError,
            match=r"^expected cifar-10-batches-py, or train and test, in the folder .*, found b, c, d, e, f$",
        ):
            load(tmp_path)

    def test_empty_folder(self, tmp_path):
        """An empty folder is of neither layout."""
        with pytest.raises(DataError, match=r"found nothing$"):
            load(tmp_path)

    def test_download_of_the_stand_in(self):
        """The stand-in is built in, so downloading it is a misunderstanding."""
        with pytest.raises(
            DataError, match=r"^expected a folder to download to, got stand-in, which is built in$"
        ):
            load("stand-in", download=True)


class TestDownload:
    """`download=True`."""

    @pytest.fixture
    def folders(self, monkeypatch, tmp_path):
        """The folders downloaded to; what arrives is a small official copy."""
        seen = []

        def arrive(folder):
            seen.append(folder)
            write_official(folder, monkeypatch)

        monkeypatch.setattr("blitz.official.download", arrive)
        return seen

    def test_goes_to_the_cache_by_default(self, folders, cache_folder):
        """Without a folder the archive goes to the user's cache, and is what is loaded."""
        data = load(download=True)

        assert folders == [cache_folder]
        assert data.origin == "official"

    def test_goes_to_the_folder_named(self, folders, tmp_path):
        """With a folder, which need not exist, the archive goes there."""
        data = load(tmp_path / "new", download=True)

        assert folders == [tmp_path / "new"]
        assert data.origin == "official"

    def test_goes_to_the_folder_of_the_variable(self, folders, monkeypatch, tmp_path):
        """Without an argument the archive goes where BLITZ_DATA points to."""
        monkeypatch.setenv("BLITZ_DATA", str(tmp_path / "new"))

        load(download=True)

        assert folders == [tmp_path / "new"]

    def test_never_happens_unasked(self, folders):
        """Without download=True nothing is fetched, although there is no data."""
        load()

        assert folders == []


def test_stand_in_has_the_origin_that_find_names():
    """`find` and `load` agree on what the stand-in is called."""
    assert find("stand-in")[0] == stand_in.draw(train=10, test=10).origin
