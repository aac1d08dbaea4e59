"""blitz.sources: both layouts of CIFAR-10 on disk, and the download."""

import shutil
import tarfile
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import numpy as np
import pytest
from PIL import Image
from torchvision.datasets import CIFAR10

from blitz import sources
from blitz.errors import DataError
from spec.library.data_folders import CLASSES, md5, pixels, write_batch, write_image_folder, write_official


@pytest.fixture
def image_folder(tmp_path):
    """A whole image folder, to be broken."""
    return write_image_folder(tmp_path / "images")


@pytest.fixture
def official(tmp_path, monkeypatch):
    """A whole official copy, to be broken."""
    return write_official(tmp_path / "official", monkeypatch)


class QuietHandler(SimpleHTTPRequestHandler):
    """Serves files without a log."""

    def log_message(self, *args):
        """Say nothing."""


@pytest.fixture
def archive(official, tmp_path, monkeypatch):
    """The archive of the official copy, served from this machine to torchvision."""
    path = tmp_path / "served" / CIFAR10.filename
    path.parent.mkdir()
    with tarfile.open(path, "w:gz") as tar:
        tar.add(official / CIFAR10.base_folder, CIFAR10.base_folder)
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(QuietHandler, directory=path.parent)) as server:
        Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        monkeypatch.setattr(CIFAR10, "url", f"http://127.0.0.1:{server.server_port}/{path.name}")
        monkeypatch.setattr(CIFAR10, "tgz_md5", md5(path))
        yield path
        server.shutdown()


class TestImageFolder:
    """`train/<class>/*` and `test/<class>/*`."""

    def test_pixels_are_those_of_the_files(self, image_folder):
        """Every image comes as it was written, in the order of its class and its name."""
        data = sources.read_image_folder(image_folder)

        expected = np.concatenate([pixels(count=2, seed=label) for label in range(10)])
        assert np.array_equal(data.train.images.numpy(), expected)

    def test_classes_are_the_folder_names_in_order(self, image_folder):
        """The class folders sort into CIFAR-10's own label order."""
        data = sources.read_image_folder(image_folder)

        assert data.classes == CLASSES
        assert data.test.labels.tolist() == list(range(10))
        assert data.origin == "image folder"

    def test_other_files_are_passed_over(self, image_folder):
        """A file that is no image by its name, such as Thumbs.db, is not read."""
        (image_folder / "train/cat/Thumbs.db").write_bytes(b"")

        data = sources.read_image_folder(image_folder)

        assert len(data.train.images) == 20

    def test_progress_shows_on_stderr(self, image_folder, capsys):
        """With progress=True a bar counts the images."""
        sources.read_image_folder(image_folder, progress=True)

        assert "30/30" in capsys.readouterr().err


def resave(path, **changes):
    """Write another image in the place of one."""
    Image.new(changes.get("mode", "RGB"), changes.get("size", (32, 32))).save(path)


def cut(path):
    """Keep the first half of a file."""
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


BROKEN_IMAGE_FOLDERS = {
    "a class only in test": (
        lambda f: shutil.rmtree(f / "train/cat"),
        "expected the same classes in train and test of .*images, but cat is only in test",
    ),
    "a class only in train": (
        lambda f: shutil.rmtree(f / "test/cat"),
        "expected the same classes in train and test of .*images, but cat is only in train",
    ),
    "nine classes": (
        lambda f: [shutil.rmtree(f / part / "cat") for part in ("train", "test")],
        "expected ten class folders in .*train, found 9: airplane, automobile, bird, deer",
    ),
    "no class": (
        lambda f: [shutil.rmtree(f / part / name) for part in ("train", "test") for name in CLASSES],
        "expected ten class folders in .*train, found 0: none",
    ),
    "an empty class": (
        lambda f: [path.unlink() for path in (f / "test/cat").iterdir()],
        r"expected images in .*test/cat, found none",
    ),
    "a truncated image": (
        lambda f: cut(f / "train/dog/1.png"),
        r"cannot decode .*train/dog/1\.png, replace or remove it: .+",
    ),
    "a file that is no image": (
        lambda f: (f / "train/dog/1.png").write_text("hello"),
        r"cannot decode .*train/dog/1\.png, replace or remove it: it is not an image",
    ),
    "an empty file": (
        lambda f: (f / "train/dog/1.png").write_bytes(b""),
        r"cannot decode .*train/dog/1\.png, replace or remove it: it is not an image",
    ),
    "a wrong size": (
        lambda f: resave(f / "train/dog/1.png", size=(33, 32)),
        r"expected an RGB image of 32x32, got RGB of 33x32: .*train/dog/1\.png",
    ),
    "a grey image": (
        lambda f: resave(f / "train/dog/1.png", mode="L"),
        r"expected an RGB image of 32x32, got L of 32x32: .*train/dog/1\.png",
    ),
    "an image with alpha": (
        lambda f: resave(f / "train/dog/1.png", mode="RGBA"),
        r"expected an RGB image of 32x32, got RGBA of 32x32: .*train/dog/1\.png",
    ),
    "a dangling link": (
        lambda f: (f / "train/dog/2.png").symlink_to(f / "nowhere"),
        r"cannot read .*train/dog/2\.png: No such file or directory",
    ),
}


@pytest.mark.parametrize(("break_", "sentence"), BROKEN_IMAGE_FOLDERS.values(), ids=BROKEN_IMAGE_FOLDERS)
def test_broken_image_folder_is_refused_in_one_sentence(image_folder, break_, sentence):
    """What is wrong with a folder of images is said with the name of the file or folder at fault."""
    break_(image_folder)

    with pytest.raises(DataError, match=f"^{sentence}"):
        sources.read_image_folder(image_folder)


def test_truncated_jpeg_is_refused(image_folder):
    """A JPEG that lacks its last bytes, which a decoder could fill with grey, is an error that names it."""
    path = image_folder / "train/dog/1.jpg"
    Image.fromarray(pixels(count=1, seed=0)[0].transpose(1, 2, 0)).save(path)
    path.write_bytes(path.read_bytes()[:-100])

    with pytest.raises(DataError, match=r"^cannot decode .*dog/1\.jpg, replace or remove it: .*truncated"):
        sources.read_image_folder(image_folder)


class TestOfficialCopy:
    """`cifar-10-batches-py`."""

    def test_batches_are_joined_in_order(self, official):
        """The five training batches follow each other; images come channel first, as they lie in the file."""
        data = sources.read_official(official)

        expected = np.concatenate([pixels(count=10, seed=batch) for batch in range(5)])
        assert np.array_equal(data.train.images.numpy(), expected)
        assert data.train.labels.tolist() == 5 * list(range(10))

    def test_classes_come_from_the_copy_itself(self, official):
        """The names of the classes are those in batches.meta."""
        data = sources.read_official(official)

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


BROKEN_OFFICIAL_COPIES = {
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
        lambda f, m: accept(f, m, b"hello"),
        r"cannot read .*cifar-10-batches-py \(.+\): fetch the official copy",
    ),
    "a label out of range": (
        lambda f, m: relabel(f, m, [10] * 10),
        "expected labels from 0 to 9 in .*official, got 10",
    ),
    "a label short": (
        lambda f, m: relabel(f, m, [0] * 9),
        "expected one label per image in .*official, got 10 and 9",
    ),
}


@pytest.mark.parametrize(("break_", "sentence"), BROKEN_OFFICIAL_COPIES.values(), ids=BROKEN_OFFICIAL_COPIES)
def test_broken_official_copy_is_refused_in_one_sentence(official, monkeypatch, break_, sentence):
    """What is wrong with an official copy is said with the name of the file at fault."""
    break_(official, monkeypatch)

    with pytest.raises(DataError, match=sentence):
        sources.read_official(official)


class TestDownload:
    """The official archive, from this machine instead of the network."""

    def test_download_leaves_an_official_copy_and_nothing_else(self, archive, tmp_path):
        """The archive is fetched, unpacked and verified; no archive or temporary folder stays behind."""
        folder = tmp_path / "new"

        sources.download(folder)

        assert len(sources.read_official(folder).train.images) == 50
        assert {path.name for path in folder.iterdir()} <= {CIFAR10.base_folder, ".download.lock"}

    def test_whole_copy_is_not_fetched_again(self, official, monkeypatch):
        """Where a verified copy is, nothing is fetched, so no network is needed."""
        monkeypatch.setattr(CIFAR10, "url", "http://127.0.0.1:9/none")

        sources.download(official)

        assert len(sources.read_official(official).train.images) == 50

    def test_damaged_copy_is_put_right(self, archive, official):
        """A copy that misses a file, or has a damaged one, is fetched again."""
        (official / CIFAR10.base_folder / "data_batch_1").unlink()
        cut(official / CIFAR10.base_folder / "data_batch_2")

        sources.download(official)

        assert len(sources.read_official(official).train.images) == 50

    def test_no_network_is_one_sentence(self, tmp_path, monkeypatch):
        """Without a network the error names the address, and nothing is left that passes for a copy."""
        monkeypatch.setattr(CIFAR10, "url", "http://127.0.0.1:9/none")
        monkeypatch.setenv("no_proxy", "127.0.0.1")

        with pytest.raises(
            DataError, match=r"^cannot download CIFAR-10 from http://127\.\S+ to \S+: .*refused$"
        ):
            sources.download(tmp_path / "new")

        assert not sources.is_official(tmp_path / "new")

    def test_damaged_archive_is_one_sentence(self, archive, tmp_path):
        """An archive of another checksum is refused, and nothing of it stays behind."""
        cut(archive)

        with pytest.raises(DataError, match=r"^cannot download CIFAR-10 from http:.*corrupted$"):
            sources.download(tmp_path / "new")

        assert {path.name for path in (tmp_path / "new").iterdir()} <= {".download.lock"}
