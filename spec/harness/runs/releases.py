"""`blitz matrix`: hold the statements to several releases of PyTorch, each in an environment of its own."""

import os
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from packaging.version import Version

from spec.harness import git
from spec.harness.children import ROOT, environment
from spec.harness.errors import HarnessError
from spec.harness.language import Language
from spec.harness.page import report
from spec.harness.records import matrix
from spec.harness.records.escaping import printable
from spec.harness.records.reading import Records, read
from spec.harness.runs import environments, logged
from spec.harness.runs.verify import UNHEEDED, words
from spec.harness.statements.notes import Notes

OLDEST = "2.5"  # that the harness runs on; on 2.0 it does not even start
TOLD = ("torch", "torchvision", "numpy", "python", "os", "cpu", "accelerator", "data", "started")
INTRODUCTION = """\
# What is true on which release

`{command}` writes this page.

From {supported} on, every check ran that is not slow; on releases before it, only the checks that name a
release of their own. A statement is confirmed where all its checks passed, and refuted where one did not:
before the release in the second column, at least one of its checks has to be refuted. An empty cell is a
statement that was not run there.
"""


def check_releases(
    releases: Sequence[str], folder: Path, notes: Notes, language: Language, markdown: Path | None
) -> int:
    """Make what environments are missing, run the statements in each, and show what differs.

    Returns 0 if each release was checked, and each statement is as it says; else 1.

    Raises:
        HarnessError: it cannot be begun, or there is nothing to compare.
    """
    _check(releases, markdown)
    known = notes.ids()
    folder = folder.absolute()
    found, amiss = {}, []
    with _locked(folder):
        _check_disk(releases, folder)
        for number, release in enumerate(releases, 1):
            try:
                name = f"[{number}/{len(releases)}] PyTorch {release}"
                found[folder / f"torch-{release}.jsonl"] = _checked(name, release, folder, notes, known)
            except logged.StepError as error:
                amiss.append(matrix.unchecked(release, str(error)))
    columns = [*(matrix.columns(found, known) if found else []), *amiss]
    columns.sort(key=lambda column: Version(column.torch))
    lines, as_said = matrix.report(columns, known)
    print("\n".join(["", *lines]))
    if markdown and found:
        _write(markdown, _page(releases, markdown, list(found.values()), columns, known))
    if found:
        page = folder / "releases.html"
        missing = {column.torch: column.troubles[0] for column in amiss}
        report.write(list(found), page, notes, language, missing=missing)
        print(f"\nThe page with a column for each release is {page}")
    return 0 if as_said else 1


def _check(releases: Sequence[str], markdown: Path | None) -> None:
    """Refuse before minutes are spent what cannot come to an end."""
    if not (ROOT / "blitz").is_dir() or not (ROOT / "pyproject.toml").is_file():
        raise HarnessError(
            "expected a clone of this project, whose sources run in each environment, but it was installed "
            "from a wheel: clone it, and install that by `pip install -e .`"
        )
    for release in releases:
        if not re.fullmatch(r"\d{1,3}(\.\d{1,3}){1,2}", release) or Version(release) < Version(OLDEST):
            raise HarnessError(
                f"expected releases of PyTorch from {OLDEST} on, such as 2.9, got {release!r}; "
                "`blitz diff` compares files of records"
            )
    for i, release in enumerate(releases):
        if Version(release) in map(Version, releases[:i]):
            raise HarnessError(f"expected each release once, got {release} twice")
    if markdown and (markdown.is_dir() or not markdown.absolute().parent.is_dir()):
        raise HarnessError(f"{markdown} cannot be written: expected a file in a folder that exists")


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Make the folder, and keep others from it, for as long as a process that was started here lives."""
    import fcntl

    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(folder / "lock", os.O_WRONLY | os.O_CREAT, 0o644)
    except OSError as error:
        raise HarnessError(f"{folder} cannot be written: {error.strerror}") from None
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise HarnessError(
                f"{folder} is in use by another `blitz matrix`, or by what one started: wait until it ends"
            ) from None
        os.set_inheritable(lock, True)
        yield
    finally:
        os.close(lock)


def _check_disk(releases: Sequence[str], folder: Path) -> None:
    """Say what the missing environments will take of the disk; refuse what does not fit."""
    missing = [release for release in releases if not environments.torch(folder / release, release)]
    if not missing:
        return
    for release in missing:
        environments.remove(folder / release)
    need = len(missing) * environments.GIGABYTES + environments.PASSING
    free = shutil.disk_usage(folder).free / 1e9
    sizes = f"about {need} GB for the environments of PyTorch {', '.join(missing)}"
    if need > free:
        raise HarnessError(
            f"expected {sizes}, but the disk of {folder} has {free:.0f} GB: "
            "name fewer releases, or another disk by --folder"
        )
    print(f"This takes {sizes}, of {free:.0f} GB that are free on the disk of {folder}.", flush=True)


def _checked(name: str, release: str, folder: Path, notes: Notes, known: list[str]) -> Records:
    """Return the records of a release, which it makes unless they are there.

    Raises:
        StepError: the environment cannot be made, or the run in it cannot be used.
    """
    place, log, path = folder / release, folder / f"torch-{release}.log", folder / f"torch-{release}.jsonl"
    command = [environments.python(place), "-P", "-m", "pytest", "-q", "--tb=short", "--history"]
    if Version(release) < Version(environments.oldest_supported()):
        command += ["-m", "since", "--continue-on-collection-errors"]
    command += words(notes, [f"--records={path}"])

    torch = environments.torch(place, release)
    if torch and (found := _still_good(path, log, command, torch, known)):
        whence = printable(f"of {found.header['started']}, on the data {found.header['data']!r}")
        print(f"{name}: not run again: its records {whence}, are of this commit; remove {path} to run it")
        return found
    path.unlink(missing_ok=True)  # before the log tells of another run
    log.unlink(missing_ok=True)
    if not torch:
        with logged.told(f"{name}: making its environment"):
            environments.make(place, release, log)
        torch = environments.torch(place, release)
    with logged.told(f"{name}: running the statements on {torch}"):
        return _run(command, path, log, known)


def _still_good(path: Path, log: Path, command: list[str], torch: str, known: list[str]) -> Records | None:
    """Return the records if the same run of the same sources would write them again."""
    commit = git.commit(ROOT)
    try:
        found = read(path, known)
        asked = logged.line(command) in log.read_text(encoding="utf-8", errors="replace").splitlines()
    except (HarnessError, OSError):
        return None
    if commit is None or commit.endswith("+"):  # which other changes there were then, no commit tells
        return None
    return found if asked and (found.header["commit"], found.header["torch"]) == (commit, torch) else None


def _run(command: list[str], path: Path, log: Path, known: list[str]) -> Records:
    variables = {name: value for name, value in environment().items() if name not in UNHEEDED}
    logged.run(command, log, variables, statuses=(0, 1))  # 1: a check was refuted, which the table judges
    try:
        return read(path, known)
    except HarnessError as error:
        raise logged.StepError(f"{error} (see {log})") from None


def _page(
    releases: Sequence[str],
    markdown: Path,
    found: list[Records],
    columns: list[matrix.Column],
    known: list[str],
) -> str:
    """Return the whole table as Markdown, below what the runs were made on."""
    command = f"blitz matrix {' '.join(releases)} --markdown {markdown}"
    headers = sorted((run.header for run in found), key=lambda header: Version(header["torch"]))
    rows = [TOLD, ["---"] * len(TOLD), *([str(header[name] or "") for name in TOLD] for header in headers)]
    introduction = INTRODUCTION.format(command=command, supported=environments.oldest_supported())
    lines, _ = matrix.report(columns, known, whole=True)
    return "\n".join([introduction, *(f"| {' | '.join(row)} |" for row in rows), "", *lines, ""])


def _write(markdown: Path, text: str) -> None:
    try:
        markdown.write_text(text, encoding="utf-8")
    except OSError as error:
        raise HarnessError(f"{markdown} cannot be written: {error.strerror}") from None
