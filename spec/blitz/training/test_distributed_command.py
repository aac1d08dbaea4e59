"""`blitz train` in several processes that have joined a group: each rank is a real one, see spec/ranks.py."""

import os
import signal
import sys

import pytest
import torch.distributed as dist

from blitz.cifar10.stand_in import draw
from blitz.commands import shared
from blitz.commands import train as command
from blitz.training import checkpoint
from blitz.training.fit import Training
from blitz.training.nets import CifarNet
from spec.blitz.runs import train, weights


def train_in_ranks(folder, stop_at, *words):
    """In each rank: `blitz train` on a hundred images, in a folder of the rank's own; return its status.

    In step `stop_at` rank 1 gets a SIGTERM. What a rank prints lies in `folder`.
    """
    data = draw(train=100, test=20)
    shared.load = lambda source, **options: data
    command._draw = lambda *arguments: None
    real = Training._learn

    def learn(training, *batch):
        if training.step == stop_at and dist.get_rank() == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        real(training, *batch)

    Training._learn = learn
    sys.stdout = (folder / f"printed by {dist.get_rank()}").open("w")
    return train(folder / f"rank {dist.get_rank()}", *words)


@pytest.mark.slow
def test_signal_to_one_process_stops_all_within_a_few_mini_batches(ranks, tmp_path):
    """Every ten, here, they ask each other; a resume ends with the same bits as no stop.

    The first process alone reads the weights to start from, and writes files.
    """
    start = tmp_path / "start.pth"
    checkpoint.save_weights(CifarNet(), start)
    (whole := tmp_path / "whole").mkdir()
    assert ranks(2, train_in_ranks, whole, None, "--from", start) == [0, 0]

    stopped = ranks(2, train_in_ranks, tmp_path, 5, "--from", start)
    printed = (tmp_path / "printed by 0").read_text()
    step = checkpoint.load(tmp_path / "rank 0/checkpoint.pt")["step"]
    resumed = ranks(2, train_in_ranks, tmp_path, None, "--resume")

    assert (stopped, step, resumed) == ([130, 130], 10, [0, 0])
    assert f"Starting from the weights in {start}\n" in printed
    assert weights(tmp_path / "rank 0") == weights(whole / "rank 0")
    assert not (tmp_path / "rank 1").exists()
