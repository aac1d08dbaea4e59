"""blitz/training/checkpoint.py on a disk that fails: what was there stays, and nothing is left over."""

import os
import shutil
import subprocess
from contextlib import contextmanager

import pytest

from blitz.commands import folder as folder_of_a_training
from blitz.errors import CheckpointError
from blitz.training import checkpoint
from spec.blitz.runs import make_net, make_stopped, train

resource = pytest.importorskip("resource", reason="the limits of a process are POSIX")


@pytest.fixture
def folder(tmp_path):
    """A folder that holds two saves, the history and the weights."""
    for steps in (1, 2):
        checkpoint.save(make_stopped(steps).state_dict(), tmp_path / "checkpoint.pt")
    checkpoint.save_weights(make_net(), tmp_path / "cifar_net.pth")
    folder_of_a_training.save_history([{"epoch": 1, "step": 1, "loss": 2.3}], tmp_path)
    return tmp_path


def contents(folder):
    """Return what is in a folder, file by file."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != ".lock"}


@contextmanager
def small_files(size):
    """Let no file become larger than this, in bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@contextmanager
def small_disk(folder, size):
    """Mount a disk of this size, where that is allowed."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder]
    if not shutil.which("mount") or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("only root of a Linux machine can mount a disk")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], timeout=10, check=True)


def save(folder):
    """Save a third time."""
    checkpoint.save(make_stopped(3).state_dict(), folder / "checkpoint.pt")


SAVES = {
    "checkpoint": save,
    "weights": lambda folder: checkpoint.save_weights(make_net(), folder / "cifar_net.pth"),
    "history": lambda folder: folder_of_a_training.save_history([{"epoch": 1, "step": 9}] * 9, folder),
    "picture": lambda folder: checkpoint.write(bytes(1000), folder / "training.png"),
}


@pytest.mark.parametrize("work", SAVES.values(), ids=SAVES)
def test_save_without_room_is_a_sentence_and_leaves_everything_as_it_was(folder, work):
    """Whatever is saved; here no file may have more than a hundred bytes."""
    before = contents(folder)

    with small_files(100), pytest.raises(CheckpointError, match=r"^cannot write .*: File too large$"):
        work(folder)

    assert contents(folder) == before


def refuse(*arguments):
    """Fail as on a disk with no room."""
    raise OSError(28, "No space left on device")


def interrupt(*arguments):
    """Fail as by the second Ctrl-C."""
    raise KeyboardInterrupt


def copy_half(source, target):
    """Fail as a copy does that finds no room for its second half."""
    with open(source, "rb") as whole, open(target, "wb") as half:
        half.write(whole.read(1000))
    refuse()


MOMENTS = {
    "flushing the file": {"fsync": refuse},
    "interrupted": {"fsync": interrupt},
    "copying the save before": {"link": refuse, "copyfile": copy_half},
    "naming the save before": {"replace": refuse},
}


@pytest.mark.parametrize("calls", MOMENTS.values(), ids=MOMENTS)
def test_save_that_fails_at_any_moment_leaves_everything_as_it_was(folder, monkeypatch, calls):
    """The save before the last one, too, and no half of a copy."""
    before = contents(folder)
    with monkeypatch.context() as patch:
        for name, call in calls.items():
            patch.setattr(shutil if name == "copyfile" else os, name, call)
        with pytest.raises((CheckpointError, KeyboardInterrupt)):
            save(folder)

    assert contents(folder) == before


def test_save_that_fails_in_its_last_step_leaves_the_last_good_one(folder, monkeypatch):
    """The save before has its name already: both are the same then, and whole."""
    last, replace, calls = (folder / "checkpoint.pt").read_bytes(), os.replace, []

    def refuse_the_second(*names):
        calls.append(names)
        return replace(*names) if len(calls) == 1 else refuse()

    before = contents(folder)
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", refuse_the_second)
        with pytest.raises(CheckpointError, match="No space left on device"):
            save(folder)

    assert contents(folder) == {**before, "checkpoint.previous.pt": last}


def test_first_save_that_fails_leaves_nothing(tmp_path, monkeypatch):
    """Not even an empty file."""
    with small_files(100), pytest.raises(CheckpointError):
        save(tmp_path)

    assert contents(tmp_path) == {}


@pytest.mark.usefixtures("little_data", "no_pictures", "same_threads")
def test_training_on_a_full_disk_ends_with_its_last_save(tmp_path, capsys):
    """A sentence says why; what was saved before is whole, and goes on once there is room."""
    with small_disk(tmp_path / "disk", "900k") as disk:
        status = train(disk)
        error = capsys.readouterr().err
        left = contents(disk)
        step = checkpoint.load(disk / "checkpoint.pt")["step"]
        subprocess.run(["mount", "-o", "remount,size=9m", disk], check=True)
        resumed = train(disk, "--resume")

    assert (status, step, resumed) == (2, 25, 0)
    assert error == f"blitz: cannot write {disk / 'checkpoint.pt'}: No space left on device\n"
    assert set(left) == {"checkpoint.pt", "history.jsonl"}
