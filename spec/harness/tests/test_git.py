"""What git is asked, it is asked of the folder that is meant, whoever calls; and its reasons are told."""

import re
import shutil
import subprocess
import sys

import pytest

from spec.harness import git
from spec.harness.children import ROOT
from spec.harness.git import GitError, ask, commit
from spec.harness.records import writing
from spec.harness.tests.repositories import (
    IDENTITY,
    commit_all,
    make_project,
    make_repository,
    write_hook,
)


@pytest.fixture
def project(tmp_path):
    """A repository of a project such as this one."""
    return make_project(tmp_path / "project")


def test_a_variable_of_git_does_not_lead_elsewhere(project, tmp_path, monkeypatch):
    """A hook names another repository by such variables, for all that it starts."""
    other = make_project(tmp_path / "other", text="other")
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(other))

    assert ask(project, "rev-parse", "--show-toplevel") == str(project)
    assert ask(project, "show", "HEAD:text") == "first"


HOOK = f"""PYTHONPATH='{ROOT}' exec '{sys.executable}' -P -c "
from spec.harness.perf.sides import side
with side('BASE', 'HEAD') as base, side('HEAD', '.') as head:
    assert base.tree.joinpath('text').read_text() == 'first'
    assert head.tree.joinpath('text').read_text() == 'second'
"
"""


def test_a_checkout_in_a_hook_leaves_the_commit_as_it_is(project):
    """A commit whose hook checks out another one holds what was to be committed."""
    write_hook(project, "pre-commit", HOOK)
    project.joinpath("text").write_text("second")
    words = ["git", "-C", project, *IDENTITY, "commit", "--all", "--message=second"]

    done = subprocess.run(words, env=git.environment(), capture_output=True, text=True, timeout=100)

    assert done.returncode == 0, done.stderr
    assert ask(project, "diff", "--name-only", "HEAD~1", "HEAD") == "text"
    assert ask(project, "status", "--porcelain", "--untracked-files=no") == ""


def test_hooks_of_the_repository_do_not_run(project, tmp_path):
    """One that runs after a checkout could write into what is measured, or start a comparison itself."""
    write_hook(project, "post-checkout", "touch surprise\nexit 1\n")

    ask(project, "worktree", "add", "--quiet", "--detach", str(tmp_path / "tree"))

    assert not (tmp_path / "tree" / "surprise").exists()


CHANGES = {
    "a statement changed": ("spec/__init__.py", True),
    "a new file in a new folder": ("blitz/new/__init__.py", True),
    "settings": ("pyproject.toml", True),
    "what is ignored": ("spec/ignored.py", False),
    "what lies beside the sources": ("notes.txt", False),
}


@pytest.mark.parametrize(("file", "changed"), CHANGES.values(), ids=CHANGES)
def test_a_plus_tells_that_the_sources_are_not_those_of_the_commit(project, file, changed):
    """Also by a file that git does not know yet, wherever a person has told it to hide such files."""
    project.joinpath(".gitignore").write_text("ignored.py\n")
    number = commit_all(project)
    ask(project, "config", "status.showUntrackedFiles", "no")
    project.joinpath(file).parent.mkdir(exist_ok=True)
    project.joinpath(file).write_text("changed = True\n")

    assert commit(project) == (f"{number}+" if changed else number)


def test_sources_that_git_does_not_track_have_no_commit(project, tmp_path, monkeypatch):
    """They may lie in the repository of something else, in none, or where nobody can ask git."""
    other = make_repository(tmp_path / "other")
    commit_all(other)
    without = shutil.ignore_patterns(".git")

    assert commit(shutil.copytree(project, other / ".venv" / "site-packages", ignore=without)) is None
    assert commit(shutil.copytree(project, tmp_path / "copy", ignore=without)) is None
    monkeypatch.setenv("PATH", str(tmp_path))
    assert commit(project) is None


def test_a_record_file_names_the_commit_of_the_sources_in_use(tmp_path, monkeypatch):
    """Not the one of the folder that a person is in, nor of the root that pytest has found."""
    monkeypatch.setenv("BLITZ_DATA", "stand-in")
    monkeypatch.chdir(make_project(tmp_path / "project"))

    assert writing.header(None)["commit"] == commit(ROOT)


def test_the_reason_of_git_is_told(project, tmp_path, monkeypatch):
    """As git gives it, or that there is none, or that it does not end: it may wait for a server or a lock."""
    with pytest.raises(GitError, match="not a git repository"):
        ask(tmp_path, "status")
    monkeypatch.setattr(git, "PATIENCE", 0.2)
    with pytest.raises(GitError, match=r"git cannot be run: .*timed out after 0\.2 seconds"):
        ask(project, "-c", "alias.wait=!sleep 5", "wait")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(GitError, match=r"git cannot be run: .*No such file or directory: 'git'"):
        ask(tmp_path, "status")


def test_nobody_else_calls_git():
    """Who does would have to keep the variables of a hook from it as well."""
    callers = {
        path.relative_to(ROOT).as_posix()
        for folder in ("blitz", "spec", ".ci")
        for path in (ROOT / folder).rglob("*.py")
        if re.search(r"""["']git["'],""", path.read_text(encoding="utf-8"))
    }

    assert callers == {"spec/harness/git.py", "spec/harness/tests/test_git.py"}
    script = ROOT.joinpath(".ci", "run").read_text(encoding="utf-8")
    assert script.index('unset "${!GIT_@}"') < script.index("$(git ")
