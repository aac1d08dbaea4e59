"""What BASE and HEAD of `blitz perf` may be, and that nothing of them is left."""

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from blitz.errors import BlitzError
from spec.harness import sides
from spec.harness.sides import side

IDENTITY = ("-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false")


def git(folder, *words):
    """Return what git says there."""
    done = subprocess.run(["git", "-C", folder, *words], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A repository with two commits, which takes the place of this one; the working tree has a third text."""
    root = tmp_path / "repository"
    root.mkdir()
    git(root, "init", "-q", "-b", "trunk")
    for text in ("first", "second"):
        root.joinpath("text").write_text(text)
        git(root, "add", "text")
        git(root, *IDENTITY, "commit", "-q", "-m", text)
    root.joinpath("text").write_text("third")
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(sides, "ROOT", root)
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    monkeypatch.chdir(tmp_path)
    return root


REVISIONS = {"a branch": ("trunk", "second"), "an ancestor": ("trunk~1", "first"), "HEAD": ("HEAD", "second")}


@pytest.mark.parametrize(("said", "text"), REVISIONS.values(), ids=REVISIONS)
def test_a_revision_is_checked_out_apart(repository, said, text):
    """What is measured is the commit, and not what has been changed since."""
    with side("BASE", said) as found:
        assert found.tree.joinpath("text").read_text() == text
        assert found.python == sys.executable
        assert str(found) == f"BASE ({said}, {git(repository, 'rev-parse', said)[:12]})"


def test_a_commit_is_called_what_it_was_called(repository):
    """Its number is not said twice."""
    commit = git(repository, "rev-parse", "HEAD")[:10]

    with side("HEAD", commit) as found:
        assert str(found) == f"HEAD ({commit})"


@pytest.mark.parametrize("problem", [None, KeyboardInterrupt, BlitzError])
def test_nothing_is_left_of_a_revision(repository, problem, tmp_path):
    """Not the folder, and not what git knows of it, whatever came in between."""

    def use():
        with side("BASE", "trunk") as one, side("HEAD", "trunk") as other:
            assert len(git(repository, "worktree", "list").splitlines()) == 3
            assert one.tree != other.tree
            if problem:
                raise problem

    if problem:
        with pytest.raises(problem):
            use()
    else:
        use()

    assert len(git(repository, "worktree", "list").splitlines()) == 1
    assert list(tmp_path.joinpath("temporary").iterdir()) == []


def test_a_checkout_that_fails_leaves_nothing(repository, tmp_path):
    """A commit without its files, as of a damaged or partial clone, is a sentence."""
    blob = git(repository, "rev-parse", "HEAD:text")
    (repository / ".git" / "objects" / blob[:2] / blob[2:]).unlink()

    with pytest.raises(BlitzError, match="git cannot check out"), side("BASE", "trunk"):
        pass

    assert len(git(repository, "worktree", "list").splitlines()) == 1
    assert list(tmp_path.joinpath("temporary").iterdir()) == []


def test_a_folder_is_measured_where_it_is(repository):
    """With all that has been changed in it."""
    with side("HEAD", "repository") as found:
        assert found == ("HEAD", "repository", repository, sys.executable)


def test_an_interpreter_stands_for_its_packages(repository, tmp_path):
    """The tree is this one; a link stays one, since that makes a virtual environment."""
    link = tmp_path / "python"
    link.symlink_to(Path(sys.executable).resolve())

    with side("HEAD", "python") as found:
        assert found == ("HEAD", "python", repository, str(link))


UNKNOWN = ["no-such-branch", "repository/text", "repository/none", "", "--all"]


@pytest.mark.parametrize("said", UNKNOWN)
def test_what_is_nothing_of_the_three_is_refused(repository, said):
    """A file that cannot be run is none of them, nor is an option of git."""
    message = f"BASE is {said}: expected a revision that git knows in"

    with pytest.raises(BlitzError, match=message), side("BASE", said):
        pass


def test_a_name_of_two_things_is_refused(repository, tmp_path):
    """A folder that is called as a branch is, until it is said which is meant."""
    (tmp_path / "trunk").mkdir()

    message = r"trunk is a path and a revision: write \./trunk for the path"

    with pytest.raises(BlitzError, match=message), side("BASE", "trunk"):
        pass
    with side("BASE", "./trunk") as found:
        assert found.tree == tmp_path / "trunk"
