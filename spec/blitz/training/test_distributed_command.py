"""`blitz train` in several processes that have joined a group: each rank is a real one, see spec/ranks.py."""

import os
import signal
import sys

import torch.distributed as dist

from blitz.cifar10.data import Cifar10, Split, load
from blitz.commands import shared
from blitz.commands import train as command
from blitz.training import checkpoint
from blitz.training.fit import Training
from blitz.training.nets import CifarNet
from spec.blitz.runs import weights
from spec.command_line import main


def trained(folder, seed, stopped_at=None, words=()):
    """In each rank: `blitz train` on a hundred images; in step `stopped_at` rank 1 gets a SIGTERM."""
    folder.mkdir(exist_ok=True)
    whole = load("stand-in")
    parts = [Split(split.images[:n], split.labels[:n]) for split, n in ((whole.train, 100), (whole.test, 50))]
    shared.load = lambda source, **options: Cifar10(*parts, whole.classes, "stand-in")
    command._draw = lambda *arguments: None
    real = Training._learn

    def learn(training, *batch):
        if training.step == stopped_at and dist.get_rank() == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        real(training, *batch)

    Training._learn = learn
    out = folder / f"rank {dist.get_rank()}"
    if stopped_at is None and (folder / "rank 0/checkpoint.pt").exists():
        words = ["--resume"]
    sys.stdout = (folder / f"printed by {dist.get_rank()}").open("w")
    return main(["train", "--device=cpu", f"--out={out}", f"--seed={seed}", *words])


class TestCommand:
    """`blitz train`, in processes that have joined a group."""

    def test_first_process_writes_the_folder_alone(self, ranks, tmp_path):
        """The folder of another process is not even made."""
        statuses = ranks(2, trained, tmp_path, 3)

        assert statuses == [0, 0]
        assert sorted(path.name for path in tmp_path.glob("rank *")) == ["rank 0"]
        assert {"checkpoint.pt", "cifar_net.pth", "history.jsonl"} <= {
            path.name for path in (tmp_path / "rank 0").iterdir()
        }

    def test_signal_to_one_process_stops_all_within_a_few_mini_batches(self, ranks, tmp_path):
        """Every ten, here, they ask each other; a resume ends with the same bits as no stop."""
        ranks(2, trained, tmp_path / "whole", 3)

        stopped = ranks(2, trained, tmp_path, 3, 5)
        step = checkpoint.load(tmp_path / "rank 0/checkpoint.pt")["step"]
        resumed = ranks(2, trained, tmp_path, 3)

        assert (stopped, step, resumed) == ([130, 130], 10, [0, 0])
        assert weights(tmp_path / "rank 0") == weights(tmp_path / "whole/rank 0")

    def test_save_that_fails_is_told_by_the_first_process(self, ranks, tmp_path):
        """The others end with status 1, and say nothing of a process that they have lost."""
        assert ranks(2, trained_without_room, tmp_path) == ["2", "exit 1"]
        assert "/checkpoint.pt: No space left on device\n" in (tmp_path / "errors of 0").read_text()
        assert (tmp_path / "errors of 1").read_text() == ""

    def test_all_start_from_the_weights_that_the_first_has_read(self, ranks, tmp_path):
        """It alone reads the file, and says so."""
        weights_file = tmp_path / "cifar_net.pth"
        checkpoint.save_weights(CifarNet(), weights_file)

        statuses = ranks(2, trained, tmp_path, 3, None, ["--from", str(weights_file)])

        started = f"Starting from the weights in {weights_file}\n"
        assert statuses == [0, 0]
        assert started in (tmp_path / "printed by 0").read_text()

    def test_refusal_by_the_first_process_ends_all(self, ranks, tmp_path):
        """The others end with status 1, and without a sentence of their own."""
        (tmp_path / "rank 0").mkdir()
        (tmp_path / "rank 0/history.jsonl").touch()

        assert ranks(2, refused_command, tmp_path) == ["2", "exit 1"]
        assert "already holds history.jsonl" in (tmp_path / "errors of 0").read_text()
        assert (tmp_path / "errors of 1").read_text() == ""


def trained_without_room(folder):
    """In each rank: train on a disk that is full; return the status of `blitz train`, or that of its exit."""

    def refuse(descriptor):
        raise OSError(28, "No space left on device")

    os.fsync = refuse
    return refused_command(folder)


def refused_command(folder):
    """In each rank: return the status of `blitz train`, or that of its exit."""
    sys.stderr = (folder / f"errors of {dist.get_rank()}").open("w")
    try:
        return str(trained(folder, 0))
    except SystemExit as end:
        return f"exit {end.code}"
