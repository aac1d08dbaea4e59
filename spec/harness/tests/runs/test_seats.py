"""A worker has a device of its own, or two share a run of everything; a test holds the devices it needs."""

from types import SimpleNamespace

import pytest
import torch
from filelock import FileLock, Timeout

from spec.harness.runs.seats import devices_for, place, seat_workers
from spec.harness.tests.accelerator.test_devices import pretend_accelerator


def options(numprocesses=None, **changed):
    """Return a configuration as far as `seat_workers` reads it."""
    values = {
        "usepdb": False,
        "capture": "fd",
        "collectonly": False,
        "tx": [],
        "maxworkerrestart": None,
        "dist": "no",
        "markexpr": "",
    }
    option = SimpleNamespace(
        **{**values, "numprocesses": numprocesses, "keyword": "", "lf": False, **changed}
    )
    return SimpleNamespace(
        option=option,
        args=["spec"],
        args_source=pytest.Config.ArgsSource.TESTPATHS,
        getoption=lambda name, default: getattr(option, name, default),
        hook=SimpleNamespace(pytest_xdist_auto_num_workers=lambda config: 8),
    )


@pytest.fixture
def four_gpus(monkeypatch):
    """Have PyTorch report four CUDA devices, of eight of the machine."""
    pretend_accelerator(monkeypatch, "cuda")
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: 4)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "6,1,4,7")
    monkeypatch.setenv("BLITZ_DEVICE", "")


def visible_to(config):
    """Return the devices that each worker sees, its own first."""
    parts = [
        dict(part.removeprefix("env:").split("=") for part in tx.split("//")[1:]) for tx in config.option.tx
    ]
    return [part["CUDA_VISIBLE_DEVICES"] for part in parts]


SEATED = {
    "one worker": (None, "", ["6,1,4,7"]),
    "two workers": (2, "", ["6,1,4,7", "1,4,7,6"]),
    "a worker each": (4, "gpu", ["6,1,4,7", "1,4,7,6", "4,7,6,1", "7,6,1,4"]),
    "no more than devices for what needs one": (16, "gpu", ["6,1,4,7", "1,4,7,6", "4,7,6,1", "7,6,1,4"]),
    "more than devices in turn": (5, "", ["6,1,4,7", "1,4,7,6", "4,7,6,1", "7,6,1,4", "6,1,4,7"]),
}


@pytest.mark.parametrize(("workers", "marks", "seats"), SEATED.values(), ids=SEATED)
@pytest.mark.usefixtures("four_gpus")
def test_each_worker_has_a_device_of_its_own_among_the_callers(workers, marks, seats):
    """Devices are the caller's, in its order; a worker's own is its first, and the others follow."""
    config = options(workers, markexpr=marks)

    seat_workers(config)

    assert visible_to(config) == seats
    assert config.option.dist == "load"


@pytest.mark.usefixtures("four_gpus")
def test_a_named_device_is_the_only_seat(monkeypatch):
    """`--device cuda:2` is one worker on the third device of the caller, whose others it sees behind it."""
    monkeypatch.setenv("BLITZ_DEVICE", "cuda:2")
    config = options(4, markexpr="gpu")

    seat_workers(config)

    assert visible_to(config) == ["4,7,6,1"]


IN_PROCESS = {
    "-n0": {"numprocesses": 0},
    "--pdb": {"usepdb": True},
    "-s": {"capture": "no"},
    "--collect-only": {"collectonly": True},
}


@pytest.mark.parametrize("changed", IN_PROCESS.values(), ids=IN_PROCESS)
@pytest.mark.usefixtures("four_gpus")
def test_who_wants_to_be_in_the_process_is(changed):
    """A debugger, -s and -n0 keep the tests in the process of the user."""
    config = options(**changed)

    seat_workers(config)

    assert config.option.tx == []


@pytest.mark.usefixtures("four_gpus")
def test_benchmarks_are_not_run_by_workers():
    """pytest-benchmark measures nothing in a worker."""
    config = options()
    config.args = ["spec/benchmarks"]

    seat_workers(config)

    assert config.option.tx == []


@pytest.fixture
def no_accelerator(monkeypatch):
    """Have PyTorch report none."""
    monkeypatch.setattr(torch.accelerator, "is_available", lambda *args, **kwargs: False)


@pytest.mark.usefixtures("no_accelerator")
def test_without_an_accelerator_two_workers_share_a_run_of_everything():
    """Whatever the machine has more: each takes seconds to begin."""
    config = options()

    seat_workers(config)

    assert (config.option.numprocesses, config.option.tx) == (2, [])


ALONE = {
    **IN_PROCESS,
    "-n1": {"numprocesses": 1},
    "-k view": {"keyword": "view"},
    "-m slow": {"markexpr": "slow"},
    "--lf": {"lf": True},
}


@pytest.mark.parametrize("changed", ALONE.values(), ids=ALONE)
@pytest.mark.usefixtures("no_accelerator")
def test_without_an_accelerator_a_choice_of_tests_is_made_in_one_process(changed):
    """It would wait for a second process; -n is heeded as it is."""
    config = options(**changed)

    seat_workers(config)

    assert (config.option.numprocesses, config.option.tx) == (changed.get("numprocesses"), [])


@pytest.mark.usefixtures("no_accelerator")
def test_without_an_accelerator_a_file_is_run_in_one_process():
    """So it is where folders or tests are named."""
    config = options()
    config.args_source = pytest.Config.ArgsSource.ARGS

    seat_workers(config)

    assert config.option.numprocesses is None


@pytest.mark.usefixtures("no_accelerator")
def test_a_machine_of_one_core_has_one_worker():
    """A second one would take longer."""
    config = options()
    config.hook.pytest_xdist_auto_num_workers = lambda config: 1

    seat_workers(config)

    assert config.option.numprocesses == 1


@pytest.mark.usefixtures("no_accelerator")
def test_chosen_tests_have_workers_where_that_is_asked_for():
    """So has `blitz verify`: what takes a process down costs it one check on any machine."""
    config = options(keyword="view")
    config.args = ["/benchmarks/spec/test_1_tensor.py"]

    seat_workers(config, contain=True)

    assert config.option.numprocesses == 2


def test_another_kind_is_given_by_its_index():
    """No variable of the environment hides devices of every kind: a worker takes its own by number."""
    assert place("xpu", 1, 2) == {"BLITZ_SEAT": "1/2", "BLITZ_DEVICE": "xpu:1"}


SEVERAL = {
    "one device": ({"gpu": ()}, [1]),
    "several devices": ({"gpu": (), "multi_gpu": (2,)}, [0, 1, 2]),
    "one of several": ({"multi_gpu": (1,)}, [1]),
    "a measurement": ({"gpu": (), "timed": ()}, [0, 1, 2]),
    "the CPU": ({}, []),
}


@pytest.mark.parametrize(("marks", "held"), SEVERAL.values(), ids=SEVERAL)
def test_what_needs_several_devices_or_measures_holds_them_all(tmp_path, monkeypatch, marks, held):
    """On a worker whose own device is number 1 of 3, a test holds that one, or all of them, while it runs."""
    monkeypatch.setenv("BLITZ_SEAT", "1/3")
    item = SimpleNamespace(
        get_closest_marker=lambda name: SimpleNamespace(args=marks[name]) if name in marks else None
    )

    with devices_for(item, tmp_path):
        assert [number for number in range(3) if not is_free(tmp_path, number)] == held
    assert all(is_free(tmp_path, number) for number in range(3))


def is_free(folder, number):
    """Tell whether nobody holds the lock of a device."""
    try:
        with FileLock(folder / f"device-{number}.lock", timeout=0):
            return True
    except Timeout:
        return False
