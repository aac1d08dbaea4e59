"""Section 5 of the notes, data parallelism: which GPUs a program sees.

Where the notes tell the order of words on a command line, a real child process gets it. What PyTorch makes of
the variable is shown without a driver: its parser and its count run on a made-up number of GPUs. What the
driver makes of it is shown on a GPU alone.
"""

import os
import shlex
import subprocess
import sys

import pytest
import torch

from spec.harness import QUALIFIED, broken_by, claim

CHOSEN = "CUDA_VISIBLE_DEVICES=0,1,2,3 in front of python chooses the known GPUs"
NOHUP = "with nohup, the variable must come before nohup"
COUNTED = "torch.cuda.device_count() counts the GPUs"

VARIABLE = "CUDA_VISIBLE_DEVICES=0,1,2,3"
PYTHON = shlex.quote(sys.executable)
SHOW = f"""{PYTHON} -S -c 'import os; print(os.environ.get("CUDA_VISIBLE_DEVICES"))'"""
COUNT = f"{PYTHON} -c 'import torch; print(torch.cuda.device_count())'"

ORDERED = {"0,1,2,3": [0, 1, 2, 3], "1,0": [1, 0], "3": [3], " 2 , 0": [2, 0], "1gpu,0x": [1, 0]}
NONE = {"": [], "-1": [], "abc": [], "0,0": [], "1,2,1": [], "-1,0": [], "all": []}
CUT_SHORT = {"2,-1,1": [2], "2,abc,1": [2], "0,,1": [0], "0;1": [0]}
UUIDS = {
    "GPU-5c,GPU-1a": ["GPU-5c", "GPU-1a"],
    "GPU-5c,1": ["GPU-5c"],
    "GPU-5c,GPU-5c": [],
    "MIG-7": ["MIG-7"],
}

# Private, and the same in PyTorch 2.6 to 2.15: what device_count() reads the variable by.
PARSER = "_parse_visible_devices"


def shell(line):
    """Run a line of shell without the variable, and return its exit status and output."""
    line = f"unset CUDA_VISIBLE_DEVICES; {line}"
    result = subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=False)
    return result.returncode, result.stdout.split()


def set_variable(monkeypatch, value):
    """Set CUDA_VISIBLE_DEVICES, or unset it for None, and keep ROCm's own variables out of it."""
    for name in ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES"):
        monkeypatch.delenv(name, raising=False)
    if value is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", value)


def parsed(monkeypatch, cases):
    """Return what PyTorch reads out of each of the values."""
    found = {}
    for value in cases:
        set_variable(monkeypatch, value)
        found[value] = torch.cuda._parse_visible_devices()
    return found


def counted(monkeypatch, gpus, values):
    """Return device_count() for each value of the variable, with so many GPUs known to the driver."""
    replaced = {"_raw_device_count_nvml": lambda: gpus, "_is_compiled": lambda: True}
    for name, value in {**replaced, "_initialized": False, "_cached_device_count": None}.items():
        monkeypatch.setattr(torch.cuda, name, value)
    monkeypatch.setattr(torch.version, "hip", None)
    found = {}
    for value in values:
        set_variable(monkeypatch, value)
        found[value] = torch.cuda.device_count()
    return found


# Faults


def counting_words():
    """Fault: the variable's entries are counted, whatever there is."""
    return len(torch.cuda._parse_visible_devices())


def in_words(old, new):
    """Return a fault of subprocess.run that has `new` for `old` in the line of shell."""
    return lambda real: lambda words, **options: real([*words[:-1], words[-1].replace(old, new)], **options)


def sorting(real):
    """Fault: the order of the devices is lost."""
    return lambda: sorted(real())


def going_on(real):
    """Fault: a word that names no device is passed over."""

    def parse():
        words = os.environ["CUDA_VISIBLE_DEVICES"].replace(";", ",").split(",")
        return [int(word) for word in words if word.isdigit()]

    return parse


def all_or_nothing(real):
    """Fault: a list with an entry that names no device is no list at all."""

    def parse():
        words = os.environ["CUDA_VISIBLE_DEVICES"].split(",")
        return real() if all(word.isdigit() for word in words) else []

    return parse


def all_if_none(real):
    """Fault: what names no device is taken for all of them."""
    return lambda: real() or list(range(64))


class TestCudaVisibleDevices:
    """CUDA_VISIBLE_DEVICES=0,1,2,3 python main.py."""

    @claim("parallel.cuda-visible-devices", notes="5", verdict=QUALIFIED, says=CHOSEN)
    @broken_by(subprocess, "run", in_words(f"{VARIABLE} ", f"export {VARIABLE}; "))
    @broken_by(subprocess, "run", in_words(f"{VARIABLE} ", f"{VARIABLE}; "))
    def test_variable_in_front_reaches_that_command_only(self):
        """In front of python the variable reaches this command, and not the next one."""
        assert shell(f"{VARIABLE} {SHOW}; {SHOW}") == (0, ["0,1,2,3", "None"])

    @claim("parallel.cuda-visible-devices-after-python", notes="5", verdict=QUALIFIED, says=CHOSEN)
    @broken_by(subprocess, "run", in_words(f"{PYTHON} {VARIABLE}", f"{VARIABLE} {PYTHON}"))
    @broken_by(subprocess, "run", in_words(VARIABLE, ""))
    def test_variable_after_python_is_taken_for_a_script(self):
        """Behind python the variable is the name of a script, which is not there: python exits with 2."""
        command = SHOW.replace(PYTHON, f"{PYTHON} {VARIABLE}")

        assert shell(command) == (2, [])

    @claim("parallel.cuda-visible-devices-order", notes="5", verdict=QUALIFIED, says=CHOSEN)
    @broken_by(torch.cuda, PARSER, sorting)
    @broken_by(torch.cuda, PARSER, lambda real: lambda: [*range(len(real()))])
    def test_order_of_the_variable_is_that_of_the_devices(self, monkeypatch):
        """The variable orders, too: with 1,0 the program's device 0 is the machine's device 1."""
        assert parsed(monkeypatch, ORDERED) == ORDERED

    @claim("parallel.cuda-visible-devices-none", notes="5", verdict=QUALIFIED, says=CHOSEN)
    @broken_by(torch.cuda, PARSER, all_if_none)
    @broken_by(torch.cuda, PARSER, going_on)
    def test_empty_wrong_or_repeated_devices_leave_none(self, monkeypatch):
        """An empty value, one that begins with no device, and a device named twice hide all GPUs."""
        assert parsed(monkeypatch, NONE) == NONE

    @claim("parallel.cuda-visible-devices-cut-short", notes="5", verdict=QUALIFIED, says=CHOSEN)
    @broken_by(torch.cuda, PARSER, going_on)
    @broken_by(torch.cuda, PARSER, all_or_nothing)
    def test_list_ends_before_what_names_no_device(self, monkeypatch):
        """The list ends at the first entry that is no device, such as -1: those behind it are not seen."""
        assert parsed(monkeypatch, CUT_SHORT) == CUT_SHORT

    @claim("parallel.cuda-visible-devices-uuids", notes="5", verdict=QUALIFIED, says=CHOSEN)
    @broken_by(torch.cuda, PARSER, lambda real: lambda: [name for name in real() if type(name) is int])
    @broken_by(torch.cuda, PARSER, sorting)
    def test_devices_may_be_named_by_their_ids(self, monkeypatch):
        """GPUs may be named by their own ids, GPU-… or MIG-…, and not by these and by numbers in one list."""
        assert parsed(monkeypatch, UUIDS) == UUIDS

    @claim("parallel.cuda-visible-devices-unset", notes="5", verdict=QUALIFIED, says=CHOSEN)
    @broken_by(torch.cuda, PARSER, lambda real: lambda: real()[:1])
    def test_unset_variable_leaves_all_devices(self, monkeypatch):
        """Without the variable all devices are seen: the first 64 numbers are candidates, in their order."""
        set_variable(monkeypatch, None)

        assert torch.cuda._parse_visible_devices() == [*range(64)]

    @pytest.mark.gpu
    @pytest.mark.multi_gpu(2)
    @claim("parallel.cuda-visible-devices-on-gpus", notes="5", verdict=QUALIFIED, says=CHOSEN)
    @broken_by(subprocess, "run", in_words("CUDA_VISIBLE_DEVICES=", "OTHER="))
    def test_driver_orders_the_devices_as_the_variable_does(self):
        """Started with 1,0, a program has the machine's second GPU as its first, and the first as second."""
        first, second = torch.cuda._parse_visible_devices()[:2]
        ids = [str(torch.cuda.get_device_properties(index).uuid) for index in (0, 1)]
        tell = "import torch; [print(torch.cuda.get_device_properties(i).uuid) for i in (0, 1)]"

        found = shell(f"CUDA_VISIBLE_DEVICES={second},{first} {PYTHON} -c '{tell}'")

        assert found == (0, ids[::-1])


class TestNohup:
    """CUDA_VISIBLE_DEVICES=0,1,2,3 nohup python main.py &."""

    @claim("parallel.nohup-order", notes="5", verdict=QUALIFIED, says=NOHUP)
    @broken_by(subprocess, "run", in_words(f"{VARIABLE} nohup", f"nohup {VARIABLE}"))
    @broken_by(subprocess, "run", in_words(f"{VARIABLE} ", ""))
    def test_variable_before_nohup_reaches_the_program(self):
        """Before nohup the variable reaches the program that nohup starts."""
        assert shell(f"{VARIABLE} nohup {SHOW}") == (0, ["0,1,2,3"])

    @claim("parallel.nohup-order-after", notes="5", verdict=QUALIFIED, says=NOHUP)
    @broken_by(subprocess, "run", in_words(f"nohup {VARIABLE}", f"{VARIABLE} nohup"))
    @broken_by(subprocess, "run", in_words("nohup", "env"))
    def test_variable_behind_nohup_is_taken_for_a_program(self):
        """Behind nohup the variable is the name of a program that is not there: nohup exits with 127."""
        assert shell(f"nohup {VARIABLE} {SHOW}") == (127, [])

    @claim("parallel.nohup-order-other-ways", notes="5", verdict=QUALIFIED, says=NOHUP)
    @broken_by(subprocess, "run", in_words("env ", ""))
    @broken_by(subprocess, "run", in_words("export ", ""))
    def test_env_behind_nohup_and_export_are_as_good(self):
        """Before nohup is no must: env takes the variable behind it, and export in a line before."""
        assert shell(f"nohup env {VARIABLE} {SHOW}") == (0, ["0,1,2,3"])
        assert shell(f"export {VARIABLE}; nohup {SHOW}") == (0, ["0,1,2,3"])


class TestDeviceCount:
    """torch.cuda.device_count()."""

    @claim("parallel.device-count", notes="5", verdict=QUALIFIED, says=COUNTED)
    @broken_by(torch.cuda, "device_count", lambda real: lambda: torch.cuda._raw_device_count_nvml())
    @broken_by(torch.cuda, "device_count", lambda real: lambda: max(1, real()))
    @broken_by(
        torch.cuda, "_device_count_nvml", lambda real: lambda: len(torch.cuda._parse_visible_devices())
    )
    def test_device_count_counts_visible_devices(self, monkeypatch):
        """device_count() counts those devices of the machine that the variable lets the program see."""
        expected = {None: 8, "0,1,2,3": 4, "7,3": 2, "": 0, "0,0": 0, "0,8,1": 1, "8": 0}

        assert counted(monkeypatch, 8, expected) == expected

    @claim("parallel.device-count-none", notes="5", verdict=QUALIFIED, says=COUNTED)
    @broken_by(torch.cuda, "device_count", lambda real: lambda: max(1, real()))
    @broken_by(torch.cuda, "device_count", lambda real: counting_words)
    @broken_by(torch.cuda, "device_count", lambda real: lambda: real() or None)
    def test_device_count_without_gpus_is_zero(self, monkeypatch):
        """On a machine without GPUs the count is the number 0, whatever the variable says."""
        expected = {None: 0, "0,1,2,3": 0, "0": 0, "": 0}

        assert counted(monkeypatch, 0, expected) == expected

    @pytest.mark.gpu
    @pytest.mark.multi_gpu(1)
    @claim("parallel.device-count-in-a-program", notes="5", verdict=QUALIFIED, says=COUNTED)
    @broken_by(subprocess, "run", in_words("CUDA_VISIBLE_DEVICES=", "OTHER="))
    def test_programs_count_what_they_are_given(self):
        """A program that is started with one of the GPUs counts 1, and one that is started with none, 0."""
        first = torch.cuda._parse_visible_devices()[0]

        assert shell(f"CUDA_VISIBLE_DEVICES={first} {COUNT}") == (0, ["1"])
        assert shell(f"CUDA_VISIBLE_DEVICES= {COUNT}") == (0, ["0"])

    @pytest.mark.gpu
    @pytest.mark.multi_gpu(1)
    @claim("parallel.device-count-stays", notes="5", verdict=QUALIFIED, says=COUNTED)
    @broken_by(torch.cuda, "device_count", lambda real: counting_words)
    def test_count_stays_once_cuda_is_in_use(self, monkeypatch):
        """Once a program uses CUDA, the variable changes neither the count nor the devices any more."""
        tensor = torch.ones(2, device="cuda")
        before = torch.cuda.device_count()

        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")

        assert torch.cuda.device_count() == before > 0
        assert (tensor + torch.ones(2, device="cuda")).tolist() == [2, 2]
