"""The `device` fixture: same node ids everywhere, CUDA untouched while collecting, the index respected."""

import pytest
import torch

from spec.harness.accelerator import machine
from spec.harness.accelerator.devices import accelerator, accelerator_kind, label
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


def node_ids(run_spec):
    """Return the collected node ids."""
    result = run_spec(ON_DEVICES, "--collect-only", "-q")
    return [line for line in result.outlines if "::" in line]


def test_without_an_accelerator_its_case_is_not_checked(run_spec, monkeypatch):
    """The CPU is checked; the other case tells its reason instead of passing."""
    monkeypatch.setattr(torch.accelerator, "is_available", lambda *args, **kwargs: False)

    result = run_spec(ON_DEVICES, "-rs")

    assert result.parseoutcomes() == {"passed": 1, "skipped": 1}
    result.stdout.fnmatch_lines(["*no-accelerator: PyTorch sees no accelerator on this machine*"])


def test_with_an_accelerator_both_cases_run(run_spec, monkeypatch):
    """With an accelerator (meta stands in for one) the statement is checked on both."""
    pretend_accelerator(monkeypatch)

    result = run_spec(ON_DEVICES)

    assert result.parseoutcomes() == {"passed": 2}


def test_node_ids_are_the_same_with_and_without_an_accelerator(run_spec, monkeypatch):
    """Results of two machines can be laid side by side, test by test."""
    monkeypatch.setattr(torch.accelerator, "is_available", lambda *args, **kwargs: False)
    without = node_ids(run_spec)
    pretend_accelerator(monkeypatch)

    assert node_ids(run_spec) == without
    assert without == [
        "spec/section_3/test_example.py::test_place[cpu]",
        "spec/section_3/test_example.py::test_place[accelerator]",
    ]


def test_collecting_does_not_initialise_cuda(run_spec, monkeypatch):
    """Nothing up to the first test, the header of a file of records included, asks for more than the kind."""
    calls = []
    pretend_accelerator(monkeypatch, "cuda")
    monkeypatch.setattr(machine, "_from_pytorch", list)  # which asks in a process of its own
    monkeypatch.setattr(torch.cuda, "_lazy_init", lambda: calls.append("initialised"))
    monkeypatch.setattr(torch.accelerator, "current_device_index", lambda: calls.append("index") or 0)

    ids = node_ids(run_spec)
    header(None)

    assert len(ids) == 2
    assert calls == []


def test_the_current_index_is_respected(monkeypatch):
    """Where device 3 is the current one, it is the one that is checked."""
    pretend_accelerator(monkeypatch, "cuda", index=3)

    assert accelerator() == torch.device("cuda", 3)


def test_m_gpu_selects_the_accelerator_cases(run_spec):
    """`-m gpu` runs what needs an accelerator, and nothing else."""
    result = run_spec(ON_DEVICES, "-m", "gpu", "--collect-only", "-q")

    assert [line for line in result.outlines if "::" in line] == [
        "spec/section_3/test_example.py::test_place[accelerator]"
    ]


NAMED = {
    "its kind": ("xpu", 0),
    "one of several": ("xpu:1", 0),
    "none": ("cpu", 0),
    "another kind": ("mps", 4),
    "one too many": ("xpu:2", 4),
    "no number": ("xpu:one", 4),
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


@pytest.mark.parametrize("name", ["cpu", "cpu:0"])
@pytest.mark.parametrize("named_by", ["option", "environment"])
def test_device_cpu_leaves_the_accelerator_out(run_spec, monkeypatch, named_by, name):
    """With --device cpu what needs an accelerator is not checked, whatever there is."""
    pretend_accelerator(monkeypatch)
    if named_by == "environment":
        monkeypatch.setenv("BLITZ_DEVICE", name)

    result = run_spec(ON_DEVICES, *([f"--device={name}"] if named_by == "option" else []))

    assert result.parseoutcomes() == {"passed": 1, "skipped": 1}
    assert accelerator_kind() is None


@pytest.mark.parametrize("name", ["cpu:1", "cpu:", "cpu:x"])
def test_a_second_cpu_is_refused(run_spec, name):
    """PyTorch would take it for the first one."""
    result = run_spec(ON_DEVICES, f"--device={name}")

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"*there is no device {name}: PyTorch has one CPU, *"])


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
