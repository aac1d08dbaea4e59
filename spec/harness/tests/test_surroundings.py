"""A process works where a stream is closed, the user has no name, or the folder for sockets a long one."""

import getpass
import io
import os
import pwd
import subprocess
import sys
from unittest.mock import Mock

import pytest

from spec import command_line, conftest, ranks
from spec.harness import plugin
from spec.harness.children import environment, python
from spec.harness.surroundings import name_the_user

STREAMS = """
import os, sys
from spec.harness.surroundings import open_streams
open_streams()
with open(sys.argv[1], "w") as file:
    print("to nobody")
    print("to nobody", file=sys.stderr)
    os.write(1, b"of a native library"), os.write(2, b"of another")
    os.system("echo of a child; echo of a child >&2")
    print(file.fileno() > 2, repr(sys.stdin.read()), file=file)
"""


def test_a_stream_that_is_closed_is_open_on_nothing(tmp_path):
    """Whoever writes to it is not heard, and no file has its number, in which all of that would end."""
    closed = 'exec "$@" <&- >&- 2>&-'
    command = ["sh", "-c", closed, "sh", *python("-c", STREAMS, str(tmp_path / "file"))]

    status = subprocess.run(command, env=environment(), stdin=subprocess.DEVNULL, timeout=60).returncode

    assert status == 0
    assert (tmp_path / "file").read_text() == "True ''\n"


def test_what_a_terminal_of_ascii_cannot_show_is_told_by_its_number(monkeypatch):
    """In the locale C whatever has dashes and superscripts is printed to its end."""
    terminal = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", terminal)
    printing = Mock(run=lambda _: print("a² – b") or 0)
    monkeypatch.setattr(command_line, "parser", lambda: Mock(parse_args=lambda _: printing))

    assert command_line.main() == 0

    assert terminal.buffer.getvalue() == b"a\\xb2 \\u2013 b\n"


def test_a_user_without_a_name_is_called_by_number(monkeypatch):
    """As a container or a scheduler starts processes: pytest and PyTorch ask for the name."""
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LOGNAME", "")  # put back what is set
    monkeypatch.setattr(pwd, "getpwuid", Mock(side_effect=KeyError))

    name_the_user()

    assert getpass.getuser() == f"user-{os.getuid()}"


SOCKETS = """
import multiprocessing, tempfile
from spec.harness.surroundings import keep_sockets_short
keep_sockets_short()
print(tempfile.gettempdir())
multiprocessing.get_context("forkserver").Manager().shutdown()
"""


def test_sockets_have_short_names_where_the_folder_has_a_long_one(tmp_path):
    """A scheduler may give a folder of 150 characters; a socket's name has a hundred at most."""
    folder = tmp_path / ("x" * 150)
    folder.mkdir()

    done = subprocess.run(
        python("-c", SOCKETS), env={**environment(), "TMPDIR": str(folder)}, capture_output=True, text=True,
        timeout=60,
    )  # fmt: skip

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.strip() == str(folder)  # where all others are as ever


SHADOW = "raise SystemExit('of the current folder')"


def test_what_lies_in_the_current_folder_is_no_module_of_a_process(tmp_path):
    """A person may stand in a folder with files that are called as modules of Python or PyTorch."""
    for name in ("queue", "torch"):
        tmp_path.joinpath(f"{name}.py").write_text(SHADOW)

    done = subprocess.run(
        python("-c", "import queue, importlib.util; print(importlib.util.find_spec('torch').origin)"),
        cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=60,
    )  # fmt: skip

    assert (done.returncode, done.stderr) == (0, "")
    assert not done.stdout.startswith(str(tmp_path))


@pytest.mark.slow
def test_workers_work_wherever_the_caller_stands(make_spec_for_processes, pytester):
    """What lies in the current folder is no module of a worker."""
    pytester.path.joinpath("queue.py").write_text(SHADOW)
    make_spec_for_processes(
        '@statement("nn.a", notes="3")\ndef test_a():\n    "One is one."\n    assert 1 == 1\n'
    )

    result = pytester.runpytest_inprocess("-n1")

    assert (result.ret, result.parseoutcomes()) == (0, {"passed": 1})


def test_ranks_work_wherever_the_caller_stands(monkeypatch):
    """Their server imports nothing from the current folder; this process goes on as it was."""
    told = []
    monkeypatch.delenv("PYTHONSAFEPATH", raising=False)
    monkeypatch.setattr(ranks.forkserver, "ensure_running", lambda: told.append(os.environ["PYTHONSAFEPATH"]))

    ranks.prepare()

    assert told == ["1"]
    assert "PYTHONSAFEPATH" not in os.environ


def test_ranks_that_cannot_be_prepared_do_not_end_the_run(monkeypatch):
    """The tests that need them ask again, and have the error as their own; the others run."""
    refusal = Mock(side_effect=OSError("AF_UNIX path too long"))
    monkeypatch.setattr(ranks.forkserver, "ensure_running", refusal)

    run = Mock(**{"config.option.collectonly": False}, items=[Mock(fixturenames=["ranks"])])
    conftest.pytest_collection_finish(run)

    with pytest.raises(OSError, match="AF_UNIX path too long"):
        ranks.run(2, len, [], folder=None)
    assert refusal.call_count == 2


def test_a_run_that_only_collects_prepares_no_ranks(monkeypatch):
    """Whoever reads its output from a pipe would wait for their server."""
    started = Mock()
    monkeypatch.setattr(ranks.forkserver, "ensure_running", started)

    run = Mock(**{"config.option.collectonly": True}, items=[Mock(fixturenames=["ranks"])])
    conftest.pytest_collection_finish(run)

    assert not started.called


def test_python_without_docstrings_is_refused_in_a_sentence(run_spec, monkeypatch):
    """A docstring is the statement; `-O` takes none away, and pytest's asserts count all the same."""
    monkeypatch.setattr(plugin, "sys", Mock(flags=Mock(optimize=2)))

    result = run_spec("")

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*do not use -OO or PYTHONOPTIMIZE=2*"])


SLEEPING = r"""
import pathlib
from spec import ranks
work = "import os, time; os.write(1, b'begun\\n'); time.sleep(600)"  # a print is two writes
ranks.run(2, exec, work, folder=pathlib.Path.cwd())
"""


@pytest.mark.slow
def test_ranks_end_with_the_process_that_asked_for_them(tmp_path):
    """A run that is killed leaves neither them nor their server: no process is left that holds its output."""
    with subprocess.Popen(
        python("-c", SLEEPING), cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, text=True
    ) as process:
        begun = [process.stdout.readline() for _ in range(2)]
        process.kill()

        assert (begun, process.stdout.read()) == (["begun\n"] * 2, "")
