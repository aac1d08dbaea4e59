"""`blitz train`, stopped and gone on with."""

import os
import shlex
import shutil
import signal
from pathlib import Path

import pytest

from blitz import checkpoint, distributed
from blitz.commands import train as command
from spec.harness.command_line import main, parser
from spec.library.runs import train, weights

pytestmark = pytest.mark.usefixtures("same_threads")


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

        going = f"Resumed from {tmp_path / 'out/checkpoint.pt'} after 25 of 50 mini-batches: going on"
        assert (status, resumed, signal.getsignal(number)) == (130, 0, before)
        assert stopped[-2] == "Stopped after 25 of 50 mini-batches. To go on:"
        assert going in capsys.readouterr().out.splitlines()
        assert weights(tmp_path / "out") == weights(tmp_path / "whole")

    def test_stop_between_two_reports_is_saved(self, tmp_path, capsys, monkeypatch):
        """A signal in an epoch's fifth mini-batch ends the training after the fifth."""
        real, batches = command.Training._learn, []

        def learn(self, *batch):
            real(self, *batch)
            batches.append(batch)
            if len(batches) == 5:
                os.kill(os.getpid(), signal.SIGINT)

        monkeypatch.setattr(command.Training, "_learn", learn)
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

        assert (refused, resumed) == (2, 0)
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
            (
                "tutorial",
                ["--batch", "5"],
                "trained with batch_size 4, not 5; resume with the recipe, seed and data",
            ),
        ],
        ids=["recipe", "seed", "batch"],
    )
    def test_resume_with_other_settings_is_refused(self, tmp_path, capsys, recipe, words, message):
        """The sentence names the file and what differs."""
        train(tmp_path)

        status = train(tmp_path, "--resume", *words, recipe=recipe)

        assert status == 2
        assert (
            f"blitz: {tmp_path / 'checkpoint.pt'} does not fit: it was {message}" in capsys.readouterr().err
        )


@pytest.mark.usefixtures("little_data", "no_pictures")
class TestRestart:
    """What torchrun starts again goes on by itself."""

    @pytest.fixture(autouse=True)
    def named(self, monkeypatch):
        """Let torchrun have started every training, the same run of it each time."""
        monkeypatch.setattr(distributed, "run_name", lambda: "run 1")

    def test_restart_goes_on_from_the_last_save(self, tmp_path, capsys):
        """Without --resume, which the command did not have at first."""
        train(tmp_path)
        train(tmp_path)

        assert f"Resumed from {tmp_path / 'checkpoint.pt'} after 50 of 50" in capsys.readouterr().out

    def test_another_run_does_not_go_on_by_itself(self, tmp_path, capsys, monkeypatch):
        """Not even when it is restarted because it was refused."""
        train(tmp_path)
        monkeypatch.setattr(distributed, "run_name", lambda: "run 2")

        statuses = [train(tmp_path) for _ in range(2)]

        assert statuses == [2, 2]
        assert capsys.readouterr().err.count("already holds checkpoint.pt: go on with --resume") == 2

    def test_restart_before_the_first_save_begins_anew(self, tmp_path, capsys):
        """There is nothing to go on from; what is there already is its own."""
        train(tmp_path)
        (tmp_path / "checkpoint.pt").unlink()

        status = train(tmp_path)

        assert status == 0
        assert "Resumed" not in capsys.readouterr().out

    def test_restart_of_a_resume_goes_on_from_its_own_save(self, tmp_path, capsys):
        """From its folder once it has saved there, and until then from what --resume named."""
        train(tmp_path / "first")
        first, own = (tmp_path / name / "checkpoint.pt" for name in ("first", "out"))
        train(tmp_path / "out", "--resume", first)
        capsys.readouterr()

        train(tmp_path / "out", "--resume", first)
        shutil.copy(first, own)
        train(tmp_path / "out", "--resume", first)

        resumed = [line for line in capsys.readouterr().out.splitlines() if line.startswith("Resumed")]
        assert [line.split()[2] for line in resumed] == [str(first), str(own)]


COMMANDS = {
    "as few words as it takes": ([], "--recipe tutorial --seed 0 --out out"),
    "recipe and seed": (["--recipe", "fast", "--seed", "3"], "--recipe fast --seed 3 --out out"),
    "epochs": (["--epochs", "3"], "--recipe tutorial --seed 0 --out out --epochs 3"),
    "batch": (["--batch", "8"], "--recipe tutorial --seed 0 --out out --batch 8"),
    "holdout": (["--holdout", "8"], "--recipe tutorial --seed 0 --out out --holdout 8"),
    "a name with a space": (["--data", "my copy"], "--recipe tutorial --seed 0 --out out --data 'my copy'"),
    "device": (["--device", "cpu"], "--recipe tutorial --seed 0 --out out --device cpu"),
}


@pytest.mark.parametrize(("words", "expected"), COMMANDS.values(), ids=COMMANDS)
def test_command_to_go_on_repeats_what_was_asked_for(words, expected):
    """Quoted for a shell, with all that the training depends on."""
    repeated = command._resume_command(parser().parse_args(["train", *words]), Path("out"))

    assert repeated == f"blitz train {expected} --resume"
