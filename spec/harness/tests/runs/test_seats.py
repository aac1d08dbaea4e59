"""A worker has a device of its own, or two share a run of everything; a test holds the devices it needs."""

from types import SimpleNamespace

import pytest
import torch
from filelock import FileLock, Timeout

from spec.harness.runs.seats import devices_for, place, seat_workers
from spec.harness.tests.accelerator.test_devices import pretend_accelerator

IN_PROCESS = {
    "-n0": {"numprocesses": 0},
    "--pdb": {"usepdb": True},
    "-s": {"capture": "no"},
    "--collect-only": {"collectonly": True},
    "benchmarks, which a worker does not time": {"args": ["spec/benchmarks"]},
}
PLAIN = {
    "usepdb": False, "capture": "fd", "collectonly": False, "numprocesses": None, "tx": [], "lf": False,
    "maxworkerrestart": None, "dist": "no", "markexpr": "", "keyword": "",
}  # fmt: skip


def seated(*, cores=8, contain=False, args=("spec",), named=False, **changed):
    """Return the options that `seat_workers` leaves where these differ from those of a plain `pytest`."""
    sources = pytest.Config.ArgsSource
    config = SimpleNamespace(
        option=SimpleNamespace(**PLAIN | changed),
        args=args,
        args_source=sources.ARGS if named else sources.TESTPATHS,
        getoption=lambda name, default: getattr(config.option, name, default),
        hook=SimpleNamespace(pytest_xdist_auto_num_workers=lambda config: cores),
    )
    seat_workers(config, contain=contain)
    return config.option


@pytest.fixture
def four_gpus(monkeypatch):
    """Have PyTorch report four CUDA devices, of eight of the machine."""
    pretend_accelerator(monkeypatch, "cuda")
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: 4)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "6,1,4,7")
    monkeypatch.setenv("BLITZ_DEVICE", "")


EACH = ["6,1,4,7", "1,4,7,6", "4,7,6,1", "7,6,1,4"]
SEATED = {
    "one worker": ({}, "", EACH[:1]),
    "two workers": ({"numprocesses": 2}, "", EACH[:2]),
    "no more than devices for what needs one": ({"numprocesses": 16, "markexpr": "gpu"}, "", EACH),
    "more than devices in turn": ({"numprocesses": 5}, "", [*EACH, EACH[0]]),
    "as many as cores": ({"numprocesses": "auto", "cores": 3}, "", EACH[:3]),
    "a device by its name": ({"numprocesses": 4, "markexpr": "gpu"}, "cuda:2", EACH[2:3]),
    **{name: (changed, "", []) for name, changed in IN_PROCESS.items()},
}


@pytest.mark.parametrize(("changed", "device", "seats"), SEATED.values(), ids=SEATED)
@pytest.mark.usefixtures("four_gpus")
def test_each_worker_has_a_device_of_its_own_among_the_callers(monkeypatch, changed, device, seats):
    """Devices are the caller's, in its order; a worker's own is its first, and the others follow."""
    monkeypatch.setenv("BLITZ_DEVICE", device)

    option = seated(**changed)

    assert [tx.rpartition("CUDA_VISIBLE_DEVICES=")[2] for tx in option.tx] == seats
    assert option.dist == ("load" if seats else "no")


SHARED = {
    "everything": ({}, 2),
    "everything on one core": ({"cores": 1}, 1),
    "chosen tests, contained": ({"keyword": "view", "args": ["/benchmarks/spec"], "contain": True}, 2),
    "-n1": ({"numprocesses": 1}, 1),
    "-k view": ({"keyword": "view"}, None),
    "-m slow": ({"markexpr": "slow"}, None),
    "--lf": ({"lf": True}, None),
    "a file": ({"named": True}, None),
    **{name: (changed, changed.get("numprocesses")) for name, changed in IN_PROCESS.items()},
}


@pytest.mark.parametrize(("changed", "workers"), SHARED.values(), ids=SHARED)
def test_without_an_accelerator_two_workers_share_a_run_of_everything(monkeypatch, changed, workers):
    """Each takes seconds to begin, so that chosen tests have none; -n is heeded as it is."""
    monkeypatch.setattr(torch.accelerator, "is_available", lambda *args, **kwargs: False)

    option = seated(**changed)

    assert (option.numprocesses, option.tx) == (workers, [])


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
