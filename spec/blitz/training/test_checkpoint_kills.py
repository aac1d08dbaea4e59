"""Checkpoints under SIGKILL: what was reported as saved is there, and a resume ends the same."""

import json
import os
import subprocess
import sys

import pytest


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """What became of trainings killed and resumed, by a process of its own."""
    folder = tmp_path_factory.mktemp("kills")
    done = subprocess.run(
        [sys.executable, "-m", "spec.blitz.kills", str(folder)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def kills(killed):
    """The table of trainings killed and resumed."""
    return killed["trainings"]


@pytest.mark.slow  # eight seconds of the minute that a plain run may take
@pytest.mark.skipif(not hasattr(os, "fork"), reason="SIGKILL and fork are POSIX")
class TestKills:
    """SIGKILL after every call that touches the disk, in torn writes, and at random moments."""

    def test_trainings_were_killed_where_planned(self, kills):
        """Each planned kill hit, in all three saves, and so did some of those from outside."""
        planned = [row for row in kills if not row["moment"].startswith("from outside")]
        by_chance = [row for row in kills if row["moment"].startswith("from outside")]

        assert {row["status"] for row in planned} == {-9}
        assert len(planned) == 20
        assert {row["reported"] for row in planned} == {0, 1, 2, 3}
        assert any(row["status"] == -9 for row in by_chance)

    def test_what_was_reported_as_saved_is_there(self, kills):
        """Whatever the moment, the checkpoint is whole and as new as the last report or newer."""
        lost = [row for row in kills if row["held"] < row["reported"]]

        assert lost == []

    def test_save_before_the_last_is_there_too(self, kills):
        """From the second report on, the save before it is whole."""
        lost = [row for row in kills if row["kept"] < row["reported"] - 1]

        assert lost == []

    def test_resumed_trainings_end_with_the_same_bits(self, kills):
        """Each resume ends with the very file of weights that an undisturbed training wrote."""
        different = [row for row in kills if row["resumed"] != 0 or not row["same"]]

        assert different == []

    def test_next_save_clears_what_a_kill_left(self, kills):
        """No temporary file outlives the resumed training."""
        littered = [row for row in kills if row["left over"]]

        assert littered == []

    def test_command_line_goes_on_with_resume(self, killed):
        """`blitz train`, killed after its first save, ends with the same bits by `--resume`."""
        assert killed["command line"] == {"status": -9, "resumed": [0, 0], "same": True}
