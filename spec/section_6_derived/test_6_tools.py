"""The tools that the notebook Simple_Grad points to at its end."""

from types import SimpleNamespace

import pytest
import torch

from spec.harness import OUTDATED, WRONG, fault, since, statement
from spec.section_6_derived.leaves import leaf

SILENT = SimpleNamespace(warn=lambda *words: None)
WAYS = {
    "script": lambda: torch.jit.script(cube),
    "trace": lambda: torch.jit.trace(cube, (torch.ones(2, dtype=torch.float64),)),
}


def cube(x):
    """Return the third power, of a tensor or as TorchScript."""
    return x * x * x


@since("2.10")
@statement(
    "derived.torchscript",
    notes="notebook Simple_Grad",
    verdict=OUTDATED,
    says="TorchScript differentiates a program as a whole, symbolically",
)
@fault("script does not warn", torch.jit._script, "warnings", lambda real: SILENT)
@fault("trace does not warn", torch.jit._trace, "warnings", lambda real: SILENT)
@pytest.mark.parametrize("way", WAYS)
def test_script_and_trace_warn_that_they_are_deprecated(way):
    """torch.jit.script and torch.jit.trace are deprecated, and every call emits a warning. The functions that
    torch.jit.script and torch.jit.trace return can still be differentiated.
    """
    x = leaf([2.0, 3.0])

    with pytest.warns((DeprecationWarning, FutureWarning), match=f"torch.jit.{way}` is deprecated"):
        made = WAYS[way]()

    assert torch.autograd.grad(made(x).sum(), [x])[0].tolist() == [12, 27]


@statement(
    "derived.torch-grad-name",
    notes="notebook Simple_Grad",
    verdict=WRONG,
    says="a new operator is best checked with torch.grad",
)
@fault(
    "torch.grad is an alias",
    torch,
    "__getattr__",
    lambda real: lambda name: torch.autograd.grad if name == "grad" else real(name),
)
@fault("grad returns its inputs", torch.autograd, "grad", lambda real: lambda outputs, inputs: inputs)
def test_torch_has_no_grad_of_its_own():
    """PyTorch has no function torch.grad. The function torch.autograd.grad returns gradients."""
    x = leaf([2.0, 3.0])

    found = torch.autograd.grad(cube(x).sum(), [x])

    assert not hasattr(torch, "grad")
    assert found[0].tolist() == [12, 27]
