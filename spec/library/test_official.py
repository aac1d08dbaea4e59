"""blitz.official: the official copy of CIFAR-10, read and fetched."""

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
from torchvision.datasets import CIFAR10

from blitz import official
from blitz.errors import DataError
from blitz.sources import is_official
from spec.library.data_folders import CLASSES, cut, md5, pixels, write_batch, write_official


@pytest.fixture
def copy(tmp_path, monkeypatch):
    """A whole official copy, to be broken."""
    return write_official(tmp_path / "official", monkeypatch)


class QuietHandler(SimpleHTTPRequestHandler):
    """Serves files without a log."""

    def log_message(self, *args):
        """Say nothing."""


@pytest.fixture
def archive(copy, tmp_path, monkeypatch):
    """The archive of the official copy, served from this machine to torchvision."""
    path = tmp_path / "served" / CIFAR10.filename
    path.parent.mkdir()
    with tarfile.open(path, "w:gz") as tar:
        tar.add(copy / CIFAR10.base_folder, CIFAR10.base_folder)
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(QuietHandler, directory=path.parent)) as server:
        Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        monkeypatch.setattr(CIFAR10, "url", f"http://127.0.0.1:{server.server_port}/{path.name}")
        monkeypatch.setattr(CIFAR10, "tgz_md5", md5(path))
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


def relabel(folder, monkeypatch, labels):
    """Give the test batch other labels, and torchvision its new checksum."""
    checksum = write_batch(folder / CIFAR10.base_folder / "test_batch", seed=5, labels=labels)
    monkeypatch.setattr(CIFAR10, "test_list", [["test_batch", checksum]])


def accept(folder, monkeypatch, content):
    """Give the test batch another content, and torchvision its new checksum."""
    path = folder / CIFAR10.base_folder / "test_batch"
    path.write_bytes(content)
    monkeypatch.setattr(CIFAR10, "test_list", [["test_batch", md5(path)]])


BROKEN_COPIES = {
    "a missing batch": (
        lambda f, _: (f / CIFAR10.base_folder / "data_batch_3").unlink(),
        "data_batch_3 is missing: fetch the official copy with blitz train --download --data .*official$",
    ),
    "missing class names": (
        lambda f, _: (f / CIFAR10.base_folder / "batches.meta").unlink(),
        "batches.meta is missing: fetch the official copy",
    ),
    "a truncated batch": (
        lambda f, _: cut(f / CIFAR10.base_folder / "data_batch_3"),
        "data_batch_3 is damaged, its checksum is not the official one: fetch",
    ),
    "a changed batch": (
        lambda f, _: write_batch(f / CIFAR10.base_folder / "test_batch", seed=99),
        "test_batch is damaged, its checksum is not the official one: fetch",
    ),
    "a batch that is no pickle": (
        lambda f, m: accept(f, m, b""),
        r"cannot read .*cifar-10-batches-py \(Ran out of input\): fetch the official copy",
    ),
    "a label out of range": (
        lambda f, m: relabel(f, m, [0, 9, 10, 11, 12, 13, 14, 15, 16, 17]),
        "expected labels from 0 to 9 in .*official, got 10",
    ),
    "a label short": (
        lambda f, m: relabel(f, m, [0] * 9),
        "expected one label per image in .*official, got 10 and 9",
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
        folder = tmp_path / "not" / "there yet"

        official.download(folder)

        assert len(official.read(folder).train.images) == 50
        assert {path.name for path in folder.iterdir()} <= {CIFAR10.base_folder, ".download.lock"}

    @pytest.mark.parametrize(("is_terminal", "bars"), [(True, 1), (False, 0)], ids=["terminal", "log"])
    def test_bar_is_shown_on_a_terminal(self, archive, tmp_path, monkeypatch, is_terminal, bars):
        """A log gets one line, for a bar there would be a line of thousands of updates."""
        stream = io.StringIO()
        stream.isatty = lambda: is_terminal
        monkeypatch.setattr(sys, "stderr", stream)

        official.download(tmp_path / "new")

        said = stream.getvalue()
        assert said.count("100%") >= bars
        assert (said == f"fetching {CIFAR10.url} (170 MB)\n") is not is_terminal

    def test_archive_is_unpacked_where_the_copy_will_be(self, archive, tmp_path, monkeypatch):
        """The system's folder for temporary files, often small and on another disk, is not used."""
        monkeypatch.setattr(tempfile, "tempdir", "/nowhere")

        official.download(tmp_path / "new")

        assert len(official.read(tmp_path / "new").train.images) == 50

    def test_whole_copy_is_not_fetched_again(self, copy, monkeypatch):
        """Where a verified copy is, nothing is fetched, so no network is needed."""
        monkeypatch.setattr(CIFAR10, "url", "http://127.0.0.1:9/none")

        official.download(copy)

        assert len(official.read(copy).train.images) == 50

    @pytest.mark.parametrize("damage", [Path.unlink, cut], ids=["a missing file", "a damaged file"])
    def test_damaged_copy_is_put_right(self, archive, copy, damage):
        """A copy that misses a file, or has a damaged one, is fetched again."""
        damage(copy / CIFAR10.base_folder / "data_batch_2")

        official.download(copy)

        assert len(official.read(copy).train.images) == 50

    def test_no_network_is_one_sentence(self, tmp_path, monkeypatch):
        """Without a network the error names the address, and nothing is left that passes for a copy."""
        monkeypatch.setattr(CIFAR10, "url", "http://127.0.0.1:9/none")
        monkeypatch.setenv("no_proxy", "127.0.0.1")

        with pytest.raises(
            DataError, match=r"^cannot download CIFAR-10 from http://127\.\S+ to \S+: .*refused$"
        ):
            official.download(tmp_path / "new")

        assert not is_official(tmp_path / "new")

    def test_damaged_archive_is_one_sentence(self, archive, tmp_path):
        """An archive of another checksum is refused, and nothing of it stays behind."""
        cut(archive)

        with pytest.raises(DataError, match=r"^cannot download CIFAR-10 from http:.*corrupted$"):
            official.download(tmp_path / "new")

        assert {path.name for path in (tmp_path / "new").iterdir()} <= {".download.lock"}
