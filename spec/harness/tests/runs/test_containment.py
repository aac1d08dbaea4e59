"""What takes a process down costs one test."""

import os
import re

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
HEADER = """
import ctypes, os, time
native = ctypes.PyDLL(None)  # called with the lock of Python held

def fail_for_ever(*arguments, **options):
    raise RuntimeError("CUDA error: device-side assert triggered")

@pytest.fixture
def fine(): pass

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
MUTEX = "mutex = ctypes.create_string_buffer(64); [native.pthread_mutex_lock(mutex) for _ in range(2)]"
STICKY = "the accelerator fails at everything since: RuntimeError: CUDA error: device-side assert triggered"
CHECKS = {
    "first": ("fine", "pass", "confirmed", ""),
    "sticky": ("fine", "torch.zeros = fail_for_ever; torch.zeros(1)", "crashed", STICKY),
    "segfault": ("fine", "ctypes.string_at(0)", "crashed", "^Segmentation fault; File .* in test_segfault"),
    "hang": ("fine", MUTEX, "timeout", f"^{TIMED_OUT}; File .* in test_hang"),
    "kill": ("fine", "os.kill(os.getpid(), 9)", "crashed", NO_WORD),
    "slow": ("fine", "time.sleep(60)", "timeout", ""),
    "false": ("fine", "assert 1 == 2", "refuted", ""),
    "setup": ("broken", "pass", "crashed", ""),
}


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="the hang and the signals are POSIX")
def test_each_fault_costs_one_statement(make_spec, pytester, monkeypatch):
    """Of what ends a process and what does not, each costs its own check; all others go on."""
    pretend_accelerator(monkeypatch, "cpu")
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: 1)
    source = HEADER
    for name, (fixture, body, *_) in CHECKS.items():
        source += STATEMENT.format(name=name, fixture=fixture, body=body)
        source += STATEMENT.format(name=f"{name}next", fixture="fine", body="pass")
    make_spec(source)
    pytester.path.joinpath("conftest.py").write_text(PRETEND)

    result = pytester.runpytest_inprocess("--records=v.jsonl")

    found = {record["id"]: record for record in reading.read(pytester.path / "v.jsonl").results}
    for name, (_, _, outcome, words) in CHECKS.items():
        assert (name, found[f"nn.{name}"]["outcome"]) == (name, outcome)
        assert re.search(words, found[f"nn.{name}"]["seen"] or "")
        assert (name, found[f"nn.{name}next"]["outcome"]) == (name, "confirmed")
    assert result.parseoutcomes() == {"passed": 9, "failed": 7}
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
