"""`blitz train` on two hosts that train together, lose each other, and go on.

The hosts are network namespaces. They meet as the README has it, at a fixed host (--master-addr), or by
torchrun's c10d rendezvous. There the trainings end in time as well, but a torchrun that is cut off from the
store waits until the kernel gives up, a quarter of an hour.
"""

import re
import subprocess
import time
from types import SimpleNamespace

import pytest

from spec.blitz.hosts import PATIENCE, environment, torchrun, two_hosts
from spec.blitz.runs import weights

pytestmark = pytest.mark.slow

MEETINGS = ["fixed host", "c10d"]


@pytest.fixture(scope="module")
def hosts():
    """Two hosts."""
    with two_hosts() as hosts:
        yield hosts


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    """The weights that two processes on one host end with."""
    folder = tmp_path_factory.mktemp("one host")
    command = torchrun("--standalone", "--nproc-per-node=2", folder=folder)
    subprocess.run(command, env=environment(), capture_output=True, check=True)
    return weights(folder / "out")


@pytest.fixture(scope="module", params=MEETINGS)
def lost(hosts, request, tmp_path_factory):
    """A training whose hosts lost each other for good after the first checkpoint."""
    folder = tmp_path_factory.mktemp("lost")
    training = hosts.train(folder, "--slow=0.02", meeting=request.param)
    wait_for(folder / "out" / "checkpoint.pt")
    with hosts.unplugged():
        began = time.monotonic()
        for log in training.logs:
            wait_for(log, "lost another process")
        statuses = training.statuses() if request.param == "fixed host" else None
        seconds = time.monotonic() - began
        hosts.end()
    return SimpleNamespace(
        folder=folder, meeting=request.param, statuses=statuses, seconds=seconds, words=training.words()
    )


def wait_for(path, word="", *, seconds=60):
    """Wait until the file is there, with the word in it."""
    deadline = time.monotonic() + seconds
    while not (path.exists() and word.encode() in path.read_bytes()):
        assert time.monotonic() < deadline, f"{word or 'nothing'} in {path}"
        time.sleep(0.01)


@pytest.mark.parametrize("meeting", MEETINGS)
def test_two_hosts_train_as_two_processes_of_one_do(hosts, expected, tmp_path, meeting):
    """Trained on two hosts, the weights are those of two processes on one host, bit for bit."""
    training = hosts.train(tmp_path, meeting=meeting)

    assert training.statuses() == [0, 0]
    assert weights(tmp_path / "out") == expected


def test_each_host_says_that_it_lost_the_other(lost):
    """When the link goes down, both trainings end by themselves, at the timeout, with a sentence each.

    So does torchrun, if they meet at a fixed host.
    """
    sentence = r"^blitz: rank {} of 2 lost another process, or had no answer from it for {} seconds: \S"

    assert lost.statuses == ([1, 1] if lost.meeting == "fixed host" else None)
    assert lost.seconds < PATIENCE + 15
    for rank, words in enumerate(lost.words):
        assert re.findall(sentence.format(rank, PATIENCE), words, re.MULTILINE)


def test_training_goes_on_when_the_link_is_back(hosts, lost, expected):
    """The same commands with --resume end with the weights of an undisturbed training, bit for bit."""
    training = hosts.train(lost.folder, "--resume", meeting=lost.meeting)

    assert training.statuses() == [0, 0]
    assert "mini-batches: going on" in training.words()[0]
    assert weights(lost.folder / "out") == expected


def test_training_outlives_a_silent_link(hosts, expected, tmp_path):
    """Where nothing arrives for a while, --max-restarts has the training go on by itself to the same bits."""
    training = hosts.train(tmp_path, "--slow=0.02", restarts=3)
    wait_for(tmp_path / "out" / "checkpoint.pt")
    with hosts.silence():
        for log in training.logs:
            wait_for(log, "lost another process")

    assert training.statuses() == [0, 0]
    assert "mini-batches: going on" in training.words()[0]
    assert weights(tmp_path / "out") == expected
