"""blitz/training/checkpoint.py where the disk fails or a kill comes: what was saved stays, and goes on."""

import os
import resource
import shutil
import signal
import stat
import threading

import pytest
import torch
from tqdm import tqdm

from blitz.commands import shared
from blitz.errors import CheckpointError
from blitz.training import checkpoint
from blitz.training.fit import Training
from spec import ranks
from spec.blitz.runs import SHORT, make_net, make_split, make_stopped, train, weights


@pytest.fixture
def folder(tmp_path):
    """A folder that holds two saves and the weights."""
    for steps in (1, 2):
        save(tmp_path, steps)
    checkpoint.save_weights(make_net(), tmp_path / "cifar_net.pth")
    return tmp_path


def save(folder, steps):
    """Save a training that was stopped after so many mini-batches."""
    checkpoint.save(make_stopped(steps).state_dict(), folder / "checkpoint.pt")


def contents(folder):
    """Return what is in a folder, file by file."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


SAVES = {
    "checkpoint": lambda folder: save(folder, 3),
    "weights": lambda folder: checkpoint.save_weights(make_net(), folder / "cifar_net.pth"),
    "first checkpoint": lambda folder: checkpoint.save(make_stopped(3).state_dict(), folder / "first.pt"),
}


@pytest.mark.parametrize("work", SAVES.values(), ids=SAVES)
def test_save_without_room_is_a_sentence_and_leaves_everything_as_it_was(folder, work):
    """Here no file may have more than a hundred bytes."""
    before = contents(folder)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    try:
        with pytest.raises(CheckpointError, match=r"^cannot write .*: File too large$"):
            work(folder)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    assert contents(folder) == before


MOMENTS = {
    "flushing the file": ("fsync", 1),
    "flushing the save before": ("fsync", 2),
    "naming the save before": ("replace", 1),
}


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()], ids=repr)
@pytest.mark.parametrize(("name", "number"), MOMENTS.values(), ids=MOMENTS)
def test_save_that_fails_at_any_moment_leaves_everything_as_it_was(folder, monkeypatch, name, number, error):
    """On a full disk or by a second Ctrl-C: the save before the last one stays, too, and no half copy."""
    before, real, calls = contents(folder), getattr(os, name), []

    def fail(*arguments):
        calls.append(arguments)
        if len(calls) == number:
            raise error
        return real(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(os, name, fail)
        with pytest.raises((CheckpointError, KeyboardInterrupt)):
            save(folder, 3)

    assert contents(folder) == before


def test_whole_file_and_then_its_folder_are_flushed_to_the_disk(tmp_path, monkeypatch):
    """A power cut after a save takes neither the content nor the name."""
    flushed = []
    monkeypatch.setattr(os, "fsync", lambda file: flushed.append(os.fstat(file)))

    checkpoint.save_weights(make_net(), tmp_path / "cifar_net.pth")

    assert flushed[0].st_size == (tmp_path / "cifar_net.pth").stat().st_size
    assert [stat.S_ISDIR(file.st_mode) for file in flushed] == [False, True]


@pytest.fixture
def kills(tmp_path, monkeypatch):
    """What a kill would have left of a training, and the step reported as saved by then, moment by moment.

    A killed process leaves its files as they are. So they are copied after each call that touches the disk,
    and before each flush, with a half of what has been written.
    """
    out, left, reported = tmp_path / "out", [], 0
    out.mkdir()

    def copy(*, torn=False):
        copied = shutil.copytree(out, tmp_path / f"kill {len(left)}")
        for temporary in copied.glob(".*.tmp") if torn else ():
            os.truncate(temporary, temporary.stat().st_size // 2)
        left.append((copied, reported))

    def watched(call):
        def wrapper(*arguments):
            if call.__name__ == "fsync":
                copy(torn=True)
            call(*arguments)
            copy()

        return wrapper

    training = Training(make_net(), make_split(12), SHORT._replace(epochs=1))
    with monkeypatch.context() as patch:
        for name in ("fsync", "replace"):
            patch.setattr(os, name, watched(getattr(os, name)))
        for _ in training.steps():
            checkpoint.save(training.state_dict(), out / "checkpoint.pt")
            reported = training.step
        checkpoint.save_weights(training.net, out / "cifar_net.pth")
    return left


def go_on(folder):
    """Go on with a killed training, if it had saved anything, to its weights."""
    path = folder / "checkpoint.pt"
    training = Training(make_net(), make_split(12), SHORT._replace(epochs=1))
    if path.exists():
        training.load_state_dict(checkpoint.load(path))
    for _ in training.steps():
        checkpoint.save(training.state_dict(), path)
    checkpoint.save_weights(training.net, folder / "cifar_net.pth")


def test_kill_at_any_moment_loses_nothing_that_was_saved(kills):
    """The checkpoint is whole and as new as the last report, so is the one before; a resume ends the same."""
    expected = weights(kills[-1][0])

    for folder, reported in kills:
        path = folder / "checkpoint.pt"
        before = checkpoint.previous(path)
        assert not reported or checkpoint.load(path)["step"] >= reported
        assert reported < 2 or checkpoint.load(before)["step"] >= reported - 1
        go_on(folder)
        assert weights(folder) == expected
        assert not list(folder.glob("*.tmp"))
    assert {reported for _, reported in kills} == {0, 1, 2, 3}


def train_and_die(out, data, threads):
    """Run `blitz train` on the data until its first save, and end as a power cut would."""
    real = checkpoint.save

    def save_and_die(*arguments):
        real(*arguments)
        os.kill(os.getpid(), signal.SIGKILL)

    checkpoint.save = save_and_die
    shared.load = lambda source, **options: data
    torch.set_num_threads(threads)
    tqdm.set_lock(threading.RLock())  # its own is a semaphore, which a kill leaves to whoever cleans up
    train(out)


@pytest.mark.usefixtures("quick")
def test_killed_command_goes_on_with_resume(tmp_path, little):
    """`blitz train`, ended by SIGKILL after its first save, ends with the same bits by `--resume`."""
    ranks.prepare()
    process = ranks.context.Process(
        target=train_and_die, args=(tmp_path / "out", little, torch.get_num_threads())
    )
    process.start()
    train(tmp_path / "whole")
    process.join()

    resumed = train(tmp_path / "out", "--resume")

    assert (process.exitcode, resumed) == (-signal.SIGKILL, 0)
    assert weights(tmp_path / "out") == weights(tmp_path / "whole")
