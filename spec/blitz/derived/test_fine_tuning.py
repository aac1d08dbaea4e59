"""blitz/derived/fine_tuning.py, beyond its statements: what is refused, resumed, read and drawn."""

import io
import os
import signal
from contextlib import redirect_stdout
from pathlib import Path

import pytest
import torch

from blitz import pictures
from blitz.cifar10.data import Cifar10, Split
from blitz.commands import shared
from blitz.derived import fine_tuning
from blitz.derived.fine_tuning import FineTuning, read_resnet18, some_of
from blitz.errors import BlitzError, CheckpointError
from blitz.training import checkpoint
from spec.command_line import main
from spec.slim_resnet import SlimResNet

CPU = torch.device("cpu")
SIX = {  # steps, with a line for each
    "pretraining": (2, 10, 0.05),
    "from scratch": (1, 10, 0.05),
    "head only": (2, 10, 0.05),
    "all weights": (1, 10, 0.05),
}


@pytest.fixture(autouse=True)
def slim(monkeypatch):
    """Take a ResNet-18 of fewer channels in the place of the real one."""
    monkeypatch.setattr(fine_tuning, "resnet18", SlimResNet)


def run(out, data, *words, stop_at=None):
    """Return the status of six steps of the command, which a signal may stop, its lines and what it drew."""
    made, drawn, output = [], {}, io.StringIO()

    def rate(highest, step, total):
        made.append(step)
        if len(made) == stop_at:
            os.kill(os.getpid(), signal.SIGTERM)
        return highest

    with pytest.MonkeyPatch.context() as patch, redirect_stdout(output):
        patch.setattr(shared, "load", lambda source, **options: data)
        patch.setattr(fine_tuning, "resnet18", SlimResNet)
        patch.setattr(fine_tuning, "TRAININGS", SIX)
        patch.setattr(fine_tuning, "one_cycle", rate)
        for name in ("accuracies", "predictions"):
            patch.setattr(pictures, name, lambda *asked, name=name, **_: drawn.update({name: asked}) or b"")
        status = main(["chapter", "fine-tuning", "--device=cpu", f"--out={out}", *words])
    return status, output.getvalue().splitlines(), drawn


@pytest.fixture(scope="module")
def whole(tmp_path_factory, little):
    """What run() returns of a run without a stop, after its folder."""
    out = tmp_path_factory.mktemp("whole")
    return out, *run(out, little)


def test_command_says_and_draws_how_good_each_way_is(whole):
    """The curves run over the epochs of each way; the last net is asked about the new classes."""
    _, status, lines, drawn = whole

    (curves,) = drawn["accuracies"]
    images, labels, predicted = drawn["predictions"]
    assert status == 0
    assert lines[0].startswith("Data: the built-in stand-in, NOT CIFAR-10")
    assert [line.partition(":")[0] for line in lines[1:-1]] == [
        "pretraining, epoch 1",
        "pretraining, epoch 2",
        "from scratch, epoch 1",
        "head only, epoch 1",
        "head only, epoch 2",
        "all weights, epoch 1",
    ]
    assert lines[-1].endswith("history.jsonl, accuracy.png, predictions.png")
    assert {way: [epoch for epoch, _ in points] for way, points in curves.items()} == {
        "from scratch": [1],
        "head only": [1, 2],
        "all weights": [1],
    }
    assert (len(images), len(labels), len(predicted)) == (10, 10, 10)


def test_training_that_is_stopped_twice_goes_on_to_the_same_bits(whole, little, tmp_path):
    """After the pretraining, whose net is needed later on, and within a way."""
    first, second, last = (
        run(tmp_path, little, *words, stop_at=stop_at)
        for words, stop_at in (([], 2), (["--resume"], 2), (["--resume"], None))
    )

    states = [checkpoint.load(folder / "checkpoint.pt") for folder in (whole[0], tmp_path)]
    histories = [state["history"] for state in states]
    nets = [[*state["model"].values(), *state["pretrained"].values()] for state in states]
    differing = [pair for pair in zip(*nets, strict=True) if not pair[0].equal(pair[1])]
    assert [first[0], second[0], last[0]] == [130, 130, 0]
    assert "Stopped after 2 of 6 steps. To go on:" in first[1]
    assert "Stopped after 4 of 6 steps. To go on:" in second[1]
    assert histories[0] == histories[1]
    assert differing == []


def test_too_few_steps_are_refused(little):
    """The sentence says how many it takes, and for what."""
    sentence = "expected at least 7 steps, .* one for each of pretraining, .*, all weights; got 6"

    with pytest.raises(BlitzError, match=sentence):
        FineTuning(little, weights=None, seed=0, steps=6, device=CPU)


@pytest.mark.parametrize("given", [False, True], ids=["pretraining", "weights given"])
def test_each_training_gets_its_share_of_the_steps_and_at_least_one(little, monkeypatch, given):
    """One after the other, until none is left."""
    monkeypatch.setattr(fine_tuning, "read_resnet18", lambda path: SlimResNet(7).state_dict())
    names = ["pretraining"] * (not given) + ["from scratch", "head only", "all weights"]
    lengths = [fine_tuning.TRAININGS[name][0] for name in names]

    for steps in (3, 4, 7) if given else (7, 8, 29):
        weights = Path(__file__) if given else None
        parts = FineTuning(little, weights=weights, seed=0, steps=steps, device=CPU).parts

        assert list(parts) == names
        starts, ends = zip(*parts.values(), strict=True)
        assert (starts[0], *ends) == (*starts, steps)
        for start, end, length in zip(starts, ends, lengths, strict=True):
            assert end > start
            assert abs(end - start - steps * length / sum(lengths)) < 1


def test_rest_of_one_image_is_left_out_of_an_epoch(monkeypatch):
    """Batch norm in train mode refuses a single image, of whose last feature map one pixel is left."""
    split = Split(torch.zeros(12, 3, 32, 32, dtype=torch.uint8), torch.tensor([*range(10), 0, 5]))
    data = Cifar10(split, split, tuple("abcdefghij"), "drawn")
    monkeypatch.setattr(fine_tuning, "TRAININGS", dict.fromkeys(SIX, (2, 5, 0.05)))
    system = FineTuning(data, weights=None, seed=0, device=CPU)

    lines = list(system.steps())

    assert [line.partition(":")[0] for line in lines[-2:]] == ["all weights, epoch 1", "all weights, epoch 2"]


def test_seed_draws_the_images_to_learn_from():
    """As many of each class, these numbered from 0; the same ones for the same seed, others for another."""
    images = torch.arange(60, dtype=torch.uint8).view(60, 1, 1, 1).expand(60, 3, 32, 32)
    split = Split(images, torch.arange(60) % 6)

    first, again, other = (some_of(split, range(3, 6), most=4, seed=seed) for seed in (0, 0, 1))

    numbers = first.images[:, 0, 0, 0].long()
    assert first.labels.bincount().tolist() == [4, 4, 4]
    assert (numbers % 6 - 3).equal(first.labels)
    assert first.images.equal(again.images)
    assert not first.images.equal(other.images)
    assert len(some_of(split, range(3)).labels) == 30


def test_weights_of_any_number_of_classes_are_found_in_a_file(tmp_path):
    """Whatever they are wrapped in."""
    weights = SlimResNet(11).state_dict()
    wrapped = {"state": {f"module.{name}": value for name, value in weights.items()}}
    torch.save(wrapped, tmp_path / "weights.pt")

    found = read_resnet18(tmp_path / "weights.pt")

    same = [name for name, value in found.items() if value.equal(weights[name])]
    assert same == list(weights)


def test_file_without_a_resnet18_is_refused(tmp_path):
    """The sentence says what the file holds instead."""
    torch.save({"epoch": 3}, tmp_path / "weights.pt")

    with pytest.raises(CheckpointError, match=r"weights\.pt holds a dict of epoch, and no weights$"):
        read_resnet18(tmp_path / "weights.pt")


def test_given_weights_are_part_of_the_settings(little, tmp_path):
    """A training with other weights, or with none, does not go on from its checkpoint."""
    paths = [None]
    for number in range(2):
        paths.append(tmp_path / f"{number}.pt")
        torch.save(SlimResNet(5).state_dict(), paths[-1])

    systems = [FineTuning(little, weights=path, seed=0, device=CPU) for path in paths]

    assert len({system.settings["weights"] for system in systems}) == 3
    assert [len(system.parts) for system in systems] == [4, 3, 3]
