"""`import blitz`: what it offers, and that it offers nothing by accident."""

import ast
import inspect
import subprocess
import sys
from pathlib import Path

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


@pytest.mark.parametrize("path", sorted(Path(blitz.__file__).parent.glob("*.py")), ids=lambda path: path.stem)
def test_blitz_knows_nothing_of_pytest_or_of_the_specification(path):
    """Arrows run one way: no module of blitz imports pytest or anything of spec."""
    imports = [
        node
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, (ast.Import, ast.ImportFrom))
    ]
    modules = [getattr(node, "module", None) or node.names[0].name for node in imports]

    assert {module.split(".")[0] for module in modules} & {"pytest", "_pytest", "spec"} == set()


def test_import_leaves_the_slow_libraries_alone():
    """Importing blitz imports neither torchvision nor matplotlib, each of which takes as long as torch."""
    code = "import blitz.commands, sys; print({'torchvision', 'matplotlib'} & set(sys.modules))"

    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout

    assert found == "set()\n"
