"""`blitz train`, gone on with: after its end, after damage, from elsewhere, and restarted by torchrun."""

import shlex
import shutil

import pytest
import torch

from blitz.commands import train as command
from blitz.training import checkpoint, distributed
from spec.blitz.runs import train, weights

pytestmark = pytest.mark.usefixtures("quick")


@pytest.fixture
def out(finished, tmp_path):
    """A folder of its own with a training that has come to its end."""
    return shutil.copytree(finished[0], tmp_path / "out")


class TestResume:
    """--resume."""

    def test_finished_training_is_only_evaluated(self, finished, out, capsys):
        """It prints the same accuracy, and restores a history that a kill left behind."""
        first, lines = finished
        (out / "history.jsonl").write_text("")

        status = train(out, "--resume")

        printed = capsys.readouterr().out.splitlines()
        assert status == 0
        assert printed[1].endswith("after 10 of 10 mini-batches: the training is complete")
        assert printed[2:13] == lines[3:14]
        assert weights(out) == weights(first)
        assert (out / "history.jsonl").read_text() == (first / "history.jsonl").read_text()

    def test_damaged_checkpoint_names_the_one_before_which_ends_with_the_same_bits(self, out, capsys):
        """The sentence's own words, used as they stand, repair the training."""
        whole = weights(out)
        (out / "checkpoint.pt").write_bytes((out / "checkpoint.pt").read_bytes()[:1000])

        refused = train(out, "--resume")
        sentence = capsys.readouterr().err
        resumed = train(out, *shlex.split(sentence.split("resume from it with ")[1]))

        assert (refused, resumed) == (2, 0)
        assert weights(out) == whole

    def test_checkpoint_from_elsewhere_is_taken_over_into_the_folder(self, out, tmp_path):
        """With its history, so that another resume finds both there."""
        status = train(tmp_path / "new", "--resume", out / "checkpoint.pt")

        first, own = (checkpoint.load(folder / "checkpoint.pt") for folder in (out, tmp_path / "new"))
        histories = [(folder / "history.jsonl").read_bytes() for folder in (out, tmp_path / "new")]
        assert (status, own["step"], own["history"]) == (0, 10, first["history"])
        assert histories[0] == histories[1]

    def test_more_epochs_at_a_constant_rate_end_as_if_asked_for_at_once(self, out, tmp_path, capsys):
        """Whoever has asked for three need not do so again; fewer than are done are refused."""
        train(tmp_path / "whole", "--epochs", 3)

        options = (["--epochs", 3], [], ["--epochs", 2])
        statuses = [train(out, "--resume", *words) for words in options]

        printed, err = capsys.readouterr()
        assert statuses == [0, 0, 2]
        assert weights(out) == weights(tmp_path / "whole")
        assert "after 15 of 15 mini-batches: the training is complete" in printed
        assert err.endswith("checkpoint.pt does not fit: it has done 3 epochs, more than the 2 asked for\n")

    def test_recipe_whose_rate_falls_starts_anew_from_its_weights(self, tmp_path, capsys, monkeypatch):
        """The refusal names --from, which takes the weights for the first ones of a new training."""
        train(tmp_path / "first", recipe="fast")
        refused = train(tmp_path / "first", "--resume", "--epochs", 2, recipe="fast")
        sentence = capsys.readouterr().err
        first, real = [], command.Training

        def noted(net, *arguments, **options):
            first.append({name: weight.clone() for name, weight in net.state_dict().items()})
            return real(net, *arguments, **options)

        monkeypatch.setattr(command, "Training", noted)
        status = train(tmp_path / "out", "--from", tmp_path / "first/checkpoint.pt", recipe="fast")

        assert (refused, status) == (2, 0)
        assert "or start a new training from its weights with --from\n" in sentence
        started = f"Starting from the weights in {tmp_path / 'first/checkpoint.pt'}\n"
        assert started in capsys.readouterr().out
        expected = checkpoint.load(tmp_path / "first/checkpoint.pt")["model"]
        torch.testing.assert_close(first, [expected], rtol=0, atol=0)
        assert checkpoint.load(tmp_path / "out/checkpoint.pt")["step"] == 1


def test_restart_by_torchrun_goes_on_from_the_last_save(finished, tmp_path, capsys, monkeypatch):
    """And not from the weights that the command began with; another run is refused."""
    out, statuses = tmp_path / "out", []
    for run in ("1", "1", "2"):
        monkeypatch.setattr(distributed, "run_name", lambda run=run: run)
        statuses.append(train(out, "--from", finished[0] / "cifar_net.pth"))

    printed, err = capsys.readouterr()
    assert statuses == [0, 0, 2]
    assert printed.count("Starting from the weights in ") == 1
    assert printed.count(f"Resumed from {out / 'checkpoint.pt'} after 10 of 10") == 1
    assert "already holds checkpoint.pt: continue with --resume" in err
