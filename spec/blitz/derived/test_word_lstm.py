"""blitz/derived/word_lstm.py: what its training leaves, and how it goes on."""

import os
import signal

import pytest
import torch

from blitz import pictures
from blitz.derived import trigram, word_lstm, word_net
from blitz.training import checkpoint
from spec.command_line import main


@pytest.fixture
def run(tmp_path, monkeypatch):
    """`run(folder, *words)`: five steps, in epochs of three, of a small net on a text of ten words.

    After the step `stop_at` comes a signal.
    """
    text = tmp_path / "text.txt"
    text.write_text(" ".join("abcdefghij"[number] for number in torch.randint(10, (2000,))))
    monkeypatch.setattr(word_net, "UNITS", 8)
    monkeypatch.setattr(word_lstm, "SAMPLE_WORDS", 50)
    monkeypatch.setattr(trigram, "WEIGHTS", [0.5])
    monkeypatch.setattr(pictures, "perplexities", lambda history, *, title: f"{history} {title}".encode())
    learn = word_lstm.WordLSTM.learn

    def chapter(folder, *words, stop_at=None):
        def learn_and_stop(system, *window):
            learn(system, *window)
            if system.step + 1 == stop_at:
                os.kill(os.getpid(), signal.SIGTERM)

        monkeypatch.setattr(word_lstm.WordLSTM, "learn", learn_and_stop)
        options = ["--text", str(text), "--steps", "5", "--device", "cpu", "--out", str(tmp_path / folder)]
        return main(["chapter", "word-lstm", *options, *words])

    return chapter


@pytest.mark.usefixtures("quick")
def test_stopped_training_goes_on_to_the_same_bits(run, tmp_path):
    """In an epoch and between two; the weights, the state, the history and the results are the same."""
    statuses = (
        run("whole"),
        run("parts", stop_at=2),
        run("parts", "--resume", stop_at=3),
        run("parts", "--resume"),
    )

    whole, parts = (checkpoint.load(tmp_path / name / "checkpoint.pt") for name in ("whole", "parts"))
    assert statuses == (0, 130, 130, 0)
    for key in ("model", "optimizer", "hidden", "losses"):
        torch.testing.assert_close(parts[key], whole[key], rtol=0, atol=0)
    for name in ("history.jsonl", "samples.txt", "perplexity.png"):
        assert (tmp_path / "parts" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_training_tells_its_perplexities_and_a_text_and_leaves_them(run, tmp_path, capsys):
    """The part of an epoch at the end is reported, too; no written word is the unknown one."""
    run("out")

    lines = capsys.readouterr().out.splitlines()
    starts = [
        "Text: ",
        "Vocabulary: 11 words",
        "epoch 1, step 3 of 5: perplexity",
        "epoch 1.67, step 5 of 5: ",
    ]
    starts += ["Held-out part: perplexity ", "A sampled text:"]
    samples = (tmp_path / "out/samples.txt").read_text()
    assert all(line.startswith(start) for line, start in zip(lines, starts, strict=False))
    assert lines[7:-2] == samples.splitlines()
    assert len(samples.split()) == 50
    assert set(samples.split()) <= set("abcdefghij")
    assert max(map(len, lines[7:-2])) <= 100
