"""blitz.cifar10.cache: several processes at once, and one that is killed."""

import multiprocessing
import os
import signal

import pytest
from PIL import Image

from blitz.cifar10.data import load
from spec.blitz.data_folders import write_image_folder

IMAGES = 30  # in the folder below


@pytest.fixture
def cache_folder(tmp_path, monkeypatch):
    """An empty cache of this test's own."""
    monkeypatch.setenv("BLITZ_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def source(tmp_path):
    """A whole image folder."""
    return write_image_folder(tmp_path / "images")


@pytest.fixture(scope="module")
def processes():
    """Processes that start in an instant: forked from one that has imported torch and nothing more."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["blitz.cifar10.data", __name__])
    return context


def load_and_count(source, cache_folder, results):
    """Load, and report how many images were decoded for it."""
    os.environ["BLITZ_CACHE"] = str(cache_folder)
    decoded = []
    real = Image.open
    Image.open = lambda file: decoded.append(file) or real(file)
    total = int(load(source).train.images.sum())
    results.put((len(decoded), total))


def test_eight_processes_at_once_decode_once(source, processes, cache_folder):
    """Of eight processes that ask at the same time one decodes; the others wait, and read the same."""
    results = processes.Queue()
    workers = [
        processes.Process(target=load_and_count, args=(source, cache_folder, results)) for _ in range(8)
    ]
    for worker in workers:
        worker.start()

    answers = [results.get(timeout=30) for _ in workers]
    for worker in workers:
        worker.join()

    assert sorted(decoded for decoded, _ in answers) == [0] * 7 + [IMAGES]
    assert len({total for _, total in answers}) == 1


def load_and_die(source, cache_folder):
    """Load, and be killed when the cache file is written but has not got its name."""
    os.environ["BLITZ_CACHE"] = str(cache_folder)
    os.fsync = lambda descriptor: os.kill(os.getpid(), signal.SIGKILL)
    load(source)


def test_process_killed_while_writing_leaves_no_cache_file(source, processes, cache_folder):
    """What a killed process leaves is not trusted, hinders no one, and is gone after the next load."""
    worker = processes.Process(target=load_and_die, args=(source, cache_folder))
    worker.start()
    worker.join()
    left = [path.suffix for path in cache_folder.iterdir()]

    load(source)
    now = [path.suffix for path in cache_folder.iterdir()]

    assert worker.exitcode == -signal.SIGKILL
    assert ".tmp" in left
    assert ".pt" not in left
    assert ".pt" in now
    assert ".tmp" not in now
