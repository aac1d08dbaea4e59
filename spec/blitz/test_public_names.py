"""`import blitz`: what it offers, and that it offers nothing by accident."""

import ast
import importlib
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import blitz


def test_all_lists_every_public_name():
    """`__all__` holds each public name that is no module, and nothing else; dir() tells of them."""
    public = {name for name in dir(blitz) if name[0] != "_" and not inspect.ismodule(getattr(blitz, name))}

    assert set(blitz.__all__) == public
    assert len(blitz.__all__) == len(public)


def test_a_public_name_is_what_its_module_calls_so():
    """A name comes from the module from which a type checker is told to take it."""
    body = ast.parse(Path(blitz.__file__).read_text()).body
    told = next(node.body for node in body if isinstance(node, ast.If))
    homes = {name.name: line.module for line in told for name in line.names}

    assert set(homes) == set(blitz.__all__)
    for name, home in homes.items():
        assert getattr(blitz, name) is getattr(importlib.import_module(home), name)


@pytest.mark.parametrize(("package", "name"), [("blitz", "Cifarnet"), ("spec.harness", "statement_")])
def test_a_name_that_a_package_lacks_is_an_attribute_error(package, name):
    """Names that are imported when they are asked for fail as all others do."""
    with pytest.raises(AttributeError, match=f"module '{package}' has no attribute '{name}'"):
        getattr(importlib.import_module(package), name)


@pytest.mark.parametrize("name", blitz.__all__)
def test_every_public_name_has_a_docstring(name):
    """A public class or function says what it is; RECIPES are values."""
    assert name == "RECIPES" or inspect.getdoc(getattr(blitz, name))


# but __main__, the door to the specification
MODULES = sorted(Path(blitz.__file__).parent.glob("[!_]*.py"))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_blitz_knows_nothing_of_pytest_or_of_the_specification(path):
    """Arrows run one way: no module of blitz imports pytest or anything of spec."""
    imports = [
        node
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, (ast.Import, ast.ImportFrom))
    ]
    modules = [getattr(node, "module", None) or node.names[0].name for node in imports]

    assert {module.split(".")[0] for module in modules} & {"pytest", "_pytest", "spec"} == set()


def test_import_leaves_pytorch_for_later():
    """Importing blitz, its errors and its recipes does not import PyTorch."""
    code = "import blitz, sys; blitz.BlitzError, blitz.RECIPES; print({'torch', 'numpy'} & set(sys.modules))"

    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout

    assert found == "set()\n"


def test_import_leaves_the_slow_libraries_alone():
    """Importing the commands imports neither torchvision nor matplotlib, each as slow as torch."""
    code = "import blitz.commands.train, sys; print({'torchvision', 'matplotlib'} & set(sys.modules))"

    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout

    assert found == "set()\n"
