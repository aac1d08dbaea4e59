"""`blitz train` in several processes that have joined a group: each rank is a real one, see spec/ranks.py."""

import os
import signal
import sys

import pytest
import torch.distributed as dist

from blitz import checkpoint
from blitz.commands import shared
from blitz.commands import train as command
from blitz.data import Cifar10, Split, load
from blitz.errors import BlitzError
from blitz.training import Training
from spec.harness.command_line import main
from spec.library.runs import weights


def trained(folder, seed, stopped_at=None):
    """In each rank: `blitz train` on a hundred images; in step `stopped_at` rank 1 gets a SIGTERM."""
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
    words = ["--resume"] if stopped_at is None and (folder / "rank 0/checkpoint.pt").exists() else []
    sys.stdout = (folder / f"printed by {dist.get_rank()}").open("w")
    return main(["train", "--device=cpu", f"--out={out}", f"--seed={seed}", *words])


def refuse(device):
    """Refuse every device."""
    raise BlitzError("no")


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

    def test_signal_to_one_process_stops_all_after_the_next_report(self, ranks, tmp_path):
        """All save what the others have, and end with 130; a resume ends with the same bits as no stop."""
        (tmp_path / "whole").mkdir()
        ranks(2, trained, tmp_path / "whole", 3)

        stopped = ranks(2, trained, tmp_path, 3, 5)
        step = checkpoint.load(tmp_path / "rank 0/checkpoint.pt")["step"]
        resumed = ranks(2, trained, tmp_path, 3)

        assert (stopped, step, resumed) == ([130, 130], 25, [0, 0])
        assert weights(tmp_path / "rank 0") == weights(tmp_path / "whole/rank 0")

    @pytest.mark.parametrize(("launched", "expected"), [(True, ["cuda:1"]), (False, [])])
    def test_accelerator_is_taken_under_torchrun_alone(self, tmp_path, monkeypatch, launched, expected):
        """Before anything is written."""
        asked = []
        monkeypatch.setattr(command.distributed, "launched", lambda: launched)
        monkeypatch.setattr(command, "take_own_accelerator", asked.append)
        monkeypatch.setattr(command, "find_device", refuse)

        status = main(["train", "--device=cuda:1", f"--out={tmp_path / 'out'}"])

        assert (status, asked, list(tmp_path.iterdir())) == (2, expected, [])

    def test_refusal_by_the_first_process_ends_all(self, ranks, tmp_path):
        """The others end with status 1, and without a sentence of their own."""
        (tmp_path / "rank 0").mkdir()
        (tmp_path / "rank 0/history.jsonl").touch()

        assert ranks(2, refused_command, tmp_path) == ["2", "exit 1"]
        assert "already holds history.jsonl" in (tmp_path / "errors of 0").read_text()
        assert (tmp_path / "errors of 1").read_text() == ""


def refused_command(folder):
    """In each rank: return the status of `blitz train`, or that of its exit."""
    sys.stderr = (folder / f"errors of {dist.get_rank()}").open("w")
    try:
        return str(trained(folder, 0))
    except SystemExit as end:
        return f"exit {end.code}"
