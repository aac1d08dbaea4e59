"""The scripts of the workflows, with stand-ins for GitHub's command line and for `blitz`."""

import os
import re
import shutil
import subprocess

import pytest

from spec.harness import git
from spec.harness.children import ROOT

GH = """#!/bin/bash
# the records of run N lie in github/N
echo "$@" >>calls
case "$1 $2" in
  "run list") cat github/last ;;
  "run download")
    test -d "github/$3" || { echo "${GH_SAYS:-no valid artifacts found to download}" >&2; exit 1; }
    cp -r "github/$3/." "$7" ;;
esac
"""
BLITZ = """#!/bin/bash
# a file of records has the status with which blitz ends, and what it says
read -r status words <"$3"
case $1 in
  diff) test "$status" -lt 2 && echo "$2 to $3: $words ($4 $5)" || echo "blitz: $words" >&2 ;;
  report) test "$status" -lt 2 && echo "<p>$words" >"${@: -1}" || echo "blitz: $words" >&2 ;;
esac
exit "$status"
"""
PYTHON = """#!/bin/bash
echo "$@" >"${@: -1}"
exit 1
"""


@pytest.fixture
def folder(tmp_path):
    """Return a folder with the scripts, the stand-ins, and a run of main, of number 7, that has succeeded."""
    shutil.copytree(ROOT / ".ci", tmp_path / ".ci")
    write(tmp_path / "bin" / "gh", GH)
    write(tmp_path / ".venv" / "bin" / "blitz", BLITZ)
    write(tmp_path / ".venv" / "bin" / "python", PYTHON)
    write(tmp_path / "github" / "last", "7\n")
    return tmp_path


def write(path, text):
    """Write a file that can be run, with its folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


def leave_records(folder, run, **jobs):
    """Leave the records of a run, for each job the status and the words of `blitz` about them."""
    for job, text in jobs.items():
        write(folder / "github" / str(run) / f"records-{job}" / "records.jsonl", text)


def script(folder, name, *arguments, **variables):
    """Run a script as a step of the run 8 would; return how it ended."""
    path = f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"
    github = {"GITHUB_RUN_ID": "8", "GITHUB_STEP_SUMMARY": str(folder / "summary.md")}
    command = ["bash", str(folder / ".ci" / name), *arguments]
    environment = {**os.environ, "PATH": path, **github, **variables}
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=60
    )


DIFFERENCES = {
    "nothing is worse": ("0 as before", 0, "main/records-a/records.jsonl to this-run/records-a/"),
    "worse": ("1 something is worse", 1, "something is worse (--format markdown)"),
    "another schema": ("2 expected <schema>", 2, "    blitz: expected <schema>\n"),
    "unfinished": ("3 this run did not finish", 3, "    blitz: this run did not finish\n"),
}


@pytest.mark.parametrize(("text", "status", "told"), DIFFERENCES.values(), ids=DIFFERENCES)
def test_each_job_is_compared_with_the_same_job_of_main(folder, text, status, told):
    """The summary has what blitz said of each; the status is the worst, and only a bad one is a warning.

    A fork's branch may have the name main, and its pull request is an event of another kind.
    """
    leave_records(folder, 7, a="0", b="0")
    leave_records(folder, 8, a=text, b="0 the other job")

    ended = script(folder, "diff")

    summary = (folder / "summary.md").read_text()
    assert ended.returncode == status, ended.stderr
    assert told in summary
    assert "records-b/records.jsonl to this-run/records-b/records.jsonl: the other job" in summary
    assert ended.stdout.startswith("::warning title=Not as on main::") is (status > 0)
    asked = (folder / "calls").read_text()
    assert "run list --workflow ci.yml --branch main --event push --status success --limit 1" in asked


NOTHING = {
    "no run of main": ("\n", {}, 0, "no run of main has succeeded so far"),
    "records that were not kept": ("6\n", {"a": "0"}, 0, "Run 6, the last successful one of main, has no"),
    "another job": ("7\n", {"new": "0", "b": "0"}, 0, "Not compared: `records-new`. Run 7, "),
    "no records of this run": ("7\n", {}, 2, "this run has left no records"),
    "a job without records": ("7\n", {"c": "0"}, 2, "`records-b`. This run has left no such records."),
}


@pytest.mark.parametrize(("last", "jobs", "status", "told"), NOTHING.values(), ids=NOTHING)
def test_what_cannot_be_compared_is_a_sentence(folder, last, jobs, status, told):
    """A first run has nothing to compare with, and is good; a run that lost its records is not."""
    write(folder / "github" / "last", last)
    leave_records(folder, 7, b="0")
    leave_records(folder, 8, **jobs)

    ended = script(folder, "diff")

    assert told in (folder / "summary.md").read_text()
    assert ended.returncode == status, ended.stderr


@pytest.mark.parametrize("name", ["diff", "records"])
def test_a_github_that_does_not_answer_is_no_answer(folder, name):
    """It is not taken for a run that has left no records."""
    ended = script(folder, name, "8", "records", GH_SAYS="HTTP 403: no permission")

    assert ended.returncode == 1
    assert ended.stderr == "HTTP 403: no permission\n"


PAGES = {
    "good": ("0 all is well", "<p>all is well\n"),
    "refuted": ("1 something is refuted", "<p>something is refuted\n"),
    "unfinished": ("3 a < b & c", "<pre>blitz: a &lt; b &amp; c</pre>\n"),
    "no answer": ("2 no page", "<pre>blitz: no page</pre>\n"),
}


@pytest.mark.parametrize(("text", "end"), PAGES.values(), ids=PAGES)
def test_the_page_tells_what_ci_found_whatever_that_is(folder, text, end):
    """The badge stands beside it, and both are of every job, also of one that has left no records."""
    leave_records(folder, 7, **{"python3.11-torch2.15": text, "python3.11-torch2.6": text})

    ended = script(folder, "page", "github/7", "site")

    assert ended.returncode == 0, ended.stderr
    assert (folder / "site" / "index.html").read_text().endswith(end)
    badge = (folder / "site" / "badge.json").read_text()
    assert badge.count("records.jsonl") == 4


@pytest.mark.parametrize("command", ["blitz", "python"])
def test_no_page_is_published_that_was_not_made(folder, command):
    """A `blitz report` that breaks has not made one, nor is it published without its badge."""
    leave_records(folder, 7, **{"python3.11-torch2.15": "0 all is well"})
    write(folder / ".venv" / "bin" / command, "#!/bin/bash\nexit 1\n")

    assert script(folder, "page", "github/7", "site").returncode == 1


def test_the_page_is_of_the_jobs_that_ci_has(folder):
    """The names of the records in .ci/page are those of the matrix in ci.yml."""
    ci = (ROOT / ".github" / "workflows" / "ci.yml").read_text()
    matrix = [re.search(rf'{key}: \["(.+)"\]', ci)[1].split('", "') for key in ("python", "torch")]
    (page,) = re.findall(r"records-\S+", (ROOT / ".ci" / "page").read_text())

    assert "name: records-python${{ matrix.python }}-torch${{ matrix.torch }}\n" in ci
    assert page == "records-python{{{}}}-torch{{{}}}/records.jsonl)".format(*map(",".join, matrix))


ENDINGS = {
    "refuted": ("open('records.jsonl', 'w').write('a record'); exit(1)", "a record"),
    "broken at once": ("exit(1)", ""),
}


def check(folder, *parts, **variables):
    """Run the project's own check, in which the scripts are committed as they are now."""
    write(folder / "bin" / "apt-get", "#!/bin/bash\n")
    for command in (["init", "-q"], ["add", ".ci"], ["commit", "-qm", "Scripts"]):
        git.ask(folder, "-c", "user.name=A", "-c", "user.email=a@example.org", *command)
    return script(folder, "run", *parts, BLITZ_DATA=str(folder), **variables)


@pytest.mark.parametrize(("readme", "kept"), ENDINGS.values(), ids=ENDINGS)
def test_a_check_that_fails_keeps_the_records_that_it_has(folder, readme, kept):
    """They tell what was refuted. Those of an earlier check go: an empty file is taken for no run."""
    write(folder / ".ci" / "readme.py", readme)
    write(folder / "kept", "an old record")

    ended = check(folder, RECORDS=str(folder / "kept"))

    assert ended.returncode == 1, ended.stderr
    assert "README failed" in ended.stdout
    assert (folder / "kept").read_text() == kept


@pytest.mark.parametrize("part", ["slow", "slow-sabotages"])
def test_a_part_of_the_check_is_done_without_the_others(folder, part):
    """It begins with the tools that it needs, and not with the README's commands."""
    write(folder / "bin" / "python3", "#!/bin/bash\nexit 1\n")

    ended = check(folder, part)

    assert ended.returncode == 1, ended.stderr
    assert re.findall("=== (.+) failed", ended.stdout) == ["developer's tools"]


def test_a_part_that_the_check_does_not_have_is_refused(folder):
    """Before anything is done."""
    ended = check(folder, "slow", "fast")

    assert (ended.returncode, ended.stdout) == (2, "")
    assert "expected quick, slow or slow-sabotages, or nothing for all three, got fast" in ended.stderr


def test_ci_does_every_part_of_the_check():
    """One in the job whose records are kept, and each other one in a job of its own."""
    ci = (ROOT / ".github" / "workflows" / "ci.yml").read_text()
    (parts,) = re.findall(r"\{\*:-(.+?)\}", (ROOT / ".ci" / "run").read_text())
    (others,) = re.findall(r"part: \[(.+)\]", ci)

    assert "run: bash .ci/run quick\n" in ci
    assert ["quick", *others.split(", ")] == parts.split()
