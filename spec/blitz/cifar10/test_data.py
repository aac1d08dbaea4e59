"""blitz.cifar10.data: which data set is loaded, and what is wrong with one that is not."""

import sys
from unittest.mock import Mock

import pytest
import torch

from blitz.cifar10 import data, official, stand_in
from blitz.cifar10.data import find, load
from blitz.errors import DataError
from spec.blitz.data_folders import write_archive, write_image_folder, write_kaggle, write_official

OFFICIAL = "cifar-10-batches-py"
ARCHIVE = "cifar-10-python.tar.gz"


class TestSource:
    """What `source` names, and what is taken when it names nothing."""

    def test_source_is_decoded_once(self, image_folder, official_copy, tmp_path, monkeypatch):
        """The second time it comes from the cache, and is the same; nothing is written beside it."""
        archive = write_archive(tmp_path / "packed" / ARCHIVE, official_copy.parent, monkeypatch)
        sources = image_folder, official_copy.parent, archive
        before = [sorted(source.rglob("*")) for source in sources]

        first = [load(source) for source in sources]
        monkeypatch.setattr(data, "read_image_folder", None)
        monkeypatch.setattr(official, "read", None)
        second = [load(source) for source in sources]

        assert [sorted(source.rglob("*")) for source in sources] == before
        for source, one, other in zip(sources, first, second, strict=True):
            assert one.origin == find(source)[0]
            assert one.train.images.dtype == torch.uint8
            assert other[2:] == one[2:]
            torch.testing.assert_close(other[:2], one[:2], rtol=0, atol=0)

    def test_what_is_left_out_is_told_in_one_line(self, image_folder, capsys):
        """Hidden files do not count, and the line on stderr says so, read from the cache or not."""
        (image_folder / "train/cat/._0.png").touch()

        for _ in range(2):
            load(image_folder)

            assert capsys.readouterr().err == (
                f"blitz: left out in {image_folder}: 1 that are hidden, or are no images of a class\n"
            )

    @pytest.mark.parametrize(("progress", "is_terminal"), [(True, True), (False, True), (True, False)])
    def test_progress_is_shown_on_a_terminal(self, image_folder, capsys, monkeypatch, progress, is_terminal):
        """With progress=True a bar counts the images; without it, and in a log, nothing is said."""
        monkeypatch.setattr(sys.stderr, "isatty", lambda: is_terminal)

        load(image_folder, progress=progress)

        said = capsys.readouterr().err
        assert ("decoding: 100%" in said and "30/30" in said) if progress and is_terminal else said == ""

    def test_stand_in_is_asked_for_by_name(self, capsys, cache_folder, monkeypatch, little):
        """It goes before BLITZ_DATA as any source does, and comes in silence and without a cache."""
        monkeypatch.setattr(stand_in, "draw", lambda: little)
        monkeypatch.setenv("BLITZ_DATA", "/nowhere")

        assert find("stand-in") == ("stand-in", None)
        assert load("stand-in") is little
        assert capsys.readouterr().err == ""
        assert not cache_folder.exists()

    def test_blitz_data_names_the_default(self, image_folder, monkeypatch):
        """Without a source, BLITZ_DATA names it, from the home folder on if it begins with ~."""
        monkeypatch.setenv("HOME", str(image_folder.parent))
        monkeypatch.setenv("BLITZ_DATA", "~/images")

        assert find() == ("image folder", image_folder)

    def test_official_copy_in_the_cache_is_the_next_default(self, cache_folder, monkeypatch):
        """Without a source and BLITZ_DATA, an official copy in the user's cache is taken."""
        write_official(cache_folder, monkeypatch)

        assert find() == ("official", cache_folder / OFFICIAL)

    def test_last_default_is_the_stand_in_and_says_so(self, capsys, monkeypatch, little):
        """Nothing is fetched unasked: one line on stderr says so, with the command that fetches."""
        monkeypatch.setattr(stand_in, "draw", lambda: little)
        monkeypatch.setattr(official, "download", None)

        assert load() is little
        assert capsys.readouterr().err == (
            "blitz: no CIFAR-10 here, using the drawn stand-in; "
            "blitz train --download fetches the real one, --data PATH names a copy\n"
        )

    def test_folder_that_blitz_data_names_is_blamed_on_it(self, monkeypatch):
        """Where BLITZ_DATA is at fault the sentence says so."""
        monkeypatch.setenv("BLITZ_DATA", "/nowhere")

        with pytest.raises(DataError, match=r"there is no folder /nowhere \(named by BLITZ_DATA\)$"):
            find()


def write_unlabelled_test(folder):
    """Write an image folder whose test images lie in no class folders, as competitions have them."""
    write_image_folder(folder, test=())
    (folder / "test").mkdir()
    (folder / "test/1.png").touch()


WITHOUT_TEST = {
    "no test folder": lambda folder: write_image_folder(folder, test=()),
    "test images without classes": write_unlabelled_test,
    "Kaggle's": write_kaggle,
}


@pytest.mark.parametrize("write", WITHOUT_TEST.values(), ids=WITHOUT_TEST)
def test_holdout_makes_up_for_a_test_part_that_is_missing(tmp_path, write):
    """Without it the sentence says what is missing, and names the option, before anything is decoded."""
    folder = tmp_path / "data"
    write(folder)

    held_out = load(folder, holdout=10)

    assert (len(held_out.train.labels), len(held_out.test.labels)) == (10, 10)
    with pytest.raises(DataError, match=r"^the test part of .*data is missing, .* --holdout N$"):
        find(folder)


NAMED = {
    "nothing": (None, None, "new/cache"),
    "a folder by BLITZ_DATA": (None, "data", "data"),
    "a folder": ("data", "elsewhere", "data"),
    "the folder of the batches": (f"data/{OFFICIAL}", None, "data"),
    "a folder above a damaged copy": ("above", None, "above/copy"),
}


class TestDownload:
    """`download=True`."""

    @pytest.fixture
    def download(self, monkeypatch):
        """What downloads to a folder: a small official copy arrives there."""
        arrive = Mock(side_effect=lambda folder: write_official(folder.parent, monkeypatch))
        monkeypatch.setattr(official, "download", arrive)
        return arrive

    @pytest.mark.parametrize(("source", "variable", "around"), NAMED.values(), ids=NAMED)
    def test_goes_to_the_folder_named_or_to_the_cache(
        self, download, tmp_path, monkeypatch, source, variable, around
    ):
        """The batches come to lie in a folder of their own, or where a copy is, and are what is loaded."""
        (tmp_path / "above/copy" / OFFICIAL).mkdir(parents=True)
        if variable:
            monkeypatch.setenv("BLITZ_DATA", str(tmp_path / variable))

        loaded = load(source and tmp_path / source, download=True)

        download.assert_called_once_with(tmp_path / around / OFFICIAL)
        assert loaded.origin == "official"

    def test_data_that_are_there_are_only_read(self, download, image_folder, official_copy, monkeypatch):
        """Images, and an archive, need no copy beside them."""
        archive = write_archive(image_folder.parent / ARCHIVE, official_copy.parent, monkeypatch)

        assert load(image_folder, download=True).origin == "image folder"
        assert load(archive, download=True).origin == "official"
        download.assert_not_called()

    def test_stand_in_is_no_folder_to_download_to(self):
        """The stand-in is built in, so downloading it is a misunderstanding."""
        sentence = r"^expected a folder to download to, got stand-in, which is built in$"

        with pytest.raises(DataError, match=sentence):
            load("stand-in", download=True)
