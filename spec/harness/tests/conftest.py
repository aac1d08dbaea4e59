"""A specification made for one test, and run inside it."""

import pytest
import torchvision  # noqa: F401 -- an inner run forgets what it imported, and torch registers operators once

from spec.harness import climbing, plugin

HEADER = """
import pytest, torch
from spec.harness.contract import not_checked
from spec.harness import ANSWERED, HOLDS, OUTDATED, QUALIFIED, WRONG, broken_by, claim
zeros = lambda real: torch.zeros
"""
SETTINGS = """
[tool.pytest]
strict = true
enable_assertion_pass_hook = true
addopts = [
  "--disable-plugin-autoload", "-p", "xdist.plugin", "-p", "pytest_timeout", "-p", "no:cacheprovider",
]
"""


@pytest.fixture
def make_spec(pytester, monkeypatch):
    """Write spec/test_3_example.py, or another file, of a repository of its own."""
    monkeypatch.setenv("BLITZ_DATA", "stand-in")
    monkeypatch.delenv("BLITZ_REQUIRE", raising=False)
    monkeypatch.setenv("BLITZ_DEVICE", "")  # put back what --device sets
    monkeypatch.setattr(climbing, "climb", list)  # the accelerator may be pretended
    pytester.path.joinpath("pyproject.toml").write_text(SETTINGS)

    def make(source, file="spec/test_3_example.py"):
        path = pytester.path / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(HEADER + source)
        return path

    return make


@pytest.fixture
def run_spec(make_spec, pytester):
    """Write a specification and run it in this process, whatever accelerator there seems to be."""

    def run(source, *options, file="spec/test_3_example.py"):
        make_spec(source, file)
        return pytester.runpytest_inprocess("-n0", *options, plugins=[plugin])

    return run


@pytest.fixture
def run_spec_on_workers(make_spec, pytester):
    """Write a specification and run it under xdist; only the workers are processes of their own."""

    def run(source, *options):
        make_spec(source)
        pytester.path.joinpath("conftest.py").write_text('pytest_plugins = ["spec.harness.plugin"]')
        return pytester.runpytest_inprocess(*options)

    return run
