"""blitz/commands/train.py: what a training does, prints and leaves behind."""

import io
import json
import re
import sys
from contextlib import redirect_stdout
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from blitz import pictures
from blitz.cifar10.stand_in import draw
from blitz.commands import folder, shared
from blitz.commands import train as command
from blitz.training import checkpoint
from blitz.training.evaluation import Evaluation
from blitz.training.nets import CifarNet
from blitz.training.recipes import RECIPES
from spec.blitz.runs import train, weights
from spec.command_line import main

pytestmark = pytest.mark.usefixtures("quick")
DRAW = command._draw  # which nothing else here calls


class TestOutput:
    """What is printed as a training goes on."""

    def test_training_without_options_prints_what_the_notes_print(self, tmp_path, monkeypatch, capsys):
        """It is the tutorial's with seed 0, in runs/tutorial; the stand-in is never called CIFAR-10."""
        monkeypatch.chdir(tmp_path)

        status = main(["train"])

        lines, errors = (text.splitlines() for text in capsys.readouterr())
        settings = checkpoint.load(tmp_path / "runs/tutorial/checkpoint.pt")["settings"]
        assert (status, errors, settings["recipe"], settings["seed"]) == (0, [], "tutorial", 0)
        assert lines[0] == (
            "Data: the built-in stand-in, NOT CIFAR-10 (20 training and 20 test images); "
            "--download fetches CIFAR-10"
        )
        assert re.fullmatch(r"\[1,     5\] loss: 2\.\d{3}", lines[1])
        assert re.fullmatch(r"\[2,     5\] loss: 2\.\d{3}", lines[2])
        assert re.fullmatch(
            r"Accuracy of the network on the 20 test images of the stand-in \(NOT CIFAR-10\): \d+ %", lines[3]
        )
        assert re.fullmatch(r"Accuracy of            disc : [ \d]\d %", lines[4])
        assert lines[14:] == [
            "Saved in runs/tutorial: checkpoint.pt, cifar_net.pth, history.jsonl, training.png, "
            "predictions.png, confusion.png"
        ]

    def test_lines_are_written_at_once(self, tmp_path, monkeypatch):
        """Whoever follows a log file sees each line when it is due, not when a buffer is full."""
        log, seen = tmp_path / "log", []
        save = folder.save_history
        monkeypatch.setattr(
            folder, "save_history", lambda *what: (save(*what), seen.append(log.read_text().count("\n")))
        )

        for words in ([], ["--resume"]):
            with log.open("w") as file, redirect_stdout(file):
                train(tmp_path / "out", *words)

        assert seen == [2, 3, 2]

    def test_terminal_shows_how_far_the_training_is(self, tmp_path, monkeypatch):
        """In mini-batches, with the last loss; in the end the bar is wiped away."""
        terminals = [io.StringIO(), io.StringIO()]
        for words, terminal in zip(([], ["--resume"]), terminals, strict=True):
            terminal.isatty = lambda: True
            monkeypatch.setattr(sys, "stderr", terminal)
            train(tmp_path, *words)

        first, second = (terminal.getvalue() for terminal in terminals)
        assert re.search(r"/10 .*batch.*, loss=2\.\d{3}\]", first)
        assert re.match(r"\r100%\|.{10}\| 10/10 ", second)
        assert first.split("\r")[-2].strip() == first.split("\r")[-1] == ""

    @pytest.mark.parametrize("there", [True, False])
    def test_a_device_without_bfloat16_is_said_to_be_slower(self, monkeypatch, capsys, there):
        """Before the training, which goes on in float32."""
        monkeypatch.setattr(command, "has_bfloat16", lambda device: there)

        command._expect_room(RECIPES["strong"], torch.device("cpu"))

        line = "cpu does not compute in bfloat16: strong takes float32, and about twice the time\n"
        assert capsys.readouterr().out == ("" if there else line)


class TestFiles:
    """What a training leaves in its folder."""

    def test_training_leaves_its_files(self, tmp_path, monkeypatch):
        """Two checkpoints, the weights, the history and three pictures, but nothing temporary."""
        monkeypatch.setattr(command, "_draw", DRAW)

        status = train(tmp_path / "out")

        sizes = {file.name: file.stat().st_size for file in (tmp_path / "out").iterdir()}
        assert (status, sizes.pop(".lock", 0)) == (0, 0)
        assert set(sizes) == {*folder.FILES, "checkpoint.previous.pt"}
        assert all(sizes.values())

    def test_weights_and_history_are_those_of_the_checkpoint(self, finished):
        """A new net loads the weights by the notes' own line; the history has a line for each record."""
        out, _ = finished
        net = CifarNet()

        net.load_state_dict(torch.load(out / "cifar_net.pth"))
        lines = [json.loads(line) for line in (out / "history.jsonl").read_text().splitlines()]

        saved = checkpoint.load(out / "checkpoint.pt")
        torch.testing.assert_close(net.state_dict(), saved["model"], rtol=0, atol=0)
        assert lines == saved["history"]
        assert [[*line][-1] for line in lines] == ["loss", "accuracy", "loss", "accuracy"]

    def test_checkpoint_is_saved_at_each_report_and_at_the_end_of_each_epoch(self, tmp_path, monkeypatch):
        """Of 5 mini-batches an epoch, with a report every 2, after these."""
        monkeypatch.setitem(RECIPES, "tutorial", RECIPES["tutorial"]._replace(report_every=2))
        save, saved = checkpoint.save, []
        monkeypatch.setattr(
            checkpoint, "save", lambda state, path: (save(state, path), saved.append(state["step"]))
        )

        train(tmp_path)

        assert saved == [2, 4, 5, 7, 9, 10]


class TestOptions:
    """What the options decide."""

    def test_seed_decides_the_weights(self, tmp_path, finished):
        """The same seed gives the same bits, another seed others."""
        for seed in (0, 1):
            train(tmp_path / str(seed), "--seed", seed)

        assert weights(tmp_path / "0") == weights(finished[0]) != weights(tmp_path / "1")

    def test_data_are_those_asked_for(self, tmp_path, monkeypatch, capsys, little):
        """Named, held out or fetched; what is read is said, and that the test images are training images."""
        asked = []
        official = little._replace(origin="official")
        monkeypatch.setattr(shared, "load", lambda source, **how: asked.append((source, how)) or official)
        monkeypatch.setattr(shared, "find", lambda source, **how: ("official", source))

        train(tmp_path, "--data", "here", "--holdout", 50, "--download")

        lines = capsys.readouterr().out.splitlines()
        assert asked == [("here", {"download": True, "holdout": 50, "progress": True})]
        assert lines[0] == (
            "Data: official here (20 training and 20 test images, held out of the training part)"
        )
        assert lines[3].startswith("Accuracy of the network on the 20 test images: ")

    @pytest.mark.parametrize(
        ("batch_size", "told", "threads"),
        [(31, None, [1]), (32, None, []), (4, "2", [])],
        ids=["small batch", "large batch", "OMP_NUM_THREADS"],
    )
    def test_small_batches_get_one_thread(self, monkeypatch, batch_size, told, threads):
        """From 32 on PyTorch's own choice stays, and so does what the environment says."""
        chosen = []
        monkeypatch.delenv("OMP_NUM_THREADS")
        if told:
            monkeypatch.setenv("OMP_NUM_THREADS", told)
        monkeypatch.setattr(torch, "set_num_threads", chosen.append)

        command.choose_threads(batch_size)

        assert chosen == threads


class Counting(nn.Module):
    """Takes the first image for class 0, the second for class 1, and so on; trained, it would be wrong."""

    def forward(self, images):
        """Return scores (N, 10)."""
        scores = torch.eye(10)[torch.arange(len(images)) % 10]
        return -scores if self.training else scores


ORIGINS = {
    "official": "CIFAR-10",
    "image folder": "a folder of images",
    "stand-in": "the stand-in, not CIFAR-10",
}


@pytest.mark.parametrize(("origin", "words"), ORIGINS.items(), ids=ORIGINS)
def test_pictures_show_the_training_that_their_title_names(tmp_path, monkeypatch, origin, words):
    """Each goes to the file named after it; 32 images are shown, evenly spread, for a folder is sorted."""
    drawn = {}

    def noted(name, *arguments, **options):
        drawn[name] = (*arguments, options)
        return name.encode()

    for name in ("training_curves", "predictions", "confusion_matrix"):
        monkeypatch.setattr(pictures, name, partial(noted, name))
    data = draw(train=10, test=63)._replace(origin=origin)
    training = SimpleNamespace(net=Counting(), recipe=RECIPES["fast"], history=["line"], device="cpu")

    DRAW(training, Evaluation(0.5, None, "confusion"), data, tmp_path)

    title = {"title": f"Counting, recipe fast, on {words}"}
    named = {**title, "classes": data.classes}
    images, labels, predicted, options = drawn["predictions"]
    assert drawn["training_curves"] == (["line"], title)
    assert drawn["confusion_matrix"] == ("confusion", named)
    assert options == named
    assert torch.equal(images, data.test.images[::2])
    assert torch.equal(labels, data.test.labels[::2])
    assert predicted.tolist() == [number % 10 for number in range(32)]
    for file, name in (
        ("training", "training_curves"),
        ("predictions", "predictions"),
        ("confusion", "confusion_matrix"),
    ):
        assert (tmp_path / f"{file}.png").read_text() == name
