"""What a step of each recipe costs, in exact numbers, which need no quiet machine to be compared.

A change of a number here is a change of what every training does: its commit says why. Numbers of operators
hold for a release of PyTorch; arithmetic and waits for all of them.
"""

import copy
from types import SimpleNamespace

import pytest
import torch
from torch._subclasses.fake_tensor import FakeCopyMode, FakeTensorMode

from blitz.cifar10.data import Split
from blitz.training import devices
from blitz.training import fit as training
from blitz.training.recipes import RECIPES, net_for
from spec.counters import copied_bytes, flops, operators

IMAGES = 20  # a step of them, except for the tutorial's four: arithmetic is in proportion to them

ARITHMETIC = {  # floating-point operations of products and convolutions a step
    "tutorial": 12_818_880,
    "fast": 157_818_336,
    "strong": 4_874_477_568,
    "record": 20_489_071_872,
}

OPERATORS = {  # dispatched a step, by release of PyTorch
    "2.14": {"tutorial": 85, "fast": 193, "strong": 342, "record": 346},
}

COPIED = {  # bytes a step: conversions between types among them
    "2.14": {"tutorial": 49_152, "fast": 245_760, "strong": 21_290_224, "record": 35_803_008},
}


@pytest.fixture(params=RECIPES, scope="module")
def cost(request):
    """The name of each recipe in turn, and what a step costs once the first one is done.

    A fake tensor has a shape and a type, but no values: its operators are dispatched, and compute nothing.
    """
    recipe = RECIPES[request.param]
    recipe = recipe._replace(batch_size=min(recipe.batch_size, IMAGES), report_every=1000)
    length = 5 * recipe.batch_size
    fake = FakeTensorMode()
    with FakeCopyMode(fake):
        net = copy.deepcopy(net_for(recipe))
    with pytest.MonkeyPatch.context() as patch, fake:
        patch.setattr(devices, "has_bfloat16", lambda device: True)  # on every machine the same
        patch.setattr(training, "checked", lambda net, split, device: split)  # asks for the labels' values
        split = Split(
            torch.zeros(length, 3, 32, 32, dtype=torch.uint8), torch.zeros(length, dtype=torch.int64)
        )
        patch.setattr(net, "to", lambda device: net)  # cannot move fake weights
        steps = training.Training(net, split, recipe).steps()
        next(steps)
        counts = operators(lambda: next(steps))
        del counts["prim.device.default"]  # asks a fake tensor where it is
        return SimpleNamespace(
            name=request.param,
            operators=counts,
            flops=flops(lambda: next(steps)),
            copied=copied_bytes(lambda: next(steps)),
        )


def test_arithmetic_of_a_step_is_exact(cost):
    """As many operations as the shapes of the layers say, forward and backward, and of Muon's products."""
    assert cost.flops == ARITHMETIC[cost.name]


def test_operators_and_copies_of_a_step_are_exact(cost):
    """Each operator costs a few microseconds, however little it does; copies count by what they write."""
    release = ".".join(torch.__version__.split(".")[:2])
    if release not in OPERATORS:
        pytest.skip(f"no numbers for PyTorch {release} yet, only for {', '.join(OPERATORS)}")

    assert cost.operators.total() == OPERATORS[release][cost.name], cost.operators
    assert cost.copied == COPIED[release][cost.name]


def test_a_step_waits_for_no_value(cost):
    """No value is fetched from the device, for which a GPU would have to be done first."""
    assert cost.operators["aten._local_scalar_dense.default"] == 0
