"""blitz.cifar10.official: the official copy of CIFAR-10, read and fetched."""

import io
import sys
import tarfile
import tempfile
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
import torch
from torchvision.datasets import CIFAR10

from blitz.cifar10 import official
from blitz.errors import DataError
from spec.blitz.data_folders import CLASSES, cut, md5, pixels, write_archive


class QuietHandler(SimpleHTTPRequestHandler):
    """Serves files without a log."""

    def log_message(self, *args):
        """Say nothing."""


@pytest.fixture
def served(official_copy, tmp_path, monkeypatch):
    """The archive of the official copy, served from this machine to torchvision."""
    archive = write_archive(tmp_path / "served" / CIFAR10.filename, official_copy.parent, monkeypatch)
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(QuietHandler, directory=archive.parent)) as server:
        Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        monkeypatch.setattr(CIFAR10, "url", f"http://127.0.0.1:{server.server_port}/{archive.name}")
        yield archive
        server.shutdown()


@pytest.fixture
def no_network(monkeypatch):
    """An address at which nobody answers."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(CIFAR10, "url", "http://127.0.0.1:9/none")


def test_batches_are_joined_in_order_and_the_test_batch_is_kept_apart(official_copy):
    """Images come channel first, as they lie in the files, and the names of the classes from batches.meta."""
    data = official.read(official_copy)

    expected = np.concatenate([pixels(count=10, seed=batch) for batch in range(5)])
    assert np.array_equal(data.train.images.numpy(), expected)
    assert data.train.labels.tolist() == 5 * list(range(10))
    assert np.array_equal(data.test.images.numpy(), pixels(count=10, seed=5))
    assert data.test.labels.tolist() == list(range(10))
    assert (data.classes, data.origin) == (CLASSES, "official")


def test_archive_gives_what_its_folder_gives(official_copy, tmp_path, monkeypatch, cache_folder):
    """It is unpacked in the cache, where nothing of it stays; beside the archive nothing is written."""
    archive = write_archive(tmp_path / "downloads" / CIFAR10.filename, official_copy.parent, monkeypatch)
    cache_folder.mkdir(parents=True)
    monkeypatch.setattr(tempfile, "tempdir", "/nowhere")

    data = official.read(archive)

    assert torch.equal(data.train.images, official.read(official_copy).train.images)
    assert list(archive.parent.iterdir()) == [archive]
    assert list(cache_folder.iterdir()) == []


def test_damaged_archive_is_not_unpacked(official_copy, tmp_path, monkeypatch):
    """What has another checksum is refused before it is opened."""
    archive = write_archive(tmp_path / CIFAR10.filename, official_copy.parent, monkeypatch)
    cut(archive)
    monkeypatch.setattr(tarfile, "open", None)

    sentence = (
        r"^/.*/cifar-10-python.tar.gz is damaged, its checksum is not the official one: replace it, "
        f"or remove it and fetch another with blitz train --download --data {tmp_path}$"
    )
    with pytest.raises(DataError, match=sentence):
        official.read(archive)


def accept_as_test_batch(folder, monkeypatch, content):
    """Give the test batch another content, and torchvision its new checksum."""
    path = folder / "test_batch"
    path.write_bytes(content)
    monkeypatch.setattr(CIFAR10, "test_list", [["test_batch", md5(path)]])


BROKEN_COPIES = {
    "a missing batch": (lambda f, _: (f / "data_batch_3").unlink(), "/.*/data_batch_3 is missing"),
    "missing class names": (lambda f, _: (f / "batches.meta").unlink(), "/.*/batches.meta is missing"),
    "a truncated batch": (
        lambda f, _: cut(f / "test_batch"),
        "/.*/test_batch is damaged, its checksum is not the official one",
    ),
    "a batch that is no pickle": (
        lambda f, m: accept_as_test_batch(f, m, b""),
        r"cannot read /.*/cifar-10-batches-py \(Ran out of input\)",
    ),
}


@pytest.mark.parametrize(("break_", "sentence"), BROKEN_COPIES.values(), ids=BROKEN_COPIES)
def test_broken_official_copy_is_refused_in_one_sentence(official_copy, monkeypatch, break_, sentence):
    """What is wrong with an official copy is said with the name of the file at fault, and the way out."""
    break_(official_copy, monkeypatch)

    way_out = f"fetch the official copy with blitz train --download --data {official_copy}"
    with pytest.raises(DataError, match=f"^{sentence}: {way_out}$"):
        official.read(official_copy)


class TestDownload:
    """The official archive, from this machine instead of the network."""

    @pytest.mark.parametrize("is_terminal", [True, False], ids=["terminal", "log"])
    def test_leaves_an_official_copy_and_nothing_else(self, served, tmp_path, monkeypatch, is_terminal):
        """The archive is unpacked where the copy will be; a log gets one line, without torchvision's bar."""
        stream = io.StringIO()
        stream.isatty = lambda: is_terminal
        monkeypatch.setattr(sys, "stderr", stream)
        monkeypatch.setattr(tempfile, "tempdir", "/nowhere")
        folder = tmp_path / "not/there yet" / CIFAR10.base_folder

        official.download(folder)

        assert len(official.read(folder).train.images) == 50
        assert {path.name for path in folder.parent.iterdir()} <= {CIFAR10.base_folder, ".download.lock"}
        assert stream.getvalue().startswith(f"fetching {CIFAR10.url} (170 MB)\n")
        assert ("100%" in stream.getvalue()) == is_terminal

    def test_whole_copy_is_only_read(self, official_copy, monkeypatch):
        """Nothing is fetched, and nothing is written or locked beside it: the disk may be read-only."""
        monkeypatch.setattr(official, "FileLock", None)

        official.download(official_copy)

        assert [path.name for path in official_copy.parent.iterdir()] == [CIFAR10.base_folder]

    @pytest.mark.parametrize("damage", [Path.unlink, cut], ids=["a missing file", "a damaged file"])
    @pytest.mark.usefixtures("served")
    def test_damaged_copy_is_put_right(self, official_copy, damage):
        """A copy that misses a file, or has a damaged one, is fetched again."""
        damage(official_copy / "data_batch_2")

        official.download(official_copy)

        assert len(official.read(official_copy).train.images) == 50

    @pytest.mark.usefixtures("no_network")
    def test_no_network_is_one_sentence(self, tmp_path):
        """Without a network the error names the address, and nothing is left that passes for a copy."""
        sentence = r"^cannot download CIFAR-10 from http://127\.\S+ to \S+: .*refused$"

        with pytest.raises(DataError, match=sentence):
            official.download(tmp_path / "new" / CIFAR10.base_folder)

        assert {path.name for path in (tmp_path / "new").iterdir()} <= {".download.lock"}

    def test_damaged_archive_is_one_sentence(self, served, tmp_path):
        """An archive of another checksum is refused, and nothing of it stays behind."""
        cut(served)

        with pytest.raises(DataError, match=r"^cannot download CIFAR-10 from http:.*corrupted$"):
            official.download(tmp_path / "new" / CIFAR10.base_folder)

        assert {path.name for path in (tmp_path / "new").iterdir()} <= {".download.lock"}
