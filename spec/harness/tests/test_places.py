"""A run is the same one from every folder, with every root folder and through every symbolic link."""

from types import SimpleNamespace

import pytest

from spec.harness.places import node_of, specification

STATEMENTS = """
from helper import check

@pytest.fixture(scope="module")
def shared():
    return float(torch.rand(1))

@statement("nn.a", notes="3")
@pytest.mark.parametrize("n", [1])
def test_a(n, shared, measured):
    "One is one."
    measured["drawn"] = [shared, float(torch.rand(1))]
    check(n)

@statement("nn.b", notes="3")
def test_b():
    "One is two."
    assert 1 == 2
"""
HELPER = """
def check(n):
    torch.testing.assert_close(n, 1)
"""


def test_neither_root_folder_nor_a_symbolic_link_changes_anything(recorded, make_spec, pytester, tmp_path):
    """Names, seeds, drawn numbers, counted checks and outcomes are those of any other root folder."""
    make_spec(HELPER, "spec/section_3/helper.py")
    link = tmp_path / "link"
    link.symlink_to(pytester.path / "spec")

    def records(*options):
        settings = f"--config-file={pytester.path / 'pyproject.toml'}"
        told = ("id", "node", "outcome", "checks", "seed", "measured")
        return [[record[key] for key in told] for record in recorded(STATEMENTS, settings, *options).results]

    usual = records()

    assert [record[:4] for record in usual] == [
        ["nn.a", "spec/section_3/test_example.py::test_a[1]", "confirmed", 1],
        ["nn.b", "spec/section_3/test_example.py::test_b", "refuted", 0],
    ]
    assert records("--rootdir=/") == usual
    assert records(f"--rootdir={tmp_path}", link) == usual


def test_rules_of_statements_hold_through_a_symbolic_link(make_spec, run_spec, pytester, tmp_path):
    """A test that is no statement stops the run, also where the folder's name is another one."""
    make_spec("def test_plain():\n    assert True\n", "spec/section_3/test_plain.py")
    link = tmp_path / "link"
    link.symlink_to(pytester.path / "spec")
    settings = f"--config-file={pytester.path / 'pyproject.toml'}"

    result = run_spec("", settings, link / "section_3" / "test_plain.py")

    assert result.ret == pytest.ExitCode.INTERRUPTED
    result.stdout.fnmatch_lines(["*test_plain checks no statement*"])


PLACES = {
    "a library": ("home/spec/blitz/test_1.py", "home/spec", "spec/blitz/test_1.py::test_a"),
    "a folder called spec": ("spec/spec/test_1.py", "spec/spec", "spec/test_1.py::test_a"),
    "outside": ("home/tests/test_1.py", "home/tests", "tests/test_1.py::test_a"),
}


@pytest.mark.parametrize(("file", "folder", "node"), PLACES.values(), ids=PLACES)
def test_a_test_lies_in_the_nearest_folder_called_spec(tmp_path, file, folder, node):
    """Its name begins there; a test outside of any has its own folder."""
    item = SimpleNamespace(path=tmp_path / file, nodeid="anything::test_a")

    assert (specification(item), node_of(item)) == ((tmp_path / folder).resolve(), node)
