"""What Ctrl-C and SIGTERM do to a training."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

_STOPS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def interrupting() -> Iterator[None]:
    """Let SIGTERM raise a KeyboardInterrupt, as Ctrl-C does."""
    with _handled(_interrupt):
        yield


@contextmanager
def postponed(*, all_of_them: bool) -> Iterator[list[int]]:
    """Collect SIGINT and SIGTERM; the second one acts as outside, unless `all_of_them` are only collected."""
    caught: list[int] = []

    def note(number: int, frame: Any) -> None:
        if caught and not all_of_them:
            _interrupt(number, frame)
        caught.append(number)

    with _handled(note):
        yield caught


def ignore() -> None:
    """Pay no heed to either as long as this process lives."""
    for number in _STOPS:
        signal.signal(number, signal.SIG_IGN)


def _interrupt(number: int, frame: Any) -> None:
    raise KeyboardInterrupt


@contextmanager
def _handled(handler: Callable[[int, Any], None]) -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in _STOPS}
    # a shell has Ctrl-C ignored by what it starts in the background
    heeded = {number: old for number, old in before.items() if old is not signal.SIG_IGN}
    for number in heeded:
        signal.signal(number, handler)
    try:
        yield
    finally:
        for number, old in heeded.items():
            if signal.getsignal(number) is handler:  # and not ignored since
                signal.signal(number, old)
