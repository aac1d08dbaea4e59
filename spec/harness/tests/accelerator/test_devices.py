"""The `device` fixture: same node ids everywhere, CUDA untouched while collecting, the index respected."""

from contextlib import nullcontext

import pytest
import torch

from spec.harness.accelerator import machine
from spec.harness.accelerator.devices import accelerator, accelerator_kind, label, name_device
from spec.harness.accelerator.precision import precision_flags
from spec.harness.records.writing import header

ON_DEVICES = """
@statement("nn.place", notes="3")
def test_place(device):
    '''A tensor says where it is.'''
    assert torch.empty(1, device=device).device.type == device.type
"""


def pretend_accelerator(monkeypatch, name="meta", index=0):
    """Have PyTorch report an accelerator of this kind, `index` of them being current."""
    monkeypatch.setattr(torch.accelerator, "is_available", lambda *args, **kwargs: True)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda *args, **kwargs: torch.device(name))
    monkeypatch.setattr(torch.accelerator, "current_device_index", lambda: index)


def test_both_cases_run_where_there_is_an_accelerator(run_spec, monkeypatch):
    """With one (meta stands in for it) the statement is checked on both; without, the reason is told."""
    pretend_accelerator(monkeypatch)
    assert run_spec(ON_DEVICES).parseoutcomes() == {"passed": 2}

    monkeypatch.setattr(torch.accelerator, "is_available", lambda *args, **kwargs: False)
    result = run_spec(ON_DEVICES, "-rs")

    assert result.parseoutcomes() == {"passed": 1, "skipped": 1}
    result.stdout.fnmatch_lines(["*no-accelerator: PyTorch sees no accelerator on this machine*"])


def test_node_ids_are_the_same_on_all_machines_and_cuda_is_not_initialised(run_spec, monkeypatch):
    """Results can be laid side by side; nothing up to the first test, the header included, wakes a device."""

    def node_ids(*options):
        result = run_spec(ON_DEVICES, "--collect-only", "-q", *options)
        return [line for line in result.outlines if "::" in line]

    monkeypatch.setattr(torch.accelerator, "is_available", lambda *args, **kwargs: False)
    without = node_ids()
    pretend_accelerator(monkeypatch, "cuda")
    monkeypatch.setattr(machine, "_from_pytorch", list)  # which asks in a process of its own
    monkeypatch.setattr(torch.cuda, "_lazy_init", lambda: pytest.fail("initialised"))
    monkeypatch.setattr(torch.accelerator, "current_device_index", lambda: pytest.fail("asked for its index"))

    both = [f"spec/section_3/test_example.py::test_place[{case}]" for case in ("cpu", "accelerator")]
    assert node_ids() == without == both
    assert node_ids("-m", "gpu") == both[1:]
    header(None)


NAMED = {
    "xpu": True,
    "xpu:1": True,
    "cpu": True,
    "mps": False,
    "xpu:2": False,
    "xpu:one": False,
    "cpu:1": False,
}


@pytest.mark.parametrize(("name", "is_there"), NAMED.items())
def test_device_names_the_accelerator_of_a_run(monkeypatch, name, is_there):
    """It is a kind, or one device, that PyTorch sees here."""
    monkeypatch.setenv("BLITZ_DEVICE", "")
    pretend_accelerator(monkeypatch, "xpu")
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: 2)

    refused = pytest.raises(
        pytest.UsageError, match=f"--device {name}: no such device here; PyTorch .* sees "
    )
    with nullcontext() if is_there else refused:
        name_device(name)

    assert accelerator_kind() == (None if name == "cpu" else "xpu")


def test_a_device_that_is_not_there_stops_the_run_at_once(run_spec):
    """Before anything is collected."""
    result = run_spec(ON_DEVICES, "--device=xpu:7")

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*--device xpu:7: no such device here; PyTorch * sees *"])


@pytest.mark.parametrize("named_by", ["option", "environment"])
def test_device_cpu_leaves_the_accelerator_out(run_spec, monkeypatch, named_by):
    """With --device cpu what needs an accelerator is not checked, whatever there is."""
    pretend_accelerator(monkeypatch)
    if named_by == "environment":
        monkeypatch.setenv("BLITZ_DEVICE", "cpu")

    result = run_spec(ON_DEVICES, *(["--device=cpu"] if named_by == "option" else []))

    assert result.parseoutcomes() == {"passed": 1, "skipped": 1}


def test_the_device_that_is_checked_is_the_current_one_by_the_name_that_the_caller_gives_it(monkeypatch):
    """Own devices are always the first to a worker on CUDA: its seat tells which it is to the caller."""
    pretend_accelerator(monkeypatch, "cuda", index=3)

    assert accelerator() == torch.device("cuda", 3)
    monkeypatch.setenv("BLITZ_SEAT", "3/8")
    assert label(torch.device("cuda", 0)) == "cuda:3"
    assert label(torch.device("xpu", 3)) == "xpu:3"


PRECISE = """
from spec.harness.accelerator.precision import precision_flags

@statement("nn.precise", notes="3")
@pytest.mark.parametrize("time", [1, 2])
def test_precise(device, measured, time):
    "One is one."
    measured["before"] = precision_flags()["cuda_convolution"]
    torch.backends.cudnn.allow_tf32 = True
    assert 1 == 1
"""


def test_a_statement_on_an_accelerator_starts_from_ieee_and_leaves_nothing_behind(recorded, monkeypatch):
    """PyTorch's default for convolutions is TF32; a check has to ask for it, and its asking ends with it."""
    pretend_accelerator(monkeypatch)
    monkeypatch.setattr(machine, "_from_pytorch", list)
    before = precision_flags()

    records = recorded(PRECISE, "-m", "gpu")

    assert [record["measured"]["before"] for record in records.results] == ["ieee", "ieee"]
    assert precision_flags() == before
