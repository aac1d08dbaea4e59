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
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    monkeypatch.chdir(root)
    return root


def number(root, revision="HEAD"):
    """Return the number of a commit."""
    return ask(root, "rev-parse", revision)


REVISIONS = {"a branch": ("trunk", "second"), "an ancestor": ("trunk~1", "first"), "HEAD": ("HEAD", "second")}


@pytest.mark.parametrize(("said", "text"), REVISIONS.values(), ids=REVISIONS)
def test_a_revision_is_checked_out_apart(repository, said, text):
    """What is measured is the commit, and not what has been changed since."""
    with side("BASE", said) as found:
        assert found.tree.joinpath("text").read_text() == text
        assert found.python == sys.executable
        assert str(found) == f"BASE ({said})"
        assert found.source == f"{number(repository, said)} in {repository}"


@pytest.mark.parametrize("folder", ["spec", "runs/today"])
def test_a_revision_is_that_of_the_project_around_the_current_folder(repository, folder, monkeypatch):
    """From below its top, be that a part of the project or not."""
    repository.joinpath(folder).mkdir(parents=True, exist_ok=True)
    monkeypatch.chdir(repository / folder)

    with side("BASE", "HEAD") as found:
        assert found.source == f"{number(repository)} in {repository}"


def test_a_second_clone_is_measured_where_the_person_is(repository, tmp_path, monkeypatch):
    """An environment may have been made in the first one, whose commits are others."""
    clone = tmp_path / "clone"
    ask(tmp_path, "clone", "--quiet", str(repository), str(clone))
    clone.joinpath("text").write_text("of the clone")
    commit_all(clone)
    monkeypatch.chdir(clone)

    with (
        side("HEAD", "HEAD") as revision,
        side("HEAD", ".") as folder,
        side("HEAD", sys.executable) as python,
    ):
        assert [found.tree.joinpath("text").read_text() for found in (revision, folder, python)] == [
            "of the clone"
        ] * 3
        assert {found.source for found in (revision, folder, python)} == {f"{number(clone)} in {clone}"}


def unpack(project, to):
    """Copy a project without its repository, as an archive is unpacked; return where it is."""
    return shutil.copytree(project, to, ignore=shutil.ignore_patterns(".git"))


@pytest.mark.parametrize("is_this_project", [False, True])
def test_an_unpacked_archive_does_not_have_the_revisions_of_what_lies_around_it(
    repository, tmp_path, is_this_project, monkeypatch
):
    """The commits of somebody's repository are other programs; the folder itself can be measured."""
    around = make_project(tmp_path / "around") if is_this_project else make_repository(tmp_path / "around")
    commit_all(around)
    archive = unpack(repository, around / "archive")
    monkeypatch.chdir(archive)
    message = f"{archive} is no clone of this project, but lies in another repository, {around}"

    with pytest.raises(HarnessError, match=re.escape(message)), side("BASE", "HEAD"):
        pass
    with side("HEAD", ".") as found:
        assert (found.tree, found.source) == (archive, f"no commit in {archive}")


def test_a_repository_of_something_else_is_refused(tmp_path, monkeypatch):
    """Its HEAD has no benchmarks, which is not the same as new ones in the other side."""
    other = make_repository(tmp_path / "other")
    commit_all(other)
    monkeypatch.chdir(other)

    for said in ("HEAD", sys.executable):
        with (
            pytest.raises(HarnessError, match=f"{other} lies in no clone of this project"),
            side("BASE", said),
        ):
            pass


def test_the_reason_of_git_is_told(repository, tmp_path, monkeypatch):
    """An unpacked archive outside of any repository has no revisions."""
    monkeypatch.chdir(unpack(repository, tmp_path / "archive"))

    with pytest.raises(HarnessError, match=r"BASE is HEAD: .*not a git repository"), side("BASE", "HEAD"):
        pass


def test_a_shallow_clone_is_said_to_be_one(repository, tmp_path, monkeypatch):
    """Of what it lacks a person learns how to get it."""
    clone = tmp_path / "clone"
    ask(tmp_path, "clone", "--quiet", "--depth=1", f"file://{repository}", str(clone))
    monkeypatch.chdir(clone)

    with pytest.raises(HarnessError, match="shallow clone, of which `git fetch --unshallow` gets the rest"):
        side("BASE", "HEAD~1").__enter__()
    with side("BASE", "HEAD") as found:
        assert found.tree.joinpath("text").read_text() == "second"


@pytest.mark.parametrize("problem", [None, KeyboardInterrupt, HarnessError])
def test_nothing_is_left_of_a_revision(repository, problem, tmp_path):
    """Not the folder, and not what git knows of it, whatever came in between."""

    def use():
        with side("BASE", "trunk") as one, side("HEAD", "trunk") as other:
            assert len(ask(repository, "worktree", "list").splitlines()) == 3
            assert one.tree != other.tree
            if problem:
                raise problem

    if problem:
        with pytest.raises(problem):
            use()
    else:
        use()

    assert len(ask(repository, "worktree", "list").splitlines()) == 1
    assert list(tmp_path.joinpath("temporary").iterdir()) == []


def test_a_checkout_that_fails_leaves_nothing(repository, tmp_path):
    """A commit without its files, as of a damaged or partial clone, is a sentence with git's reason."""
    blob = number(repository, "HEAD:text")
    (repository / ".git" / "objects" / blob[:2] / blob[2:]).unlink()

    with pytest.raises(HarnessError, match=f"git cannot check out .*{blob}"), side("BASE", "trunk"):
        pass

    assert len(ask(repository, "worktree", "list").splitlines()) == 1
    assert list(tmp_path.joinpath("temporary").iterdir()) == []


def test_a_folder_is_measured_where_it_is(repository, tmp_path, monkeypatch):
    """With all that has been changed in it."""
    repository.joinpath("spec", "new.py").touch()
    monkeypatch.chdir(tmp_path)

    with side("HEAD", "repository") as found:
        assert found[:4] == ("HEAD", "repository", repository, sys.executable)
        assert found.source == f"{number(repository)}+ in {repository}"


def test_the_current_folder_stands_for_its_project(repository, monkeypatch):
    """Below the top a dot is the whole; any other folder is itself, or an empty one would pass for it."""
    repository.joinpath("empty").mkdir()
    monkeypatch.chdir(repository / "spec")

    with side("HEAD", ".") as found:
        assert found.tree == repository
    with side("HEAD", "../empty") as found:
        assert found.tree == repository / "empty"


def test_an_interpreter_stands_for_its_packages(repository, tmp_path):
    """The tree is the one of the current folder; a link stays one, since that makes a virtual environment."""
    link = tmp_path / "python"
    link.symlink_to(Path(sys.executable).resolve())

    with side("HEAD", "../python") as found:
        assert found[:3] == ("HEAD", "../python", repository)
        assert Path(found.python).is_symlink()
        assert Path(found.python).samefile(link)


UNKNOWN = ["no-such-branch", "text", "none/none", "", "--all"]


@pytest.mark.parametrize("said", UNKNOWN)
def test_what_is_nothing_of_the_three_is_refused(repository, said):
    """A file that cannot be run is none of them, nor is an option of git."""
    message = (
        f"BASE is {said}: expected a folder, an interpreter or a revision: {repository} has no commit of"
    )

    with pytest.raises(HarnessError, match=message), side("BASE", said):
        pass


def test_a_name_of_two_things_is_refused(repository):
    """A folder that is called as a branch is, until it is said which is meant."""
    (repository / "trunk").mkdir()

    message = r"trunk is a path and a revision: write \./trunk for the path"

    with pytest.raises(HarnessError, match=message), side("BASE", "trunk"):
        pass
    with side("BASE", "./trunk") as found:
        assert found.tree == repository / "trunk"
