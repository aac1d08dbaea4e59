"""Run every command of the README, letter for letter, in the order in which it stands there.

A block marked `sh` has to succeed. `sh gpu` has to succeed on a machine with CUDA, and elsewhere to stop at
once with pytest's usage error (status 4) or with the sentence of .ci/gpu (status 2). `sh network` may fail
for want of a network, but only with blitz's own sentence (status 2). `sh doctor` may find that there is no
accelerator (status 1), `sh compiler` that there is no compiler. `sh long` is not run: it takes a quarter of
an hour. `sh machines` is run twice at once, as on two machines; `sh slurm` with stand-ins for Slurm's two
commands, which do the same; `sh photo` beside a photo. Blocks of Python are run as doctests by pytest.
README.zh.md has the same blocks: a test compares them.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"
BLOCK = re.compile(r"^```sh *(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)


# one thread each: the two machines are one here
SLURM = """
export OMP_NUM_THREADS=1 SLURM_NNODES=2 SLURM_JOB_NODELIST=localhost SLURM_GPUS_ON_NODE=1
scontrol() { echo 127.0.0.1; }
srun() { SLURM_NODEID=1 "$@" & SLURM_NODEID=0 "$@" && wait $!; }
"""
PHOTO = """
.venv/bin/python -c "from PIL import Image; Image.radial_gradient('L').resize((640, 480)).save('photo.jpg')"
"""


def main() -> int:
    """Run the blocks; return 1 at the first that does not do what the README promises."""
    blocks = BLOCK.findall(README.read_text(encoding="utf-8"))
    if not blocks:
        print(f"{README}: expected blocks marked sh, found none")
        return 1
    for kind, commands in blocks:
        if kind == "long":
            continue
        print(f"\n$ {commands.strip()}", flush=True)
        start = time.monotonic()
        status, output = run(made_to_run_here(kind, commands))
        print(f"[status {status}, {time.monotonic() - start:.0f} s]", flush=True)
        if not as_promised(kind, status, output):
            print(f"{README.name}: this block, marked sh {kind}, did not do what it promises")
            return 1
    return 0


def made_to_run_here(kind: str, commands: str) -> str:
    """Return a block with all that it finds on the machines it is meant for."""
    if kind == "machines":
        first, second = (
            f"OMP_NUM_THREADS=1 NODE={number} FIRST=127.0.0.1 bash -euo pipefail -c {shlex.quote(commands)}"
            for number in (0, 1)
        )
        return f"{second} & {first} && wait $!"
    return {"slurm": SLURM, "photo": PHOTO}.get(kind, "") + commands


def run(commands: str) -> tuple[int, str]:
    """Run a block in bash, showing what it prints; return its status and its output."""
    lines = []
    with subprocess.Popen(
        ["bash", "-euo", "pipefail", "-c", commands],
        cwd=README.parent,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as shell:
        for line in shell.stdout or ():
            print(line, end="", flush=True)
            lines.append(line)
    return shell.returncode, "".join(lines)


def as_promised(kind: str, status: int, output: str) -> bool:
    """Tell whether a block of this kind may end so."""
    if status == 0:
        return True
    if kind == "gpu":
        refusals = {
            4: "--require cuda: this machine shows 0 CUDA devices",
            2: ".ci/gpu: --device cuda: no such device here",
        }
        return status in refusals and refusals[status] in output
    if kind == "doctor":
        return status == 1 and "First cause: the rung visible" in output and "Traceback" not in output
    if kind == "compiler":
        return shutil.which(os.environ.get("CXX", "c++")) is None and "needs a C++20 compiler" in output
    if kind == "network":
        return status == 2 and "blitz: " in output and "Traceback" not in output
    return False


if __name__ == "__main__":
    sys.exit(main())
