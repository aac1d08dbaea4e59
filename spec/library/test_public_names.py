"""`import blitz`: what it offers, and that it offers nothing by accident."""

import inspect
import subprocess
import sys

import pytest

import blitz


def test_all_lists_every_public_name():
    """`__all__` holds each public name that is no module, sorted as ruff sorts it, and nothing else."""
    public = {name for name, value in vars(blitz).items() if name[0] != "_" and not inspect.ismodule(value)}

    assert set(blitz.__all__) == public
    assert len(blitz.__all__) == len(public)


@pytest.mark.parametrize("name", blitz.__all__)
def test_every_public_name_has_a_docstring(name):
    """A public class or function says what it is; RECIPES are values."""
    assert name == "RECIPES" or inspect.getdoc(getattr(blitz, name))


def test_blitz_knows_nothing_of_pytest_or_of_the_specification():
    """Arrows run one way: importing blitz and its commands loads neither pytest nor spec."""
    code = "import blitz.commands, sys; print([m for m in ('pytest', 'spec') if m in sys.modules])"

    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert run.stdout.strip() == "[]"
