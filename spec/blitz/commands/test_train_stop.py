"""`blitz train`, stopped by Ctrl-C or SIGTERM, and the command that it prints then."""

import os
import shlex
import signal
from pathlib import Path

import pytest

from blitz.commands import shared, signals
from blitz.commands import train as command
from blitz.training import checkpoint
from spec.blitz.runs import train, weights
from spec.command_line import main, parser

pytestmark = pytest.mark.usefixtures("quick")


def signalling(number, work, at, times):
    """Return `work`, which at its `at`-th call sends this process a signal beforehand, so many times."""
    calls = []

    def wrapped(*arguments, **options):
        calls.append(arguments)
        if len(calls) == at:
            for _ in range(times):
                os.kill(os.getpid(), number)
        return work(*arguments, **options)

    return wrapped


LEARN = (command.Training, "_learn")
AFTER = "Stopped after {} of 10 mini-batches. To go on:"
AT_ONCE = "Stopped. To go on:"
MOMENTS = {  # a signal, when it comes, how often, what is printed, and the mini-batches that are saved
    "loading": (signal.SIGTERM, (shared, "load"), 1, 1, AT_ONCE, 0),
    "between reports": (signal.SIGINT, LEARN, 3, 1, AFTER.format(3), 3),
    "evaluation": (signal.SIGTERM, (shared, "evaluate"), 1, 1, AFTER.format(5), 5),
    "save": (signal.SIGINT, (checkpoint, "save"), 1, 1, AFTER.format(6), 6),
    "twice in a mini-batch": (signal.SIGINT, LEARN, 8, 2, AT_ONCE, 5),
    "pictures": (signal.SIGTERM, (command, "_draw"), 1, 1, AT_ONCE, 10),
}


@pytest.mark.parametrize(("number", "work", "at", "times", "line", "step"), MOMENTS.values(), ids=MOMENTS)
def test_stopped_training_goes_on_by_the_command_it_prints(
    tmp_path, capsys, monkeypatch, finished, number, work, at, times, line, step
):
    """It ends with 130, the mini-batch finished and saved, and goes on to the same bits.

    A second signal stops in the middle of a mini-batch; what is printed then goes on from the last save.
    """
    before = signal.getsignal(number)
    with monkeypatch.context() as patch:
        patch.setattr(*work, signalling(number, getattr(*work), at, times))
        status = train(tmp_path)
    saved = tmp_path / "checkpoint.pt"
    found = checkpoint.load(saved)["step"] if saved.exists() else 0

    *_, said, words = capsys.readouterr().out.splitlines()
    gone_on = main(shlex.split(words)[1:])

    assert (status, found, said, gone_on) == (130, step, line, 0)
    assert signal.getsignal(number) == before
    assert weights(tmp_path) == weights(finished[0])


def test_command_repeats_what_was_asked_for(monkeypatch):
    """All that the training depends on, quoted for a shell."""
    monkeypatch.setattr(command.folder, "saved_by", lambda runs, out: {"step": 1})
    words = "--out out --recipe fast --seed 4294967295 --epochs 3 --batch 8 --data 'my copy' --holdout 8"
    words += " --device cpu --download"
    arguments = parser().parse_args(["train", *shlex.split(words)])

    assert command._command_to_go_on(arguments, Path("out"), set()) == f"blitz train {words} --resume"


@pytest.mark.parametrize("start", ["", " --resume", " --resume a.pt", " --from a.pth"])
def test_command_begins_again_as_it_did_where_nothing_has_been_saved(tmp_path, start):
    """A --resume would find nothing, or what another training has saved."""
    arguments = parser().parse_args(["train", *start.split()])

    repeated = command._command_to_go_on(arguments, tmp_path, {"this run"})

    assert repeated == f"blitz train --out {tmp_path} --recipe tutorial --seed 0{start}"


def test_all_signals_are_collected_where_a_process_of_many_is_told_twice():
    """Whoever signals all processes of a group tells torchrun, too, which passes it on once more."""
    with signals.postponed(all_of_them=True) as caught:
        for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGINT):
            os.kill(os.getpid(), number)

    assert caught == [signal.SIGTERM, signal.SIGTERM, signal.SIGINT]


def test_signal_that_is_ignored_stays_ignored():
    """A shell has Ctrl-C ignored by what it starts in the background."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with signals.interrupting(), signals.postponed(all_of_them=False) as caught:
            os.kill(os.getpid(), signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)

    assert caught == []
