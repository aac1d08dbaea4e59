"""`import blitz`: what it offers, and that it offers nothing by accident."""

import ast
import importlib
import inspect
from pathlib import Path

import pytest

import blitz

ROOT = Path(blitz.__file__).parent
SLOW = {"torchvision", "matplotlib"}  # to import, as torch is


def imported(body):
    """Return the modules, and what may be one, that the import statements among these name."""
    names = set()
    for node in body:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


@pytest.fixture(scope="module")
def trees():
    """The syntax tree of each module of blitz, by name, but of the door to the specification."""
    paths = {
        ".".join(path.relative_to(ROOT.parent).with_suffix("").parts): path for path in ROOT.rglob("*.py")
    }
    del paths["blitz.__main__"]
    return {module: ast.parse(path.read_text()) for module, path in paths.items()}


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


def test_blitz_knows_nothing_of_pytest_or_of_the_specification(trees):
    """Arrows run one way: no module of blitz imports pytest or anything of spec."""
    for module, tree in trees.items():
        packages = {name.split(".")[0] for name in imported(ast.walk(tree))}
        assert packages & {"pytest", "_pytest", "spec"} == set(), module


def test_slow_libraries_wait_until_they_are_asked_for(trees):
    """Modules that need torchvision or matplotlib are imported by none when it is imported itself.

    The systems of section 6 may need them, and are themselves imported when one of them runs.
    """
    at_once = {module: imported(tree.body) for module, tree in trees.items()}

    need_them = {module for module, names in at_once.items() if {name.split(".")[0] for name in names} & SLOW}

    systems = {module for module in at_once if module.startswith("blitz.derived.")}
    assert "blitz.pictures" in need_them
    assert {module for module, names in at_once.items() if names & (need_them | systems)} <= systems
