"""An accelerator that misjudges in its own favour: the ladder tells, and no statement is fooled.

The accelerator without hardware lies as FAKE_LIES has it. Without a compiler for it there is nothing to see.
"""

import json
import os
import re
import shutil
import subprocess
import sys

import pytest

from spec.harness.children import ROOT

FOLDER = (ROOT / "spec") / "fake_accelerator"
sys.path.append(str(FOLDER))
from torch_fake_lies import LIES, tell  # noqa: E402

sys.path.remove(str(FOLDER))

# One process hears all lies, one after the other; each ends before the next begins.
HEAR = """
import json, torch, torch_fake_lies
from spec.harness.statements.checks import count_checks
from spec.harness.accelerator.rungs import RUNGS
from spec.harness.accelerator.visibility import RungError

def failing(device=torch.device("fake")):
    "Return the first rung that tells."
    for rung in RUNGS:
        if rung.name in ("comparison", "kernels"):
            try:
                rung.check(device)
            except RungError:
                return rung.name

count_checks()
wrong, right = torch.ones(3, device="fake"), torch.zeros(3, device="fake")
heard = {}
for lie in torch_fake_lies.LIES:
    library = torch_fake_lies.tell([lie])
    rung = failing()
    try:
        torch.testing.assert_close(wrong, right)
        fooled = True
    except AssertionError:
        fooled = False
    library._destroy()
    heard[lie] = rung, fooled
heard["none"] = failing(), False
print(json.dumps(heard))
"""
# The lies that pass as "right" in one comparison or another, and statements that compare in one way each.
FOOLING = ["all", "isclose", "equal", "eq", "any", "sub", "abs"]
STATEMENTS = [
    "section_1_tensor/test_1_4_2_squeeze_and_unsqueeze.py",
    "section_2_autograd/test_2_7_requires_grad_false.py",
    "section_3_neural_networks/test_3_layers.py",
]
WITHOUT_LADDER = "from spec.harness.accelerator import climbing\nclimbing.climb_here = list\n"


def run(*command, **environment):
    """Run Python with the accelerator without hardware."""
    if shutil.which(os.environ.get("CXX", "c++")) is None:
        pytest.skip("the accelerator without hardware has to be compiled")
    path = os.pathsep.join([str(FOLDER), str(ROOT), environment.pop("PYTHONPATH", "")])
    return subprocess.run(
        [sys.executable, *command],
        env={**os.environ, "PYTHONPATH": path, "BLITZ_DATA": "stand-in", "BLITZ_REQUIRE": "", **environment},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=110,
    )


@pytest.fixture(scope="module")
def heard():
    """The rung that tells of each lie, and whether `assert_close` was fooled."""
    done = run("-c", HEAR)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow  # compiles, if it is not in the cache
class TestLies:
    """A device that says what a check hopes for."""

    @pytest.mark.parametrize("lie", LIES)
    def test_the_ladder_tells(self, heard, lie):
        """No lie passes: the rung of comparison tells, or that of kernels where the lie is a number."""
        rung, _ = heard[lie]

        assert rung == ("kernels" if lie in ("linalg_vector_norm", "dist") else "comparison")

    @pytest.mark.parametrize("lie", LIES)
    def test_assert_close_is_not_fooled(self, heard, lie):
        """Ones are no zeros, whatever the device says."""
        _, fooled = heard[lie]

        assert not fooled

    def test_an_honest_device_passes(self, heard):
        """After the last lie the same process finds nothing wrong with the same device."""
        rung, _ = heard["none"]

        assert rung is None

    @pytest.mark.parametrize("lie", FOOLING)
    def test_faults_are_caught_all_the_same(self, tmp_path, lie):
        """With the ladder put aside, no planted fault survives because the device says that all is well."""
        (tmp_path / "without_ladder.py").write_text(WITHOUT_LADDER)
        options = ["-p", "without_ladder", "-p", "no:cacheprovider", "-n0", "-q", "--sabotage"]

        done = run(
            *["-m", "pytest", *options, "-m", "gpu", "--device", "fake"],
            *[str((ROOT / "spec") / statements) for statements in STATEMENTS],
            FAKE_LIES=lie,
            PYTHONPATH=str(tmp_path),
        )

        caught, survived = re.search(r"(\d+) caught, (\d+) survived", done.stdout).groups()
        assert int(caught) > 50
        assert survived == "0", done.stdout


def test_a_lie_that_nobody_knows_is_refused():
    """A misspelt lie would be an honest device, and a run that shows nothing."""
    with pytest.raises(
        ValueError, match=r"FAKE_LIES names 'isclos'; expected some of equal, allclose, isclose"
    ):
        tell(["isclos"])
