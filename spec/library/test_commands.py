"""What `blitz train` and `blitz evaluate` promise."""

import json
import os
import re
import shlex
import signal

import pytest
import torch
from filelock import FileLock

from blitz import checkpoint, commands
from blitz.data import Cifar10, Split, load
from blitz.nets import CifarNet
from blitz.training import Evaluation
from spec.harness.command_line import main

ALL = ["checkpoint.pt", "cifar_net.pth", "confusion.png", "history.jsonl", "predictions.png", "training.png"]


@pytest.fixture(autouse=True)
def same_threads(monkeypatch):
    """Keep the number of threads as it is: the commands leave it alone when it is set."""
    monkeypatch.setenv("OMP_NUM_THREADS", str(torch.get_num_threads()))


@pytest.fixture(scope="module")
def little():
    """A hundred images of the stand-in to train on, and fifty to test on."""
    whole = load("stand-in")
    parts = [Split(split.images[:n], split.labels[:n]) for split, n in ((whole.train, 100), (whole.test, 50))]
    return Cifar10(*parts, whole.classes, "stand-in")


@pytest.fixture
def little_data(monkeypatch, little):
    """Let every command read the little stand-in."""
    monkeypatch.setattr(commands, "load", lambda source, **options: little)


@pytest.fixture
def no_data(monkeypatch):
    """Let every attempt to read data fail."""

    def refuse(source, **options):
        raise AssertionError("the data was read")

    monkeypatch.setattr(commands, "load", refuse)


@pytest.fixture
def no_pictures(monkeypatch):
    """Draw nothing, which takes most of a short training's time."""
    monkeypatch.setattr(commands, "_draw", lambda *arguments: None)


def train(out, *words, recipe="tutorial"):
    """Run `blitz train` and return its exit status."""
    return main(["train", "--recipe", recipe, "--device", "cpu", "--out", str(out), *map(str, words)])


def weights(out):
    """Return the bytes of the weights that a training left."""
    return (out / "cifar_net.pth").read_bytes()


@pytest.mark.usefixtures("little_data")
class TestTrain:
    """What a training prints and leaves behind."""

    def test_training_leaves_its_files(self, tmp_path):
        """Two checkpoints, the weights, the history and three pictures, but nothing temporary."""
        status = train(tmp_path / "out")

        found = {entry.name for entry in (tmp_path / "out").iterdir()}
        assert status == 0
        assert found - {".lock"} == {*ALL, "checkpoint.previous.pt"}
        assert all((tmp_path / "out" / name).stat().st_size for name in ALL)

    @pytest.mark.usefixtures("no_pictures")
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

    @pytest.mark.usefixtures("no_pictures")
    def test_weights_are_the_notes_file(self, tmp_path):
        """A new net loads them by the notes' own line, and they are those of the checkpoint."""
        train(tmp_path)
        net = CifarNet()

        net.load_state_dict(torch.load(tmp_path / "cifar_net.pth"))

        expected = checkpoint.load(tmp_path / "checkpoint.pt")["model"]
        torch.testing.assert_close(net.state_dict(), expected, rtol=0, atol=0)

    @pytest.mark.usefixtures("no_pictures")
    def test_history_is_that_of_the_checkpoint(self, tmp_path):
        """One JSON object a line: the losses, and after each epoch the accuracy on the test images."""
        train(tmp_path)

        lines = [json.loads(line) for line in (tmp_path / "history.jsonl").read_text().splitlines()]

        assert lines == checkpoint.load(tmp_path / "checkpoint.pt")["history"]
        assert [(line["epoch"], "accuracy" in line) for line in lines] == [
            (1, False),
            (1, True),
            (2, False),
            (2, True),
        ]

    @pytest.mark.usefixtures("no_pictures")
    def test_seed_decides_the_weights(self, tmp_path):
        """The same seed gives the same bits, another seed others."""
        for name, seed in (("a", 1), ("b", 1), ("c", 2)):
            train(tmp_path / name, "--seed", seed)

        assert weights(tmp_path / "a") == weights(tmp_path / "b")
        assert weights(tmp_path / "a") != weights(tmp_path / "c")

    @pytest.mark.usefixtures("no_pictures")
    def test_stand_in_is_never_passed_off_as_cifar_10(self, tmp_path, capsys):
        """Both the data and the accuracy say so."""
        train(tmp_path)

        lines = capsys.readouterr().out.splitlines()
        assert lines[0].startswith(
            "Data: the built-in stand-in, NOT CIFAR-10 (100 training and 50 test images)"
        )
        assert lines[3].startswith(
            "Accuracy of the network on the 50 test images of the stand-in (NOT CIFAR-10): "
        )

    @pytest.mark.usefixtures("no_pictures")
    def test_data_is_named(self, tmp_path, capsys, monkeypatch, little):
        """Whatever is not the stand-in is said with its kind and its folder."""
        monkeypatch.setattr(commands, "load", lambda source, **options: little._replace(origin="official"))
        monkeypatch.setattr(commands, "find", lambda source: ("official", source))

        train(tmp_path, "--data", "/data/cifar")

        lines = capsys.readouterr().out.splitlines()
        assert lines[0] == "Data: official /data/cifar (100 training and 50 test images)"
        assert lines[3].startswith("Accuracy of the network on the 50 test images: ")


class TestAccuracy:
    """How the accuracy is printed."""

    def test_per_cent_are_rounded_down_as_the_notes_do(self, capsys):
        """29 of 100 are 29 %, which 100 * 0.29 is not, and 999 of 1000 are 99 %."""
        confusion = torch.tensor([[29, 71, 0], [1, 999, 0], [0, 0, 0]])
        data = Cifar10(None, None, ("plane", "car", "bird"), "official")

        commands._print_accuracy(Evaluation(1028 / 1100, torch.zeros(3), confusion), data)

        assert capsys.readouterr().out.splitlines() == [
            "Accuracy of the network on the 1100 test images: 93 %",
            "Accuracy of plane : 29 %",
            "Accuracy of   car : 99 %",
            "Accuracy of  bird : no images",
        ]


@pytest.mark.usefixtures("little_data", "no_pictures")
class TestResume:
    """Stopping and going on."""

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_stopped_training_goes_on_by_the_command_it_prints(self, tmp_path, capsys, monkeypatch, number):
        """Ctrl-C finishes the mini-batch, saves and ends with 130; the command gives the same bits."""
        train(tmp_path / "whole", "--seed", 3)
        with monkeypatch.context() as patch:
            save = checkpoint.save
            patch.setattr(checkpoint, "save", lambda *what: (save(*what), os.kill(os.getpid(), number)))
            before = signal.getsignal(number)
            status = train(tmp_path / "out", "--seed", 3)
        stopped = capsys.readouterr().out.splitlines()

        resumed = main(shlex.split(stopped[-1])[1:])

        assert (status, resumed, signal.getsignal(number)) == (130, 0, before)
        assert stopped[-2] == "Stopped after 25 of 50 mini-batches. To go on:"
        assert weights(tmp_path / "out") == weights(tmp_path / "whole")

    def test_stop_between_two_reports_is_saved(self, tmp_path, capsys, monkeypatch):
        """A signal in an epoch's fifth mini-batch ends the training after the fifth."""
        real, batches = commands.Training._learn, []

        def learn(self, *batch):
            real(self, *batch)
            batches.append(batch)
            if len(batches) == 5:
                os.kill(os.getpid(), signal.SIGINT)

        monkeypatch.setattr(commands.Training, "_learn", learn)
        status = train(tmp_path)

        assert status == 130
        assert checkpoint.load(tmp_path / "checkpoint.pt")["step"] == 5

    def test_finished_training_is_only_evaluated(self, tmp_path, capsys):
        """A resume at the end makes no mini-batch and prints the same accuracy."""
        train(tmp_path)
        first, before = capsys.readouterr().out.splitlines(), weights(tmp_path)

        status = train(tmp_path, "--resume")

        lines = capsys.readouterr().out.splitlines()
        assert status == 0
        assert lines[1].endswith("after 50 of 50 mini-batches: the training is complete")
        assert lines[2:13] == first[3:14]
        assert weights(tmp_path) == before

    def test_resume_restores_a_history_that_a_kill_left_behind(self, tmp_path):
        """The history is written from the checkpoint."""
        train(tmp_path)
        whole = (tmp_path / "history.jsonl").read_text()
        (tmp_path / "history.jsonl").write_text("")

        train(tmp_path, "--resume")

        assert (tmp_path / "history.jsonl").read_text() == whole

    def test_damaged_checkpoint_names_the_one_before_which_ends_with_the_same_bits(self, tmp_path, capsys):
        """The sentence's own words, used as they stand, repair the training."""
        train(tmp_path)
        whole = weights(tmp_path)
        (tmp_path / "checkpoint.pt").write_bytes((tmp_path / "checkpoint.pt").read_bytes()[:1000])

        refused = train(tmp_path, "--resume")
        sentence = capsys.readouterr().err
        resumed = train(tmp_path, *shlex.split(sentence.split("go on with ")[1]))

        assert (refused, resumed) == (1, 0)
        assert weights(tmp_path) == whole

    @pytest.mark.parametrize(
        ("recipe", "words", "message"),
        [
            ("fast", [], "trained with recipe tutorial, not fast; resume with the recipe, seed and data"),
            (
                "tutorial",
                ["--seed", "5"],
                "trained with seed 0, not 5; resume with the recipe, seed and data",
            ),
        ],
        ids=["recipe", "seed"],
    )
    def test_resume_with_other_settings_is_refused(self, tmp_path, capsys, recipe, words, message):
        """The sentence names the file and what differs."""
        train(tmp_path)

        status = train(tmp_path, "--resume", *words, recipe=recipe)

        assert status == 1
        assert (
            f"blitz: {tmp_path / 'checkpoint.pt'} does not fit: it was {message}" in capsys.readouterr().err
        )


@pytest.mark.usefixtures("no_data")
class TestRefusals:
    """What is refused in one sentence, with status 1, before the data is read."""

    def test_missing_device_is_refused(self, tmp_path, capsys):
        """The sentence says which devices there are."""
        status = main(["train", "--out", str(tmp_path / "out"), "--device", "cuda:99"])

        assert status == 1
        assert "blitz: there is no device cuda:99 here: PyTorch" in capsys.readouterr().err
        assert not (tmp_path / "out").exists()

    @pytest.mark.parametrize("name", ["meta", "gpu", ""])
    def test_device_that_cannot_train_is_refused(self, tmp_path, capsys, name):
        """A device without memory, and words that name none."""
        status = main(["evaluate", str(tmp_path / "checkpoint.pt"), "--device", name])

        assert status == 1
        assert f"blitz: there is no device {name} here" in capsys.readouterr().err

    def test_folder_that_cannot_be_written_is_refused(self, tmp_path, capsys):
        """A folder below a file cannot be made."""
        (tmp_path / "file").touch()

        status = train(tmp_path / "file" / "out")

        assert status == 1
        assert "out: Not a directory" in capsys.readouterr().err

    @pytest.mark.parametrize("name", ALL)
    def test_folder_of_another_training_is_refused(self, tmp_path, capsys, name):
        """Nothing is overwritten; the sentence names two ways out."""
        (tmp_path / name).write_text("precious")

        status = train(tmp_path)

        expected = f"blitz: {tmp_path} already holds {name}: go on with --resume, or choose another --out\n"
        assert (status, capsys.readouterr().err) == (1, expected)
        assert (tmp_path / name).read_text() == "precious"

    def test_checkpoint_from_elsewhere_does_not_overwrite_another_training(self, tmp_path, capsys):
        """--resume PATH takes a folder over only if PATH is in it."""
        for name in ("one", "two"):
            (tmp_path / name).mkdir()
            checkpoint.save(
                {"model": {}, "settings": {}, "optimizer": {}, "step": 1}, tmp_path / name / "checkpoint.pt"
            )

        status = train(tmp_path / "one", "--resume", tmp_path / "two" / "checkpoint.pt")

        assert status == 1
        assert "one already holds checkpoint.pt" in capsys.readouterr().err

    def test_folder_in_use_is_refused(self, tmp_path, capsys):
        """Two trainings do not write to one folder."""
        with FileLock(tmp_path / ".lock"):
            status = train(tmp_path)

        assert status == 1
        assert f"blitz: another training is writing to {tmp_path}" in capsys.readouterr().err

    def test_resume_without_a_checkpoint_is_refused(self, tmp_path, capsys):
        """No folder is made for it."""
        status = train(tmp_path / "out", "--resume")

        assert status == 1
        assert (
            f"blitz: there is no checkpoint {tmp_path / 'out' / 'checkpoint.pt'}" in capsys.readouterr().err
        )
        assert not (tmp_path / "out").exists()

    @pytest.mark.parametrize("seed", ["-1", str(2**32), "x"])
    def test_seed_out_of_range_is_refused(self, capsys, seed):
        """Argparse ends with status 2 and its own message."""
        with pytest.raises(SystemExit) as caught:
            main(["train", "--seed", seed])

        assert caught.value.code == 2
        assert "argument --seed" in capsys.readouterr().err

    def test_foreign_file_is_not_evaluated(self, tmp_path, capsys):
        """A picture is no checkpoint."""
        (tmp_path / "cat.png").write_bytes(b"\x89PNG\r\n\x1a\n")

        status = main(["evaluate", str(tmp_path / "cat.png")])

        expected = f"blitz: {tmp_path / 'cat.png'} is not a file that torch.save wrote\n"
        assert (status, capsys.readouterr().err) == (1, expected)


@pytest.mark.usefixtures("little_data", "no_pictures")
def test_evaluate_takes_a_checkpoint_and_a_state_dict(tmp_path, capsys):
    """Both print what the training printed at its end."""
    train(tmp_path)
    torch.save(torch.load(tmp_path / "cifar_net.pth"), tmp_path / "plain.pth")
    expected = capsys.readouterr().out.splitlines()[3:14]

    printed = []
    for name in ("checkpoint.pt", "cifar_net.pth", "plain.pth"):
        assert main(["evaluate", str(tmp_path / name), "--device", "cpu"]) == 0
        printed.append(capsys.readouterr().out.splitlines()[1:])

    assert printed == [expected] * 3


class TestMachine:
    """Devices and threads."""

    @pytest.mark.parametrize(("available", "expected"), [(True, "mps"), (False, "cpu")])
    def test_auto_is_the_accelerator_or_else_the_cpu(self, monkeypatch, available, expected):
        """A build of PyTorch for an accelerator that this machine lacks does not count."""
        monkeypatch.setattr(torch.accelerator, "is_available", lambda: available)
        monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: torch.device("mps"))

        assert commands.find_device("auto") == torch.device(expected)

    @pytest.mark.parametrize(("batch_size", "threads"), [(4, [1]), (31, [1]), (32, []), (64, [])])
    def test_small_batches_get_one_thread(self, monkeypatch, batch_size, threads):
        """From 32 on PyTorch's own choice stays."""
        chosen = []
        monkeypatch.delenv("OMP_NUM_THREADS")
        monkeypatch.setattr(torch, "set_num_threads", chosen.append)

        commands._choose_threads(batch_size)

        assert chosen == threads

    def test_number_of_threads_in_the_environment_stays(self, monkeypatch):
        """Whoever sets OMP_NUM_THREADS knows better."""
        chosen = []
        monkeypatch.setenv("OMP_NUM_THREADS", "2")
        monkeypatch.setattr(torch, "set_num_threads", chosen.append)

        commands._choose_threads(4)

        assert chosen == []
