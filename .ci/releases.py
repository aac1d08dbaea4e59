"""Hold the statements to several releases of PyTorch, and write docs/releases.md.

    python3.11 .ci/releases.py             # every release named below
    python3.11 .ci/releases.py 2.7 2.8     # these, or any others from 1.13 on

Each release gets a virtual environment in .releases/ (about 5 GB, kept for the next time). From 2.6 on every
check runs that is not slow, before it only those that name a release. A check that names a release must be
refuted on each one before it. A release that cannot be installed is named at the end. CIFAR-10 is what
BLITZ_DATA names. The exit status is 0 if every release was checked and each check passes where it should.
"""

import json
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "releases.md"
SUPPORTED = ["2.6", "2.7", "2.9", "2.11", "2.14"]
BEFORE = ["2.5"]  # the last whose torch.load ran whatever a pickle says; blitz.Net itself needs PyTorch 2.0
WITHOUT_TORCHVISION = ["1.13"]  # for Python 3.11
FOR_NUMPY_1 = ["1.13", "2.0", "2.1", "2.2"]
INTRODUCTION = """# What is true on which release

Made by `python3.11 .ci/releases.py`. From 2.6 on, every check ran that is not slow; on releases before it,
only the checks that name a release of their own. A statement is confirmed where all its checks passed, and
refuted where one did not: before the release in the second column, at least one of its checks has to be
refuted. An empty cell is a statement that was not run there.

"""


def main(releases: list[str]) -> int:
    """Check each release; return 0 if all could be installed and every check passed where it should."""
    checked = [release for release in releases if check(release)]
    failed = [release for release in releases if release not in checked]
    for release in failed:
        print(f"not checked: PyTorch {release}, see what was printed above")
    if not checked:
        return 1
    blitz = ROOT / ".releases" / checked[-1] / "bin" / "blitz"
    files = [fresh(release) for release in [*BEFORE, *SUPPORTED] if fresh(release).exists()]
    matrix = subprocess.run([blitz, "matrix", "--all", *files], capture_output=True, text=True, check=False)
    if matrix.returncode in (0, 1):  # else a file cannot be used, and there is no table
        table = [INTRODUCTION, environments(files), "\n", matrix.stdout]
        PAGE.write_text("".join(table), encoding="utf-8")
    print(matrix.stdout, matrix.stderr)
    return 1 if failed or matrix.returncode else 0


def environments(files: list[Path]) -> str:
    """Return a table of what the runs were made on, from the first line of their records."""
    names = ["torch", "torchvision", "numpy", "python", "os", "cpu", "data", "started"]
    rows = [names, ["---"] * len(names)]
    for file in files:
        header = json.loads(file.read_text(encoding="utf-8").splitlines()[0])
        rows.append([str(header[name] or "") for name in names])
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def fresh(release: str) -> Path:
    """Return where the records of a release are kept."""
    return ROOT / ".releases" / f"torch-{release}.jsonl"


def check(release: str) -> bool:
    """Hold the statements to one release, in an environment of its own; tell whether that could be done."""
    environment = ROOT / ".releases" / release
    print(f"\n=== PyTorch {release}", flush=True)
    if not install(release, environment / "bin" / "python"):
        return False
    run = [
        "-m",
        "pytest",
        "-q",
        "--tb=no",
        "--history",
        "--contain",
        f"--records={fresh(release)}",
    ]
    chosen = [] if release in SUPPORTED else ["-m", "since", "--continue-on-collection-errors"]
    chosen += ["-k", "not Resnet18"] if release in WITHOUT_TORCHVISION else []
    tests = [*sorted(map(str, (ROOT / "spec").glob("section_*"))), "spec/footnotes"]
    status = subprocess.run([environment / "bin" / "python", *run, *chosen, *tests], cwd=ROOT, check=False)
    if status.returncode not in (0, 1):  # 1: a check was refuted, which the table judges
        print(f"pytest ended with status {status.returncode}")
        return False
    return True


def install(release: str, python: Path) -> bool:
    """Make the environment of a release, unless it is there; tell whether it could be made."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["dqn"]]
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
