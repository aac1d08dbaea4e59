"""What `blitz perf` is tried with: slowdowns that are planted as said, and counts that are right."""

import json
import sys

import pytest

from spec.benchmarks import trust
from spec.harness.errors import HarnessError
from spec.harness.perf import compare as perf
from spec.harness.perf.ratios import Ratio
from spec.harness.perf.report import Finding
from spec.harness.tests.perf.perf_trees import make_tree, sleeping


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """A tree with two benchmarks, which takes the place of this one."""
    root = make_tree(tmp_path / "root", sleeping(view=2e-3, copy=1e-3))
    root.joinpath("blitz").mkdir()
    root.joinpath("blitz", "__init__.py").touch()
    monkeypatch.setattr(trust, "ROOT", root)
    return root


class Clock:
    """A clock of its own, which goes on by a microsecond each time that somebody looks at it."""

    now = 0.0

    def sleep(self, seconds):
        """Let time pass."""
        self.now += seconds

    def perf_counter(self):
        """Return the time."""
        self.now += 1e-6
        return self.now


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_a_planted_operation_takes_longer_by_its_share(tree, tmp_path, share):
    """Of what the call takes, whatever that is; it returns what it returned."""
    copy = trust.copy(tree, tmp_path / "copy", {"view": share})
    planted = {}
    exec(copy.joinpath("spec", "benchmarks", "operations.py").read_text(), planted)
    planted["time"] = planted["_time"] = clock = Clock()
    operation = {builder.__name__: builder for builder in planted["OPERATIONS"]}["view"](None)

    assert operation() == 1.0
    assert clock.now == pytest.approx(2e-3 * (1 + share), abs=1e-5)


def test_comparisons_are_of_blitz_perf_and_go_on_where_they_ended(tree, tmp_path, monkeypatch, capsys):
    """Without a plant and with one in turn; a line that a kill cut off is measured again."""
    asked = []

    def compare(base, head, *, rounds, select):
        asked.append(select)
        text = trust.Path(head, "spec", "benchmarks", "operations.py").read_text()
        point = 1.2 if "_SHARES" in text else 1.0
        findings = [
            Finding(name, "slower" if point > 1 else "unchanged", 1, 1, Ratio(point, 1, 2))
            for name in select.split()
        ]
        return findings, ["CPU X, 2 cores, load average 0.50", "BASE: torch 2", "HEAD: torch 2"]

    monkeypatch.setattr(perf, "compare", compare)
    records = tmp_path / "records.jsonl"
    words = ["trust", str(records), "--select", "view copy", "--report", str(tmp_path / "report.md")]
    monkeypatch.setattr(sys, "argv", [*words, "--comparisons", "1"])
    trust.main()
    records.write_text(records.read_text() + '{"number": 2, "rou')
    monkeypatch.setattr(sys, "argv", [*words, "--comparisons", "3"])
    capsys.readouterr()

    trust.main()

    kept = [json.loads(line) for line in records.read_text().splitlines()]
    assert asked == ["view copy"] * 6
    assert [record["number"] for record in kept] == [0, 1, 2, 3, 4, 5]
    assert [record["shares"]["view"] for record in kept] == [0.0, 0.05, 0.0, 0.10, 0.0, 0.20]
    assert [record["shares"]["copy"] for record in kept] == [0.0, 0.10, 0.0, 0.20, 0.0, 0.05]
    report = capsys.readouterr().out
    assert report == (tmp_path / "report.md").read_text()
    assert "| nothing | 6 | 0 | 0 | 0 | 6 | 0.0% (0.0% to 39.0%) | +0.0% (+0.0% to +0.0%) |" in report
    assert "| 10% | 2 | 2 | 0 | 0 | 0 | 100.0% (34.2% to 100.0%) | +20.0% (+20.0% to +20.0%) |" in report


def test_false_alarms_are_slower_and_faster_and_catches_are_slower_alone():
    """What is called faster where it was slowed down is no catch."""
    results = [("", "view", word, 1.0, 1.0, 1.0) for word in ("slower", "faster", "faster", "unchanged")]

    assert "| nothing | 4 | 1 | 2 | 0 | 1 | 75.0% " in trust.row("nothing", results)
    assert "| 10% | 4 | 1 | 2 | 0 | 1 | 25.0% " in trust.row("10%", results)


def test_records_of_another_trial_are_not_gone_on_with(tmp_path):
    """Their results would be counted together."""
    records = tmp_path / "records.jsonl"
    records.write_text(json.dumps({"found": {"view": []}, "rounds": 8}) + "\n")

    for names, rounds in ((["view"], 9), (["copy"], 8)):
        with pytest.raises(HarnessError, match="is of other benchmarks or rounds"):
            trust.read(records, names, rounds)


def test_a_benchmark_without_a_ratio_ends_the_trial(tree, monkeypatch):
    """One that fails is neither a false alarm nor a catch."""
    monkeypatch.setattr(perf, "compare", lambda *_, **__: ([Finding("odd", "failed")], ["", "", ""]))

    with pytest.raises(HarnessError, match="expected the benchmarks odd, got none"):
        trust.compare(0, ["odd"], 2)
