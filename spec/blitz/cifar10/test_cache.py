"""The cache: one decoded copy on disk, written whole or not at all, and read back only if it is sound."""

import errno
import os
import pickle
import shutil
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest.mock import Mock

import pytest
import torch

from blitz.cifar10 import cache
from blitz.cifar10.cache import cached
from blitz.cifar10.data import Cifar10, Split
from blitz.errors import DataError

SOURCE = Path("/images")
FILES = {"train/cat/0.png": "1000 1", "train/dog/0.png": "1000 1"}


@pytest.fixture
def read():
    """A reader that decodes two images, and counts its calls."""
    splits = [Split(torch.full((1, 3, 32, 32), 7, dtype=torch.uint8), torch.tensor([n])) for n in (0, 1)]
    return Mock(return_value=Cifar10(*splits, ("cat", "dog"), "image folder"))


def cache_file(folder):
    """Return the one cache file, beside which there is a lock and nothing more."""
    file, lock = sorted(folder.iterdir(), key=lambda path: path.suffix, reverse=True)
    assert (file.suffix, lock.suffix) == (".pt", ".lock")
    return file


def test_what_is_cached_is_not_read_again(read):
    """The second call gives the same as the first, without a read."""
    first, second = (cached(SOURCE, FILES, read) for _ in range(2))

    assert read.call_count == 1
    assert second.train.images.tolist() == first.train.images.tolist()
    assert (second.train.labels, second.test.labels) == (torch.tensor([0]), torch.tensor([1]))
    assert second[2:] == first[2:] == (("cat", "dog"), "image folder")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lists what a process has mapped")
def test_tensors_are_mapped_from_the_file_and_changing_them_changes_nothing(read, cache_folder):
    """Processes share the memory of the file, and what one of them writes stays its own."""
    data = cached(SOURCE, FILES, read)
    data.train.images.zero_()

    assert str(cache_file(cache_folder)) in Path("/proc/self/maps").read_text()
    assert cached(SOURCE, FILES, read).train.images.all()


CHANGES = {
    "another name": (FILES | {"train/dog/1.png": "1000 1"}, cache.FORMAT),
    "another size or time": (FILES | {"train/dog/0.png": "1000 2"}, cache.FORMAT),
    "another blitz, which writes in another way": (FILES, cache.FORMAT + 1),
}


@pytest.mark.parametrize(("files", "number"), CHANGES.values(), ids=CHANGES)
def test_changed_source_is_read_again(read, cache_folder, monkeypatch, files, number):
    """The new cache file takes the place of the old."""
    cached(SOURCE, FILES, read)
    monkeypatch.setattr(cache, "FORMAT", number)

    cached(SOURCE, files, read)

    assert read.call_count == 2
    assert cache_file(cache_folder)


def test_two_folders_of_the_same_name_have_a_cache_file_each(read, tmp_path):
    """Whoever goes from one to the other and back decodes nothing again."""
    for folder in ("a", "b", "a", "b"):
        cached(tmp_path / folder / "images", FILES, read)

    assert read.call_count == 2


def flip(path):
    """Change a byte in the middle of the pixels."""
    content = path.read_bytes()
    middle = content.index(b"\7" * 3072) + 1536
    path.write_bytes(content[:middle] + b"\6" + content[middle + 1 :])


DAMAGES = {
    "a flipped bit": flip,
    "a file cut short": lambda path: os.truncate(path, path.stat().st_size // 2),
    "a foreign pickle": lambda path: path.write_bytes(pickle.dumps(print)),
    "a foreign checkpoint": lambda path: torch.save({"weight": torch.ones(3)}, path),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_damaged_or_foreign_cache_file_is_written_anew(read, cache_folder, damage):
    """A cache file that is not what was written is neither trusted nor an error."""
    cached(SOURCE, FILES, read)
    damage(cache_file(cache_folder))

    for _ in range(2):
        assert cached(SOURCE, FILES, read).train.images.unique().tolist() == [7]

    assert read.call_count == 2


class Planted:
    """A pickle that runs code when it is read."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.filterwarnings("ignore:Environment variable TORCH_FORCE")  # as an error it would stop the code
def test_code_in_a_cache_file_is_not_run(read, tmp_path, cache_folder, monkeypatch):
    """Nor where the environment has PyTorch run code wherever nobody has said otherwise."""
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    cached(SOURCE, FILES, read)
    torch.save(Planted(tmp_path / "ran"), cache_file(cache_folder))

    cached(SOURCE, FILES, read)

    assert not (tmp_path / "ran").exists()


def test_of_several_that_ask_at_once_one_reads(read):
    """The others wait for it, and find its file when they get the lock."""
    read.side_effect = lambda: time.sleep(0.2) or read.return_value

    with ThreadPoolExecutor(4) as pool:
        loads = [pool.submit(cached, SOURCE, FILES, read) for _ in range(4)]

    assert [load.result().train.images.unique().tolist() for load in loads] == [[7]] * 4
    assert read.call_count == 1


def test_what_a_killed_process_leaves_is_not_trusted(read, cache_folder, tmp_path, monkeypatch):
    """Before the file is whole and on the disk it has no name that counts; the next load clears it away."""
    monkeypatch.setattr(os, "fsync", lambda file: shutil.copytree(cache_folder, tmp_path / "left"))
    cached(SOURCE, FILES, read)
    monkeypatch.undo()
    monkeypatch.setenv("BLITZ_CACHE", str(tmp_path / "left"))
    left = {path.suffix for path in (tmp_path / "left").iterdir()}

    cached(SOURCE, FILES, read)

    assert left == {".tmp", ".lock"}
    assert read.call_count == 2
    assert cache_file(tmp_path / "left")


FAILURES = {
    "the source": (DataError("cannot decode"), None, "cannot decode"),
    "the disk": (None, OSError(errno.ENOSPC, "disk full"), "cannot write the cache in .*: disk full"),
}


@pytest.mark.parametrize(("of_source", "of_disk", "sentence"), FAILURES.values(), ids=FAILURES)
def test_failure_is_one_sentence_and_leaves_no_file(
    read, cache_folder, monkeypatch, of_source, of_disk, sentence
):
    """Nothing half-written stays, whether the source cannot be read or the disk takes no more."""
    read.side_effect = of_source
    monkeypatch.setattr(os, "fsync", Mock(side_effect=of_disk))

    with pytest.raises(DataError, match=f"^{sentence}$"):
        cached(SOURCE, FILES, read)

    assert {path.suffix for path in cache_folder.iterdir()} == {".lock"}


def test_unwritable_cache_is_noticed_before_reading(read, cache_folder):
    """A file where the cache folder should be is one sentence, and nothing is decoded in vain."""
    cache_folder.parent.mkdir()
    cache_folder.touch()
    sentence = r"^cannot write the cache in .*cache, set BLITZ_CACHE to another folder: File exists$"

    with pytest.raises(DataError, match=sentence):
        cached(SOURCE, FILES, read)

    assert read.call_count == 0


PLACES = {
    "BLITZ_CACHE": ({"BLITZ_CACHE": "~/a", "XDG_CACHE_HOME": "/b", "HOME": "/c"}, "/c/a"),
    "XDG_CACHE_HOME": ({"XDG_CACHE_HOME": "/b", "HOME": "/c"}, "/b/blitz"),
    "home": ({"HOME": "/c"}, "/c/.cache/blitz"),
}


@pytest.mark.parametrize(("environment", "place"), PLACES.values(), ids=PLACES)
def test_cache_is_where_the_environment_says(monkeypatch, environment, place):
    """BLITZ_CACHE goes before XDG_CACHE_HOME, which goes before the home folder."""
    for name in ("BLITZ_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    assert str(cache.cache_folder()) == place
