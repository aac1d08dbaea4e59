"""What the tests of the commands share: little data, and a training of them."""

import io
from contextlib import contextmanager, redirect_stdout

import pytest
import torch

from blitz.cifar10.stand_in import draw
from blitz.commands import shared
from blitz.commands import train as command
from spec.blitz.runs import train


@contextmanager
def _commands_on(data):
    """Let every command read these data, leave the threads alone, and draw nothing, which takes longest."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shared, "load", lambda source, **options: data)
        patch.setattr(command, "_draw", lambda *arguments: None)
        patch.setenv("OMP_NUM_THREADS", str(torch.get_num_threads()))
        yield


@pytest.fixture(scope="session")
def little():
    """Twenty images of the stand-in to train on, and twenty to test on."""
    return draw(train=20, test=20)


@pytest.fixture
def quick(little):
    """Commands that read little data, draw nothing, and leave the number of threads as it is."""
    with _commands_on(little):
        yield


@pytest.fixture(scope="session")
def finished(little, tmp_path_factory):
    """The folder of the tutorial's training of ten mini-batches, and the lines that it printed."""
    out, printed = tmp_path_factory.mktemp("finished"), io.StringIO()
    with _commands_on(little), redirect_stdout(printed):
        train(out)
    return out, printed.getvalue().splitlines()
