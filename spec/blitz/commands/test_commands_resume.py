"""`blitz train`, stopped and gone on with."""

import shlex

import pytest
import torch

from blitz.commands import folder
from blitz.commands import train as command
from blitz.errors import CheckpointError
from blitz.training import checkpoint, distributed
from spec.blitz.runs import make_stopped, train, weights

pytestmark = pytest.mark.usefixtures("same_threads")


@pytest.mark.usefixtures("little_data", "no_pictures")
class TestResume:
    """Stopping and going on."""

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
        resumed = train(tmp_path, *shlex.split(sentence.split("resume from it with ")[1]))

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

    def test_checkpoint_from_elsewhere_is_taken_over_into_the_folder(self, tmp_path):
        """At once: the last line names it, and another resume finds it there."""
        train(tmp_path / "first")

        status = train(tmp_path / "out", "--resume", tmp_path / "first/checkpoint.pt")

        first, own = (checkpoint.load(tmp_path / name / "checkpoint.pt") for name in ("first", "out"))
        assert (status, own["step"], own["history"]) == (0, 50, first["history"])
        assert (tmp_path / "out/history.jsonl").read_bytes() == (
            tmp_path / "first/history.jsonl"
        ).read_bytes()


@pytest.mark.usefixtures("little_data", "no_pictures")
class TestLonger:
    """Training on after the end."""

    def test_more_epochs_at_a_constant_rate_end_as_if_asked_for_at_once(self, tmp_path):
        """The weights are the same bits, and the history, too."""
        train(tmp_path / "whole", "--epochs", 3)
        train(tmp_path / "out")

        status = train(tmp_path / "out", "--epochs", 3, "--resume")

        assert status == 0
        assert weights(tmp_path / "out") == weights(tmp_path / "whole")
        assert (tmp_path / "out/history.jsonl").read_bytes() == (
            tmp_path / "whole/history.jsonl"
        ).read_bytes()

    def test_resume_trains_as_many_epochs_as_the_checkpoint_says(self, tmp_path, capsys):
        """Whoever asked for three need not do so again; fewer than are done are refused."""
        train(tmp_path, "--epochs", 3)

        statuses = [train(tmp_path, "--resume", *words) for words in ([], ["--epochs", 2])]

        out, err = capsys.readouterr()
        assert statuses == [0, 2]
        assert "after 75 of 75 mini-batches: the training is complete" in out
        assert err.endswith("checkpoint.pt does not fit: it has done 3 epochs, more than the 2 asked for\n")

    def test_recipe_whose_rate_falls_starts_anew_from_its_weights(self, tmp_path, capsys):
        """The refusal names --from, which takes the weights into a new folder, and nothing else."""
        train(tmp_path / "first", recipe="fast")
        refused = train(tmp_path / "first", "--resume", "--epochs", 2, recipe="fast")
        sentence = capsys.readouterr().err

        status = train(tmp_path / "out", "--from", tmp_path / "first/cifar_net.pth", recipe="fast")

        started = f"Starting from the weights in {tmp_path / 'first/cifar_net.pth'}\n"
        assert (refused, status) == (2, 0)
        assert "or start a new training from its weights with --from\n" in sentence
        assert started in capsys.readouterr().out
        assert checkpoint.load(tmp_path / "out/checkpoint.pt")["step"] == 1

    def test_weights_to_start_from_are_the_first_ones(self, tmp_path, monkeypatch):
        """Of a training that is otherwise new: a checkpoint's optimizer and random numbers are left alone."""
        train(tmp_path / "first")
        first, real = [], command.Training

        def noted(net, *arguments, **options):
            first.append({name: weight.clone() for name, weight in net.state_dict().items()})
            training = real(net, *arguments, **options)
            assert not training.optimizer.state
            return training

        monkeypatch.setattr(command, "Training", noted)
        train(tmp_path / "out", "--from", tmp_path / "first/checkpoint.pt")

        expected = checkpoint.load(tmp_path / "first/checkpoint.pt")["model"]
        torch.testing.assert_close(first, [expected], rtol=0, atol=0)
        assert checkpoint.load(tmp_path / "out/checkpoint.pt")["step"] == 50

    def test_weights_are_not_started_from_in_a_folder_of_another_training(self, tmp_path, capsys):
        """Nor in that which they lie in."""
        train(tmp_path)

        status = train(tmp_path, "--from", tmp_path / "cifar_net.pth")

        assert status == 2
        assert f"{tmp_path} already holds checkpoint.pt" in capsys.readouterr().err

    def test_either_goes_on_or_starts(self, tmp_path, capsys):
        """Argparse refuses both at once, with status 2."""
        with pytest.raises(SystemExit) as caught:
            train(tmp_path, "--resume", "--from", tmp_path / "cifar_net.pth")

        assert caught.value.code == 2
        assert "argument --from: not allowed with argument --resume\n" in capsys.readouterr().err


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
        assert capsys.readouterr().err.count("already holds checkpoint.pt: continue with --resume") == 2

    @pytest.mark.parametrize("words", [[], ["--resume"], ["--from"]], ids=["anew", "resumed", "from weights"])
    def test_restart_before_the_first_save_begins_as_the_command_says(self, tmp_path, capsys, words):
        """There is nothing of its own to go on from."""
        first = tmp_path / "first"
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(distributed, "run_name", lambda: "run 0")
            train(first)
        words = [*words, first / "checkpoint.pt"] if words else []
        before = capsys.readouterr().out

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(checkpoint, "save", fail)
            assert train(tmp_path / "out", *words) == 2
        killed = capsys.readouterr().out
        status = train(tmp_path / "out", *words)

        began = [line for line in killed.splitlines() if not line.startswith("[")]
        assert status == 0
        assert capsys.readouterr().out.startswith("\n".join(began))
        assert "Resumed" not in before

    def test_restart_of_a_resume_goes_on_from_its_own_save(self, tmp_path, capsys, monkeypatch):
        """As soon as it has one, which is before its first mini-batch."""
        monkeypatch.setattr(distributed, "run_name", lambda: "run 0")
        train(tmp_path / "first")
        monkeypatch.setattr(distributed, "run_name", lambda: "run 1")
        first, own = (tmp_path / name / "checkpoint.pt" for name in ("first", "out"))
        capsys.readouterr()

        for _ in range(2):
            train(tmp_path / "out", "--resume", first)

        assert resumed(capsys) == [str(first), str(own)]

    def test_resume_of_a_new_run_begins_where_it_says(self, tmp_path, capsys, monkeypatch):
        """The save before the last, too, and where the last is damaged as its refusal advises."""
        own, before = tmp_path / "checkpoint.pt", tmp_path / "checkpoint.previous.pt"
        train(tmp_path)
        capsys.readouterr()

        monkeypatch.setattr(distributed, "run_name", lambda: "run 2")
        train(tmp_path, "--resume", before)
        own.write_bytes(own.read_bytes()[:1000])
        monkeypatch.setattr(distributed, "run_name", lambda: "run 3")
        refused = train(tmp_path, "--resume")
        out, err = capsys.readouterr()
        status = train(tmp_path, *shlex.split(err.split("resume from it with ")[1]))

        assert f"Resumed from {before} after 25 of 50" in out
        assert (refused, status) == (2, 0)
        assert resumed(capsys) == [str(before)]

    def test_run_is_that_of_all_its_machines(self, tmp_path):
        """It is restarted where one of them has taken part before, whichever comes first now."""
        state = {**make_stopped(1).state_dict(), "history": []}
        folder.save(state, tmp_path, {"run 1", "run 2"})

        starts = [folder.load_start(tmp_path, None, runs) for runs in ({"run 2", "run 3"}, {"run 3"})]

        assert starts[0][0] == tmp_path / "checkpoint.pt"
        assert starts[1] is None


def fail(*arguments):
    """Fail as a save on a full disk does."""
    raise CheckpointError("no room")


def resumed(capsys):
    """Return the checkpoints that trainings went on from, as they have been printed."""
    lines = capsys.readouterr().out.splitlines()
    return [line.split()[2] for line in lines if line.startswith("Resumed")]
