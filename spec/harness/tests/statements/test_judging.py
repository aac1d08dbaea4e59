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
    "equality of lists": lambda x: [x[0]] == [x[1]],
    "in": lambda x: 1 in x,
    "is_nonzero": lambda x: torch.is_nonzero(x[0]),
    "method is_nonzero": lambda x: x[0].is_nonzero(),
    "equal, by keywords": lambda x: torch.equal(input=x, other=x),
    "method equal": lambda x: x.equal(x),
    "allclose": lambda x: torch.allclose(x, x),
    "method allclose": lambda x: x.allclose(x),
    "isclose": lambda x: torch.isclose(x, x),
    "method isclose": lambda x: x.isclose(x),
    "item of a truth value": lambda x: (x == x).all().item(),
}
STATEMENTS = """
@statement("nn.judged", notes="3")
@fault("ones are zeros", torch, "ones", zeros)
def test_judged(device):
    "One is one."
    assert (torch.ones(2, device=device) == 1).all()

@statement("nn.asked", notes="3")
@pytest.mark.asks_the_device
def test_asked(device):
    "What is about truth values may ask for one."
    with pytest.raises(RuntimeError, match="ambiguous"):
        bool(torch.ones(2, device=device))
"""


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
def test_an_answer_of_the_device_is_refused_and_one_of_the_cpu_is_given(answer):
    """Whatever turns tensors of another device into an answer says that it belongs on the CPU."""
    with judged_on_the_cpu(HERE):
        found = answer(torch.ones(2))
        with pytest.raises(JudgedByTheAccusedError, match=r"expected .* on the CPU"):
            answer(ON_META)

    assert isinstance(found, (bool, torch.Tensor))


def test_what_is_no_judgement_is_not_refused():
    """The program under test may branch on a tensor of the device, and a number is read by a copy."""
    for folder, asked in ((SPEC / "blitz", ON_META[0].__bool__), (HERE, ON_META[0].item)):
        with judged_on_the_cpu(folder), pytest.raises(RuntimeError, match="meta"):
            asked()


def test_a_statement_on_an_accelerator_is_refused_an_answer_of_the_device(run_spec, monkeypatch):
    """The statement fails on the accelerator alone, unless truth values are what it is about.

    That it is refused an answer does not count as a fault that it caught.
    """
    pretend_accelerator(monkeypatch)

    result = run_spec(STATEMENTS)
    sabotaged = run_spec(STATEMENTS, "--sabotage", "-k", "judged and accelerator")

    assert result.parseoutcomes() == {"passed": 3, "failed": 1}
    result.stdout.fnmatch_lines(["*JudgedByTheAccusedError: __bool__ would have meta judge*"])
    assert sabotaged.ret == 1
    sabotaged.stdout.fnmatch_lines(["0 caught, 0 survived, 1 caught by accident, *, 1 red without a fault"])


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
