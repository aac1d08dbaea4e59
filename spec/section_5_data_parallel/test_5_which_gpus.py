"""Notes 5, which GPUs a program sees, and which of them nn.DataParallel uses.

Where the notes tell the order of words on a command line, a real child process gets it. What PyTorch makes of
the variable is shown without a driver: its parser and its count run on a made-up number of GPUs. What the
driver makes of it is shown on a GPU alone.
"""

import os
import shlex
import subprocess
import sys
from functools import partialmethod

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.parallel import DataParallel

from spec.harness import QUALIFIED, each_row, fault, statement
from spec.section_5_data_parallel import data_parallel_faults as faults
from spec.section_5_data_parallel.data_parallel import DATA_PARALLEL, Net, cpus, numbered

CHOSEN = "CUDA_VISIBLE_DEVICES=0,1,2,3 in front of python chooses the GPUs that the program sees"
NOHUP = "with nohup, CUDA_VISIBLE_DEVICES=... must come before nohup"
COUNTED = "torch.cuda.device_count() counts the GPUs"
USED = "the program spreads the batch over all GPUs that it sees; if nothing is set, these are all GPUs"

VARIABLE = "CUDA_VISIBLE_DEVICES=0,1,2,3"
PYTHON = shlex.quote(sys.executable)
SHOW = f"""{PYTHON} -S -c 'import os; print(os.environ.get("CUDA_VISIBLE_DEVICES"))'"""
COUNT = f"{PYTHON} -c 'import torch; print(torch.cuda.device_count())'"
HUNG_UP = """
import os, signal, sys
print("output")
print("error", file=sys.stderr)
os.kill(os.getpid(), signal.SIGHUP)
print("went on")
os._exit(0)  # what is not in the log yet is lost
"""

# Private, and the same in PyTorch 2.6 to 2.15: what device_count() reads the variable by.
PARSER = "_parse_visible_devices"

# (line of shell, exit status, what it prints)
COMMANDS = {
    "in front, for this command alone": (f"{VARIABLE} {SHOW}; {SHOW}", 0, ["0,1,2,3", "None"]),
    "behind python, as a script": (SHOW.replace(PYTHON, f"{PYTHON} {VARIABLE}"), 2, []),
}
WITH_NOHUP = {
    "before nohup": (f"{VARIABLE} nohup {SHOW}", 0, ["0,1,2,3"]),
    "behind nohup, as a program": (f"nohup {VARIABLE} {SHOW}", 127, []),
    "behind env": (f"nohup env {VARIABLE} {SHOW}", 0, ["0,1,2,3"]),
    "exported before": (f"export {VARIABLE}; nohup {SHOW}", 0, ["0,1,2,3"]),
}
# (value, the devices that are seen, in their order)
VALUES = {
    "unset": (None, [*range(64)]),  # the candidates, if there are as many
    "in order": ("0,1,2,3", [0, 1, 2, 3]),
    "in another order": (" 2 , 0", [2, 0]),
    "empty": ("", []),
    "a word": ("all", []),
    "one twice": ("1,2,1", []),
    "-1 in between": ("2,-1,1", [2]),
    "a word in between": ("2,abc,1", [2]),
    "ids": ("GPU-5c,GPU-1a", ["GPU-5c", "GPU-1a"]),
    "an id and a number": ("GPU-5c,1", ["GPU-5c"]),
}
# (GPUs of the machine, value, count)
COUNTS = {
    "8, unset": (8, None, 8),
    "8, four named": (8, "7,3,0,2", 4),
    "8, none named": (8, "", 0),
    "8, one named twice": (8, "0,0", 0),
    "8, the second is not there": (8, "0,8,1", 1),
    "0, unset": (0, None, 0),
    "0, four named": (0, "0,1,2,3", 0),
}
# (options, ids, device of the output)
USES = {
    "all 4": ({}, [0, 1, 2, 3], 0),
    "two chosen": ({"device_ids": [3, 1]}, [3, 1], 3),
    "another for the output": ({"output_device": 2}, [0, 1, 2, 3], 2),
}


def shell(line):
    """Run a line of shell in which the variable is not set, and return its exit status and output."""
    line = f"unset CUDA_VISIBLE_DEVICES PYTHONUNBUFFERED; {line}"
    result = subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=False)
    return result.returncode, result.stdout.split()


def set_variable(monkeypatch, value):
    """Set CUDA_VISIBLE_DEVICES, or unset it for None, and keep ROCm's own variables out of it."""
    for name in ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES"):
        monkeypatch.delenv(name, raising=False)
    if value is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", value)


# Faults


def in_words(old, new):
    """Return a fault of subprocess.run that has `new` for `old` in the line of shell."""
    return lambda real: lambda words, **options: real([*words[:-1], words[-1].replace(old, new)], **options)


def going_on(parse):
    """Pass over a word that names no device."""
    return lambda: [int(word) for word in os.environ["CUDA_VISIBLE_DEVICES"].split(",") if word.isdigit()]


def numbers_only(parse):
    """Know GPUs by their numbers alone."""
    return lambda: [device for device in parse() if type(device) is int]


def counting_words(device_count):
    """Count the entries of the variable, whatever there is."""
    return lambda: len(torch.cuda._parse_visible_devices())


def replica_for_one(forward):
    """Make a replica for a single device, too."""
    return lambda self, x: self.replicate(self.module, self.device_ids)[0](x)


def on_the_second(forward):
    """Have a layer compute on the second GPU."""
    return lambda self, x: F.linear(x.to(1), self.weight.to(1), self.bias.to(1)).to(0)


@statement("parallel.uses-all-visible-gpus", notes="5", verdict=QUALIFIED, says=USED)
@fault("device 0 is the default", DataParallel, "__init__", lambda real: partialmethod(real, device_ids=[0]))
@fault("ids are overlooked", DATA_PARALLEL, "_get_device_index", lambda real: lambda device, optional: 0)
@fault("outputs come to device 0", DataParallel, "gather", faults.onto(0))
@fault("a single device gets a replica", DataParallel, "forward", replica_for_one)
@fault("a layer computes on the second GPU", nn.Linear, "forward", on_the_second)
class TestUsedGpus:
    """Without `nn.DataParallel`, a net uses only one GPU. With `nn.DataParallel`, the net uses all visible
    GPUs, or the GPUs in `device_ids` in that order. The outputs come to the first of the used GPUs, or to
    `output_device`.
    """

    @pytest.mark.parametrize(("options", "ids", "output"), USES.values(), ids=USES)
    def test_visible_devices_are_used_unless_others_are_chosen(self, options, ids, output):
        net, copies = Net(), []
        net.register_buffer("count", torch.zeros(1))

        with cpus(4, copies=copies):
            nn.DataParallel(net, **options)(numbered(32, 1))

        assert copies == [("scatter", [32 // len(ids)] * len(ids)), ("broadcast", ids), ("gather", output)]

    @pytest.mark.parametrize("options", [{}, {"device_ids": [0]}], ids=["by default", "chosen"])
    def test_single_device_gets_no_replica(self, options):
        net, copies = nn.Linear(1, 1), []

        with cpus(4 if options else 1, copies=copies):
            nn.DataParallel(net, **options)(numbered(30, 1))

        assert copies == [("scatter", [30])]

    @pytest.mark.gpu
    @pytest.mark.multi_gpu(2)
    def test_net_without_the_wrapper_uses_one_gpu(self):
        net, batch = nn.Linear(5, 2).to("cuda:0"), torch.ones(30, 5, device="cuda:0")
        others = range(1, torch.cuda.device_count())
        for index in others:
            torch.cuda.reset_peak_memory_stats(index)
        before = [torch.cuda.memory_allocated(index) for index in others]

        net(batch).sum().backward()

        assert [torch.cuda.max_memory_allocated(index) for index in others] == before


@statement("parallel.cuda-visible-devices", notes="5", verdict=QUALIFIED, says=CHOSEN)
@fault("the variable lasts", subprocess, "run", in_words(f"{VARIABLE} ", f"export {VARIABLE}; "))
@fault("the variable does not arrive", subprocess, "run", in_words(VARIABLE, ""))
@fault("the order is lost", torch.cuda, PARSER, lambda real: lambda: sorted(real()))
@fault("what names no device is passed over", torch.cuda, PARSER, going_on)
@fault("what names no device means all", torch.cuda, PARSER, lambda real: lambda: real() or [*range(64)])
@fault("ids of GPUs are not known", torch.cuda, PARSER, numbers_only)
@fault("the driver overlooks the variable", subprocess, "run", in_words("CUDA_VISIBLE_DEVICES=", "OTHER="))
class TestCudaVisibleDevices:
    """`CUDA_VISIBLE_DEVICES=0,1,2,3` in front of `python` chooses the GPUs and their order for that command
    alone. PyTorch ignores the first entry that names no GPU, and all entries behind that entry. A value that
    is empty or names a GPU twice hides all GPUs.
    """

    @pytest.mark.parametrize(("line", "status", "printed"), COMMANDS.values(), ids=COMMANDS)
    def test_variable_has_to_stand_in_front_of_the_command(self, line, status, printed):
        assert shell(line) == (status, printed)

    @pytest.mark.parametrize(("value", "seen"), VALUES.values(), ids=VALUES)
    def test_value_names_devices_in_their_order(self, monkeypatch, value, seen):
        set_variable(monkeypatch, value)

        assert torch.cuda._parse_visible_devices() == seen

    @pytest.mark.gpu
    @pytest.mark.multi_gpu(2)
    def test_driver_orders_the_devices_as_the_variable_does(self):
        first, second = torch.cuda._parse_visible_devices()[:2]
        ids = [str(torch.cuda.get_device_properties(index).uuid) for index in (0, 1)]
        tell = "import torch; [print(torch.cuda.get_device_properties(i).uuid) for i in (0, 1)]"

        found = shell(f"CUDA_VISIBLE_DEVICES={second},{first} {PYTHON} -c '{tell}'")

        assert found == (0, ids[::-1])


@statement("parallel.nohup-order", notes="5", verdict=QUALIFIED, says=NOHUP)
@fault("nohup passes no variables on", subprocess, "run", in_words(f"{VARIABLE} nohup", "nohup"))
@fault("nohup takes variables", subprocess, "run", in_words(f"nohup {VARIABLE}", f"{VARIABLE} nohup"))
@fault("env takes no variables", subprocess, "run", in_words("env ", ""))
@fault("export passes nothing on", subprocess, "run", in_words("export ", ""))
class TestNohupOrder:
    """On a command line, `CUDA_VISIBLE_DEVICES=0,1,2,3` can stand before `nohup`, but not right after
    `nohup`. Right after `nohup`, the command fails, because `nohup` takes the variable for the name of a
    program. The command works with `env` between `nohup` and the variable.
    """

    @pytest.mark.parametrize(("line", "status", "printed"), WITH_NOHUP.values(), ids=WITH_NOHUP)
    @each_row
    def test_nohup_passes_the_variable_on_and_takes_none_itself(self, line, status, printed):
        assert shell(line) == (status, printed)


@statement("parallel.nohup-line", notes="5")
@fault("nohup does not keep out a hang-up", subprocess, "run", in_words("nohup", "env"))
@fault("the log is written anew", subprocess, "run", in_words(">>", ">"))
@fault("errors go elsewhere", subprocess, "run", in_words("2>&1", "2>/dev/null"))
@fault("output waits for the end", subprocess, "run", in_words(" -u ", " "))
def test_nohup_line_appends_to_the_log_and_outlives_a_hang_up(tmp_path):
    """`nohup python -u example.py >> log 2>&1 &` appends the output and the errors of the program to the file
    `log`. Each line is in `log` as soon as the program writes the line. The program continues after the
    hang-up signal of a closed terminal.
    """
    log = tmp_path / "log"
    log.write_text("before\n")

    shell(f"{VARIABLE} nohup {PYTHON} -S -u -c {shlex.quote(HUNG_UP)} >> {shlex.quote(str(log))} 2>&1 & wait")

    assert log.read_text().splitlines() == ["before", "output", "error", "went on"]


@statement("parallel.device-count", notes="5", verdict=QUALIFIED, says=COUNTED)
@fault("all GPUs count", torch.cuda, "device_count", lambda real: lambda: torch.cuda._raw_device_count_nvml())
@fault("there is always one", torch.cuda, "device_count", lambda real: lambda: max(1, real()))
@fault("the words of the variable count", torch.cuda, "device_count", counting_words)
@fault("a program is not given the variable", subprocess, "run", in_words("CUDA_VISIBLE_DEVICES=", "OTHER="))
class TestDeviceCount:
    """`torch.cuda.device_count()` returns the number of GPUs that CUDA_VISIBLE_DEVICES lets the program see.
    Without such GPUs the number is 0. Once the program has begun to use CUDA, a change of the variable has no
    effect on the number.
    """

    @pytest.mark.parametrize(("gpus", "value", "count"), COUNTS.values(), ids=COUNTS)
    def test_visible_gpus_of_the_machine_count(self, monkeypatch, gpus, value, count):
        replaced = {"_raw_device_count_nvml": lambda: gpus, "_is_compiled": lambda: True}
        for name, new in {**replaced, "_initialized": False, "_cached_device_count": None}.items():
            monkeypatch.setattr(torch.cuda, name, new)
        monkeypatch.setattr(torch.version, "hip", None)
        set_variable(monkeypatch, value)

        found = torch.cuda.device_count()

        assert (found, type(found)) == (count, int)

    @pytest.mark.gpu
    @pytest.mark.multi_gpu(1)
    def test_programs_count_what_they_are_given(self):
        first = torch.cuda._parse_visible_devices()[0]

        assert shell(f"CUDA_VISIBLE_DEVICES={first} {COUNT}") == (0, ["1"])
        assert shell(f"CUDA_VISIBLE_DEVICES= {COUNT}") == (0, ["0"])

    @pytest.mark.gpu
    @pytest.mark.multi_gpu(1)
    def test_count_stays_once_cuda_is_in_use(self, monkeypatch):
        tensor = torch.ones(2, device="cuda")
        before = torch.cuda.device_count()

        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")

        assert torch.cuda.device_count() == before > 0
        assert (tensor + torch.ones(2, device="cuda")).tolist() == [2, 2]
