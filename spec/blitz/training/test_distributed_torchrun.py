"""`blitz train` under a real torchrun: workers that are killed or stopped, hosts that lose each other."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from blitz.training import checkpoint
from spec.blitz.hosts import ADDRESSES, two_hosts, unplugged
from spec.blitz.runs import weights

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def torchrun(*words, host=(), meeting=("--standalone",), processes=2, restarts=0):
    """Start `blitz train` in so many processes by torchrun."""
    started = [*host, sys.executable, "-m", "torch.distributed.run", *meeting]
    how = [f"--nproc-per-node={processes}", f"--max-restarts={restarts}", "-m", "spec.blitz.worker"]
    return subprocess.Popen(
        [*started, *how, *map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def finish(process):
    """Return status, output and errors of what torchrun() started."""
    output, errors = process.communicate()
    return process.returncode, output, errors


def wait_for_the_first_save(out, processes):
    """Wait until the checkpoint is there, after 20 mini-batches."""
    while not (out / "checkpoint.pt").exists():
        assert all(process.poll() is None for process in processes)
        time.sleep(0.01)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The folder of a training of two processes that nothing happened to; the first of them alone prints."""
    out = tmp_path_factory.mktemp("undisturbed") / "out"
    status, output, errors = finish(torchrun("--out", out))
    lines = output.splitlines()
    assert status == 0, errors
    assert len(lines) == len(set(lines))
    assert lines[0].startswith("Data: the built-in stand-in")
    assert lines[-1].startswith(f"Saved in {out}: checkpoint.pt")
    return out


KILLS = {
    "before the first save": (1, 7, 0),
    "between two saves": (0, 50, 40),
    "in the second epoch": (1, 130, 119),
}


@pytest.mark.parametrize(("rank", "step", "saved"), KILLS.values(), ids=KILLS)
def test_killed_worker_is_restarted_and_ends_with_the_same_bits(tmp_path, undisturbed, rank, step, saved):
    """Both processes start again and go on from the last save, to the weights of an undisturbed run."""
    out = tmp_path / "out"

    status, output, errors = finish(torchrun("--die", rank, step, "--out", out, restarts=1))

    assert status == 0, errors
    resumed = f"Resumed from {out / 'checkpoint.pt'} after {saved} of 158 mini-batches: going on\n"
    assert (resumed in output) is (saved > 0)
    assert weights(out) == weights(undisturbed)
    assert (out / "history.jsonl").read_bytes() == (undisturbed / "history.jsonl").read_bytes()


def test_without_restarts_what_is_left_tells_which_process_lost_another(tmp_path):
    """The one that was not killed says so in a sentence; --resume goes on, here in one process alone."""
    status, _, errors = finish(torchrun("--die", 1, 50, "--out", tmp_path / "out"))
    resumed, output, _ = finish(torchrun("--out", tmp_path / "out", "--resume", processes=1))

    assert status != 0
    assert "blitz: rank 0 of 2 lost another process, or had no answer from it for 60 seconds: " in errors
    assert (resumed, "after 40 of 158 mini-batches: going on" in output) == (0, True)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopped_training_is_saved_and_goes_on(tmp_path, undisturbed, number):
    """All processes stop after the same mini-batch, and --resume goes on as if none had been stopped.

    The signal comes to all processes at once and twice, as Slurm and a terminal may have it.
    """
    out = tmp_path / "out"
    process = torchrun("--slow", 0.3, "--out", out)
    wait_for_the_first_save(out, [process])
    workers = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    for each in (*workers, process.pid):
        os.kill(int(each), number)
    status, output, errors = finish(process)
    step = checkpoint.load(out / "checkpoint.pt")["step"]
    resumed, *_ = finish(torchrun("--out", out, "--resume"))

    assert status != 0
    assert step < 40  # where the second save would be
    assert f"Stopped after {step} of 158 mini-batches. To go on, under torchrun as before:\n" in output
    assert "lost another process" not in errors
    assert (resumed, weights(out) == weights(undisturbed)) == (0, True)


def start_on(hosts, out, *words):
    """Start `blitz train` in one process on each host; a process waits five seconds for the other."""
    processes = []
    for number, name in enumerate(hosts):
        where = ["ip", "netns", "exec", name, "env", "GLOO_SOCKET_IFNAME=cable", "OMP_NUM_THREADS=1"]
        meeting = ["--nnodes=2", f"--node-rank={number}", f"--master-addr={ADDRESSES[0]}"]
        processes.append(
            torchrun("--patience=5", "--out", out, *words, host=where, meeting=meeting, processes=1)
        )
    return processes


def test_hosts_that_lose_each_other_stop_and_go_on(tmp_path, undisturbed):
    """When the link goes down, both trainings end by themselves, at the timeout, with a sentence each.

    When it is back, the same commands with --resume end with the weights of two processes on one host, bit
    for bit.
    """
    out = tmp_path / "out"
    with two_hosts() as hosts:
        processes = start_on(hosts, out, "--slow=0.02")
        wait_for_the_first_save(out, processes)
        with unplugged(hosts[0]):
            began = time.monotonic()
            lost = [finish(process) for process in processes]
            seconds = time.monotonic() - began
        resumed = [finish(process) for process in start_on(hosts, out, "--resume")]

    assert seconds < 60  # gloo of itself would wait for half an hour
    for rank, (status, _, errors) in enumerate(lost):
        sentence = rf"^blitz: rank {rank} of 2 lost another process, or had no answer .* for 5 seconds: \S"
        assert status == 1
        assert re.findall(sentence, errors, re.MULTILINE)
    assert [status for status, *_ in resumed] == [0, 0]
    assert "mini-batches: going on" in resumed[0][1]
    assert weights(out) == weights(undisturbed)
