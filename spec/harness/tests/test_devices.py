"""The `device` fixture: same node ids everywhere, CUDA untouched while collecting, the index respected."""

import torch

from spec.harness import catalogue
from spec.harness.devices import accelerator
from spec.harness.verdicts import header

ON_DEVICES = """
@claim("nn.place", notes="3")
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
    """With an accelerator (meta stands in for one) the claim is checked on both."""
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
        "spec/test_3_example.py::test_place[cpu]",
        "spec/test_3_example.py::test_place[accelerator]",
    ]


def test_collecting_does_not_initialise_cuda(run_spec, monkeypatch):
    """Nothing up to the first test, the header of a verdict file included, asks for more than the kind."""
    calls = []
    pretend_accelerator(monkeypatch, "cuda")
    monkeypatch.setattr(torch.cuda, "_lazy_init", lambda: calls.append("initialised"))
    monkeypatch.setattr(torch.accelerator, "current_device_index", lambda: calls.append("index") or 0)

    ids = node_ids(run_spec)
    header(catalogue.SPEC.parent)

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
        "spec/test_3_example.py::test_place[accelerator]"
    ]
