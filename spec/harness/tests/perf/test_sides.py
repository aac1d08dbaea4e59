"""What BASE and HEAD of `blitz perf` may be, and that nothing of them is left."""

import re
import shutil
import sys
import tempfile
from pathlib import Path

import pytest

from spec.harness.errors import HarnessError
from spec.harness.git import ask
from spec.harness.perf.sides import side
from spec.harness.tests.repositories import commit_all, make_project, make_repository


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A project with two commits, in which the person is; the working tree has a third text."""
    root = make_project(tmp_path / "repository")
    root.joinpath("text").write_text("second")
    commit_all(root)
    root.joinpath("text").write_text("third")
    monkeypatch.chdir(root)
    return root


def number(root, revision="HEAD"):
    """Return the number of a commit."""
    return ask(root, "rev-parse", revision)


def refusal(name, said):
    """Return why something is no side."""
    with pytest.raises(HarnessError) as error, side(name, said):
        pass
    return str(error.value)


@pytest.mark.parametrize(("said", "text"), [("trunk", "second"), ("HEAD~1", "first")])
def test_a_revision_is_checked_out_apart(repository, said, text):
    """What is measured is the commit, and not what has been changed since."""
    with side("BASE", said) as found:
        assert found.tree.joinpath("text").read_text() == text
        assert found.python == sys.executable
        assert str(found) == f"BASE ({said})"
        assert found.source == f"{number(repository, said)} in {repository}"


def test_all_is_of_the_clone_around_the_current_folder(repository, tmp_path, monkeypatch):
    """The environment may have been made in another one, whose commits are others."""
    clone = tmp_path / "clone"
    ask(tmp_path, "clone", "--quiet", str(repository), str(clone))
    clone.joinpath("text").write_text("of the clone")
    commit_all(clone)
    monkeypatch.chdir(clone / "spec")

    for said in ("HEAD", ".", sys.executable):
        with side("HEAD", said) as found:
            assert found.tree.joinpath("text").read_text() == "of the clone"
            assert found.source == f"{number(clone)} in {clone}"


def test_what_lies_in_another_repository_does_not_have_its_revisions(repository, tmp_path, monkeypatch):
    """The commits of somebody's repository are other programs; an unpacked archive can be measured itself."""
    around = make_repository(tmp_path / "around")
    commit_all(around)
    archive = shutil.copytree(repository, around / "archive", ignore=shutil.ignore_patterns(".git"))
    monkeypatch.chdir(around)
    for said in ("HEAD", sys.executable):
        assert f"{around} lies in no clone of this project" in refusal("BASE", said)
    monkeypatch.chdir(archive)

    message = f"{archive} is no clone of this project, but lies in another repository, {around}"
    assert message in refusal("BASE", "HEAD")
    with side("HEAD", ".") as found:
        assert (found.tree, found.source) == (archive, f"no commit in {archive}")


def test_a_shallow_clone_is_said_to_be_one(repository, tmp_path, monkeypatch):
    """Of what it lacks a person learns how to get it."""
    clone = tmp_path / "clone"
    ask(tmp_path, "clone", "--quiet", "--depth=1", f"file://{repository}", str(clone))
    monkeypatch.chdir(clone)

    assert "shallow clone, of which `git fetch --unshallow` gets the rest" in refusal("BASE", "HEAD~1")


def test_nothing_is_left_of_a_revision(repository, tmp_path, monkeypatch):
    """Not the folder, and not what git knows of it, also where a person or a damaged commit ends it."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    blob = number(repository, "HEAD:text")

    def stopped():
        with side("BASE", "trunk") as one, side("HEAD", "trunk") as other:
            assert one.tree != other.tree
            assert len(ask(repository, "worktree", "list").splitlines()) == 3
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()
    (repository / ".git" / "objects" / blob[:2] / blob[2:]).unlink()
    assert re.match(f"git cannot check out .*{blob}", refusal("BASE", "trunk"))

    assert len(ask(repository, "worktree", "list").splitlines()) == 1
    assert list(temporary.iterdir()) == []


def test_a_folder_is_measured_where_it_is(repository, tmp_path, monkeypatch):
    """With all that has been changed in it; an empty folder of a project does not pass for the project."""
    repository.joinpath("spec", "new.py").touch()
    repository.joinpath("empty").mkdir()
    monkeypatch.chdir(tmp_path)

    with side("HEAD", "repository") as found:
        assert found[:4] == ("HEAD", "repository", repository, sys.executable)
        assert found.source == f"{number(repository)}+ in {repository}"
    with side("HEAD", "repository/empty") as found:
        assert found.tree == repository / "empty"


def test_an_interpreter_stands_for_its_packages(repository, tmp_path):
    """The tree is the one of the current folder; a link stays one, since that makes a virtual environment."""
    link = tmp_path / "python"
    link.symlink_to(Path(sys.executable).resolve())

    with side("HEAD", "../python") as found:
        assert found[:3] == ("HEAD", "../python", repository)
        assert Path(found.python).is_symlink()
        assert Path(found.python).samefile(link)


def test_what_is_nothing_of_the_three_is_refused(repository):
    """A file that cannot be run is none of them, nor are an option of git and a variable that is not set."""
    for said in ("no-such-branch", "text", "--all", ""):
        message = f"BASE is {said}: expected a folder, an interpreter or a revision: {repository} has no com"
        assert refusal("BASE", said).startswith(message)


def test_a_name_of_two_things_is_refused(repository):
    """A folder that is called as a branch is, until it is said which is meant."""
    (repository / "trunk").mkdir()

    assert "trunk is a path and a revision: write ./trunk for the path" in refusal("BASE", "trunk")
    with side("BASE", "./trunk") as found:
        assert found.tree == repository / "trunk"
