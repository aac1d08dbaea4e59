"""A specification made for one test, and run inside it; records that no run has written."""

import json
import shutil
import subprocess

import pytest
import torchvision  # noqa: F401 -- an inner run forgets what it imported, and torch registers operators once

from spec import cifar10, command_line
from spec.harness import plugin
from spec.harness.accelerator import climbing
from spec.harness.records.reading import read
from spec.harness.statements.notes import Notes

HEADER = """
import pytest, torch
from spec.harness.statements.contract import not_checked
from spec.harness import ANSWERED, HOLDS, OUTDATED, QUALIFIED, WRONG, each_row, fault, since, statement
zeros = lambda real: torch.zeros
"""
CONFTEST = """
from pathlib import Path
from spec.harness.statements.notes import Notes

SPEC = Path(__file__).resolve().parent
HEADINGS = {
    "1 Tensor": {"1": "1"},
    "2 Autograd": {"2": "2"},
    "3 Neural networks": {"3": "3", "3.1": "3.1"},
    "4 CIFAR-10": {"4": "4"},
    "5 Data parallel": {"5": "5"},
}
RUNGS = dict(zip(HEADINGS, ["kernels", "autograd", "autograd", "training", "parallel"]))

def pytest_notes():
    return Notes((SPEC / "section_1", SPEC / "section_3"), HEADINGS, RUNGS)
"""
SETTINGS = """
[tool.pytest]
strict = true
enable_assertion_pass_hook = true
addopts = [
  "--disable-plugin-autoload", "-p", "xdist.plugin", "-p", "pytest_timeout", "-p", "no:cacheprovider",
  "--tb=native",
]
"""


@pytest.fixture(autouse=True)
def english(monkeypatch):
    """Have the commands speak English, whatever the locale says."""
    monkeypatch.setenv("LC_ALL", "C.UTF-8")


@pytest.fixture
def make_spec(pytester, monkeypatch):
    """Write spec/section_3/test_example.py, or another file, of a repository of its own."""
    monkeypatch.setenv("BLITZ_DATA", "stand-in")
    monkeypatch.delenv("BLITZ_REQUIRE", raising=False)
    monkeypatch.setenv("BLITZ_DEVICE", "")  # put back what --device sets
    monkeypatch.setattr(climbing, "climb_here", list)  # the accelerator may be pretended
    pytester.path.joinpath("pyproject.toml").write_text(SETTINGS)
    pytester.mkdir("spec").joinpath("conftest.py").write_text(CONFTEST)

    def make(source, file="spec/section_3/test_example.py"):
        path = pytester.path / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(HEADER + source)
        return path

    return make


@pytest.fixture
def run_spec(make_spec, pytester):
    """Write a specification and run it in this process, whatever accelerator there seems to be."""

    def run(source, *options, file="spec/section_3/test_example.py"):
        make_spec(source, file)
        return pytester.runpytest_inprocess("-n0", *options, plugins=[plugin, cifar10])

    return run


@pytest.fixture
def recorded(run_spec, pytester):
    """Write a specification and run it; return what the file of records holds."""

    def run(source, *options):
        run_spec(source, "--records=v.jsonl", *options)
        return read(pytester.path / "v.jsonl")

    return run


@pytest.fixture
def make_spec_for_processes(make_spec, pytester):
    """Write a specification that names its plugins itself, to processes that were not handed them."""

    def make(source):
        make_spec(source)
        plugins = 'pytest_plugins = ["spec.harness.plugin", "spec.cifar10"]'
        pytester.path.joinpath("conftest.py").write_text(plugins)

    return make


RUN = {
    "kind": "header", "schema": 4, "started": "2026-11-24T15:12:38+00:00",
    "torch": "2.15.0+cpu", "torchvision": "0.29.2", "numpy": "2.4.6", "python": "3.11.7",
    "os": "Linux", "cpu": "AMD EPYC", "cpus": 2, "threads": 1,
    "accelerator": None, "devices": [], "cuda": None, "cudnn": None,
    "precision": {"default_dtype": "torch.float32", "float32_matmul": "highest", "deterministic": False},
    "commit": "335f664", "data": "stand-in",
}  # fmt: skip
RESULT = {
    "kind": "result", "section": "3 Neural networks", "notes": "3", "verdict": "holds", "says": None,
    "since": None, "sentence": "One is one.", "check": "test", "params": {}, "device": "cpu", "gpu": False,
    "needs": [],
    "outcome": "confirmed", "reason": None, "detail": None, "seen": None, "measured": {},
    "tolerance_used": None, "checks": 1, "seconds": 0.1, "seed": 1,
}  # fmt: skip


@pytest.fixture
def write_records(tmp_path, monkeypatch):
    """Write the records of a run that confirmed nn.a, but for what is said of its lines."""
    folder = tmp_path / "spec" / "section_3"
    folder.mkdir(parents=True)
    for name in "abcd":
        fault = '@fault("one is two", int, "x", two)'
        proof = f'@statement("nn.{name}", notes="3")\n{fault}\ndef test():\n    pass\n'
        (folder / f"test_{name}.py").write_text(proof)
    monkeypatch.setattr(command_line, "NOTES", Notes((folder,), {"3 Neural networks": {"3": "3"}}, {}))

    def write(name="v.jsonl", results=({},), rungs=(), end=(), **header):
        """Return the path; each result is what differs from RESULT, `end` what differs from a good one."""
        lines = [{**RUN, **header}, *rungs]
        for result in results:
            name_of_it = result.get("id", "nn.a")
            node = f"spec/section_3/test_{name_of_it[-1]}.py::test"
            lines.append({**RESULT, "id": name_of_it, "node": node, **result})
        count = len(results)
        good = {"collected": count, "ended": count, "records": count, "exit_status": 0, "seen": None}
        lines.append({"kind": "end", **good, **dict(end)})
        path = tmp_path / name
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
        return path

    return write


@pytest.fixture
def small_disk(tmp_path):
    """Mount a disk of 8 KiB, where that is allowed."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8k", "tmpfs", folder]
    if (
        not shutil.which("mount")
        or subprocess.run(mount, capture_output=True, timeout=10, check=False).returncode
    ):
        pytest.skip("only root of a Linux machine can mount a disk")
    yield folder
    subprocess.run(["umount", folder], timeout=10, check=True)
