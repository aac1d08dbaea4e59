"""`blitz train` under a real torchrun: workers that are killed, stopped and started in other numbers."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from blitz.training import checkpoint
from spec.blitz.runs import weights

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

# rank, mini-batch: before the first save after 20, between two saves, in the mini-batch after one, in epoch 2
KILLS = [(1, 7), (0, 50), (1, 60), (0, 130)]


def torchrun(*words, processes=2, restarts=0, meeting=("--standalone",)):
    """Start `blitz train` in so many processes by torchrun."""
    started = [sys.executable, "-m", "torch.distributed.run", *meeting]
    how = [f"--nproc-per-node={processes}", f"--max-restarts={restarts}", "-m", "spec.blitz.worker"]
    return subprocess.Popen(
        [*started, *how, *map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def finish(process):
    """Return status, output and errors of what torchrun() started."""
    output, errors = process.communicate()
    return process.returncode, output, errors


def wait_for(process, word):
    """Wait until it has printed a line that begins so."""
    while not (line := process.stdout.readline()).startswith(word):
        assert line, process.stderr.read()


def children(process):
    """Return the ids of the processes that it has started."""
    return [
        int(word) for word in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    ]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The folder of a training of two processes that nothing happened to, and what it printed."""
    out = tmp_path_factory.mktemp("undisturbed") / "out"
    status, output, errors = finish(torchrun("--out", out))
    assert status == 0, errors
    return out, output


class TestRestarts:
    """torchrun --max-restarts."""

    @pytest.mark.parametrize(("rank", "step"), KILLS)
    def test_killed_worker_is_restarted_and_ends_with_the_same_bits(self, tmp_path, undisturbed, rank, step):
        """Both processes start again and go on from the last save, to the weights of an undisturbed run."""
        status, output, errors = finish(torchrun("--die", rank, step, "--out", tmp_path / "out", restarts=1))

        assert status == 0, errors
        saved = step // 20 * 20 if step < 79 else 79 + (step - 79) // 20 * 20
        resumed = (
            f"Resumed from {tmp_path / 'out/checkpoint.pt'} after {saved} of 158 mini-batches: going on\n"
        )
        assert (resumed in output) is (saved > 0)
        assert weights(tmp_path / "out") == weights(undisturbed[0])
        assert (tmp_path / "out/history.jsonl").read_bytes() == (
            undisturbed[0] / "history.jsonl"
        ).read_bytes()

    def test_without_restarts_what_is_left_tells_which_process_lost_another(self, tmp_path):
        """The one that was not killed says so in a sentence; --resume goes on, here in one process alone."""
        status, _, errors = finish(torchrun("--die", 1, 50, "--out", tmp_path / "out"))
        resumed, output, _ = finish(torchrun("--out", tmp_path / "out", "--resume", processes=1))

        assert status != 0
        assert "blitz: rank 0 of 2 lost another process, or had no answer from it for 60 seconds: " in errors
        assert (resumed, "after 40 of 158 mini-batches: going on" in output) == (0, True)


class TestNewRuns:
    """What is no restart, however much alike it looks."""

    def test_resume_is_heeded_by_a_run_of_the_same_name(self, tmp_path, undisturbed):
        """Whoever gives each run the same --rdzv-id still begins where --resume says."""
        shutil.copytree(undisturbed[0], tmp_path / "out")
        before = tmp_path / "out/checkpoint.previous.pt"
        meeting = ["--rdzv-backend=c10d", "--rdzv-endpoint=localhost:0", "--rdzv-id=100"]

        anew = finish(torchrun("--out", tmp_path / "out", meeting=meeting))
        resumed = finish(torchrun("--out", tmp_path / "out", "--resume", before, meeting=meeting))

        assert anew[0] != 0
        assert "already holds checkpoint.pt: continue with --resume" in anew[2]
        assert (resumed[0], f"Resumed from {before} after " in resumed[1]) == (0, True)
        assert weights(tmp_path / "out") == weights(undisturbed[0])


class TestStops:
    """Ctrl-C and SIGTERM, which torchrun passes on to its workers."""

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_stopped_training_is_saved_and_goes_on(self, tmp_path, undisturbed, number):
        """All processes stop after the same mini-batch, and --resume goes on as if none had been stopped.

        The signal comes where the next report is an epoch away, to all processes at once and twice, as Slurm
        and a terminal may have it.
        """
        out = tmp_path / "out"
        process = torchrun("--slow", 0.5, "--report", 79, "--out", out)
        wait_for(process, "Data: ")
        time.sleep(3)
        for worker in children(process):
            os.kill(worker, number)
        os.kill(process.pid, number)
        status, output, errors = finish(process)
        step = checkpoint.load(out / "checkpoint.pt")["step"]
        resumed, *_ = finish(torchrun("--out", out, "--report", 79, "--resume"))

        assert status != 0
        assert step < 30
        assert f"Stopped after {step} of 158 mini-batches. To go on, under torchrun as before:\n" in output
        assert "lost another process" not in errors
        assert (resumed, weights(out) == weights(undisturbed[0])) == (0, True)


class TestWords:
    """What a person sees."""

    def test_first_process_alone_prints(self, undisturbed):
        """Each line comes once."""
        lines = undisturbed[1].splitlines()

        assert len(lines) == len(set(lines))
        assert lines[0].startswith("Data: the built-in stand-in")
        assert lines[-1].startswith(f"Saved in {undisturbed[0]}: checkpoint.pt")

    @pytest.mark.parametrize(
        ("words", "sentence"),
        [
            (["--device=cuda:99"], "there is no device cuda:99 here"),
            (["--batch=63"], "2 processes cannot share a batch of 63 equally"),
        ],
        ids=["before they have met", "afterwards"],
    )
    def test_sentence_that_both_have_is_told_once(self, tmp_path, words, sentence):
        """By either of them."""
        status, _, errors = finish(torchrun(*words, "--out", tmp_path / "out"))

        assert status != 0
        assert errors.count("blitz: ") == errors.count(sentence) == 1

    def test_refusal_tells_the_rank(self, undisturbed):
        """A folder that holds another training is refused by the process that would write there."""
        status, _, errors = finish(torchrun("--out", undisturbed[0]))

        sentence = f"blitz: rank 0 of 2: {undisturbed[0]} already holds checkpoint.pt: continue with --resume"
        assert status != 0
        assert errors.count("blitz: ") == 1
        assert sentence in errors
