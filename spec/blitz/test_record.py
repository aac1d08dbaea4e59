"""spec/benchmarks/record.py and measuring.py: what is run in which order, timed, written down, and shown."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from blitz.cifar10 import stand_in
from spec.benchmarks import airbench, measuring, record

CPU = torch.device("cpu")
OURS, OPPONENT = record.OURS, record.OPPONENT
SLIM = ["--slim", "--device", "cpu"]
REFUSALS = {
    "no such device": (["--device", "cuda:99"], "there is no device cuda:99 here: "),
    "no data": (["--device", "cpu", "--data", "nowhere"], "nowhere"),
    "no accelerator": ([], "there is no accelerator here, and on a CPU each run takes many minutes: try it "),
    "no place for the lines": ([*SLIM, "--json", "no/folder"], "no/folder"),
    "other classes": (SLIM, "expected ten classes, as CIFAR-10 has, got 2"),
}


@pytest.fixture
def calls(monkeypatch):
    """Let both competitors only note their runs, with an accuracy of 0.9 and 0.95."""
    noted = []

    def trains(name, accuracy):
        return lambda seed: noted.append((name, seed)) or accuracy

    both = {OURS: trains(OURS, 0.9), OPPONENT: trains(OPPONENT, 0.95)}
    monkeypatch.setattr(record, "competitors", lambda *_: both)
    return noted


def made_up(accuracies, seconds):
    """Return records of runs with these values, ours and the opponent's in turn."""
    names = [OURS, OPPONENT] * len(accuracies)
    return [
        {"what": name, "seed": number // 2, "accuracy": accuracy, "seconds": second, "memory": 2**30}
        for number, (name, accuracy, second) in enumerate(zip(names, accuracies, seconds, strict=False))
    ]


class TestRuns:
    """competitors(found, device, slim, compiled), runs(competitors, seeds, device), run_once(train, seed)."""

    def test_who_begins_changes_from_seed_to_seed(self, calls):
        """After a run of each that does not count."""
        done = list(record.runs(record.competitors(), 3, CPU))

        turns = [(OURS, 0), (OPPONENT, 0), (OPPONENT, 1), (OURS, 1), (OURS, 2), (OPPONENT, 2)]
        assert calls == [(OURS, 0), (OPPONENT, 0), *turns]
        assert [(run["what"], run["seed"]) for run in done] == turns

    def test_memory_is_the_peak_of_a_run_alone(self, monkeypatch):
        """What an earlier run held is made free first, less what is in use; then the count begins anew."""
        told = []
        device_module = SimpleNamespace(
            memory_allocated=lambda: 300,
            reset_peak_memory_stats=lambda: told.append("reset"),
            max_memory_allocated=lambda: 500,
        )
        monkeypatch.setattr(torch, "get_device_module", lambda device: device_module)
        monkeypatch.setattr(torch, "empty", lambda size, **options: told.append(size))

        run = record.run_once(lambda seed: told.append("trained") or 0.5, 0, CPU, held=1000)

        assert told == [700, "reset", "trained"]
        assert run["memory"] == 500

    def test_memory_is_not_known_of_a_cpu(self):
        """A process cannot tell which of its trainings held the most."""
        assert record.run_once(lambda seed: 0.5, 0, CPU)["memory"] is None

    def test_both_train_and_score(self, device, quick):
        """Each of them in a tiny size, on a hundred drawn images, with an accuracy on fifty."""
        both = record.competitors(stand_in.draw(100, 50), device, slim=True, compiled=False)

        right = {name: 50 * train(0) for name, train in both.items()}

        assert list(right) == [OURS, OPPONENT]
        assert all(0 < number == pytest.approx(round(number)) for number in right.values())

    def test_the_opponent_alone_has_cudnn_try_its_kernels_out(self, monkeypatch):
        """As published; the setting is as before when its run has ended."""
        seen = []
        both = record.competitors(stand_in.draw(10, 10), CPU, slim=False, compiled=False)
        for module, name in ((airbench, "train"), (airbench, "accuracy"), (record, "fit")):
            monkeypatch.setattr(module, name, lambda *_, **__: seen.append(torch.backends.cudnn.benchmark))
        monkeypatch.setattr(record, "net_for", lambda *_: torch.nn.Flatten())
        monkeypatch.setattr(record, "evaluate", lambda *_, **__: SimpleNamespace(accuracy=0.5))

        both[OPPONENT](0)
        both[OURS](0)

        assert seen == [True, True, False]


class TestTime:
    """timed(work, device), events(device) and place(device)."""

    def test_the_time_of_work_is_that_until_the_device_is_done(self, device):
        """It returns what the work does, and at least as many seconds as that takes."""
        result, seconds = measuring.timed(lambda: time.sleep(0.02) or "done", device)

        assert result == "done"
        assert 0.019 < seconds < 10

    def test_cuda_measures_by_its_events(self, monkeypatch):
        """From the one that is recorded before the work to the one after it, in milliseconds."""
        told = []

        class Event:
            def __init__(self, *, enable_timing):
                self.measures = enable_timing

            def record(self):
                told.append("event")

            def synchronize(self):
                told.append("synchronised")

            def elapsed_time(self, other):
                return 1500.0 if self.measures and other.measures and self is not other else 0.0

        monkeypatch.setattr(torch.cuda, "Event", Event)

        result, seconds = measuring.timed(lambda: told.append("work") or 7, torch.device("cuda"))

        assert (result, seconds) == (7, 1.5)
        assert told[-4:] == ["event", "work", "event", "synchronised"]

    def test_without_events_the_clock_is_named(self):
        """A CPU has none."""
        about = {"place": "a CPU", "torch": "2.14", "data": "official", "slim": False, "compiled": True}

        assert measuring.events(CPU) is None
        assert "seconds by the clock; airbench94_muon compiled" in "".join(record.head(about, CPU))

    def test_a_machine_is_told_by_its_processor_or_its_device(self, monkeypatch):
        """By the name that the device gives itself, or else by its kind."""
        monkeypatch.setattr(measuring.machine, "describe", lambda: {"cpu": "EPYC", "cpus": 2})
        named = SimpleNamespace(get_device_name=lambda device: f"NVIDIA H200 {device.index}")
        monkeypatch.setattr(torch, "get_device_module", lambda device: named if device.index else object())

        told = [measuring.place(torch.device(name)) for name in ("cpu", "cuda:1", "mps")]

        assert told == ["EPYC, 2 cores", "NVIDIA H200 1", "mps"]


class TestTable:
    """table(done) and head(about, device)."""

    def test_means_deviations_and_ratios_are_those_of_the_runs(self):
        """Of three seeds, in which ours took half of the opponent's seconds."""
        done = made_up([0.93, 0.94, 0.94, 0.94, 0.95, 0.94], [1.0, 2.0, 1.1, 2.2, 1.2, 2.4])

        header, _, ours, opponent = record.table(done)

        assert header.startswith("| n = 3 | accuracy (deviation, standard error), % | with 94 % or more |")
        assert ours == (
            "| record | 94.00 (1.00, 0.58) | 2 of 3 | 1.100 (1.000 to 1.200) | 2.00 (2.00 to 2.00) | 1024 |"
        )
        assert opponent == (
            "| airbench94_muon | 94.00 (0.00, 0.00) | 3 of 3 | 2.200 (2.000 to 2.400) | 1 | 1024 |"
        )

    def test_ratios_are_taken_within_a_seed(self):
        """Where both slow down together the ratio stays, whoever of the two came first."""
        one, two, three, four = made_up([0.9] * 4, [1.0, 2.0, 5.0, 10.0])

        lines = list(record.table([one, two, four, three]))

        assert lines[2].split(" | ")[4] == "2.00 (2.00 to 2.00)"

    def test_one_seed_has_no_spread(self):
        """And without its second run a seed is left out."""
        lines = list(record.table(made_up([0.9, 0.9, 0.9], [1.0, 1.5, 1.0])))

        assert lines[0].startswith("| n = 1 |")
        assert lines[2] == "| record | 90.00 | 0 of 1 | 1.000 (1.000 to 1.000) | 1.50 | 1024 |"

    def test_no_seed_makes_no_table(self):
        """As where the first run was stopped."""
        assert list(record.table(made_up([0.9], [1.0]))) == []

    def test_what_is_not_known_is_said(self):
        """A CPU does not tell the memory of a run."""
        done = [{**run, "memory": None} for run in made_up([0.9, 0.9], [1.0, 1.0])]

        assert list(record.table(done))[2].endswith(" | not known |")

    def test_slim_figures_mean_nothing_says_the_first_line(self):
        """Before the machine and the data."""
        about = {"place": "a CPU", "torch": "2.14", "data": "stand-in", "slim": True, "compiled": False}

        first, second, *_ = record.head(about, CPU)

        assert first.startswith("These figures mean nothing")
        assert second.startswith("a CPU, torch 2.14; stand-in, accuracy on the test images; ")


class TestCommand:
    """python -m spec.benchmarks.record."""

    def test_each_run_is_a_line_as_soon_as_it_is_measured(self, calls, tmp_path, monkeypatch, capsys):
        """Ctrl-C in the fourth of four runs leaves three lines, and the table of the seed that has ended."""
        path = tmp_path / "runs.jsonl"
        path.write_text('{"what": "an earlier run"}\n')
        written, both = [], record.competitors()

        def stopped(seed):
            written.append(path.read_text().splitlines())
            if seed == 1:
                raise KeyboardInterrupt
            return 0.9

        monkeypatch.setattr(record, "competitors", lambda *_: {**both, OURS: stopped})

        status = record.main([*SLIM, "--seeds", "2", "--json", str(path)])

        lines = [json.loads(line) for line in written[-1]]
        assert [line["what"] for line in lines] == ["an earlier run", OURS, OPPONENT, OPPONENT]
        assert {"seed", "accuracy", "seconds", "memory", "place", "torch", "data", "slim"} <= set(lines[1])
        assert status == 130
        output = capsys.readouterr()
        assert "\n| n = 1 | " in output.out
        assert output.err.endswith("record: stopped\n")

    @pytest.mark.parametrize(("words", "sentence"), REFUSALS.values(), ids=REFUSALS)
    def test_what_cannot_be_measured_is_told_in_a_sentence(self, words, sentence, monkeypatch, capsys):
        """On standard error, with the status 2, before anything is trained."""
        two = stand_in.draw(20, 10)._replace(classes=("disc", "ring"))
        monkeypatch.setattr(stand_in, "draw", lambda *_: two)
        monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)

        status = record.main(words)

        [line] = capsys.readouterr().err.splitlines()
        assert status == 2
        assert line.startswith("record: ")
        assert sentence in line

    def test_no_seeds_are_a_usage_error(self, capsys):
        """There would be nothing to show."""
        with pytest.raises(SystemExit) as refused:
            record.main(["--seeds", "0"])

        assert refused.value.code == 2
        assert "expected at least 1 seed, got 0" in capsys.readouterr().err

    @pytest.mark.slow
    def test_it_is_tried_out_with_tiny_nets(self, device, quick, capsys):
        """From the first line to the table, for two seeds, on the CPU or the accelerator."""
        status = record.main(["--slim", "--seeds", "2", "--device", str(device)])

        first, machine, _, header, _, ours, opponent = capsys.readouterr().out.splitlines()
        assert status == 0
        assert first.startswith("These figures mean nothing")
        assert "; stand-in, accuracy on the test images; seconds by " in machine
        assert header.startswith("| n = 2 | ")
        assert (ours.split()[1], opponent.split()[1]) == (OURS, OPPONENT)

    @pytest.mark.slow
    @pytest.mark.parametrize(
        ("ending", "status"), [(signal.SIGKILL, -signal.SIGKILL), (signal.SIGTERM, 130)], ids=str
    )
    def test_what_ends_it_leaves_whole_lines(self, ending, status, tmp_path):
        """Right after the second line; what can be caught, as at a time limit, leaves the table, too."""
        path = tmp_path / "runs.jsonl"
        words = [*SLIM, "--seeds", "50", "--json", str(path)]
        command = [sys.executable, "-m", "spec.benchmarks.record", *words]
        root = Path(record.__file__).parents[2]

        with subprocess.Popen(
            command, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        ) as running:
            try:
                while running.poll() is None and not (path.exists() and path.read_text().count("\n") > 1):
                    time.sleep(0.1)
            finally:
                running.send_signal(ending)
            output = running.communicate()[0]

        assert running.returncode == status
        assert f"| {OURS} | " in output or ending == signal.SIGKILL
        lines = path.read_text().splitlines(keepends=True)
        assert all(line.endswith("\n") and json.loads(line)["seconds"] > 0 for line in lines)
        assert json.loads(lines[0])["what"] == OURS
