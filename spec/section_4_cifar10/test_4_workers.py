"""Notebook cifar, the hint at num_workers: which scripts can have a DataLoader with workers.

Scripts run as the main module, and their workers are real processes. By default, Python starts workers by
`fork` on Linux up to Python 3.13, by `forkserver` from 3.14 on, and by `spawn` on macOS and Windows.
"""

import runpy
import subprocess
import sys
from pathlib import Path

import pytest
from torch.utils.data import DataLoader

from spec import ranks
from spec.harness import QUALIFIED, fault, statement
from spec.harness.children import environment, python
from spec.section_4_cifar10.faults import given

# A script that is told how to start workers and how much data there is. It notes the name by which it is run,
# and what a worker prints.
SCRIPT = """
import sys
from pathlib import Path
from torch.utils.data import DataLoader

folder = Path(__file__).parent
with (folder / "names").open("a") as names:
    names.write(f"{__name__} ")
if __name__ != "__main__":
    sys.stdout = sys.stderr = (folder / "worker").open("w")
loader = DataLoader([7] * int(sys.argv[2]), num_workers=1, multiprocessing_context=sys.argv[1])
if GUARD:
    print(next(iter(loader)).tolist())
"""
NO_GUARD, GUARD = "True", '__name__ == "__main__"'
MUCH, LITTLE = "1000000", "3"  # a pipe holds 64 kB

# (start method, guard, what comes of it, the names by which the script is run)
STARTS = {
    "fork, no guard": ("fork", NO_GUARD, "[7]", "__main__ "),
    "fork": ("fork", GUARD, "[7]", "__main__ "),
    "forkserver, no guard": ("forkserver", NO_GUARD, "BrokenPipeError", "__main__ __mp_main__ "),
    "forkserver": ("forkserver", GUARD, "[7]", "__main__ __mp_main__ "),
}
# (guard, exit status, what is printed)
SPAWNED = {"no guard": (NO_GUARD, 1, ""), "guard": (GUARD, 0, "[7]\n")}


def without_the_guard(run_path):
    """Let the guard be true in workers, too."""

    def run(path, run_name):
        Path(path).write_text(Path(path).read_text().replace(GUARD, NO_GUARD))
        return run_path(path, run_name=run_name)

    return run


@statement(
    "cifar.workers-need-a-main-guard",
    notes="notebook cifar",
    verdict=QUALIFIED,
    says="on Windows, set num_workers to 0 if a BrokenPipeError comes up",
)
@fault("all workers are forked", DataLoader, "__init__", given(multiprocessing_context="fork"))
@fault("no worker is forked", DataLoader, "__init__", given(multiprocessing_context=ranks.context))
@fault("the guard is true in workers, too", runpy, "run_path", without_the_guard)
@fault(
    "spawn forks",
    subprocess,
    "run",
    lambda real: lambda words, **rest: real([*words[:-2], "fork", LITTLE], **rest),
)
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
class TestWorkersNeedAMainGuard:
    """With the start method `spawn` or `forkserver`, each worker of a DataLoader runs the script again.
    Without `if __name__ == "__main__":`, iterating the DataLoader then raises a RuntimeError, or a
    BrokenPipeError if the data set is large. With `fork`, no such line is needed.
    """

    @pytest.mark.parametrize(("method", "guard", "outcome", "names"), STARTS.values(), ids=STARTS)
    def test_script_runs_again_in_workers_that_are_not_forked(
        self, method, guard, outcome, names, tmp_path, monkeypatch, capsys
    ):
        script = tmp_path / "script.py"
        script.write_text(SCRIPT.replace("GUARD", guard))
        monkeypatch.setattr(sys, "argv", [str(script), method, MUCH])
        ranks.prepare()  # a server that has imported torch already

        try:
            runpy.run_path(str(script), run_name="__main__")
        except BrokenPipeError:
            print("BrokenPipeError")

        assert capsys.readouterr().out.split() == [outcome]
        assert (tmp_path / "names").read_text() == names

    @pytest.mark.slow
    @pytest.mark.timeout(300)
    @pytest.mark.parametrize(("guard", "status", "printed"), SPAWNED.values(), ids=SPAWNED)
    def test_spawned_worker_of_a_script_without_the_guard_says_so(self, guard, status, printed, tmp_path):
        (tmp_path / "script.py").write_text(SCRIPT.replace("GUARD", guard))
        command = python(str(tmp_path / "script.py"), "spawn", LITTLE)

        done = subprocess.run(command, capture_output=True, text=True, env=environment())

        assert (tmp_path / "names").read_text() == "__main__ __mp_main__ "
        assert (done.returncode, done.stdout) == (status, printed)
        told = (tmp_path / "worker").read_text()
        assert ("finished its bootstrapping phase" in told) == (status == 1)
        assert ("RuntimeError: DataLoader worker" in done.stderr) == (status == 1)
