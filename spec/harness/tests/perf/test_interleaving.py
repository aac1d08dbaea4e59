"""How `blitz perf` times two trees: in turn, each by its own code, and what happens to a process is told."""

import itertools
import json
import sys

import pytest

from spec.harness.errors import HarnessError
from spec.harness.perf import interleaving
from spec.harness.perf.interleaving import chosen, measure, shape
from spec.harness.perf.sides import Side
from spec.harness.perf.worker import CORES
from spec.harness.tests.perf.perf_trees import doing, make_tree, sleeping


@pytest.fixture
def make_side(tmp_path, monkeypatch):
    """`make_side(source)`: a side whose operations this is the source of; samples are short."""
    monkeypatch.setattr(interleaving, "SAMPLE", 1e-3)
    made = []

    def make(source, python=sys.executable):
        name = ("BASE", "HEAD")[len(made) % 2]
        made.append(name)
        return Side(name, "a tree", make_tree(tmp_path / f"{name}-{len(made)}", source), python, "no commit")

    return make


def test_a_benchmark_is_selected_by_a_word_in_its_name():
    """One of several, with commas or without; what is not selected is not missing, either.

    A word that selects nothing, as by a typing error, is no success: what there is to select is named.
    """
    found = chosen(["a_view", "a_copy", "old_view"], ["new", "a_copy", "a_view"], "copy, new")

    assert found == (["a_copy"], [], ["new"])
    with pytest.raises(HarnessError, match="no benchmark has vew or cpoy in its name: there are view, copy"):
        chosen(["view"], ["copy"], "vew view cpoy")


def test_a_tree_without_benchmarks_takes_none_from_elsewhere(make_side, tmp_path):
    """It may lack the module or the package: an installed blitz has both, and is not what was asked for."""
    some = make_side(sleeping(view=0.001))
    no_package = some._replace(tree=tmp_path)
    no_module = make_side("")
    (no_module.tree / "spec" / "benchmarks" / "operations.py").unlink()

    assert measure(no_package, some, rounds=1)[1:] == ({}, [], ["view"], {})
    assert measure(some, no_module, rounds=1)[1:] == ({}, ["view"], [], {})
    with pytest.raises(HarnessError, match="neither BASE nor HEAD has benchmarks"):
        measure(no_package, no_module, rounds=1)


SILENT = "{} gave no answer within 1.5 s at {}"
FAULTS = {
    "raises": ("os.environ['BROKEN'] = '1'; raise ValueError('no')", "{} failed at {}: ValueError: no"),
    "dies": ("os.kill(os.getpid(), signal.SIGSEGV)", "{}: its process ended by SIGSEGV at {}"),
    "exits_as_if_all_were_well": (
        "print('out of it', file=sys.stderr, flush=True); os._exit(0)",
        "{}: its process ended with status 0 at {}: out of it",
    ),
    "leaves_a_child_that_holds_the_pipes": (
        "os.fork() and os._exit(3); time.sleep(60)",
        "{}: its process ended with status 3 at {}",
    ),
    "hangs": ("time.sleep(600)", SILENT),
    "closes_the_pipes": ("os.closerange(3, 100); time.sleep(600)", SILENT),
    "fails_while_it_is_timed": (
        "sys.calls = getattr(sys, 'calls', 0) + 1; assert sys.calls < 4, 'no more'",
        "{} failed at {}: AssertionError: no more",
    ),
}
IN_THE_SECOND_ROUND = """
def in_the_second_round(device):
    if os.path.exists('note'):
        raise OSError('no data')
    open('note', 'w').close()
    return lambda: time.sleep(1e-3)
OPERATIONS.insert(0, in_the_second_round)
"""


@pytest.mark.slow
def test_an_operation_that_fails_costs_itself_alone(make_side, monkeypatch):
    """Each is told with its side and its cause; the others are measured in each round, by new processes.

    Who knows what a failure leaves behind: a device that has failed once answers nothing any more. What an
    operation prints is no answer, and what it reads is no order.
    """
    good = "assert 'BROKEN' not in os.environ; time.sleep(1e-3)"
    speaks = "print('{}', flush=True); os.system('echo {}'); assert not sys.stdin.read()"
    faulty = {name: statement for name, (statement, _) in FAULTS.items()}
    fine = dict.fromkeys(faulty, good)
    in_base = "raise MemoryError"
    base = make_side(doing(speaks=speaks, **fine, of_base=in_base, last=good) + IN_THE_SECOND_ROUND)
    head = make_side(doing(speaks=speaks, **faulty, of_base=good, last=good) + IN_THE_SECOND_ROUND)
    monkeypatch.setattr(interleaving, "PATIENCE", 1.5)

    measured = measure(base, head, rounds=2)

    assert measured.failed == {
        **{name: message.format("HEAD (a tree)", name) for name, (_, message) in FAULTS.items()},
        "of_base": "BASE (a tree) failed at of_base: MemoryError",
        "in_the_second_round": "BASE (a tree) failed at in_the_second_round: OSError: no data",
    }
    assert {name: len(rounds) for name, rounds in measured.seconds.items()} == {"speaks": 2, "last": 2}


def test_each_side_runs_the_code_of_its_own_tree(make_side, tmp_path):
    """Its modules, its folder, and what a process that it starts would import; no package of elsewhere."""
    elsewhere = tmp_path / "elsewhere" / "blitz" / "__init__.py"
    elsewhere.parent.mkdir(parents=True)
    elsewhere.touch()
    says = "import spec, subprocess; raise LookupError([spec.__file__, os.getcwd(), subprocess.check_output("
    says += "[sys.executable, '-c', 'import spec; print(spec.__file__)'], text=True).strip()])"
    installed = f"sys.path.insert(0, {str(elsewhere.parents[1])!r}); import blitz"
    base, head = make_side(doing(own="", other="")), make_side(doing(own=says, other=installed))
    tree, module = str(head.tree), str(head.tree / "spec" / "__init__.py")

    measured = measure(base, head, rounds=1)

    error = f"ImportError: expected the package blitz of {tree}, got {elsewhere}"
    assert measured.failed == {
        "own": f"{head} failed at own: LookupError: {[module, tree, module]}",
        "other": f"{head} failed at other: {error}",
    }


@pytest.mark.skipif(len(CORES) < 2, reason="needs two cores, and a system that lets a process choose")
def test_both_sides_take_each_pair_of_turns_on_the_same_core(make_side, monkeypatch):
    """One core may be slower than another; preparations, and what they start, may use all."""
    monkeypatch.setattr(interleaving, "TURNS", (0, 1, 1, 0))
    note = doing(odd="open('note', 'a').write(f'{sorted(os.sched_getaffinity(0))}\\n')")
    sides = make_side(note), make_side(note)

    measure(*sides, rounds=1)

    for side in sides:
        cores = map(json.loads, side.tree.joinpath("note").read_text().splitlines())
        assert [alike for alike, _ in itertools.groupby(cores)] == [CORES, CORES[:1], CORES[1:2]]


NO_START = {
    "a tree that cannot be imported": ("import no_such", sys.executable, "failed to start: ModuleNotF"),
    "a program that answers nothing": ("", "/bin/true", "its process ended with status 0 before it could"),
    "what is no program": ("", "/etc/passwd", "cannot run HEAD"),
}


@pytest.mark.parametrize(("source", "python", "message"), NO_START.values(), ids=NO_START)
def test_a_side_that_does_not_start_is_told(make_side, source, python, message):
    """What it lacks is said, and that it is HEAD that lacks it."""
    base, head = make_side(sleeping(view=0.001)), make_side(source, python=python)

    with pytest.raises(HarnessError, match=message) as error:
        measure(base, head, rounds=1)

    assert "HEAD (a tree)" in str(error.value)


class Pretended:
    """A process whose operation takes a millisecond, and which notes what it is asked for."""

    def __init__(self, name, asked):
        self.name, self.asked = name, asked

    def order(self, name, **order):
        """Note an order."""
        self.asked.append((self.name, order))

    def answer(self):
        """Note that the answer to an order is awaited, and give it."""
        prepares = len(self.asked) < 4
        self.asked.append(self.name)
        return {"seconds": 1e-3 if prepares else [1e-3]}


def test_sides_are_asked_in_this_order_on_the_same_core_and_only_one_at_a_time(monkeypatch):
    """A sample is ordered when the one before has been answered, with the same counts on both sides."""
    monkeypatch.setattr(interleaving, "SAMPLE", 1e-3)
    asked = []

    interleaving._round((Pretended("B", asked), Pretended("H", asked)), "view", {}, 1)

    assert asked[:4] == [("B", {"prepare": "view"}), ("H", {"prepare": "view"}), "B", "H"]
    sides = [(side, 1 + place // 2) for place, side in enumerate("HBBHBHHBBHHBHBBH" + "BHHBHBBHHBBHBHHB")]
    expected = [(side, {"calls": 1, "timings": 1, "core": core}) for side, core in sides]
    assert asked[4:] == [step for order in expected for step in (order, order[0])]


SHAPES = {
    "50 ms": ((0.05, 0.05), (1, 1, 16)),
    "much slower in BASE": ((0.1, 1e-3), (1, 6, 2)),
    "so much slower that few calls are enough": ((1e-6, 0.1), (10, 1, 2)),
}


@pytest.mark.parametrize(("seconds", "expected"), SHAPES.values(), ids=SHAPES)
def test_a_sample_is_long_enough_for_the_clock_and_short_enough_for_a_person(seconds, expected):
    """Half a millisecond between looks at the clock, 6 ms a sample, turns for a second, and one of either."""
    assert shape(*seconds) == expected
