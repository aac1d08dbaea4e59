"""What `blitz train` and `blitz evaluate` promise: files, settings, refusals, devices and threads."""

import json
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from io import StringIO

import pytest
import torch
from filelock import FileLock

from blitz.cifar10.data import normalize
from blitz.commands import shared
from blitz.commands import train as command
from blitz.training import checkpoint
from blitz.training.nets import CifarNet
from spec.blitz.runs import train, weights
from spec.command_line import main, parser

pytestmark = pytest.mark.usefixtures("same_threads")

ALL = ["checkpoint.pt", "cifar_net.pth", "confusion.png", "history.jsonl", "predictions.png", "training.png"]


@pytest.fixture
def no_data(monkeypatch):
    """Let every attempt to read data fail."""

    def refuse(source, **options):
        raise AssertionError("the data was read")

    monkeypatch.setattr(shared, "load", refuse)


@pytest.mark.usefixtures("little_data")
class TestTrain:
    """What a training does and leaves behind."""

    @pytest.mark.usefixtures("no_pictures")
    def test_seed_decides_the_first_weights(self, tmp_path, monkeypatch):
        """The same seed the same ones, and another one others."""
        first, real = [], command.Training

        def noted(net, *arguments, **options):
            first.append(net.conv1.bias.tolist())
            return real(net, *arguments, **options)

        monkeypatch.setattr(command, "Training", noted)
        for number, seed in enumerate((3, 3, 4)):
            train(tmp_path / str(number), "--seed", seed)

        assert first[0] == first[1] != first[2]

    @pytest.mark.usefixtures("no_pictures")
    def test_batch_size_is_the_one_asked_for(self, tmp_path):
        """Two epochs of a hundred images in batches of twenty are ten mini-batches."""
        train(tmp_path, "--batch", 20)

        assert checkpoint.load(tmp_path / "checkpoint.pt")["step"] == 10

    @pytest.mark.usefixtures("no_pictures")
    def test_number_of_epochs_is_the_one_asked_for(self, tmp_path):
        """Three epochs of a hundred images in batches of four are 75 mini-batches."""
        train(tmp_path, "--epochs", 3)

        assert checkpoint.load(tmp_path / "checkpoint.pt")["step"] == 75

    def test_training_leaves_its_files(self, tmp_path):
        """Two checkpoints, the weights, the history and three pictures, but nothing temporary."""
        status = train(tmp_path / "out")

        found = {entry.name for entry in (tmp_path / "out").iterdir()}
        assert status == 0
        assert found - {".lock"} == {*ALL, "checkpoint.previous.pt"}
        assert all((tmp_path / "out" / name).stat().st_size for name in ALL)

    @pytest.mark.usefixtures("no_pictures")
    def test_weights_are_the_notes_file(self, tmp_path):
        """A new net loads them by the notes' own line, and they are those of the checkpoint."""
        train(tmp_path)
        net = CifarNet()

        net.load_state_dict(torch.load(tmp_path / "cifar_net.pth"))

        expected = checkpoint.load(tmp_path / "checkpoint.pt")["model"]
        torch.testing.assert_close(net.state_dict(), expected, rtol=0, atol=0)

    @pytest.mark.usefixtures("no_pictures")
    def test_history_is_that_of_the_checkpoint(self, tmp_path, capsys):
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
        assert f": {round(100 * lines[-1]['accuracy'])} %\n" in capsys.readouterr().out

    @pytest.mark.usefixtures("no_pictures")
    def test_seed_decides_the_weights(self, tmp_path):
        """The same seed gives the same bits, another seed others."""
        for name, seed in (("a", 1), ("b", 1), ("c", 2)):
            train(tmp_path / name, "--seed", seed)

        assert weights(tmp_path / "a") == weights(tmp_path / "b")
        assert weights(tmp_path / "a") != weights(tmp_path / "c")

    @pytest.mark.usefixtures("no_pictures")
    def test_training_without_options_is_the_tutorial_with_seed_0(self, tmp_path, monkeypatch):
        """It goes to runs/tutorial below the folder one is in."""
        monkeypatch.chdir(tmp_path)

        status = main(["train"])

        settings = checkpoint.load(tmp_path / "runs" / "tutorial" / "checkpoint.pt")["settings"]
        assert status == 0
        assert (settings["recipe"], settings["seed"]) == ("tutorial", 0)

    @pytest.mark.usefixtures("no_pictures")
    def test_checkpoint_is_saved_at_each_report_and_at_the_end_of_each_epoch(self, tmp_path, monkeypatch):
        """Of 25 mini-batches an epoch, with a report every 10, after these."""
        recipe = command.RECIPES["tutorial"]._replace(report_every=10)
        monkeypatch.setitem(command.RECIPES, "tutorial", recipe)
        save, saved = checkpoint.save, []
        monkeypatch.setattr(
            checkpoint, "save", lambda state, path: (save(state, path), saved.append(state["step"]))
        )

        train(tmp_path)

        assert saved == [10, 20, 25, 35, 45, 50]

    @pytest.mark.usefixtures("no_pictures")
    def test_training_and_evaluation_use_the_device_named(self, tmp_path, monkeypatch):
        """After each epoch, after a resume at the end, and in `blitz evaluate`."""
        evaluate, used = shared.evaluate, []

        def watched(net, split, *, device=None, **options):
            used.append(str(device))
            return evaluate(net, split, device=device, **options)

        monkeypatch.setattr(shared, "evaluate", watched)
        train(tmp_path, "--device", "cpu:0")
        train(tmp_path, "--device", "cpu:0", "--resume")
        main(["evaluate", str(tmp_path / "checkpoint.pt"), "--device", "cpu:0"])

        assert used == ["cpu:0"] * 4


OPTIONS = {
    "named": (["--data", "here"], ("here", {"download": False, "holdout": 0, "progress": True})),
    "to be fetched": (["--download"], (None, {"download": True, "holdout": 0, "progress": True})),
    "held out": (["--holdout", "9"], (None, {"download": False, "holdout": 9, "progress": True})),
}


@pytest.mark.parametrize(("words", "expected"), OPTIONS.values(), ids=OPTIONS)
def test_data_is_what_the_options_say(monkeypatch, little, words, expected):
    """--data names it, --download fetches it, and the decoding shows how far it is."""
    asked = []
    monkeypatch.setattr(shared, "load", lambda source, **how: asked.append((source, how)) or little)

    shared.load_data(parser().parse_args(["train", *words]))

    assert asked == [expected]


@pytest.mark.usefixtures("no_data")
class TestRefusals:
    """What is refused in one sentence, with status 2, before the data is read."""

    @pytest.mark.parametrize(("accelerator", "seen"), [(None, "only cpu"), ("mps", "cpu and mps")])
    def test_missing_device_is_refused(self, tmp_path, capsys, monkeypatch, accelerator, seen):
        """The sentence says which devices there are."""
        monkeypatch.setattr(torch.accelerator, "is_available", lambda: accelerator is not None)
        monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: torch.device(accelerator))

        status = main(["train", "--out", str(tmp_path / "out"), "--device", "cuda:99"])

        expected = f"blitz: there is no device cuda:99 here: PyTorch {torch.__version__} sees {seen}\n"
        assert (status, capsys.readouterr().err) == (2, expected)
        assert not (tmp_path / "out").exists()

    @pytest.mark.parametrize("name", ["meta", "gpu", ""])
    def test_device_that_cannot_train_is_refused(self, tmp_path, capsys, name):
        """A device without memory, and words that name none."""
        status = main(["evaluate", str(tmp_path / "checkpoint.pt"), "--device", name])

        assert status == 2
        assert f"blitz: there is no device {name} here" in capsys.readouterr().err

    def test_folder_that_cannot_be_written_is_refused(self, tmp_path, capsys):
        """A folder below a file cannot be made."""
        (tmp_path / "file").touch()

        status = train(tmp_path / "file" / "out")

        assert status == 2
        assert "out: Not a directory" in capsys.readouterr().err

    @pytest.mark.parametrize("name", ALL)
    def test_folder_of_another_training_is_refused(self, tmp_path, capsys, name):
        """Nothing is overwritten; the sentence names two ways out."""
        (tmp_path / name).write_text("precious")

        status = train(tmp_path)

        expected = (
            f"blitz: {tmp_path} already holds {name}: continue with --resume, or choose another --out\n"
        )
        assert (status, capsys.readouterr().err) == (2, expected)
        assert (tmp_path / name).read_text() == "precious"

    def test_checkpoint_from_elsewhere_does_not_overwrite_another_training(self, tmp_path, capsys):
        """--resume PATH takes a folder over only if PATH is in it."""
        for name in ("one", "two"):
            (tmp_path / name).mkdir()
            checkpoint.save(
                {"model": {}, "settings": {}, "optimizer": {}, "step": 1}, tmp_path / name / "checkpoint.pt"
            )

        status = train(tmp_path / "one", "--resume", tmp_path / "two" / "checkpoint.pt")

        assert status == 2
        assert "one already holds checkpoint.pt" in capsys.readouterr().err

    def test_folder_in_use_is_refused(self, tmp_path, capsys):
        """Two trainings do not write to one folder."""
        with FileLock(tmp_path / ".lock"):
            status = train(tmp_path)

        assert status == 2
        assert f"blitz: another training is writing to {tmp_path}" in capsys.readouterr().err

    def test_resume_without_a_checkpoint_is_refused(self, tmp_path, capsys):
        """No folder is made for it."""
        status = train(tmp_path / "out", "--resume")

        assert status == 2
        assert (
            f"blitz: there is no checkpoint {tmp_path / 'out' / 'checkpoint.pt'}" in capsys.readouterr().err
        )
        assert not (tmp_path / "out").exists()

    @pytest.mark.parametrize("seed", ["-1", "4294967296", "x"])
    def test_what_is_no_seed_is_refused(self, capsys, seed):
        """Argparse ends with status 2, and the message says what the range is."""
        with pytest.raises(SystemExit) as caught:
            main(["train", "--seed", seed])

        expected = f"argument --seed: expected a seed in 0..4294967295, got {seed}\n"
        assert caught.value.code == 2
        assert capsys.readouterr().err.endswith(expected)

    @pytest.mark.parametrize("count", ["0", "-4", "x"])
    def test_what_is_no_batch_size_is_refused(self, capsys, count):
        """Argparse ends with status 2, and the message says what it takes."""
        with pytest.raises(SystemExit) as caught:
            main(["train", "--batch", count])

        expected = f"argument --batch: expected a number of at least 1, got {count}\n"
        assert caught.value.code == 2
        assert capsys.readouterr().err.endswith(expected)

    def test_unknown_recipe_is_refused(self, capsys):
        """Argparse ends with status 2 and its own message."""
        with pytest.raises(SystemExit) as caught:
            main(["train", "--recipe", "slow"])

        assert caught.value.code == 2
        assert "argument --recipe: invalid choice: 'slow'" in capsys.readouterr().err

    @pytest.mark.parametrize("seed", [0, 4_294_967_295])
    def test_seeds_at_the_ends_of_the_range_are_taken(self, seed):
        """32 bits, what every generator takes for a seed."""
        assert parser().parse_args(["train", "--seed", str(seed)]).seed == seed

    def test_foreign_file_is_not_evaluated(self, tmp_path, capsys):
        """A picture is no checkpoint."""
        (tmp_path / "cat.png").write_bytes(b"\x89PNG\r\n\x1a\n")

        status = main(["evaluate", str(tmp_path / "cat.png")])

        expected = f"blitz: {tmp_path / 'cat.png'} is not a file that torch.save wrote\n"
        assert (status, capsys.readouterr().err) == (2, expected)


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


class TestThreads:
    """How many threads a training uses."""

    @pytest.mark.parametrize(("batch_size", "threads"), [(4, [1]), (31, [1]), (32, []), (64, [])])
    def test_small_batches_get_one_thread(self, monkeypatch, batch_size, threads):
        """From 32 on PyTorch's own choice stays."""
        chosen = []
        monkeypatch.delenv("OMP_NUM_THREADS")
        monkeypatch.setattr(torch, "set_num_threads", chosen.append)

        command.choose_threads(batch_size)

        assert chosen == threads

    def test_number_of_threads_in_the_environment_stays(self, monkeypatch):
        """Whoever sets OMP_NUM_THREADS knows better."""
        chosen = []
        monkeypatch.setenv("OMP_NUM_THREADS", "2")
        monkeypatch.setattr(torch, "set_num_threads", chosen.append)

        command.choose_threads(4)

        assert chosen == []


class TestRecipesBeyondTheTutorials:
    """What the commands do where a recipe has another net, and asks for other hardware."""

    @pytest.fixture
    def slim(self, monkeypatch, little_data, same_threads):
        """A recipe strong whose net is small, and little data."""
        recipe = command.RECIPES["strong"]._replace(widths=(8,), batch_size=20, epochs=2)
        monkeypatch.setitem(command.RECIPES, "strong", recipe)

    @pytest.mark.usefixtures("no_pictures", "slim")
    def test_the_net_is_the_recipes_and_its_weights_are_evaluated_as_such(
        self, tmp_path, monkeypatch, capsys
    ):
        """`blitz evaluate` prints the training's accuracy, of all views; epochs in between need one."""
        evaluate, views = shared.evaluate, []

        def watched(*arguments, **options):
            views.append(options["views"])
            return evaluate(*arguments, **options)

        monkeypatch.setattr(shared, "evaluate", watched)
        train(tmp_path, recipe="strong")
        trained = capsys.readouterr().out
        for name in ("checkpoint.pt", "cifar_net.pth"):
            assert main(["evaluate", str(tmp_path / name), "--device", "cpu"]) == 0
            line = next(line for line in capsys.readouterr().out.splitlines() if "Accuracy of the" in line)
            assert line in trained
        assert views == [1, 6, 6, 6]

    @pytest.mark.usefixtures("slim")
    def test_pictures_show_what_the_net_predicts_in_evaluation_mode(self, tmp_path, monkeypatch):
        """BatchNorm then takes the training's means and not those of the images shown."""
        modes = []
        monkeypatch.setattr(command, "normalize", lambda images: modes.append(shown()) or normalize(images))
        made, real = [], command.Training
        monkeypatch.setattr(command, "Training", lambda *a, **o: made.append(real(*a, **o)) or made[-1])

        def shown():
            return made[-1].net.training

        train(tmp_path, recipe="strong")

        assert modes == [False]

    def test_a_recipe_for_a_gpu_is_refused_on_a_cpu(self, tmp_path, capsys):
        """Before any work, with the way out."""
        assert train(tmp_path, recipe="record") == 2

        assert capsys.readouterr().err == (
            "blitz: the recipe record is sized for a GPU, and would take most of an hour on a CPU: "
            "use --recipe strong\n"
        )

    @pytest.mark.usefixtures("no_pictures", "slim")
    @pytest.mark.parametrize("there", [True, False])
    def test_a_device_without_bfloat16_is_said_to_be_slower(self, tmp_path, monkeypatch, capsys, there):
        """The training goes on in float32."""
        monkeypatch.setattr(command, "has_bfloat16", lambda device: there)

        assert train(tmp_path, recipe="strong") == 0

        line = "cpu does not compute in bfloat16: strong takes float32, and about twice the time\n"
        assert (line in capsys.readouterr().out) is not there

    @pytest.mark.usefixtures("no_pictures", "slim")
    def test_nothing_is_printed_before_the_processes_have_met(self, tmp_path, monkeypatch, capsys):
        """For only then is it known who is the first, and the others are silent."""

        @contextmanager
        def silent_group(device_name):
            with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
                yield torch.device(device_name)

        monkeypatch.setattr(command, "has_bfloat16", lambda device: False)
        monkeypatch.setattr(command.distributed, "process_group", silent_group)

        assert train(tmp_path, recipe="strong") == 0

        assert capsys.readouterr() == ("", "")

    @pytest.mark.usefixtures("no_pictures", "little_data")
    def test_too_little_memory_is_a_sentence(self, tmp_path, monkeypatch, capsys):
        """It names the device, the recipe and its batch, and two ways out."""

        def fail(*arguments, **options):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")

        monkeypatch.setattr(command, "Training", fail)

        assert train(tmp_path) == 2

        assert capsys.readouterr().err == (
            "blitz: cpu has too little memory for tutorial at 4 images a step: "
            "choose a smaller --batch, or another --recipe\n"
        )
