"""`blitz chapter`: what it does for every system, on a small one that draws random numbers as it trains."""

import json
import os
import shlex
import signal

import pytest
import torch
from torch import nn

from blitz.commands import chapter as command
from blitz.training import checkpoint, distributed
from spec.command_line import main, parser

NAMES = ["fine-tuning", "dqn", "imagenet", "dcgan", "word-lstm"]


class Dropped:
    """Ten steps of SGD on a weight, each with a random gradient; a line after every third."""

    def __init__(self, rate=0.1, stop_at=None):
        self.settings = {"rate": rate}
        self.step, self.total_steps, self.history = 0, 10, []
        self.net = nn.Linear(2, 1)
        self.optimizer = torch.optim.SGD(self.net.parameters(), lr=rate, momentum=0.9)
        self.stop_at = stop_at

    def steps(self):
        """Learn from random numbers."""
        while self.step < self.total_steps:
            self.optimizer.zero_grad()
            self.net(torch.rand(2)).backward()
            self.optimizer.step()
            self.step += 1
            if self.step == self.stop_at:
                os.kill(os.getpid(), signal.SIGTERM)
            due = self.step % 3 == 0
            if due:
                self.history.append({"step": self.step, "weight": self.net.weight[0, 0].item()})
            yield f"step {self.step}" if due else None

    def state_dict(self):
        """Return the weights and the momenta."""
        return {"model": self.net.state_dict(), "optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state):
        """Load them."""
        self.net.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])

    def results(self):
        """Return one file."""
        return {"weights.txt": str(self.net.weight.tolist()).encode()}


@pytest.fixture
def run(monkeypatch):
    """`run(out, *words, **options)`: `blitz chapter dqn` with a Dropped of these options in its place."""

    def chapter(out, *words, **options):
        monkeypatch.setitem(command._BUILDERS, "dqn", lambda arguments, device: Dropped(**options))
        return main(["chapter", "dqn", "--device", "cpu", "--out", str(out), *map(str, words)])

    return chapter


def test_system_leaves_its_results_its_history_and_its_checkpoint(run, tmp_path, capsys):
    """It prints the lines of its system, and at last what it saved."""
    status = run(tmp_path)

    history = [json.loads(line) for line in (tmp_path / "history.jsonl").read_text().splitlines()]
    state = checkpoint.load(tmp_path / "checkpoint.pt")
    lines = capsys.readouterr().out.splitlines()
    assert status == 0
    assert lines[:3] == ["step 3", "step 6", "step 9"]
    assert lines[3] == f"Saved in {tmp_path}: checkpoint.pt, history.jsonl, weights.txt"
    assert history == state["history"]
    assert [record["step"] for record in history] == [3, 6, 9]
    assert state["step"] == 10
    assert str(state["model"]["weight"].tolist()) == (tmp_path / "weights.txt").read_text()


@pytest.mark.parametrize("stop_at", [1, 3, 10])
def test_stopped_system_goes_on_to_the_same_bits_by_the_command_it_prints(run, tmp_path, capsys, stop_at):
    """The weights, the momenta, the history and the random numbers are those of a run without a stop."""
    run(tmp_path / "whole")
    capsys.readouterr()

    stopped = run(tmp_path / "parts", "--seed", 0, stop_at=stop_at)
    *lines, words = capsys.readouterr().out.splitlines()
    resumed = run(tmp_path / "parts", *shlex.split(words)[7:])

    whole, parts = (tmp_path / name for name in ("whole", "parts"))
    assert (stopped, resumed) == (130, 0)
    assert lines[-1] == f"Stopped after {stop_at} of 10 steps. To go on:"
    assert words == f"    blitz chapter dqn --out {parts} --seed 0 --device cpu --resume"
    for name in ("weights.txt", "history.jsonl"):
        assert (whole / name).read_bytes() == (parts / name).read_bytes()


DIFFERS = "FOLDER/checkpoint.pt does not fit: its {} was {}, not {}; resume with the options it began with\n"
REFUSED = {
    "another rate": (["--resume"], {"rate": 0.2}, DIFFERS.format("rate", 0.1, 0.2)),
    "another seed": (["--resume", "--seed", 1], {}, DIFFERS.format("seed", 0, 1)),
    "no --resume": ([], {}, "FOLDER already holds checkpoint.pt: continue with --resume"),
}


@pytest.mark.parametrize(("words", "options", "sentence"), REFUSED.values(), ids=REFUSED)
def test_another_run_does_not_go_on_in_the_folder(run, tmp_path, capsys, words, options, sentence):
    """It is refused with the setting that differs, or the way out, and the file stays as it was."""
    run(tmp_path)
    before = (tmp_path / "checkpoint.pt").read_bytes()

    status = run(tmp_path, *words, **options)

    assert status == 2
    assert capsys.readouterr().err.startswith("blitz: " + sentence.replace("FOLDER", str(tmp_path)))
    assert (tmp_path / "checkpoint.pt").read_bytes() == before


def test_checkpoint_of_another_command_is_refused(run, tmp_path, capsys):
    """What `blitz train` saved is no state of a chapter."""
    state = {"model": {}, "optimizer": {}, "settings": {"recipe": "fast"}, "step": 1, "history": []}
    checkpoint.save(state, tmp_path / "checkpoint.pt")

    status = run(tmp_path, "--resume")

    assert status == 2
    assert capsys.readouterr().err == f"blitz: {tmp_path / 'checkpoint.pt'} is not of blitz chapter dqn\n"


def test_chapter_that_trains_in_one_process_refuses_torchrun(run, tmp_path, capsys, monkeypatch):
    """Two processes would write to one folder, each with half of nothing."""
    monkeypatch.setattr(distributed, "size", lambda: 2)

    status = run(tmp_path)

    assert status == 2
    sentence = "blitz: blitz chapter dqn trains in one process: start it without torchrun\n"
    assert capsys.readouterr().err == sentence


@pytest.mark.parametrize("name", NAMES)
def test_each_chapter_has_a_system_and_its_default_folder(name):
    """The parser and the builders know the same names."""
    arguments = parser().parse_args(["chapter", name])

    assert arguments.chapter in command._BUILDERS
    assert list(command._BUILDERS) == NAMES
    assert arguments.out is None
