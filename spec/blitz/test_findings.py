"""docs/findings.md: what PyTorch does that nobody would expect, each with a program that shows it here."""

import re
import subprocess
from contextlib import nullcontext, redirect_stdout
from io import StringIO
from typing import NamedTuple

import pytest
import torch
from packaging.version import Version

from spec.harness.children import ROOT, python
from spec.notes import NOTES
from spec.section_5_data_parallel.data_parallel import cpus

PAGE = (ROOT / "docs" / "findings.md").read_text(encoding="utf-8")
FINDING = re.compile(
    r"^## \d+\. (?P<title>.+?)\n.*?"
    r"^```python ?(?P<kind>\w*)\n(?P<code>.*?)^```\n\n"
    r"^```text\n(?P<output>.*?)^```\n\n"
    r"^Seen .*?on PyTorch (?P<seen>.+?)\.\s",
    re.MULTILINE | re.DOTALL,
)


class Finding(NamedTuple):
    """One finding of the page: its reproduction, what that prints, and the releases that show it.

    Its kind is empty for code that any process can run, "process" for a program of its own, and "gpus" for
    code that needs two GPUs.
    """

    title: str
    kind: str
    code: str
    output: str
    seen: str

    def has_ended(self):
        """Tell whether this PyTorch is newer than the last that shows it."""
        last, _, first_without = self.seen.partition(", not on ")
        return bool(first_without) and Version(torch.__version__).release > Version(last).release

    def check(self, printed):
        """Fail with a sentence if the reproduction printed something else."""
        assert printed == self.output, (
            f"PyTorch {torch.__version__} does not show the finding {self.title!r} of docs/findings.md"
        )


FINDINGS = [Finding(*match.group(*Finding._fields)) for match in FINDING.finditer(PAGE)]


def of_kind(*kinds):
    """Return a row for each finding of these kinds, named by its title."""
    return [pytest.param(each, id=each.title) for each in FINDINGS if each.kind in kinds]


def run_here(code):
    """Return what the code prints in this process."""
    printed = StringIO()
    with redirect_stdout(printed):
        exec(compile(code, "docs/findings.md", "exec"), {"__name__": "__main__"})
    return printed.getvalue()


def run_alone(code, folder):
    """Return what the code prints as a program, which may start others, abort or hang."""
    program = folder / "finding.py"
    program.write_text(code, encoding="utf-8")
    command = python(str(program))
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=280, cwd=folder).stdout


def test_every_finding_of_the_page_is_read():
    """Each heading with a number has a reproduction, its output, and the releases that show it."""
    headings = re.findall(r"^## (\d+)\. (.+)$", PAGE, re.MULTILINE)

    assert headings == [(str(number), each.title) for number, each in enumerate(FINDINGS, 1)]
    assert {each.kind for each in FINDINGS} == {"", "process", "gpus"}


def test_every_statement_that_the_page_names_exists():
    """Several findings rest on one."""
    named = re.findall(r"Statement: `([^`]+)`", PAGE)

    assert len(named) > 5
    assert set(named) <= set(NOTES.ids())


@pytest.mark.parametrize("finding", of_kind(""))
def test_reproduction_prints_what_the_page_says(finding):
    """It needs nothing but PyTorch and leaves nothing behind, so it runs in this process."""
    finding.check(run_here(finding.code))


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("finding", of_kind("process"))
def test_program_prints_what_the_page_says(finding, tmp_path):
    """It starts processes of its own, some of which abort or hang."""
    if finding.has_ended():
        pytest.skip(f"seen on PyTorch {finding.seen}")

    finding.check(run_alone(finding.code, tmp_path))


@pytest.mark.parametrize(
    "stand_ins",
    [
        pytest.param(True, id="2 CPUs"),
        pytest.param(False, id="GPUs", marks=[pytest.mark.gpu, pytest.mark.multi_gpu(2)]),
    ],
)
@pytest.mark.parametrize("finding", of_kind("gpus"))
def test_reproduction_for_gpus_prints_what_the_page_says(finding, stand_ins, monkeypatch):
    """It runs over CPU stand-ins for two GPUs, and without them where there are two."""
    if stand_ins:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)

    with cpus(2) if stand_ins else nullcontext():
        printed = run_here(finding.code)

    finding.check(printed)


# What to write instead for the finding to go away: the remedy of the page, or no cause
REMEDIES = {
    "A step of SGD can change the gradients": ("(False, True)", "(False, False)"),
    "torch.load takes a damaged file for a good one": ("^= 0x40", "^= 0x00"),
    "torch.load fills a tensor with whatever the memory held": ("^= 0x10", "^= 0x00"),
    "Autograd does not see what NumPy writes": (".detach().numpy()", ".detach().clone().numpy()"),
    "A resumed scheduler tells another learning rate than the optimizer uses": (
        "its_scheduler.load_state_dict",
        "resumed.load_state_dict(optimizer.state_dict()); its_scheduler.load_state_dict",
    ),
    "A view made under no_grad says that it requires a gradient": ("no_grad():", "enable_grad():"),
    "module.requires_grad = False freezes nothing": (".requires_grad = False", ".requires_grad_(False)"),
    "Fused SGD fails on a weight that joins late": ("fused=fused)", "fused=False)"),
    "Under DataParallel a penalty on the weights is zero": ("in self.parameters()", "in [self.weight]"),
    "DataParallel fails on a small batch if an option is given by name": ("twice=True", "True"),
    "A convolution can have a wrong gradient on a CPU without AVX-512": (
        "torch.channels_last",
        "torch.preserve_format",
    ),
    "DistributedDataParallel lets the processes drift apart for one step": (
        "DistributedDataParallel(net)",
        "DistributedDataParallel(net, find_unused_parameters=True)",
    ),
    "After a restart by torchrun the processes look for those that are gone": (
        "stdout=",
        'env={**os.environ, "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}, stdout=',
    ),
    "A process that has done all its work aborts at its end": (
        ".get_future().then(work_on)",
        ".wait()\ndist.destroy_process_group()",
    ),
    "The same backward pass gives other bits the second time": (
        "    for _ in range(3):",
        "    ddp(inputs).sum().backward()\n    for _ in range(3):",
    ),
}


@pytest.mark.parametrize("finding", of_kind("", "gpus"))
def test_reproduction_without_its_cause_fails(finding, monkeypatch):
    """What a release no longer shows is told in one sentence."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with cpus(2) if finding.kind == "gpus" else nullcontext():
        printed = run_here(changed(finding))

    with pytest.raises(AssertionError, match="does not show the finding"):
        finding.check(printed)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("finding", [row for row in of_kind("process") if row.id in REMEDIES])
def test_program_without_its_cause_fails(finding, tmp_path):
    """The same for programs."""
    printed = run_alone(changed(finding), tmp_path)

    with pytest.raises(AssertionError, match="does not show the finding"):
        finding.check(printed)


def changed(finding):
    """Return the code of a finding with its remedy in place."""
    assert REMEDIES[finding.title][0] in finding.code
    return finding.code.replace(*REMEDIES[finding.title])
