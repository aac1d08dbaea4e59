"""blitz/commands/signals.py: what Ctrl-C and SIGTERM do, apart from any training."""

import os
import signal

import pytest

from blitz.commands import signals


@pytest.fixture(autouse=True)
def handlers():
    """Put back what is done with both signals."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def test_all_signals_are_collected_where_a_process_of_many_is_told_twice():
    """Whoever signals all processes of a group tells torchrun, too, which passes it on once more."""
    with signals.postponed(all_of_them=True) as caught:
        for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGINT):
            os.kill(os.getpid(), number)

    assert caught == [signal.SIGTERM, signal.SIGTERM, signal.SIGINT]


def test_signal_that_is_ignored_stays_ignored():
    """A shell has Ctrl-C ignored by what it starts in the background."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    with signals.interrupting(), signals.postponed(all_of_them=False) as caught:
        os.kill(os.getpid(), signal.SIGINT)

    assert caught == []
