"""blitz/derived/dcgan.py: what its training leaves, and how it goes on."""

import os
import signal

import pytest
import torch

from blitz.derived.dcgan import DCGAN
from blitz.training import checkpoint
from spec.command_line import main


@pytest.mark.slow
@pytest.mark.usefixtures("quick")
def test_stopped_training_goes_on_to_the_same_bits_and_draws_its_picture(tmp_path, monkeypatch):
    """The weights of all nets and the images drawn from the fixed noise are those of a run without a stop."""
    words = ["chapter", "dcgan", "--device", "cpu", "--steps", "3", "--out"]
    statuses = [main([*words, str(tmp_path / "whole")])]
    learn = DCGAN._learn
    with monkeypatch.context() as patch:
        patch.setattr(
            DCGAN, "_learn", lambda *arguments: (learn(*arguments), os.kill(os.getpid(), signal.SIGTERM))
        )
        statuses.append(main([*words, str(tmp_path / "parts")]))
    statuses.append(main([*words, str(tmp_path / "parts"), "--resume"]))

    whole, parts = (checkpoint.load(tmp_path / name / "checkpoint.pt") for name in ("whole", "parts"))
    assert statuses == [0, 130, 0]
    torch.testing.assert_close(parts["model"], whole["model"], rtol=0, atol=0)
    torch.testing.assert_close(parts["drawn"], whole["drawn"], rtol=0, atol=0)
    assert parts["history"] == whole["history"]
    assert (tmp_path / "parts/drawn.png").read_bytes() == (tmp_path / "whole/drawn.png").read_bytes()
