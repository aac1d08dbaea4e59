"""The `device` fixture: same node ids everywhere, CUDA untouched while collecting, the index respected."""

import pytest
import torch

from spec.harness.accelerator import machine
from spec.harness.accelerator.devices import accelerator, label
from spec.harness.accelerator.precision import precision_flags
from spec.harness.records.reading import read
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


def test_the_current_index_is_respected(monkeypatch):
    """Where device 3 is the current one, it is the one that is checked."""
    pretend_accelerator(monkeypatch, "cuda", index=3)

    assert accelerator() == torch.device("cuda", 3)


NAMED = {
    "its kind": ("xpu", 0),
    "one of several": ("xpu:1", 0),
    "none": ("cpu", 0),
    "another kind": ("mps", 4),
    "one too many": ("xpu:2", 4),
    "no number": ("xpu:one", 4),
    "a second CPU": ("cpu:1", 4),
}


@pytest.mark.parametrize(("name", "status"), NAMED.values(), ids=NAMED)
def test_device_names_the_accelerator_of_a_run(run_spec, monkeypatch, name, status):
    """--device takes a kind, or one device, that PyTorch sees here; any other stops the run at once."""
    pretend_accelerator(monkeypatch, "xpu")
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: 2)

    result = run_spec(ON_DEVICES, f"--device={name}", "-k", "cpu")

    assert result.ret == status
    if status:
        result.stderr.fnmatch_lines([f"*--device {name}: no such device here; PyTorch * sees *"])


@pytest.mark.parametrize("named_by", ["option", "environment"])
def test_device_cpu_leaves_the_accelerator_out(run_spec, monkeypatch, named_by):
    """With --device cpu what needs an accelerator is not checked, whatever there is."""
    pretend_accelerator(monkeypatch)
    if named_by == "environment":
        monkeypatch.setenv("BLITZ_DEVICE", "cpu")

    result = run_spec(ON_DEVICES, *(["--device=cpu"] if named_by == "option" else []))

    assert result.parseoutcomes() == {"passed": 1, "skipped": 1}


def test_a_worker_names_its_device_as_the_caller_does(monkeypatch):
    """Own devices are always the first to a worker on CUDA: its seat tells which it is to the caller."""
    monkeypatch.setenv("BLITZ_SEAT", "3/8")

    assert label(torch.device("cuda", 0)) == "cuda:3"
    assert label(torch.device("xpu", 3)) == "xpu:3"


PRECISE = """
@statement("nn.precise", notes="3")
def test_precise(device, measured):
    "One is one."
    from spec.harness.accelerator.precision import precision_flags
    measured["before"] = precision_flags()["cuda_convolution"]
    torch.backends.cudnn.allow_tf32 = True
    assert 1 == 1

@statement("nn.later", notes="3")
def test_later(device, measured):
    "One is one."
    from spec.harness.accelerator.precision import precision_flags
    measured["before"] = precision_flags()["cuda_convolution"]
    assert 1 == 1
"""


def test_a_statement_on_an_accelerator_starts_from_ieee_and_leaves_nothing_behind(
    run_spec, pytester, monkeypatch
):
    """PyTorch's default for convolutions is TF32; a check has to ask for it, and its asking ends with it."""
    pretend_accelerator(monkeypatch)
    monkeypatch.setattr(machine, "_from_pytorch", list)
    before = precision_flags()

    run_spec(PRECISE, "-m", "gpu", "--records=v.jsonl")
    records = read(pytester.path / "v.jsonl").results

    assert [record["measured"]["before"] for record in records] == ["ieee", "ieee"]
    assert precision_flags() == before
