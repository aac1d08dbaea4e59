"""Describe in Markdown the machine on which .ci/gpu is to run, or say in a sentence why it cannot.

    python .ci/machine.py DEVICE

The status is 1 if this Python lacks what the project needs, or has no such accelerator.
"""

import importlib.metadata
import platform
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]


def main(device: str) -> None:
    """Print the lines of the description, or end with the sentence."""
    if sys.version_info < (3, 11):  # noqa: UP036 -- nothing has held this Python to what the project needs
        refuse(f"expected Python 3.11 or newer, got {platform.python_version()}; name another one by PYTHON")
    try:
        lacking = list(missing(ROOT / "pyproject.toml"))
    except ImportError:
        lacking = ["packaging (found none)"]
    if lacking:
        refuse(f"expected {', '.join(lacking)}; name a folder with the wheels of what is missing by WHEELS")
    print("\n".join(description(device)))


def refuse(sentence: str) -> None:
    """End this process with a sentence."""
    sys.exit(f".ci/gpu: {sentence}")


def missing(project: Path) -> Iterator[str]:
    """Yield each package that a project needs and this Python does not have, or has in another version."""
    import tomllib  # not in Pythons that are refused

    from packaging.requirements import Requirement

    for words in tomllib.loads(project.read_text(encoding="utf-8"))["project"]["dependencies"]:
        needed = Requirement(words)
        try:
            found = importlib.metadata.version(needed.name)
        except importlib.metadata.PackageNotFoundError:
            found = None
        if found is None or not needed.specifier.contains(found, prereleases=True):
            yield f"{needed} (found {found or 'none'})"


def description(name: str) -> Iterator[str]:
    """Yield the lines that say what is there: the accelerators, their software, the processor, the commit."""
    import pytest
    import torch

    from spec.harness import git
    from spec.harness.accelerator import devices, machine

    try:
        devices.name_device(name)
    except pytest.UsageError as error:
        refuse(f"{error}; name one by DEVICE, or find the first cause with `python -m blitz doctor`")
    if devices.accelerator_kind() is None:
        refuse(f"expected an accelerator in DEVICE, got {name}")
    told = machine.describe()
    commit = git.commit(ROOT)
    yield f"# blitz on {name}{f', commit {commit}' if commit else ''}"
    yield ""
    for device in told["devices"]:
        yield listed({key.replace("_", " "): value for key, value in device.items()})
    software = {
        "PyTorch": torch.__version__,
        "CUDA": told["cuda"],
        "CUDA of the driver": told["cuda_driver"],
        "cuDNN": told["cudnn"],
        "NCCL": told["nccl"],
        "Python": platform.python_version(),
    }
    yield listed(software)
    yield f"- {told['cpu']}, {told['cpus']} cores, {told['os']}"


def listed(facts: dict[str, Any]) -> str:
    """Return as an entry of a list what is known."""
    return "- " + ", ".join(f"{what} {value}" for what, value in facts.items() if value is not None)


if __name__ == "__main__":
    main(sys.argv[1])
