"""Repositories of git, made for one test."""

from spec.harness import git

IDENTITY = ("-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false")


def make_repository(folder):
    """Make an empty repository; return its folder."""
    folder.mkdir(parents=True)
    git.ask(folder, "init", "--quiet", "--initial-branch", "trunk")
    return folder


def commit_all(folder, message="all"):
    """Commit what there is; return the commit."""
    git.ask(folder, "add", "--all")
    git.ask(folder, *IDENTITY, "commit", "--quiet", "--allow-empty", "--message", message)
    return git.ask(folder, "rev-parse", "HEAD")


def make_project(folder, text="first"):
    """Make a repository of a project such as this one, with one commit; return its folder."""
    make_repository(folder)
    for package in git.PACKAGES:
        folder.joinpath(package).mkdir()
        folder.joinpath(package, "__init__.py").touch()
    folder.joinpath("text").write_text(text)
    commit_all(folder)
    return folder


def write_hook(repository, name, script):
    """Write a hook of a repository."""
    hook = repository / ".git" / "hooks" / name
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\n{script}")
    hook.chmod(0o755)
