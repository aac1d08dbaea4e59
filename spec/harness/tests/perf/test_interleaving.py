"""How `blitz perf` times two trees: in turn, each by its own code, and what happens to a process is told."""

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from spec.harness.errors import HarnessError
from spec.harness.perf import interleaving
from spec.harness.perf import worker as perf_worker
from spec.harness.perf.interleaving import (
    WORKER,
    Worker,
    chosen,
    environment,
    lower_quartile,
    measure,
    shape,
    turns,
    typical,
)
from spec.harness.perf.sides import Side
from spec.harness.perf.worker import CORES
from spec.harness.tests.perf.perf_trees import doing, make_tree, sleeping


@pytest.fixture(autouse=True)
def short(monkeypatch):
    """Samples that are as short as can be."""
    monkeypatch.setattr(interleaving, "SAMPLE", 1e-3)


@pytest.fixture
def make_side(tmp_path):
    """`make_side(source)`: a side whose operations this is the source of."""
    made = []

    def make(source, python=sys.executable):
        name = ("BASE", "HEAD")[len(made) % 2]
        made.append(name)
        return Side(name, "a tree", make_tree(tmp_path / f"{name}-{len(made)}", source), python, "no commit")

    return make


@pytest.fixture
def make_worker():
    """`make_worker(side)`: a process that has said what it is."""
    started = []

    def make(side):
        started.append(Worker(side, 30.0))
        started[-1].answer()
        return started[-1]

    yield make
    for worker in started:
        worker.end()


def has_ended(pid):
    """Return whether the process is gone, or only waits for somebody to take note of its end."""
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (ProcessLookupError, FileNotFoundError):
        return True


def ends(pid):
    """Return whether the process is gone within ten seconds."""
    end = time.monotonic() + 10
    while not has_ended(pid) and time.monotonic() < end:
        time.sleep(0.01)
    return has_ended(pid)


def test_an_operation_that_takes_longer_in_head_is_seen(make_side):
    """The seconds of each are its own, in each round."""
    measured = measure(
        make_side(sleeping(same=0.002, other=0.001)), make_side(sleeping(other=0.03, same=0.002)), rounds=2
    )

    assert list(measured.seconds) == ["same", "other"]
    assert all(0.002 < each < 0.05 for pair in measured.seconds["same"] for each in pair)
    assert all(base < 0.03 <= head for base, head in measured.seconds["other"])
    assert len(measured.seconds["other"]) == 2


def test_what_only_one_side_has_is_missing_or_new(make_side):
    """A benchmark that was renamed is both; only those of both sides are timed."""
    base, head = make_side(sleeping(view=0.001, old=0.001)), make_side(sleeping(view=0.001, renamed=0.001))

    measured = measure(base, head, rounds=1)

    assert (list(measured.seconds), measured.missing, measured.new) == (["view"], ["old"], ["renamed"])


CHOICES = {
    "all": ("", (["a_view", "a_copy"], ["old_view"], ["new"])),
    "a word": ("view", (["a_view"], ["old_view"], [])),
    "one of two words": ("copy new", (["a_copy"], [], ["new"])),
    "with a comma": ("copy,new", (["a_copy"], [], ["new"])),
}


@pytest.mark.parametrize(("select", "expected"), CHOICES.values(), ids=CHOICES)
def test_a_benchmark_is_selected_by_a_word_in_its_name(select, expected):
    """What is not selected is not missing, either."""
    assert chosen(["a_view", "a_copy", "old_view"], ["new", "a_copy", "a_view"], select) == expected


@pytest.mark.parametrize("select", ["vew, cpoy", "vew view cpoy"])
def test_a_word_that_selects_nothing_is_refused(select):
    """A typing error, or a renamed benchmark, is not a success; what there is to select is named."""
    with pytest.raises(HarnessError, match="no benchmark has vew or cpoy in its name: there are view, copy"):
        chosen(["view"], ["copy"], select)


def test_two_trees_without_benchmarks_cannot_be_compared(make_side, tmp_path):
    """Neither a tree without the module nor one without the package takes that of an installed blitz."""
    base = make_side("OPERATIONS = []")._replace(tree=tmp_path)
    head = make_side("OPERATIONS = []")
    (head.tree / "spec" / "benchmarks" / "operations.py").unlink()

    with pytest.raises(HarnessError, match="neither BASE nor HEAD has benchmarks"):
        measure(base, head, rounds=1)


def test_benchmarks_of_a_side_without_any_are_all_missing_or_new(make_side, tmp_path):
    """A revision from before the first benchmark can be compared, in either direction."""
    some = make_side(sleeping(view=0.001))
    none = some._replace(tree=tmp_path)

    assert measure(none, some, rounds=1)[1:] == ({}, [], ["view"], {})
    assert measure(some, none, rounds=1)[1:] == ({}, ["view"], [], {})


def test_each_side_runs_the_code_of_its_own_tree(make_side, make_worker):
    """Its modules, its working folder, and what a process that it starts would import."""
    says = "import spec, subprocess; raise LookupError([spec.__file__, os.getcwd(), subprocess.check_output("
    says += "[sys.executable, '-c', 'import spec; print(spec.__file__)'], text=True).strip()])"
    side = make_side(doing(says))
    worker = make_worker(side)
    own = str(side.tree / "spec" / "__init__.py")

    worker.order("odd", prepare="odd")

    with pytest.raises(HarnessError) as error:
        worker.answer()
    assert str(error.value) == f"{side} failed at odd: LookupError: {[own, str(side.tree), own]}"


LATE = """
def late(device):
    import blitz
    return lambda: 1.0
OPERATIONS = [late]
"""


def test_a_package_blitz_from_elsewhere_is_not_measured(make_side, tmp_path):
    """A tree with benchmarks but without the package that they time would time an installed one."""
    elsewhere = tmp_path / "elsewhere" / "blitz"
    elsewhere.mkdir(parents=True)
    (elsewhere / "__init__.py").touch()
    side = make_side(f"sys.path.insert(0, {str(elsewhere.parent)!r})\nimport blitz\nOPERATIONS = []\n")

    with pytest.raises(HarnessError, match=f"expected the package blitz of {side.tree}, got {elsewhere}"):
        measure(side, side, rounds=1)


def test_a_package_blitz_from_elsewhere_is_not_measured_if_it_comes_late(make_side, tmp_path):
    """A benchmark may import what it needs when it is prepared."""
    elsewhere = tmp_path / "elsewhere" / "blitz"
    elsewhere.mkdir(parents=True)
    (elsewhere / "__init__.py").touch()
    side = make_side(f"sys.path.insert(0, {str(elsewhere.parent)!r})\n" + LATE)

    measured = measure(side, side, rounds=1)

    assert f"expected the package blitz of {side.tree}, got {elsewhere}" in measured.failed["late"]


def test_a_side_can_be_another_interpreter(make_side, tmp_path):
    """The tree is timed by the interpreter that was named."""
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nOTHER=yes exec {sys.executable} "$@"\n')
    python.chmod(0o755)
    source = sleeping(ours=0.001) + "if 'OTHER' in os.environ:\n    ours.__name__ = 'theirs'\n"

    measured = measure(make_side(source), make_side(source, python=str(python)), rounds=1)

    assert (measured.missing, measured.new) == (["ours"], ["theirs"])


FAULTS = {
    "raises": ("raise ValueError('no such file')", "HEAD (a tree) failed at odd: ValueError: no such file"),
    "raises without a word": ("raise MemoryError", "HEAD (a tree) failed at odd: MemoryError"),
    "dies": (
        "os.kill(os.getpid(), signal.SIGSEGV)",
        "HEAD (a tree): its process ended by SIGSEGV at odd",
    ),
    "exits": (
        "print('out of it', file=sys.stderr, flush=True); os._exit(3)",
        "HEAD (a tree): its process ended with status 3 at odd: out of it",
    ),
    "leaves a child that holds the pipes": (
        "os.fork() and os._exit(3); time.sleep(60)",
        "HEAD (a tree): its process ended with status 3 at odd",
    ),
    "exits as if all were well": ("os._exit(0)", "HEAD (a tree): its process ended with status 0 at odd"),
    "hangs": ("time.sleep(600)", "HEAD (a tree) gave no answer within 1.5 s at odd"),
}


def beside(source):
    """Return the source of the operation `odd`, and of one before and one after it."""
    return source + sleeping(first=1e-3, last=1e-3) + "OPERATIONS = [first, odd, last]\n"


@pytest.mark.parametrize(("statement", "message"), FAULTS.values(), ids=FAULTS)
def test_an_operation_that_fails_costs_itself_alone(make_side, statement, message):
    """It is told with its side and its cause; the others are measured, in each round."""
    base, head = make_side(beside(doing("time.sleep(1e-3)"))), make_side(beside(doing(statement)))

    measured = measure(base, head, rounds=2, patience=1.5)

    assert measured.failed == {"odd": message}
    assert {name: len(rounds) for name, rounds in measured.seconds.items()} == {"first": 2, "last": 2}


def test_an_operation_that_fails_in_base_alone_has_failed(make_side):
    """Nobody knows then whether it got slower."""
    base, head = make_side(beside(doing("raise MemoryError"))), make_side(beside(doing("time.sleep(1e-3)")))

    measured = measure(base, head, rounds=1)

    assert measured.failed == {"odd": "BASE (a tree) failed at odd: MemoryError"}
    assert list(measured.seconds) == ["first", "last"]


MOMENTS = {
    "while it is prepared": "def odd(device):\n    raise OSError('no data')\n",
    "while it is timed": "def odd(device, calls=[]):\n    def run():\n        calls.append(1)\n"
    "        if len(calls) > 3: raise OSError('no data')\n        return 1.0\n    return run\n",
    "in the second round": "def odd(device):\n    note = os.path.join(os.path.dirname(__file__), 'note')\n"
    "    if os.path.exists(note): raise OSError('no data')\n    open(note, 'w').close()\n"
    "    return lambda: time.sleep(1e-3)\n",
}


@pytest.mark.parametrize("source", MOMENTS.values(), ids=MOMENTS)
def test_an_operation_may_fail_at_any_moment(make_side, source):
    """What has been measured of it before is not half a finding."""
    measured = measure(make_side(beside(source)), make_side(beside(source)), rounds=2)

    assert list(measured.failed) == ["odd"]
    assert measured.failed["odd"].endswith("failed at odd: OSError: no data")
    assert {name: len(rounds) for name, rounds in measured.seconds.items()} == {"first": 2, "last": 2}


def test_after_a_failure_the_processes_are_new_ones(make_side):
    """Who knows what it leaves behind: a device that has failed once answers nothing any more."""
    source = beside(doing("os.environ['BROKEN'] = 'yes'; raise ValueError"))
    source += "assert 'BROKEN' not in os.environ\n_last = last\ndef last(device):\n"
    source += "    assert 'BROKEN' not in os.environ\n    return _last(device)\nOPERATIONS[2] = last\n"
    side = make_side(source)

    measured = measure(side, side, rounds=1)

    assert (list(measured.failed), list(measured.seconds)) == (["odd"], ["first", "last"])


def test_a_process_that_closes_what_it_answers_by_is_given_up(make_side, monkeypatch):
    """It lives, and nobody will hear of it again."""
    monkeypatch.setattr(interleaving, "LAST_WORDS", 0.2)
    side = make_side(beside(doing("os.closerange(3, 100); time.sleep(600)")))

    measured = measure(side, side, rounds=1)

    assert measured.failed == {"odd": "BASE (a tree): its process cannot be reached any more at odd"}
    assert list(measured.seconds) == ["first", "last"]


def test_a_tree_that_cannot_be_imported_is_told(make_side):
    """What it lacks is said, and that it is HEAD that lacks it."""
    base, head = make_side(sleeping(view=0.001)), make_side("import no_such_package")

    with pytest.raises(
        HarnessError, match=r"HEAD \(a tree\) failed to start: ModuleNotFoundError: No module"
    ):
        measure(base, head, rounds=1)


def test_an_interpreter_that_is_none_is_told(make_side):
    """A program that answers nothing."""
    base, head = make_side(sleeping(view=0.001)), make_side(sleeping(view=0.001), python="/bin/true")

    with pytest.raises(HarnessError, match=r"its process ended with status 0 before it could begin"):
        measure(base, head, rounds=1)


def test_an_operation_that_hangs_is_given_up(make_side, make_worker):
    """What does not answer in time is told, and ended with what it has started."""
    worker = make_worker(make_side(doing("time.sleep(600)")))
    worker.patience = 0.2

    worker.order("odd", prepare="odd")

    with pytest.raises(HarnessError, match=r"BASE \(a tree\) gave no answer within 0.2 s at odd"):
        worker.answer()
    worker.end()
    assert has_ended(worker.process.pid)


def test_an_operation_may_print_and_read(make_side, make_worker):
    """What it prints does not pass for an answer, and it cannot take an order for its input."""
    worker = make_worker(
        make_side(doing("print('{}', flush=True); os.system('echo {}'); assert not sys.stdin.read()"))
    )

    worker.order("odd", prepare="odd")
    first = worker.answer()
    worker.order("odd", calls=1, timings=2, core=0)

    assert first["seconds"] > 0
    assert len(worker.answer()["seconds"]) == 2


def test_garbage_is_not_collected_while_the_clock_runs(make_side, make_worker):
    """When the collector comes by is chance; it is let loose between the samples."""
    note = "import gc; sys.on = [*getattr(sys, 'on', []), gc.isenabled()]; assert len(sys.on) < 4, sys.on"
    worker = make_worker(make_side(doing(note)))

    worker.order("odd", prepare="odd")

    with pytest.raises(HarnessError, match=r"\[True, False, False, False\]"):  # the first call is not timed
        worker.answer()


def test_orders_end_a_process_when_nobody_gives_them_any_more(make_side):
    """A parent that is killed leaves no process behind, not even one amidst an endless operation."""
    tree = make_side(doing("time.sleep(600)")).tree
    order = '{"prepare": "odd"}'
    source = f"""
import subprocess, sys, time
worker = subprocess.Popen([sys.executable, "-P", {str(WORKER)!r}], cwd={str(tree)!r},
                          stdin=subprocess.PIPE, stdout=subprocess.PIPE)
worker.stdout.readline()
worker.stdin.write(b'{order}\\n')
worker.stdin.flush()
print(worker.pid, flush=True)
time.sleep(600)
"""
    with subprocess.Popen(
        [sys.executable, "-c", source], stdout=subprocess.PIPE, env=environment(tree)
    ) as parent:
        pid = int(parent.stdout.readline())
        parent.kill()

    assert ends(pid)


@pytest.fixture
def heeds_ctrl_c():
    """Heed SIGINT, which a shell has the processes ignore that it starts in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("heeds_ctrl_c")
def test_ctrl_c_ends_the_processes(make_side, tmp_path):
    """Whatever they are at."""
    pids = tmp_path / "pids"
    note = f"open({str(pids)!r}, 'a').write(f'{{os.getpid()}} '); "
    base = make_side(doing(f"{note} time.sleep(600)"))
    head = make_side(doing(f"time.sleep(0.05); {note} os.kill(os.getppid(), signal.SIGINT); time.sleep(600)"))

    with pytest.raises(KeyboardInterrupt):
        measure(base, head, rounds=1)

    assert [has_ended(int(pid)) for pid in pids.read_text().split()] == [True, True]


@pytest.mark.parametrize("count", [32, 16, 8, 4, 2])
def test_turns_cancel_a_drift(count):
    """Both sides are as often first, and what grows by the turn costs them the same."""
    places = [[], []]
    for number in range(2):
        for place, turn in enumerate(turns(count, number)):
            places[turn].append(place)

    assert sum(places[0]) == sum(places[1])
    assert turns(count, 0)[0] != turns(count, 1)[0]
    if count > 2:
        assert [sum(p for p, t in enumerate(turns(count, 0)) if t == side) for side in (0, 1)] == [
            count * (count - 1) // 4
        ] * 2


def test_workers_are_asked_in_this_order_and_only_one_at_a_time(monkeypatch):
    """A sample is ordered when the one before has been answered, with the same counts on both sides."""
    asked = []

    class Pretended:
        def __init__(self, name):
            self.name = name

        def order(self, name, **order):
            asked.append((self.name, order))

        def answer(self):
            asked.append(self.name)
            return {"seconds": 1e-3 if "prepare" in asked[0][1] and len(asked) < 5 else [1e-3]}

    interleaving._round((Pretended("B"), Pretended("H")), "view", {}, 1)

    assert asked[:4] == [("B", {"prepare": "view"}), ("H", {"prepare": "view"}), "B", "H"]
    turns = [(side, 1 + place // 2) for place, side in enumerate("HBBHBHHBBHHBHBBH" + "BHHBHBBHHBBHBHHB")]
    expected = [(side, {"calls": 1, "timings": 1, "core": core}) for side, core in turns]
    assert asked[4:] == [step for order in expected for step in (order, order[0])]


@pytest.mark.skipif(len(CORES) < 2, reason="needs two cores, and a system that lets a process choose")
def test_a_sample_is_taken_on_the_core_that_both_sides_are_told(make_side, make_worker, tmp_path):
    """One core may be slower than another; preparations, and what they start, may use all."""
    notes = tmp_path / "notes"
    note = f"open({str(notes)!r}, 'a').write(f'{{sorted(os.sched_getaffinity(0))}}\\n')"
    worker = make_worker(make_side(doing(note)))

    for order in ({"prepare": "odd"}, *({"calls": 1, "timings": 1, "core": core} for core in range(3))):
        worker.order("odd", **order)
        worker.answer()
    worker.order("odd", prepare="odd")
    worker.answer()

    seen = [json.loads(line) for line in notes.read_text().splitlines()]
    assert [cores for cores, _ in itertools.groupby(seen)] == [
        CORES,
        [CORES[0]],
        [CORES[1]],
        [CORES[2 % len(CORES)]],
        CORES,
    ]


@pytest.mark.skipif(len(CORES) < 2, reason="needs two cores, and a system that lets a process choose")
@pytest.mark.parametrize(("threads", "expected"), [(None, CORES[:1]), (1, CORES[:1]), (2, CORES)])
def test_several_threads_have_all_cores(threads, expected, monkeypatch):
    """They would wait for each other on one; where PyTorch is not imported, there is one."""
    monkeypatch.setattr(perf_worker, "_threads", lambda: threads)
    try:
        perf_worker._move(0)

        assert sorted(os.sched_getaffinity(0)) == expected
    finally:
        os.sched_setaffinity(0, CORES)


SHAPES = {
    "3 µs": ((3e-6, 3e-6), (167, 12, 32)),
    "1 ms": ((1e-3, 1e-3), (1, 6, 32)),
    "14 ms": ((0.014, 0.014), (1, 1, 32)),
    "50 ms": ((0.05, 0.05), (1, 1, 16)),
    "0.2 s": ((0.2, 0.2), (1, 1, 4)),
    "5 s": ((5.0, 5.0), (1, 1, 2)),
    "much slower in HEAD": ((1e-3, 0.1), (1, 6, 2)),
    "much slower in BASE": ((0.1, 1e-3), (1, 6, 2)),
    "so much slower that one is enough": ((1e-3, 3.0), (1, 1, 2)),
    "so much slower that few calls are enough": ((1e-6, 0.1), (10, 1, 2)),
}


@pytest.mark.parametrize(("seconds", "expected"), SHAPES.values(), ids=SHAPES)
def test_a_sample_is_long_enough_for_the_clock_and_short_enough_for_a_person(seconds, expected, monkeypatch):
    """Half a millisecond between looks at the clock, 6 ms a sample, turns for a second, and one of either."""
    monkeypatch.setattr(interleaving, "SAMPLE", 6e-3)

    assert shape(*seconds) == expected


def test_a_turn_is_told_by_its_lower_quartile():
    """Disturbances of three in four timings do not show, and one lucky timing does not, either."""
    assert lower_quartile([9.0, 1.0, 8.0, 2.0, 7.0, 3.0, 6.0, 5.0]) == 3.0
    assert lower_quartile([2.0]) == 2.0


def test_a_round_is_told_by_the_ratio_of_neighbours():
    """A core that is half as fast for some pairs does not show, nor does a turn disturbed alone."""
    quiet, slow, disturbed = (1.0, 1.25), (2.0, 2.5), (1.0, 9.0)

    base, head = typical([quiet, slow, disturbed, slow, quiet])

    assert head / base == pytest.approx(1.25)
    assert base * head == pytest.approx(5.0)  # of the middle pair: that of neither side alone


def test_swapping_the_sides_swaps_the_seconds():
    """Else a slowdown and a speed-up would not be judged alike."""
    pairs = [(1.0, 1.3), (1.1, 1.2), (0.9, 1.4), (1.0, 1.0)]

    assert typical([(head, base) for base, head in pairs]) == pytest.approx(typical(pairs)[::-1])


def test_both_sides_keep_what_they_compile(monkeypatch, tmp_path):
    """Else a fresh checkout would start more slowly than the folder that it is compared with."""
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")

    assert "PYTHONDONTWRITEBYTECODE" not in environment(tmp_path)


def test_a_side_does_not_hear_of_the_repository_of_a_hook(monkeypatch, tmp_path):
    """A benchmark that asks git would be told of that one."""
    monkeypatch.setenv("GIT_DIR", "elsewhere")

    assert "GIT_DIR" not in environment(tmp_path)
