"""What `blitz train` and `blitz evaluate` print and draw."""

import io
import re
import sys
from contextlib import redirect_stdout
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from blitz.cifar10.data import Cifar10, Split, load
from blitz.commands import folder, pictures, shared
from blitz.commands import train as command
from blitz.training.evaluation import Evaluation
from blitz.training.recipes import RECIPES
from spec.blitz.runs import train
from spec.command_line import main

pytestmark = pytest.mark.usefixtures("same_threads")


@pytest.mark.usefixtures("little_data", "no_pictures")
class TestTraining:
    """What is printed as a training goes on."""

    def test_training_prints_what_the_notes_print(self, tmp_path, capsys):
        """The losses, the accuracy of the network, and that of each class, with padded names."""
        train(tmp_path)

        lines = capsys.readouterr().out.splitlines()
        assert re.fullmatch(r"\[1,    25\] loss: 2\.\d{3}", lines[1])
        assert re.fullmatch(r"\[2,    25\] loss: 2\.\d{3}", lines[2])
        assert lines[3].startswith("Accuracy of the network on the 50 test images")
        assert lines[4].startswith("Accuracy of            disc : ")
        assert lines[13].startswith("Accuracy of    checkerboard : ")
        assert all(line.endswith(" %") for line in lines[3:14])

    def test_last_line_names_the_files(self, tmp_path, capsys):
        """All of them, and their folder."""
        train(tmp_path)

        assert capsys.readouterr().out.splitlines()[14:] == [
            f"Saved in {tmp_path}: checkpoint.pt, cifar_net.pth, history.jsonl, training.png, "
            "predictions.png, confusion.png"
        ]

    def test_stand_in_is_never_passed_off_as_cifar_10(self, tmp_path, capsys):
        """Both the data and the accuracy say so."""
        train(tmp_path)

        lines = capsys.readouterr().out.splitlines()
        assert lines[0] == (
            "Data: the built-in stand-in, NOT CIFAR-10 (100 training and 50 test images); "
            "--download fetches CIFAR-10"
        )
        assert lines[3].startswith(
            "Accuracy of the network on the 50 test images of the stand-in (NOT CIFAR-10): "
        )

    def test_data_is_named(self, tmp_path, capsys, monkeypatch, little):
        """Whatever is not the stand-in is said with its kind and its folder."""
        monkeypatch.setattr(shared, "load", lambda source, **options: little._replace(origin="official"))
        monkeypatch.setattr(shared, "find", lambda source, **options: ("official", source))

        train(tmp_path, "--data", "/data/cifar")

        lines = capsys.readouterr().out.splitlines()
        assert lines[0] == "Data: official /data/cifar (100 training and 50 test images)"
        assert lines[3].startswith("Accuracy of the network on the 50 test images: ")

    def test_held_out_images_are_named(self, tmp_path, capsys, monkeypatch, little):
        """Whoever reads the accuracy knows that the test images are training images."""
        monkeypatch.setattr(shared, "load", lambda source, **options: little)

        train(tmp_path, "--holdout", "50")

        sizes = "(100 training and 50 test images, held out of the training part)"
        assert sizes in capsys.readouterr().out.splitlines()[0]

    def test_lines_are_written_at_once(self, tmp_path, monkeypatch):
        """Whoever follows a log file sees each line when it is due, not when a buffer is full."""
        log, seen = tmp_path / "log", []
        save = folder.save_history
        monkeypatch.setattr(
            folder, "save_history", lambda *what: (save(*what), seen.append(log.read_text().count("\n")))
        )

        with log.open("w") as file, redirect_stdout(file):
            train(tmp_path / "out")
        with log.open("w") as file, redirect_stdout(file):
            train(tmp_path / "out", "--resume")

        assert seen == [2, 3, 2]

    def test_terminal_shows_how_far_the_training_is(self, tmp_path, monkeypatch):
        """In mini-batches, with the last loss; in the end the bar is wiped away."""
        terminals = [io.StringIO(), io.StringIO()]
        for words, terminal in zip(([], ["--resume"]), terminals, strict=True):
            terminal.isatty = lambda: True
            monkeypatch.setattr(sys, "stderr", terminal)
            train(tmp_path, *words)

        first, second = (terminal.getvalue() for terminal in terminals)
        assert re.search(r"/50 .*batch.*, loss=2\.\d{3}\]", first)
        assert re.match(r"\r100%\|.{10}\| 50/50 \[00:00<\?, \?batch/s\]", second)
        assert first.split("\r")[-2].strip() == first.split("\r")[-1] == ""

    def test_pipe_shows_no_bar(self, tmp_path, capsys):
        """What is no terminal gets nothing on stderr."""
        train(tmp_path)

        assert capsys.readouterr().err == ""


class TestAccuracy:
    """How the accuracy is printed."""

    def test_per_cent_are_rounded_down_as_the_notes_do(self, capsys):
        """29 of 100 are 29 %, which 100 * 0.29 is not, and 999 of 1000 are 99 %."""
        confusion = torch.tensor([[29, 71, 0], [1, 999, 0], [0, 0, 0]])
        data = Cifar10(None, None, ("plane", "car", "bird"), "official")

        shared.print_accuracy(Evaluation(1028 / 1100, torch.zeros(3), confusion), data)

        assert capsys.readouterr().out.splitlines() == [
            "Accuracy of the network on the 1100 test images: 93 %",
            "Accuracy of plane : 29 %",
            "Accuracy of   car : 99 %",
            "Accuracy of  bird : no images",
        ]


class Counting(nn.Module):
    """Takes the first image for class 0, the second for class 1, and so on."""

    def forward(self, images):
        """Return scores (N, 10)."""
        return torch.eye(10)[torch.arange(len(images)) % 10]


@pytest.fixture
def drawn(monkeypatch):
    """What is drawn, by picture, in place of the pictures."""
    asked = {}
    for name in ("training_curves", "predictions", "confusion_matrix"):

        def draw(*arguments, name=name, **options):
            asked[name] = (*arguments, options)
            return name.encode()

        monkeypatch.setattr(pictures, name, draw)
    return asked


class TestPictures:
    """What is drawn after a training."""

    @pytest.fixture
    def draw(self, tmp_path):
        """Draws the training of a net that counts, on so many test images."""
        whole = load("stand-in")
        training = SimpleNamespace(net=Counting(), recipe=RECIPES["fast"], history=["line"], device="cpu")

        def draw(images=63, origin="stand-in"):
            data = whole._replace(test=Split(*(part[:images] for part in whole.test)), origin=origin)
            command._draw(training, Evaluation(0.5, None, "confusion"), data, tmp_path)
            return data

        return draw

    @pytest.mark.parametrize(
        ("origin", "words"),
        [
            ("official", "CIFAR-10"),
            ("image folder", "a folder of images"),
            ("stand-in", "the stand-in, not CIFAR-10"),
        ],
    )
    def test_pictures_say_which_net_which_recipe_and_what_data(self, draw, drawn, origin, words):
        """All three have the same title."""
        draw(origin=origin)

        titles = [asked[-1]["title"] for asked in drawn.values()]
        assert titles == [f"Counting, recipe fast, on {words}"] * 3

    def test_pictures_show_the_history_and_the_confusion(self, draw, drawn, tmp_path):
        """Each goes to the file named after it, with the names of the classes."""
        classes = draw().classes

        assert drawn["training_curves"][0] == ["line"]
        assert drawn["confusion_matrix"][0] == "confusion"
        assert drawn["confusion_matrix"][1]["classes"] == drawn["predictions"][3]["classes"] == classes
        assert (tmp_path / "training.png").read_text() == "training_curves"
        assert (tmp_path / "predictions.png").read_text() == "predictions"
        assert (tmp_path / "confusion.png").read_text() == "confusion_matrix"

    @pytest.mark.parametrize(("images", "every"), [(63, 2), (32, 1), (5, 1)])
    def test_predictions_are_shown_for_32_images_evenly_spread(self, draw, drawn, images, every):
        """From the first to the last, for a folder is sorted by class; of fewer for all."""
        test = draw(images).test

        shown, labels, predicted, _ = drawn["predictions"]
        assert torch.equal(shown, test.images[::every])
        assert torch.equal(labels, test.labels[::every])
        assert predicted.tolist() == [number % 10 for number in range(len(shown))]


HELP = {
    "top": (
        [],
        [
            "train train the notes' Net on CIFAR-10 and evaluate it",
            "evaluate print the accuracy of saved weights",
            "predict print what saved weights take images for",
        ],
    ),
    "train": (
        ["train"],
        [
            "usage: blitz train [-h] [--data PATH] [--download] [--holdout N] [--device DEVICE] "
            "[--recipe {tutorial,fast,strong,record}] [--epochs N] [--batch N] [--out DIR] [--seed N] "
            "[--resume [PATH] | --from WEIGHTS] options:",
            "--data PATH CIFAR-10, official (its folder or archive), as a folder of images or in Kaggle's "
            "layout; or stand-in; else BLITZ_DATA, else the user's cache, else the stand-in --download",
            "--download fetch the official CIFAR-10 (170 MB) where no data set is --holdout",
            "--holdout N test on N of the training images, always the same ones, and train on the others "
            "--device",
            "--device DEVICE auto (default): the accelerator if there is one, else cpu --recipe",
            "--recipe {tutorial,fast,strong,record} default: tutorial --epochs",
            "--epochs N default: the recipe's, or those of what --resume names --batch",
            "--batch N images a step, over all processes; default: the recipe's --out",
            "--out DIR folder for what comes out; default: runs/RECIPE --seed",
            "--seed N default: 0 --resume",
            "--resume [PATH] go on from a checkpoint; default: DIR/checkpoint.pt --from",
            "--from WEIGHTS start a new training from the weights of another Started by torchrun "
            "it trains in several processes, and goes on by itself after a restart.",
        ],
    ),
    "evaluate": (
        ["evaluate"],
        [
            "usage: blitz evaluate [-h] [--data PATH] [--download] [--holdout N] [--device DEVICE] "
            "WEIGHTS positional",
            "WEIGHTS a checkpoint.pt, or a saved state_dict, also wrapped options:",
        ],
    ),
    "predict": (
        ["predict"],
        [
            "usage: blitz predict [-h] [--device DEVICE] WEIGHTS IMAGE [IMAGE ...] positional",
            "IMAGE an image of any size, or a folder of images options:",
        ],
    ),
}


@pytest.mark.parametrize(("words", "sentences"), HELP.values(), ids=HELP)
def test_help_says_what_each_option_is_for(capsys, monkeypatch, words, sentences):
    """And what it is when it is not given."""
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit) as caught:
        main([*words, "--help"])

    printed = " ".join(capsys.readouterr().out.split())
    assert caught.value.code == 0
    assert [sentence for sentence in sentences if sentence not in printed] == []
