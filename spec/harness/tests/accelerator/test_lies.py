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

FOLDER = ROOT / "spec" / "fake_accelerator"

# One process hears all lies, one after the other; each ends before the next begins.
HEAR = """
import json, pytest, torch, torch_fake_lies
from spec.harness.statements.checks import count_checks
from spec.harness.accelerator.rungs import RUNGS
from spec.harness.accelerator.visibility import RungError

def telling(device=torch.device("fake")):
    "Return the first rung that tells."
    for rung in RUNGS:
        if rung.name in ("comparison", "kernels"):
            try:
                rung.check(device)
            except RungError:
                return rung.name

def fooled():
    "Return whether ones pass for zeros."
    try:
        torch.testing.assert_close(torch.ones(3, device="fake"), torch.zeros(3, device="fake"))
    except AssertionError:
        return False
    return True

count_checks(pytest.MonkeyPatch())
heard = {}
for lie in torch_fake_lies.LIES:
    library = torch_fake_lies.tell([lie])
    heard[lie] = telling(), fooled()
    library._destroy()
heard["none"] = telling(), fooled()
print(json.dumps(heard))
"""
# The lies that pass as "right" in one comparison or another. Statements that compare in one way each, and are
# not about what these operators compute: under the lies they fail with a fault planted, and only then.
FOOLING = "all,isclose,equal,eq,any,sub,abs"
STATEMENTS = [
    "section_1_tensor/test_1_4_arithmetic.py",
    "section_1_tensor/test_1_4_joining.py",
    "section_3_neural_networks/test_3_layers.py",
    "section_3_neural_networks/test_3_processing_inputs.py",
    "section_3_neural_networks/test_3_update_the_weights.py",
]
WITHOUT_LADDER = "from spec.harness.accelerator import climbing\nclimbing.climb_here = list\n"

pytestmark = pytest.mark.slow  # compiles, if it is not in the cache


def run(*command, **environment):
    """Run Python with the accelerator without hardware."""
    if "CXX" not in environment and shutil.which(os.environ.get("CXX", "c++")) is None:
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


def test_each_lie_is_told_by_the_ladder_and_fools_no_assert_close():
    """The rung of comparison tells, or that of kernels where the lie is a number; an honest device passes."""
    done = run("-c", HEAR)

    assert done.returncode == 0, done.stderr
    heard = json.loads(done.stdout.splitlines()[-1])
    assert heard.pop("none") == [None, False]
    assert {rung for rung, _ in heard.values()} == {"comparison", "kernels"}
    assert {lie for lie, (rung, _) in heard.items() if rung == "kernels"} == {"linalg_vector_norm", "dist"}
    assert not any(fooled for _, fooled in heard.values())


def test_faults_are_caught_on_a_device_that_lies(tmp_path):
    """With the ladder put aside, no planted fault survives because the device says that all is well."""
    (tmp_path / "without_ladder.py").write_text(WITHOUT_LADDER)
    options = ["-p", "without_ladder", "-p", "no:cacheprovider", "-n0", "-q", "--sabotage"]

    done = run(
        *["-m", "pytest", *options, "-m", "gpu", "--device", "fake"],
        *[str(ROOT / "spec" / statements) for statements in STATEMENTS],
        FAKE_LIES=FOOLING,
        PYTHONPATH=str(tmp_path),
    )

    assert done.returncode == 0, done.stdout
    caught, survived = re.search(r"(\d+) caught, (\d+) survived", done.stdout).groups()
    assert int(caught) > 50
    assert survived == "0"


def test_a_lie_that_nobody_knows_is_refused():
    """A misspelt lie would be an honest device, and a run that shows nothing."""
    done = run("-c", "import torch", FAKE_LIES="isclos")

    assert "FAKE_LIES names 'isclos'; expected some of equal, allclose, isclose" in done.stderr
