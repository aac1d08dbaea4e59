"""What git is asked, it is asked of the folder that is meant, whoever calls; and its reasons are told."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from spec.harness import git
from spec.harness.git import GitError, ask, commit
from spec.harness.records import writing
from spec.harness.tests.perf.perf_trees import make_tree, sleeping
from spec.harness.tests.repositories import commit_all, make_project, make_repository

ROOT = Path(__file__).parents[3]


@pytest.fixture
def project(tmp_path):
    """A repository of a project such as this one."""
    return make_project(tmp_path / "project")


def test_a_variable_of_git_does_not_lead_elsewhere(project, tmp_path, monkeypatch):
    """A hook names another repository by such variables, for all that it starts."""
    other = make_project(tmp_path / "other", text="other")
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(other))
    monkeypatch.setenv("GIT_INDEX_FILE", str(other / ".git" / "index"))

    assert ask(project, "rev-parse", "--show-toplevel") == str(project)
    assert ask(project, "show", "HEAD:text") == "first"
    assert commit(project) == ask(project, "rev-parse", "HEAD")


def commit_with_hook(project, options):
    """Change a file and `git commit -am` it, with a hook that runs Python with `options`; return the end."""
    hook = project / ".git" / "hooks" / "pre-commit"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\nexport PYTHONPATH='{ROOT}'\nexec '{sys.executable}' -P {options}\n")
    hook.chmod(0o755)
    project.joinpath("text").write_text("second")
    words = ["git", "-C", project, "-c", "user.name=A", "-c", "user.email=a@example.org"]
    words += ["-c", "commit.gpgsign=false", "commit", "-am", "second"]
    return subprocess.run(words, env=git.environment(), capture_output=True, text=True, timeout=100)


CHECKOUT = """-c "
from spec.harness.perf.sides import side
with side('BASE', 'HEAD') as base, side('HEAD', '.') as head:
    assert base.tree.joinpath('text').read_text() == 'first'
    assert head.tree.joinpath('text').read_text() == 'second'
" """


def test_a_checkout_in_a_hook_leaves_the_commit_as_it_is(project):
    """A commit whose hook checks out another one holds what was to be committed."""
    done = commit_with_hook(project, CHECKOUT)

    assert done.returncode == 0, done.stderr
    assert ask(project, "diff", "--name-only", "HEAD~1", "HEAD") == "text"
    assert ask(project, "status", "--porcelain", "--untracked-files=no") == ""


@pytest.mark.slow
def test_a_comparison_in_a_hook_leaves_the_commit_as_it_is(tmp_path):
    """The whole command, which times both sides."""
    tree = make_tree(make_project(tmp_path / "project"), sleeping(view=0.01))
    commit_all(tree)

    done = commit_with_hook(tree, "-m blitz perf HEAD . --rounds 5 --threshold 90%")

    assert done.returncode == 0, done.stderr
    assert "| view |" in done.stdout + done.stderr
    assert ask(tree, "diff", "--name-only", "HEAD~1", "HEAD") == "text"


def test_hooks_of_the_repository_do_not_run(project, tmp_path):
    """One that runs after a checkout could write into what is measured, or start a comparison itself."""
    hook = project / ".git" / "hooks" / "post-checkout"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\ntouch surprise\nexit 1\n")
    hook.chmod(0o755)

    ask(project, "worktree", "add", "--quiet", "--detach", str(tmp_path / "tree"))

    assert not (tmp_path / "tree" / "surprise").exists()


def test_a_commit_is_that_of_the_sources(project):
    """It is given in full, as a file of records and a report keep it."""
    assert commit(project) == ask(project, "rev-parse", "HEAD")


CHANGES = {
    "a statement changed": ("spec/__init__.py", True),
    "a new file of statements": ("spec/test_new.py", True),
    "a new folder": ("blitz/new/__init__.py", True),
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


def test_a_look_at_the_sources_does_not_write_into_their_repository(project):
    """Somebody may be committing, or be a reader alone: git would note there that a file is as it was."""
    index = project / ".git" / "index"
    before = index.read_bytes()
    os.utime(project / "spec" / "__init__.py", (1, 1))

    number = commit(project)

    assert not number.endswith("+")
    assert index.read_bytes() == before


def copied(project, to):
    """Copy the sources without their repository; return where they are."""
    return shutil.copytree(project, to, ignore=shutil.ignore_patterns(".git"))


def test_sources_in_a_repository_of_something_else_have_no_commit(project, tmp_path):
    """An installed copy in an environment, or an unpacked archive: that repository does not track them."""
    other = make_repository(tmp_path / "other")
    commit_all(other)

    assert commit(copied(project, other / ".venv" / "site-packages")) is None


def test_sources_that_a_larger_repository_tracks_have_its_commit(project, tmp_path):
    """A project may be a part of another."""
    other = make_repository(tmp_path / "other")
    part = copied(project, other / "part")

    assert commit(part) is None
    assert commit_all(other) == commit(part)


def test_sources_without_a_repository_have_no_commit(project, tmp_path, monkeypatch):
    """There is none, it holds no commit, or nobody can ask git."""
    assert commit(copied(project, tmp_path / "copy")) is None
    assert commit(copied(project, make_repository(tmp_path / "empty") / "part")) is None
    monkeypatch.setenv("PATH", str(tmp_path))
    assert commit(project) is None


def test_a_record_file_names_the_commit_of_the_sources_in_use(tmp_path, monkeypatch):
    """Not the one of the folder that a person is in, nor of the root that pytest has found."""
    monkeypatch.setenv("BLITZ_DATA", "stand-in")
    monkeypatch.chdir(make_project(tmp_path / "project"))

    assert writing.header(None)["commit"] == commit(ROOT)


def test_the_reason_of_git_is_told(tmp_path, monkeypatch):
    """As git gives it, or that there is none."""
    with pytest.raises(GitError, match="not a git repository"):
        ask(tmp_path, "status")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(GitError, match=r"git cannot be run: .*No such file or directory: 'git'"):
        ask(tmp_path, "status")


def test_a_repository_of_somebody_else_is_told_with_the_way_out(project, tmp_path, monkeypatch):
    """Git refuses it until the person says that it is safe; its advice is in the sentence."""
    script = "export GIT_TEST_ASSUME_DIFFERENT_OWNER=1 GIT_CONFIG_NOSYSTEM=1 HOME=/nowhere"
    program = tmp_path / "programs" / "git"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\n{script}\nexec {shutil.which("git")} "$@"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")

    with pytest.raises(GitError, match=r"dubious ownership in repository .*safe\.directory") as error:
        ask(project, "status")

    assert "\n" not in str(error.value)


def test_git_that_does_not_end_is_given_up(project, monkeypatch):
    """It may wait for a server, or for a lock."""
    monkeypatch.setattr(git, "PATIENCE", 0.2)

    with pytest.raises(GitError, match=r"git cannot be run: .*timed out after 0\.2 seconds"):
        ask(project, "-c", "alias.wait=!sleep 5", "wait")


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
