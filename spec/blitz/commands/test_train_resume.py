"""`blitz train`, gone on with: after its end, after damage, from elsewhere, and restarted by torchrun."""

import shlex

import pytest
import torch

from blitz.commands import train as command
from blitz.training import checkpoint, distributed
from spec.blitz.runs import train, weights

pytestmark = pytest.mark.usefixtures("same_threads", "little_data", "no_pictures")

TEN = ("--batch", 20)  # mini-batches, five an epoch


class TestResume:
    """--resume."""

    def test_finished_training_is_only_evaluated(self, tmp_path, capsys):
        """It prints the same accuracy, and restores a history that a kill left behind."""
        train(tmp_path, *TEN)
        first, before = capsys.readouterr().out.splitlines(), weights(tmp_path)
        history = (tmp_path / "history.jsonl").read_text()
        (tmp_path / "history.jsonl").write_text("")

        status = train(tmp_path, "--resume", *TEN)

        lines = capsys.readouterr().out.splitlines()
        assert status == 0
        assert lines[1].endswith("after 10 of 10 mini-batches: the training is complete")
        assert lines[2:13] == first[3:14]
        assert weights(tmp_path) == before
        assert (tmp_path / "history.jsonl").read_text() == history

    def test_damaged_checkpoint_names_the_one_before_which_ends_with_the_same_bits(self, tmp_path, capsys):
        """The sentence's own words, used as they stand, repair the training."""
        train(tmp_path, *TEN)
        whole = weights(tmp_path)
        (tmp_path / "checkpoint.pt").write_bytes((tmp_path / "checkpoint.pt").read_bytes()[:1000])

        refused = train(tmp_path, "--resume", *TEN)
        sentence = capsys.readouterr().err
        resumed = train(tmp_path, *TEN, *shlex.split(sentence.split("resume from it with ")[1]))

        assert (refused, resumed) == (2, 0)
        assert weights(tmp_path) == whole

    def test_checkpoint_from_elsewhere_is_taken_over_into_the_folder(self, tmp_path):
        """With its history, so that another resume finds both there."""
        train(tmp_path / "first", *TEN)

        status = train(tmp_path / "out", "--resume", tmp_path / "first/checkpoint.pt", *TEN)

        first, own = (checkpoint.load(tmp_path / name / "checkpoint.pt") for name in ("first", "out"))
        histories = [(tmp_path / name / "history.jsonl").read_bytes() for name in ("first", "out")]
        assert (status, own["step"], own["history"]) == (0, 10, first["history"])
        assert histories[0] == histories[1]

    def test_more_epochs_at_a_constant_rate_end_as_if_asked_for_at_once(self, tmp_path, capsys):
        """Whoever has asked for three need not do so again; fewer than are done are refused."""
        train(tmp_path / "whole", "--epochs", 3, *TEN)
        train(tmp_path / "out", *TEN)
        capsys.readouterr()

        options = (["--epochs", 3], [], ["--epochs", 2])
        statuses = [train(tmp_path / "out", "--resume", *words, *TEN) for words in options]

        out, err = capsys.readouterr()
        assert statuses == [0, 0, 2]
        assert weights(tmp_path / "out") == weights(tmp_path / "whole")
        assert "after 15 of 15 mini-batches: the training is complete" in out
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


def test_restart_by_torchrun_goes_on_from_the_last_save(tmp_path, capsys, monkeypatch):
    """And not from the weights that the command began with; another run is refused."""
    train(tmp_path / "first", *TEN)
    statuses = []
    for run in ("1", "1", "2"):
        monkeypatch.setattr(distributed, "run_name", lambda run=run: run)
        statuses.append(train(tmp_path / "out", "--from", tmp_path / "first/cifar_net.pth", *TEN))

    out, err = capsys.readouterr()
    assert statuses == [0, 0, 2]
    assert out.count("Starting from the weights in ") == 1
    assert out.count(f"Resumed from {tmp_path / 'out/checkpoint.pt'} after 10 of 10") == 1
    assert "already holds checkpoint.pt: continue with --resume" in err
