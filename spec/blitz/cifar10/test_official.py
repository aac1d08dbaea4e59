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
from blitz.cifar10.sources import official_in
from blitz.errors import DataError
from spec.blitz.data_folders import CLASSES, cut, md5, pixels, write_archive, write_batch, write_official


@pytest.fixture
def copy(tmp_path, monkeypatch):
    """The batches of a whole official copy, to be broken."""
    return write_official(tmp_path / "official", monkeypatch) / CIFAR10.base_folder


class QuietHandler(SimpleHTTPRequestHandler):
    """Serves files without a log."""

    def log_message(self, *args):
        """Say nothing."""


@pytest.fixture
def archive(copy, tmp_path, monkeypatch):
    """The archive of the official copy, served from this machine to torchvision."""
    path = tmp_path / "served" / CIFAR10.filename
    path.parent.mkdir()
    write_archive(path, copy.parent, monkeypatch)
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(QuietHandler, directory=path.parent)) as server:
        Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        monkeypatch.setattr(CIFAR10, "url", f"http://127.0.0.1:{server.server_port}/{path.name}")
        yield path
        server.shutdown()


class TestOfficialCopy:
    """`cifar-10-batches-py`."""

    def test_batches_are_joined_in_order(self, copy):
        """The five training batches follow each other; images come channel first, as they lie in the file."""
        data = official.read(copy)

        expected = np.concatenate([pixels(count=10, seed=batch) for batch in range(5)])
        assert np.array_equal(data.train.images.numpy(), expected)
        assert data.train.labels.tolist() == 5 * list(range(10))

    def test_test_batch_is_kept_apart(self, copy):
        """The test images are those of test_batch alone."""
        data = official.read(copy)

        assert np.array_equal(data.test.images.numpy(), pixels(count=10, seed=5))
        assert data.test.labels.tolist() == list(range(10))

    def test_classes_come_from_the_copy_itself(self, copy):
        """The names of the classes are those in batches.meta."""
        data = official.read(copy)

        assert data.classes == CLASSES
        assert data.origin == "official"

    def test_folder_of_the_batches_may_have_any_name(self, copy):
        """The batches alone tell what it is."""
        renamed = copy.rename(copy.with_name("cifar10"))

        assert len(official.read(renamed).train.images) == 50


class TestArchive:
    """`cifar-10-python.tar.gz`, as it is published."""

    @pytest.fixture(autouse=True)
    def cache_folder(self, tmp_path, monkeypatch):
        """A cache, which is there before anything is read."""
        (tmp_path / "cache").mkdir()
        monkeypatch.setenv("BLITZ_CACHE", str(tmp_path / "cache"))
        return tmp_path / "cache"

    def test_archive_gives_what_its_folder_gives(self, copy, tmp_path, monkeypatch, cache_folder):
        """It is unpacked in the cache, where nothing of it stays; beside the archive nothing is written."""
        archive = write_archive(tmp_path / "downloads.tgz", copy.parent, monkeypatch)
        before = sorted(tmp_path.iterdir())
        monkeypatch.setattr(tempfile, "tempdir", "/nowhere")

        data = official.read(archive)

        assert torch.equal(data.train.images, official.read(copy).train.images)
        assert sorted(tmp_path.iterdir()) == before
        assert list(cache_folder.iterdir()) == []

    @pytest.mark.parametrize("damage", [cut, lambda path: path.write_bytes(b"")], ids=["cut short", "empty"])
    def test_damaged_archive_is_not_unpacked(self, copy, tmp_path, monkeypatch, damage):
        """What has another checksum is refused before it is opened."""
        archive = write_archive(tmp_path / CIFAR10.filename, copy.parent, monkeypatch)
        damage(archive)
        monkeypatch.setattr(tarfile, "open", None)

        sentence = r"^/.*/cifar-10-python.tar.gz is damaged, its checksum is not the official one: replace it"
        with pytest.raises(DataError, match=sentence):
            official.read(archive)


def relabel(folder, monkeypatch, labels):
    """Give the test batch other labels, and torchvision its new checksum."""
    checksum = write_batch(folder / "test_batch", seed=5, labels=labels)
    monkeypatch.setattr(CIFAR10, "test_list", [["test_batch", checksum]])


def accept(folder, monkeypatch, content):
    """Give the test batch another content, and torchvision its new checksum."""
    path = folder / "test_batch"
    path.write_bytes(content)
    monkeypatch.setattr(CIFAR10, "test_list", [["test_batch", md5(path)]])


BROKEN_COPIES = {
    "a missing batch": (
        lambda f, _: (f / "data_batch_3").unlink(),
        "data_batch_3 is missing: fetch the official .* --download --data .*/cifar-10-batches-py$",
    ),
    "missing class names": (
        lambda f, _: (f / "batches.meta").unlink(),
        "batches.meta is missing: fetch the official copy",
    ),
    "a truncated batch": (
        lambda f, _: cut(f / "data_batch_3"),
        "data_batch_3 is damaged, its checksum is not the official one: fetch",
    ),
    "a changed batch": (
        lambda f, _: write_batch(f / "test_batch", seed=99),
        "test_batch is damaged, its checksum is not the official one: fetch",
    ),
    "a batch that is no pickle": (
        lambda f, m: accept(f, m, b""),
        r"cannot read .*cifar-10-batches-py \(Ran out of input\): fetch the official copy",
    ),
    "a label out of range": (
        lambda f, m: relabel(f, m, [0, 9, 10, 11, 12, 13, 14, 15, 16, 17]),
        "expected labels from 0 to 9 in .*official/cifar-10-batches-py, got 10",
    ),
    "a label short": (
        lambda f, m: relabel(f, m, [0] * 9),
        "expected one label per image in .*official/cifar-10-batches-py, got 10 and 9",
    ),
}


@pytest.mark.parametrize(("break_", "sentence"), BROKEN_COPIES.values(), ids=BROKEN_COPIES)
def test_broken_official_copy_is_refused_in_one_sentence(copy, monkeypatch, break_, sentence):
    """What is wrong with an official copy is said with the name of the file at fault."""
    break_(copy, monkeypatch)

    with pytest.raises(DataError, match=sentence):
        official.read(copy)


class TestDownload:
    """The official archive, from this machine instead of the network."""

    def test_download_leaves_an_official_copy_and_nothing_else(self, archive, tmp_path):
        """The archive is fetched, unpacked and verified; no archive or temporary folder stays behind."""
        folder = tmp_path / "not" / "there yet" / CIFAR10.base_folder

        official.download(folder)

        assert len(official.read(folder).train.images) == 50
        assert {path.name for path in folder.parent.iterdir()} <= {CIFAR10.base_folder, ".download.lock"}

    @pytest.mark.parametrize(("is_terminal", "bars"), [(True, 1), (False, 0)], ids=["terminal", "log"])
    def test_bar_is_shown_on_a_terminal(self, archive, tmp_path, monkeypatch, is_terminal, bars):
        """A log gets one line, for a bar there would be a line of thousands of updates."""
        stream = io.StringIO()
        stream.isatty = lambda: is_terminal
        monkeypatch.setattr(sys, "stderr", stream)

        official.download(tmp_path / "new/batches")

        said = stream.getvalue()
        assert said.count("100%") >= bars
        assert (said == f"fetching {CIFAR10.url} (170 MB)\n") is not is_terminal

    def test_archive_is_unpacked_where_the_copy_will_be(self, archive, tmp_path, monkeypatch):
        """The system's folder for temporary files, often small and on another disk, is not used."""
        monkeypatch.setattr(tempfile, "tempdir", "/nowhere")

        official.download(tmp_path / "new/batches")

        assert len(official.read(tmp_path / "new/batches").train.images) == 50

    def test_whole_copy_is_not_fetched_again(self, copy, monkeypatch):
        """Where a verified copy is, nothing is fetched, so no network is needed."""
        monkeypatch.setattr(CIFAR10, "url", "http://127.0.0.1:9/none")

        official.download(copy)

        assert len(official.read(copy).train.images) == 50

    def test_whole_copy_is_only_read(self, copy, monkeypatch):
        """Beside a whole copy, which may lie on a read-only disk, nothing is written or locked."""
        monkeypatch.setattr(official, "FileLock", None)
        monkeypatch.setattr(tempfile, "TemporaryDirectory", None)

        official.download(copy)

        assert [path.name for path in copy.parent.iterdir()] == [CIFAR10.base_folder]

    def test_archive_beside_a_damaged_copy_is_used_before_the_network(self, copy, monkeypatch):
        """A copy that was not unpacked to its end is put right without a network."""
        monkeypatch.setattr(CIFAR10, "url", "http://127.0.0.1:9/none")
        archive = write_archive(copy.parent / CIFAR10.filename, copy.parent, monkeypatch)
        (copy / "data_batch_2").unlink()

        official.download(copy)

        assert len(official.read(copy).train.images) == 50
        assert archive.exists()

    @pytest.mark.parametrize("damage", [Path.unlink, cut], ids=["a missing file", "a damaged file"])
    def test_damaged_copy_is_put_right(self, archive, copy, damage):
        """A copy that misses a file, or has a damaged one, is fetched again."""
        damage(copy / "data_batch_2")

        official.download(copy)

        assert len(official.read(copy).train.images) == 50

    def test_no_network_is_one_sentence(self, tmp_path, monkeypatch):
        """Without a network the error names the address, and nothing is left that passes for a copy."""
        monkeypatch.setattr(CIFAR10, "url", "http://127.0.0.1:9/none")
        monkeypatch.setenv("no_proxy", "127.0.0.1")

        with pytest.raises(
            DataError, match=r"^cannot download CIFAR-10 from http://127\.\S+ to \S+: .*refused$"
        ):
            official.download(tmp_path / "new/batches")

        assert official_in(tmp_path / "new") is None

    def test_damaged_archive_is_one_sentence(self, archive, tmp_path):
        """An archive of another checksum is refused, and nothing of it stays behind."""
        cut(archive)

        with pytest.raises(DataError, match=r"^cannot download CIFAR-10 from http:.*corrupted$"):
            official.download(tmp_path / "new/batches")

        assert {path.name for path in (tmp_path / "new").iterdir()} <= {".download.lock"}
