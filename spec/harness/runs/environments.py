"""A virtual environment for a release of PyTorch, which is whole or does not count.

Nothing of this project is installed in it: what runs there imports the clone.
"""

import json
import os
import shutil
import sys
import tomllib
from pathlib import Path

from packaging.requirements import Requirement

from spec.harness.children import ROOT
from spec.harness.runs import logged

DEVELOPMENT = "dev"  # the extra that no check needs
# of an environment: 5.7 to 7.4 were measured on Linux, where wheels bring CUDA along
GIGABYTES = 7 if sys.platform == "linux" else 2
PASSING = 3  # gigabytes more while pip installs
TELL = "import {modules}; print(torch.__version__)"


def needs() -> list[Requirement]:
    """Return what pyproject.toml says that this project and its extras need."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project.get("optional-dependencies", {})
    groups = [project["dependencies"], *(its for extra, its in extras.items() if extra != DEVELOPMENT)]
    return [Requirement(text) for group in groups for text in group]


def oldest_supported() -> str:
    """Return the lower end of the range of PyTorch that this project asks for."""
    torch = next(need for need in needs() if need.name == "torch")
    return next(bound.version for bound in torch.specifier if bound.operator == ">=")


def wanted(release: str) -> list[str]:
    """Return what to install for a release: what the project needs, with this PyTorch.

    Outside of the supported range, pip finds which torchvision, or other package of PyTorch, goes with it.
    """
    supported = next(need for need in needs() if need.name == "torch").specifier.contains(release)
    texts = []
    for need in needs():
        if need.name == "torch":
            texts.append(f"torch=={release}.*")
        elif need.name.startswith("torch") and not supported:
            texts.append(need.name)
        else:
            texts.append(str(need))
    return texts


def python(folder: Path) -> str:
    """Return the interpreter of an environment."""
    return str(folder / "bin" / "python")


def torch(folder: Path, release: str) -> str | None:
    """Return the version of PyTorch in an environment; None if it is not whole, or made for other needs."""
    try:
        made = json.loads(_mark(folder).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return str(made["torch"]) if made["made for"] == _made_for(release) else None


def make(folder: Path, release: str, log: Path) -> None:
    """Make an environment in place of what there is, and mark it as whole at the very end.

    Raises:
        StepError: it cannot be made.
    """
    remove(folder)
    try:
        said = _install(folder, release, log)
    except logged.StepError:
        remove(folder)  # gigabytes that are of no use
        raise
    part = folder / "whole.part"
    part.write_text(json.dumps({"made for": _made_for(release), "torch": said.split()[-1]}), encoding="utf-8")
    part.replace(_mark(folder))


def _install(folder: Path, release: str, log: Path) -> str:
    """Install what is wanted, and return what the PyTorch there says of its version."""
    temporary = folder / "tmp"  # a killed pip leaves gigabytes, which go with the environment
    variables = {**os.environ, "TMPDIR": str(temporary)}
    pip = ["-m", "pip", "--disable-pip-version-check", "--no-input", "install", "--progress-bar=off"]
    modules = ", ".join(need.name for need in needs() if need.name.startswith("torch"))

    logged.run([sys.executable, "-I", "-m", "venv", str(folder)], log, os.environ)
    temporary.mkdir()
    logged.run([python(folder), "-I", *pip, *wanted(release)], log, variables)
    shutil.rmtree(temporary)
    return logged.run([python(folder), "-I", "-c", TELL.format(modules=modules)], log, os.environ)


def remove(folder: Path) -> None:
    """Remove an environment, its mark first: a half-removed one must not count as whole."""
    _mark(folder).unlink(missing_ok=True)
    if folder.exists():
        shutil.rmtree(folder)


def _mark(folder: Path) -> Path:
    return folder / "whole.json"


def _made_for(release: str) -> list[str]:
    return [f"Python {sys.version}", *wanted(release)]
