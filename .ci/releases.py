"""Hold the claims to several releases of PyTorch, and keep a verdict file of each in spec/records/.

    python3.11 .ci/releases.py             # every release named below
    python3.11 .ci/releases.py 2.7 2.8     # these, or any others from 1.13 on

Each release gets a virtual environment in .releases/ (about 5 GB, kept for the next time). On the releases
named below every claim runs, on those before and between only the claims with a history. A claim that
names a release must be refuted on each one before it. A release that cannot be installed is named at the end.
CIFAR-10 is what BLITZ_DATA names. The table goes to spec/records/README.md; the exit status is 0 if every
release was checked and agrees with the claims.
"""

import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
RECORDS = ROOT / "spec" / "records"
SUPPORTED = ["2.6", "2.9", "2.11", "2.14"]
BEFORE = ["1.13", "2.5"]  # the last 1.x; the last whose torch.load ran whatever a pickle says
WITHOUT_TORCHVISION = ["1.13"]  # for Python 3.11
FOR_NUMPY_1 = ["1.13", "2.0", "2.1", "2.2"]
PAGE = f"""# What PyTorch did, release by release

A verdict file of each release, made by `python3.11 .ci/releases.py` on the machine and the day that its
first line names. Every claim ran on {", ".join(SUPPORTED)}; on others only the claims that name a
release of their own, on 1.13 those alone that do without torchvision. On a release before the one that it
names, a claim has to be refuted by its own check. The table shows the claims whose outcome differs; an empty
cell is a claim that was not run there. `blitz matrix spec/records/*.jsonl` prints it.

"""


def main(releases: list[str]) -> int:
    """Check each release; return 0 if all could be installed and all agree with the claims."""
    checked = [release for release in releases if check(release)]
    failed = [release for release in releases if release not in checked]
    for release in failed:
        print(f"not checked: PyTorch {release}, see what was printed above")
    if not checked:
        return 1
    RECORDS.mkdir(exist_ok=True)
    for release in checked:  # all at last: each run saw the working tree as it was
        fresh(release).replace(RECORDS / fresh(release).name)
    blitz = ROOT / ".releases" / checked[-1] / "bin" / "blitz"
    files = sorted(RECORDS.glob("*.jsonl"))
    matrix = subprocess.run([blitz, "matrix", *files], capture_output=True, text=True, check=False)
    if matrix.returncode in (0, 1):  # else a file cannot be used, and there is no table
        (RECORDS / "README.md").write_text(PAGE + matrix.stdout, encoding="utf-8")
    print(matrix.stdout, matrix.stderr)
    return 1 if failed or matrix.returncode else 0


def fresh(release: str) -> Path:
    """Return where the verdict file of a release is written while others run."""
    return ROOT / ".releases" / f"torch-{release}.jsonl"


def check(release: str) -> bool:
    """Hold the claims to one release, in an environment of its own; tell whether that could be done."""
    environment = ROOT / ".releases" / release
    print(f"\n=== PyTorch {release}", flush=True)
    if not install(release, environment / "bin" / "python"):
        return False
    run = [
        "-m",
        "pytest",
        "-q",
        "--tb=no",
        "--slow",
        "--history",
        "--contain",
        f"--records={fresh(release)}",
    ]
    chosen = [] if release in SUPPORTED else ["-m", "dated", "--continue-on-collection-errors"]
    chosen += ["-k", "not Resnet18"] if release in WITHOUT_TORCHVISION else []
    tests = sorted(map(str, (ROOT / "spec").glob("test_*.py")))
    status = subprocess.run([environment / "bin" / "python", *run, *chosen, *tests], cwd=ROOT, check=False)
    if status.returncode not in (0, 1):  # 1: a claim was refuted, which the table judges
        print(f"pytest ended with status {status.returncode}")
        return False
    return True


def install(release: str, python: Path) -> bool:
    """Make the environment of a release, unless it is there; tell whether it could be made."""
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
    others = [name for name in wanted if not name.startswith(("torch", "numpy"))]
    libraries = ["torch"] if release in WITHOUT_TORCHVISION else ["torch", "torchvision"]
    fitting = [*libraries[1:], "numpy<2" if release in FOR_NUMPY_1 else "numpy"]
    steps = [
        [sys.executable, "-m", "venv", python.parents[1]],
        [python, "-m", "pip", "install", "--quiet", f"torch=={release}.*", *fitting, *others],
        [python, "-m", "pip", "install", "--quiet", "--no-deps", "-e", ROOT],  # it asks for 2.6 and newer
        [python, "-c", f"import {', '.join(libraries)}"],
    ]
    return all(subprocess.run(step, check=False).returncode == 0 for step in steps)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or [*BEFORE, *SUPPORTED]))
