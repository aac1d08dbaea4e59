"""The script that runs the README's commands in the checks: it sees a command that breaks its promise."""

import importlib.util

import pytest

from spec.harness.children import ROOT

GPU = "ERROR: --require cuda: this machine shows 0 CUDA devices to PyTorch 2.15.0; look at nvidia-smi"
NO_STEP = ".ci/gpu: --device cuda: no such device here; PyTorch 2.15.0 sees only cpu; name one by DEVICE, or"
NETWORK = "blitz: cannot download CIFAR-10 from a server to a folder: Name or service not known"
ENDINGS = {
    "success": ("", 0, "", True),
    "failure": ("", 1, NETWORK, False),
    "no GPU": ("gpu", 4, GPU, True),
    "no GPU for the script": ("gpu", 2, NO_STEP, True),
    "a step that failed on a GPU": ("gpu", 1, NO_STEP, False),
    "another reason why the script cannot begin": ("gpu", 2, ".ci/gpu: OUT=runs/gpu: cannot write", False),
    "no GPU, with the status of the other": ("gpu", 4, NO_STEP, False),
    "another usage error than no GPU": ("gpu", 4, "ERROR: file or directory not found: spec", False),
    "a failed GPU test": ("gpu", 1, GPU, False),
    "no network": ("network", 2, NETWORK, True),
    "a traceback": ("network", 2, f"Traceback (most recent call last):\n{NETWORK}", False),
    "silence": ("network", 2, "", False),
    "no accelerator": ("doctor", 1, "First cause: the rung visible on cuda.", True),
    "a broken accelerator": ("doctor", 1, "First cause: the rung kernels on cuda:0.", False),
    "a compiler that fails": ("compiler", 1, "c++ could not compile torch_fake.cpp", False),
}


@pytest.fixture
def readme(tmp_path):
    """Return .ci/readme.py as a module that reads a README of its own."""
    path = ROOT / ".ci" / "readme.py"
    spec = importlib.util.spec_from_file_location("readme", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.README = tmp_path / "README.md"
    return module


@pytest.mark.parametrize(("kind", "status", "output", "good"), ENDINGS.values(), ids=ENDINGS)
def test_a_block_has_to_end_as_its_kind_promises(readme, kind, status, output, good):
    """Only a missing GPU excuses a gpu block, and only blitz's own sentence a network block."""
    assert readme.as_promised(kind, status, output) is good


def test_blocks_run_in_order_up_to_the_first_that_fails(readme, tmp_path):
    """Each block marked sh runs in the README's folder; a failure ends the run with status 1."""
    blocks = ["touch first", "touch second\nfalse\ntouch third", "touch fourth"]
    readme.README.write_text("\n".join(f"```sh\n{block}\n```" for block in blocks))

    assert readme.main() == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["README.md", "first", "second"]


MACHINES = {
    "machines": 'test "$FIRST" = 127.0.0.1; touch "node $NODE"; test $NODE != {failing}',
    "slurm": 'test "$(scontrol show hostnames "$SLURM_JOB_NODELIST")" = 127.0.0.1\n'
    'srun bash -ec \'touch "node $SLURM_NODEID"; test "$SLURM_NNODES$SLURM_GPUS_ON_NODE" = 21; '
    "test $SLURM_NODEID != {failing}'",
}


@pytest.mark.parametrize("kind", MACHINES)
@pytest.mark.parametrize(("failing", "status"), [(None, 0), (0, 1), (1, 1)])
def test_a_block_for_several_machines_runs_as_on_two(readme, tmp_path, kind, failing, status):
    """It succeeds if it does on both."""
    readme.README.write_text(f"```sh {kind}\n{MACHINES[kind].format(failing=failing)}\n```")

    assert readme.main() == status
    assert sorted(path.name for path in tmp_path.iterdir()) == ["README.md", "node 0", "node 1"]


def test_a_readme_without_commands_fails(readme):
    """A README whose blocks are not found is no success."""
    readme.README.write_text("```python\n>>> 1\n```")

    assert readme.main() == 1
