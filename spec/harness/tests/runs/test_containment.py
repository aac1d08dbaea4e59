"""What takes a process down costs one test."""

import os

import pytest
import torch

from spec.harness.records import reading
from spec.harness.runs.containment import NO_WORD, TIMED_OUT, last_words
from spec.harness.tests.accelerator.test_devices import pretend_accelerator

PRETEND = """
import os, pytest, torch
pytest_plugins = ["spec.harness.plugin"]
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ["BLITZ_DEVICE"] = ""  # or the CPU, named as a device, would be taken for none
    from spec.harness.accelerator import climbing
    climbing.climb_here = lambda: []
    torch.accelerator.is_available = lambda *args, **kwargs: True
    torch.accelerator.current_accelerator = lambda *args, **kwargs: torch.device("cpu")
    torch.accelerator.current_device_index = lambda: 0
    torch.accelerator.set_device_index = lambda index: None
    torch.accelerator.synchronize = lambda: None
"""
BODIES = {
    "sticky": "torch.zeros = fail_for_ever; torch.zeros(1)",
    "segfault": "ctypes.string_at(0)",
    "hang": "mutex = ctypes.create_string_buffer(64); [native.pthread_mutex_lock(mutex) for _ in range(2)]",
    "kill": "os.kill(os.getpid(), 9)",
    "slow": "time.sleep(60)",
    "false": "assert 1 == 2",
}
HEADER = """
import ctypes, os, time
native = ctypes.PyDLL(None)  # called with the lock of Python held

def fail_for_ever(*arguments, **options):
    raise RuntimeError("CUDA error: device-side assert triggered")

@pytest.fixture
def broken():
    ctypes.string_at(0)
"""
STATEMENT = """
@pytest.mark.gpu
@pytest.mark.timeout(1.5)
@statement("nn.{name}", notes="3")
def test_{name}({fixture}):
    "It ends."
    {body}
    assert 1 == 1
"""


def statement(name, body="pass", fixture=""):
    """Return the source of a statement."""
    return STATEMENT.format(name=name, body=body, fixture=fixture)


@pytest.fixture
def on_pretended_accelerator(make_spec, pytester, monkeypatch):
    """Write a specification and run it as where there is an accelerator, which is the CPU here."""
    pretend_accelerator(monkeypatch, "cpu")
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: 1)

    def run(source, *options):
        make_spec(source)
        pytester.path.joinpath("conftest.py").write_text(PRETEND)
        return pytester.runpytest_inprocess(*options)

    return run


def outcomes_and_words(path):
    """Return outcome and what was seen of each statement of a file of records."""
    records = reading.read(path).results
    return {r["id"].removeprefix("nn."): (r["outcome"], r["seen"] or "") for r in records}


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="the hang and the signals are POSIX")
def test_each_fault_costs_one_statement(on_pretended_accelerator, pytester):
    """Of five faults that end a process and two that do not, each costs its own check; all others go on."""
    source = HEADER + statement("first")
    for name, body in BODIES.items():
        source += statement(name, body) + statement(f"{name}next")
    source += statement("setup", fixture="broken") + statement("last")

    result = on_pretended_accelerator(source, "--records=v.jsonl")
    found = outcomes_and_words(pytester.path / "v.jsonl")

    assert {name: outcome for name, (outcome, _) in found.items() if outcome != "confirmed"} == {
        "sticky": "crashed",
        "segfault": "crashed",
        "hang": "timeout",
        "kill": "crashed",
        "slow": "timeout",
        "false": "refuted",
        "setup": "crashed",
    }
    assert sorted(name for name, (outcome, _) in found.items() if outcome == "confirmed") == sorted(
        ["first", "last", *(f"{name}next" for name in BODIES)]
    )
    assert found["sticky"][1] == (
        "the accelerator fails at everything since: RuntimeError: CUDA error: device-side assert triggered"
    )
    assert found["segfault"][1].startswith("Segmentation fault; File ")
    assert "in test_segfault" in found["segfault"][1]
    assert found["hang"][1].startswith(TIMED_OUT)
    assert "in test_hang" in found["hang"][1]
    assert found["kill"][1] == NO_WORD
    assert result.parseoutcomes() == {"passed": 8, "failed": 7}
    result.stdout.fnmatch_lines(["*nn.sticky (cpu:0): crashed.*", "*nn.hang (cpu:0): timeout.*"])


LAST_WORDS = {
    "none": ("\nat {}\n", NO_WORD),
    "a word": ("\nat {}\nthe accelerator fails", "the accelerator fails"),
    "stacks of all threads": (
        '\nat {"node": "before"}\n\nat {}\n'
        'Timeout (0:00:03)!\nThread 0x1 (most recent call first):\n  File "io.py", line 1 in read\n\n'
        'Thread 0x2 (most recent call first):\n  File "a.py", line 2 in f\n  File "b.py", line 3 in g\n',
        f'{TIMED_OUT}; File "a.py", line 2 in f; File "b.py", line 3 in g',
    ),
    "the current thread of a crash": (
        "\nat {}\nFatal Python error: Segmentation fault\n\nThread 0x1 (most recent call first):\n"
        '  File "io.py", line 1 in read\n\nCurrent thread 0x2 (most recent call first):\n'
        '  File "a.py", line 2 in f\n\nExtension modules: numpy\n',
        'Segmentation fault; File "a.py", line 2 in f',
    ),
}


@pytest.mark.parametrize(("text", "why"), LAST_WORDS.values(), ids=LAST_WORDS)
def test_last_words_become_a_sentence(tmp_path, text, why):
    """What a dying process wrote becomes the reason, and the place in the code where it was."""
    tmp_path.joinpath("gw0").write_text(text)

    assert last_words(tmp_path / "gw0").why == why
