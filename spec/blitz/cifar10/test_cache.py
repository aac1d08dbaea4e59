"""The cache: one decoded copy on disk, written whole or not at all, and read back only if it is sound."""

import os
import pickle
import resource
import shutil
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from blitz.cifar10 import cache
from blitz.cifar10.data import load
from blitz.errors import DataError
from spec.blitz.data_folders import write_image_folder

IMAGES = 30  # in the folder below


@pytest.fixture(autouse=True)
def cache_folder(tmp_path, monkeypatch):
    """An empty cache of this test's own."""
    monkeypatch.setenv("BLITZ_CACHE", str(tmp_path / "new" / "cache"))
    return tmp_path / "new" / "cache"


@pytest.fixture
def source(tmp_path):
    """A whole image folder."""
    return write_image_folder(tmp_path / "images")


@pytest.fixture
def opened(monkeypatch):
    """The images that Pillow has opened so far."""
    files = []
    monkeypatch.setattr(Image, "open", lambda file, real=Image.open: files.append(file) or real(file))
    return files


def cache_file(folder):
    """Return the one cache file."""
    (file,) = folder.glob("*.pt")
    return file


def test_second_load_decodes_nothing(source, opened):
    """What is cached is read from the cache, and is the same."""
    first = load(source)
    second = load(source)

    assert len(opened) == IMAGES
    assert torch.equal(first.train.images, second.train.images)
    assert first.classes == second.classes


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lists what a process has mapped")
def test_cached_tensors_are_mapped_from_the_file(source, cache_folder):
    """The memory of the tensors is the file's own, so that processes share it."""
    load(source)
    data = load(source)

    assert data.train.labels.tolist()
    assert str(cache_file(cache_folder)) in Path("/proc/self/maps").read_text()


def test_cached_tensors_change_without_changing_the_cache(source):
    """The tensors are a private map of the file: writing to them is allowed and stays in this process."""
    load(source).train.images.zero_()

    assert load(source).train.images.any()


CHANGES = {
    "an image added": lambda f: shutil.copy(f / "train/cat/1.png", f / "train/cat/2.png"),
    "a file removed": lambda f: (f / "train/cat/1.png").unlink(),
    "a file renamed": lambda f: (f / "train/cat/1.png").rename(f / "train/cat/2.png"),
    "another time": lambda f: os.utime(f / "train/cat/1.png", ns=(0, 0)),
    "another size": lambda f: resize(f / "train/cat/1.png"),
    "two classes exchanged": lambda f: exchange(f / "train/cat", f / "train/dog"),
    "train and test exchanged": lambda f: exchange(f / "train", f / "test"),
}


def exchange(folder, other):
    """Give each of two folders the name of the other."""
    folder.rename(folder.with_name("between"))
    other.rename(folder)
    folder.with_name("between").rename(other)


def resize(path):
    """Lengthen a file by a byte and keep its time."""
    before = path.stat()
    path.write_bytes(path.read_bytes() + b"\0")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_changed_source_is_decoded_again(source, opened, cache_folder, change):
    """A change of the source is noticed, and the new cache file takes the place of the old."""
    load(source)
    change(source)
    opened.clear()

    load(source)

    assert opened
    assert cache_file(cache_folder)


UNCHANGED = {
    "what Finder writes": "train/cat/.DS_Store",
    "what Explorer writes": "test/Thumbs.db",
    "what a notebook writes": "train/.ipynb_checkpoints",
    "a file that is no image": "train/cat/note.txt",
    "a file outside the parts": "note.txt",
}


@pytest.mark.parametrize("name", UNCHANGED.values(), ids=UNCHANGED)
def test_what_does_not_count_leaves_the_cache_alone(source, opened, name):
    """A hidden file, and one of another kind, is no reason to decode anything again."""
    load(source)
    (source / name).touch()

    load(source)

    assert len(opened) == IMAGES


def test_cache_file_of_another_format_is_written_anew(source, opened, monkeypatch):
    """What an older blitz has written in another way is not read."""
    load(source)
    monkeypatch.setattr(cache, "FORMAT", cache.FORMAT + 1)
    opened.clear()

    load(source)

    assert len(opened) == IMAGES


def flip(path):
    """Change a byte in the middle of the pixels."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


DAMAGES = {
    "a flipped bit": flip,
    "a file cut short": lambda path: os.truncate(path, path.stat().st_size // 2),
    "another class": lambda path: path.write_bytes(path.read_bytes().replace(b"airplane", b"airplant")),
    "an empty file": lambda path: os.truncate(path, 0),
    "text": lambda path: path.write_text("hello"),
    "a foreign pickle": lambda path: path.write_bytes(pickle.dumps(print)),
    "a foreign checkpoint": lambda path: torch.save({"weight": torch.ones(3)}, path),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_damaged_or_foreign_cache_file_is_written_anew(source, opened, cache_folder, damage):
    """A cache file that is not what was written is neither trusted nor an error."""
    intact = load(source).train.images.clone()
    damage(cache_file(cache_folder))

    assert torch.equal(load(source).train.images, intact)
    assert len(opened) == 2 * IMAGES
    load(source)
    assert len(opened) == 2 * IMAGES


class Planted:
    """A pickle that runs code when it is read."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.filterwarnings("ignore:Environment variable TORCH_FORCE")  # as an error it would stop the code
def test_code_in_a_cache_file_is_not_run(source, tmp_path, cache_folder, monkeypatch):
    """A cache file into which someone has planted code is written anew, and the code does not run.

    Nor where the environment has PyTorch run code wherever nobody has said otherwise.
    """
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    load(source)
    torch.save(Planted(tmp_path / "ran"), cache_file(cache_folder))

    load(source)

    assert not (tmp_path / "ran").exists()


def test_sound_cache_file_is_read_without_its_lock(source, opened, cache_folder):
    """Reading writes nothing and waits for no one: here there is a folder where the lock should be."""
    load(source)
    (lock,) = cache_folder.glob("*.lock")
    lock.unlink()
    lock.mkdir()

    load(source)

    assert len(opened) == IMAGES


def test_what_was_written_while_waiting_is_not_decoded_again(source, opened, monkeypatch):
    """Who gets the lock after another process looks again for its file."""

    def wait(path, lock=cache.FileLock):
        monkeypatch.setattr(cache, "FileLock", lock)
        load(source)
        return lock(path)

    monkeypatch.setattr(cache, "FileLock", wait)
    load(source)

    assert len(opened) == IMAGES


@pytest.mark.skipif(sys.platform == "darwin", reason="macOS has no such names")
def test_names_in_any_encoding_are_cached(tmp_path, opened):
    """A folder, and a file in it, whose names are not UTF-8 are as good as others."""
    source = write_image_folder(tmp_path / os.fsdecode(b"\xff"))
    (source / "train/cat" / os.fsdecode(b"\xff.txt")).touch()

    load(source)
    load(source)

    assert len(opened) == IMAGES


def test_source_that_cannot_be_looked_at_is_one_sentence(source):
    """A link to nowhere among the images is named."""
    (source / "train/dog/2.png").symlink_to("nowhere")

    with pytest.raises(DataError, match=r"^cannot read .*/train/dog/2\.png: No such file or directory$"):
        load(source)


def test_sources_do_not_share_a_cache_file(source, tmp_path, cache_folder):
    """Two folders of the same name have a cache file each, and each file begins with that name."""
    other = write_image_folder(tmp_path / "elsewhere" / source.name)

    load(source)
    load(other)

    assert len(list(cache_folder.glob("images-*.pt"))) == 2


def test_failed_read_leaves_no_cache_file(source, cache_folder):
    """A source that cannot be read leaves nothing half-written."""
    (source / "test/truck/0.png").write_bytes(b"")

    with pytest.raises(DataError, match=r"cannot decode"):
        load(source)

    assert not [path for path in cache_folder.iterdir() if path.suffix != ".lock"]


def test_unwritable_cache_is_noticed_before_decoding(source, opened, cache_folder):
    """A file where the cache folder should be is one sentence, and no image is decoded for nothing."""
    cache_folder.parent.mkdir()
    cache_folder.write_text("in the way")

    with pytest.raises(
        DataError,
        match=r"^cannot write the cache in .*cache, set BLITZ_CACHE to another folder: File exists$",
    ):
        load(source)

    assert not opened


def test_full_disk_is_one_sentence_and_leaves_no_file(source, cache_folder):
    """When the disk takes no more, here by the limit on a file's size, nothing half-written stays."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    try:
        with pytest.raises(DataError, match=r"^cannot write the cache in .*: File too large$"):
            load(source)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    assert not [path for path in cache_folder.iterdir() if path.suffix != ".lock"]


def test_other_errors_of_torch_save_are_not_hidden(source, monkeypatch):
    """What is not the disk's fault is raised as it is."""

    def refuse(content, file):
        raise RuntimeError("odd")

    monkeypatch.setattr(torch, "save", refuse)

    with pytest.raises(RuntimeError, match=r"^odd$"):
        load(source)


PLACES = {
    "BLITZ_CACHE": ({"BLITZ_CACHE": "/a", "XDG_CACHE_HOME": "/b", "HOME": "/c"}, "/a"),
    "BLITZ_CACHE at home": ({"BLITZ_CACHE": "~/a", "HOME": "/c"}, "/c/a"),
    "XDG_CACHE_HOME": ({"XDG_CACHE_HOME": "/b", "HOME": "/c"}, "/b/blitz"),
    "home": ({"HOME": "/c"}, "/c/.cache/blitz"),
}


@pytest.mark.parametrize(("environment", "place"), PLACES.values(), ids=PLACES)
def test_cache_is_where_the_environment_says(monkeypatch, environment, place):
    """BLITZ_CACHE goes before XDG_CACHE_HOME, which goes before the home folder."""
    monkeypatch.delenv("BLITZ_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    assert str(cache.cache_folder()) == place
