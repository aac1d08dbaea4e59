"""`blitz train`, stopped by Ctrl-C or SIGTERM, and the command that it prints then."""

import os
import shlex
import signal

import pytest
import torch

from blitz.commands import shared, signals
from blitz.commands import train as command
from blitz.training import checkpoint
from spec.blitz.runs import train, weights
from spec.command_line import main, parser

pytestmark = pytest.mark.usefixtures("same_threads")


def signalling(number, work, *, at=1, times=1):
    """Return `work`, which at its `at`-th call sends this process a signal beforehand, so many times."""
    calls = []

    def wrapped(*arguments, **options):
        calls.append(arguments)
        if len(calls) == at:
            for _ in range(times):
                os.kill(os.getpid(), number)
        return work(*arguments, **options)

    return wrapped


def go_on(capsys):
    """Run the command that was printed; return the lines before it, and its status."""
    *lines, words = capsys.readouterr().out.splitlines()
    return lines, main(shlex.split(words)[1:])


LEARN = (command.Training, "_learn")
AFTER = "Stopped after {} of 50 mini-batches. To go on:"
MOMENTS = {
    "loading": (signal.SIGTERM, (shared, "load"), 1, "Stopped. To go on:", 0),
    "first mini-batch": (signal.SIGINT, LEARN, 1, AFTER.format(1), 1),
    "between reports": (signal.SIGTERM, LEARN, 5, AFTER.format(5), 5),
    "evaluation": (signal.SIGINT, (shared, "evaluate"), 1, AFTER.format(25), 25),
    "save": (signal.SIGTERM, (checkpoint, "save"), 1, AFTER.format(26), 26),
    "last evaluation": (signal.SIGINT, (shared, "evaluate"), 2, AFTER.format(50), 50),
    "last save": (signal.SIGTERM, (checkpoint, "save"), 2, AFTER.format(50), 50),
    "weights": (signal.SIGINT, (checkpoint, "save_weights"), 1, "Stopped. To go on:", 50),
    "pictures": (signal.SIGTERM, (command, "_draw"), 1, "Stopped. To go on:", 50),
}


@pytest.fixture(scope="module")
def whole(little, tmp_path_factory):
    """The weights of a training without a stop."""
    out = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shared, "load", lambda source, **options: little)
        patch.setattr(command, "_draw", lambda *arguments: None)
        patch.setenv("OMP_NUM_THREADS", "1")
        train(out, "--seed", 3)
    return weights(out)


@pytest.mark.usefixtures("little_data", "no_pictures")
class TestStop:
    """A signal, at any moment."""

    @pytest.mark.parametrize(("number", "work", "at", "line", "step"), MOMENTS.values(), ids=MOMENTS)
    def test_stopped_training_goes_on_by_the_command_it_prints(
        self, tmp_path, capsys, monkeypatch, whole, number, work, at, line, step
    ):
        """It ends with 130 and, the mini-batch finished and saved, goes on to the same bits."""
        before = signal.getsignal(number)
        with monkeypatch.context() as patch:
            patch.setattr(*work, signalling(number, getattr(*work), at=at))
            status = train(tmp_path, "--seed", 3)
        saved = tmp_path / "checkpoint.pt"
        found = checkpoint.load(saved)["step"] if saved.exists() else 0

        lines, gone_on = go_on(capsys)

        assert (status, found, lines[-1], gone_on) == (130, step, line, 0)
        assert signal.getsignal(number) == before
        assert weights(tmp_path) == whole

    @pytest.mark.parametrize(("at", "saved"), [(5, 0), (30, 25)], ids=["before a save", "after a save"])
    def test_second_signal_stops_at_once(self, tmp_path, capsys, monkeypatch, whole, at, saved):
        """In the middle of a mini-batch; what is printed then goes on from the last save, or begins anew."""
        with monkeypatch.context() as patch:
            learn = signalling(signal.SIGINT, command.Training._learn, at=at, times=2)
            patch.setattr(command.Training, "_learn", learn)
            status = train(tmp_path, "--seed", 3)

        lines, gone_on = go_on(capsys)

        resumed = f"Resumed from {tmp_path / 'checkpoint.pt'} after {saved} of 50"
        assert (status, lines[-1], gone_on) == (130, "Stopped. To go on:", 0)
        assert (resumed in capsys.readouterr().out) is (saved > 0)
        assert weights(tmp_path) == whole

    def test_stop_does_not_save_what_has_diverged(self, tmp_path, capsys, monkeypatch):
        """The last good checkpoint stays, and a sentence says why."""

        def diverge(training, *batch):
            training.step += 1
            if training.step == 30:
                training.net.fc3.bias.data.fill_(torch.nan)
                os.kill(os.getpid(), signal.SIGTERM)

        monkeypatch.setattr(*LEARN, diverge)

        status = train(tmp_path)

        assert status == 2
        assert "blitz: a weight is not a finite number any more, so " in capsys.readouterr().err
        assert checkpoint.load(tmp_path / "checkpoint.pt")["step"] == 25

    def test_resume_that_has_saved_nothing_yet_is_repeated(self, tmp_path, capsys, monkeypatch):
        """The folder holds a newer checkpoint, from which nobody has asked to go on."""
        train(tmp_path)
        monkeypatch.setattr(shared, "load", signalling(signal.SIGTERM, shared.load))
        capsys.readouterr()

        train(tmp_path, "--resume", tmp_path / "checkpoint.previous.pt")
        lines, status = go_on(capsys)

        assert (lines, status) == (["Stopped. To go on:"], 0)
        assert f"Resumed from {tmp_path / 'checkpoint.previous.pt'} after 25 of 50" in capsys.readouterr().out


class TestSignals:
    """What is done with signals, apart from any training."""

    def test_all_signals_are_collected_where_a_process_of_many_is_told_twice(self):
        """Whoever signals all processes of a group tells torchrun, too, which passes it on once more."""
        with signals.postponed(all_of_them=True) as caught:
            for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGINT):
                os.kill(os.getpid(), number)

        assert caught == [signal.SIGTERM, signal.SIGTERM, signal.SIGINT]

    def test_second_signal_of_one_process_is_not_collected(self):
        """Whatever the first one was."""
        with signals.postponed(all_of_them=False) as caught:
            os.kill(os.getpid(), signal.SIGTERM)
            with pytest.raises(KeyboardInterrupt):
                os.kill(os.getpid(), signal.SIGINT)

        assert caught == [signal.SIGTERM]

    def test_what_comes_after_a_stop_is_ignored_for_good(self):
        """It finds a process that is about to end, and has said what there is to say."""
        before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
        try:
            with signals.interrupting():
                signals.ignore()
            os.kill(os.getpid(), signal.SIGTERM)
        finally:
            ignored = signal.signal(signal.SIGTERM, before[0]), signal.signal(signal.SIGINT, before[1])

        assert ignored == (signal.SIG_IGN, signal.SIG_IGN)

    def test_signal_that_is_ignored_stays_ignored(self):
        """A shell has Ctrl-C ignored by what it starts in the background."""
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            with signals.interrupting(), signals.postponed(all_of_them=False) as caught:
                os.kill(os.getpid(), signal.SIGINT)
        finally:
            signal.signal(signal.SIGINT, before)

        assert caught == []


COMMANDS = {
    "as few words as it takes": ([], "--recipe tutorial --seed 0 --out out"),
    "recipe and seed": (["--recipe", "fast", "--seed", "3"], "--recipe fast --seed 3 --out out"),
    "epochs": (["--epochs", "3"], "--recipe tutorial --seed 0 --out out --epochs 3"),
    "batch": (["--batch", "8"], "--recipe tutorial --seed 0 --out out --batch 8"),
    "a name with a space": (["--data", "my copy"], "--recipe tutorial --seed 0 --out out --data 'my copy'"),
    "holdout": (["--holdout", "8"], "--recipe tutorial --seed 0 --out out --holdout 8"),
    "download": (["--download"], "--recipe tutorial --seed 0 --out out --download"),
    "device": (["--device", "cpu"], "--recipe tutorial --seed 0 --out out --device cpu"),
}
STARTS = {
    "anew": ([], ""),
    "resume": (["--resume"], " --resume"),
    "resume of a file": (["--resume", "a.pt"], " --resume a.pt"),
    "from weights": (["--from", "a.pth"], " --from a.pth"),
}


class TestCommand:
    """The command that is printed."""

    @pytest.mark.parametrize(("words", "expected"), COMMANDS.values(), ids=COMMANDS)
    def test_it_repeats_what_was_asked_for(self, tmp_path, monkeypatch, words, expected):
        """Quoted for a shell, with all that the training depends on."""
        monkeypatch.setattr(command.folder, "saved_by", lambda runs, out: {"step": 1})

        repeated = command._command_to_go_on(parser().parse_args(["train", *words]), "out", set())

        assert repeated == f"blitz train {expected} --resume"

    @pytest.mark.parametrize(("words", "expected"), STARTS.values(), ids=STARTS)
    def test_it_begins_again_as_it_did_where_nothing_has_been_saved(self, tmp_path, words, expected):
        """A --resume would find nothing, or what another training has saved."""
        arguments = parser().parse_args(["train", *words])

        repeated = command._command_to_go_on(arguments, tmp_path, {"this run"})

        assert repeated == f"blitz train --recipe tutorial --seed 0 --out {tmp_path}{expected}"
