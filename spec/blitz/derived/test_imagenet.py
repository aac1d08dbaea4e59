"""blitz/derived/imagenet.py: trainings that stop and go on, on a folder and in several processes."""

import io
import itertools
import os
import subprocess
import sys

import pytest
import torch

from blitz import pictures
from blitz.derived import imagenet
from blitz.derived.image_data import Views
from blitz.derived.imagenet import ImageNet
from blitz.errors import BlitzError, DataError
from spec.blitz.derived.test_image_data import write
from spec.command_line import main
from spec.section_6_derived import small_imagenet
from spec.section_6_derived.small_imagenet import shrink


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Make the trainings in this process small."""
    shrink(monkeypatch)


def make_training(folder=None, seed=0, **options):
    """Return a training on the CPU."""
    torch.manual_seed(seed)
    return ImageNet(folder, seed=0, device="cpu", **options)


def ends(stops):
    """In each rank: train, also with a stop after so many steps; return weights and histories at the end."""
    with pytest.MonkeyPatch.context() as patch:
        shrink(patch)
        found = []
        for stop in (None, *stops):
            training = make_training(steps=5)
            for _ in training.steps():
                if training.step == stop:
                    break
            if stop:
                file = io.BytesIO()
                torch.save(training.state_dict(), file)
                state = torch.load(io.BytesIO(file.getvalue()), weights_only=True)
                resumed = make_training(seed=9, steps=5)
                resumed.step, resumed.history = training.step, list(training.history)
                resumed.load_state_dict(state)
                list(resumed.steps())
                training = resumed
            weights = torch.cat([value.flatten().double() for value in training.net.state_dict().values()])
            found.append((weights.tolist(), training.history))
        return found


@pytest.mark.parametrize("size", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_resumed_training_ends_with_the_same_bits(ranks, size):
    """After a stop within an epoch, at its end or in the next: weights, statistics and history are equal."""
    for whole, *resumed in [ends([1, 2, 3])] if size == 1 else ranks(size, ends, [1, 2, 3]):
        assert resumed == [whole] * 3


def test_command_says_what_it_trains_on_and_leaves_pictures(tmp_path, capsys, monkeypatch):
    """The first line says that this is not ImageNet."""
    drawn = []
    for name in ("top_accuracies", "predictions"):
        monkeypatch.setattr(
            pictures, name, lambda *what, name=name, **options: drawn.append((name, what)) or b"a picture"
        )

    status = main(["chapter", "imagenet", "--device", "cpu", "--steps", "2", "--out", str(tmp_path)])

    lines = capsys.readouterr().out.splitlines()
    (_, (history,)), (_, (pixels, labels, guesses)) = drawn
    assert status == 0
    assert lines[0] == (
        "Data: the built-in stand-in, NOT ImageNet (20 training and 10 validation images of 10 classes, "
        "scaled to 16x16)"
    )
    assert lines[1].startswith("step 2 of 2: loss ")
    assert lines[2].startswith("epoch 1: top-1 ")
    assert lines[3] == (f"Saved in {tmp_path}: checkpoint.pt, history.jsonl, accuracy.png, predictions.png")
    assert [record["step"] for record in history] == [2]
    assert pixels.shape == (10, 3, 16, 16)
    assert len(labels) == len(guesses) == 10
    assert (tmp_path / "accuracy.png").read_bytes() == b"a picture"


def test_pictures_are_drawn_wherever_the_net_is(device):
    """The labels that its guesses are compared with are on the CPU."""
    training = small_imagenet.make_training(device, steps=1)
    list(training.steps())

    files = training.results().values()

    assert [file[1:4] for file in files] == [b"PNG", b"PNG"]


def test_folder_of_a_few_images_is_one_batch(tmp_path):
    """Two classes: the best five guesses hold both. By default the training is of 90 epochs."""
    training = make_training(str(write(tmp_path, "train", "val", size=(40, 30))))

    lines = list(itertools.islice(training.steps(), 2))

    assert training.total_steps == 90
    assert training.history[0]["epoch"] == 1
    assert [record["top-5"] for record in training.history] == [1, 1]
    assert lines[0].startswith(f"Data: {tmp_path.name} ")


# Python 3.12 and later warn when a process with threads forks; these workers only decode.
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.parametrize("workers", [0, 1])
def test_broken_image_ends_the_training_with_its_name_alone(tmp_path, workers):
    """Also where a worker meets it."""
    folder = write(tmp_path, "train", "val", size=(40, 30))
    path = folder / "val" / "bee" / "0.jpg"
    path.write_bytes(path.read_bytes()[:200])
    training = make_training(str(folder))
    training.workers = workers

    with pytest.raises(DataError, match=rf"\Acannot decode {path}, replace or remove it: .*\Z"):
        training.validate()


# Python 3.12 and later warn when a process with threads forks.
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_workers_leave_the_process_group(monkeypatch):
    """So Ctrl-C and SIGTERM reach the training alone, which saves and ends them."""
    monkeypatch.setattr(imagenet, "normalized", lambda pixels: pixels)
    training = make_training()
    training.workers = 1
    views = Views([(None, 0)], lambda image: torch.tensor(os.getpgrp()), torch.tensor([0]))

    ((group, _),) = training._batches(views, torch.tensor([0]))

    assert group.item() != os.getpgrp()


def test_diverged_training_ends_with_a_sentence(monkeypatch):
    """It is seen when a line is due."""
    monkeypatch.setattr(imagenet, "learning_rate", lambda step, total: 1e30)

    with pytest.raises(BlitzError, match=r"^the loss is (nan|inf) at step 2: training has diverged"):
        list(make_training().steps())


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_torchrun_trains_in_two_processes(tmp_path):
    """The first of them alone prints and writes; with another number of processes the training goes on."""
    words = ["-m", "blitz", "chapter", "imagenet", "--device", "cpu", "--steps", "2", "--out", str(tmp_path)]
    two = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", *words]

    first = subprocess.run(two, capture_output=True, text=True, check=False)
    again = subprocess.run([sys.executable, *words, "--resume"], capture_output=True, text=True, check=False)

    assert first.returncode == 0, first.stderr
    assert [line.split()[0] for line in first.stdout.splitlines()] == ["Data:", "step", "epoch", "Saved"]
    assert again.returncode == 0, again.stderr
    assert "after 2 of 2 steps: complete" in again.stdout
