"""On an accelerator no test lets the device judge; `meta`, a device without values, stands in for one."""

from pathlib import Path

import pytest
import torch

from spec.harness.statements.judging import JudgedByTheAccusedError, judged_on_the_cpu
from spec.harness.tests.accelerator.test_devices import pretend_accelerator

HERE, SPEC = Path(__file__).parent, Path(__file__).parents[3]
ON_META = torch.ones(2, device="meta")
ANSWERS = {
    "assert": lambda x: bool((x == x).all()),
    "if": lambda x: 1 if x[0] > 0 else 2,
    "not": lambda x: not x.any(),
    "equality of lists": lambda x: [x[0]] == [x[1]],
    "in": lambda x: 1 in x,
    "is_nonzero": lambda x: torch.is_nonzero(x[0]) or x[0].is_nonzero(),
    "equal": lambda x: torch.equal(x, x),
    "method equal": lambda x: x.equal(x),
    "allclose": lambda x: torch.allclose(x, x),
    "method allclose": lambda x: x.allclose(x),
    "isclose": lambda x: torch.isclose(x, x),
    "method isclose": lambda x: x.isclose(x),
    "item of a truth value": lambda x: (x == x).all().item(),
    "a parameter": lambda x: bool(torch.nn.Parameter(x[0])),
    "keywords": lambda x: torch.equal(input=x, other=x),
}
STATEMENTS = """
@statement("nn.judged", notes="3")
def test_judged(device):
    "One is one."
    assert (torch.ones(2, device=device) == 1).all()

@statement("nn.asked", notes="3")
@pytest.mark.asks_the_device
def test_asked(device):
    "What is about truth values may ask for one."
    with pytest.raises(RuntimeError, match="ambiguous"):
        bool(torch.ones(2, device=device))

@statement("nn.copied", notes="3")
def test_copied(device):
    "A shape is asked of the device."
    assert torch.ones(2, device=device).shape == (2,)
"""


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
def test_an_answer_of_the_device_is_refused(answer):
    """Whatever turns tensors of another device into an answer says that it belongs on the CPU."""
    with judged_on_the_cpu(HERE), pytest.raises(JudgedByTheAccusedError, match=r"expected .* on the CPU"):
        answer(ON_META)


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
def test_the_cpu_may_judge(answer):
    """The same asked of tensors on the CPU is answered, and afterwards nothing is refused any more."""
    before = [torch.equal, torch.allclose, torch.Tensor.__bool__, torch.Tensor.equal]

    with judged_on_the_cpu(HERE):
        found = answer(torch.ones(2))

    assert isinstance(found, (bool, int, torch.Tensor))
    assert [torch.equal, torch.allclose, torch.Tensor.__bool__, torch.Tensor.equal] == before


def test_what_others_ask_is_their_own_affair():
    """PyTorch, or the program under test, may branch on a tensor of the device: the judge is the test."""
    with judged_on_the_cpu(SPEC / "blitz"), pytest.raises(RuntimeError, match="meta"):
        bool(ON_META[0])


def test_a_number_of_the_device_may_be_read():
    """To read a number is a copy, on which the CPU can decide: the device `meta` has none to give."""
    with judged_on_the_cpu(HERE), pytest.raises(RuntimeError, match="meta"):
        ON_META[0].item()


def test_a_statement_on_an_accelerator_is_refused_an_answer_of_the_device(run_spec, monkeypatch):
    """The statement fails on the accelerator alone, unless truth values are what it is about."""
    pretend_accelerator(monkeypatch)

    result = run_spec(STATEMENTS)

    assert result.parseoutcomes() == {"passed": 5, "failed": 1}
    result.stdout.fnmatch_lines(["*JudgedByTheAccusedError: __bool__ would have meta judge*"])


def test_an_answer_of_the_device_catches_no_sabotage(run_spec, monkeypatch):
    """That a statement is refused an answer does not count as a fault that it caught."""
    pretend_accelerator(monkeypatch)
    fault = '@fault("ones are zeros", torch, "ones", zeros)\n'

    result = run_spec(
        STATEMENTS.replace("def test_judged", f"{fault}def test_judged"), "--sabotage", "-k", "judged"
    )

    assert result.ret == 1
    result.stdout.fnmatch_lines(
        ["1 caught, *, 1 red without a fault"]
    )  # caught on the CPU, red on the device


def test_assert_close_compares_values_on_the_cpu(monkeypatch):
    """Device, type and shape are compared as they are, values after both were copied to the CPU."""
    copied, real = [], torch.Tensor.cpu
    monkeypatch.setattr(torch.Tensor, "cpu", lambda tensor: copied.append(tensor) or real(tensor))
    a, b = torch.ones(2), torch.ones(2)

    torch.testing.assert_close({"a": [a]}, {"a": [b]})

    assert [any(tensor is given for tensor in copied) for given in (a, b)] == [True, True]
    for other in (torch.ones(2, device="meta"), torch.ones(2).double(), torch.ones(3)):
        with pytest.raises(AssertionError, match=r"do not match|not equal"):
            torch.testing.assert_close(a, other)
