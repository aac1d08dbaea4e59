"""What a step of each recipe costs, in exact numbers, which need no quiet machine to be compared.

A change of a number here is a change of what every training does: its commit says why. Numbers of operators
hold for a release of PyTorch; arithmetic, images and waits for all of them.
"""

import copy
from collections import Counter
from itertools import islice

import pytest
import torch
from torch._subclasses.fake_tensor import FakeCopyMode, FakeTensorMode

from blitz.cifar10.data import Split
from blitz.training import devices
from blitz.training import fit as training
from blitz.training.recipes import RECIPES, net_for
from spec.blitz.runs import make_split
from spec.counters import copied_bytes, flops, operators

IMAGES = 20  # a step of them, except for the tutorial's four: arithmetic is in proportion to them
PIXELS = 3 * 32 * 32

ARITHMETIC = {  # floating-point operations of products and convolutions a step
    "tutorial": 12_818_880,
    "fast": 157_925_136,
    "strong": 1_731_852_144,
    "record": 20_489_385_072,
}

OPERATORS = {  # dispatched a step, by release of PyTorch
    "2.14": {"tutorial": 85, "fast": 254, "strong": 331, "record": 439},
}

COPIED = {  # bytes a step: conversions between types among them
    "2.14": {"tutorial": 49_152, "fast": 245_760, "strong": 5_367_664, "record": 35_823_488},
}


@pytest.fixture(params=RECIPES, scope="module")
def name(request):
    """Each recipe's name, in turn."""
    return request.param


@pytest.fixture(scope="module")
def trained(name):
    """The steps of a training whose first ones are done, and the mode in which its tensors are fake.

    A fake tensor has a shape and a type, but no values: its operators are dispatched, and compute nothing.
    """
    recipe = RECIPES[name]
    recipe = recipe._replace(batch_size=min(recipe.batch_size, IMAGES), report_every=1000)
    split = make_split(20 * recipe.batch_size)
    net = net_for(recipe, split.images)
    fake = FakeTensorMode()
    with FakeCopyMode(fake):
        net, images, labels = copy.deepcopy((net, *split))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(devices, "has_bfloat16", lambda device: True)  # on every machine the same
        patch.setattr(training, "checked", lambda net, split, device: split)  # asks for the labels' values
        patch.setattr(net, "to", lambda device: net)  # cannot move fake weights
        with fake:
            steps = training.Training(net, Split(images, labels), recipe).steps()
            list(islice(steps, 2))
        yield steps, fake


@pytest.fixture
def step(trained):
    """A function that makes a step of a recipe."""
    steps, fake = trained
    with fake:
        yield lambda: next(steps)


def of_this_release(table):
    """Return the numbers of this release of PyTorch; a release without any is not checked."""
    release = ".".join(torch.__version__.split(".")[:2])
    if release not in table:
        pytest.skip(f"no numbers for PyTorch {release} yet, only for {', '.join(table)}")
    return table[release]


def test_arithmetic_of_a_step_is_exact(step, name):
    """As many operations as the shapes of the layers say, forward and backward, and of Muon's products."""
    assert flops(step) == ARITHMETIC[name]


def test_operators_of_a_step_are_exact(step, name):
    """Each one costs a few microseconds, however little it does."""
    expected = of_this_release(OPERATORS)[name]

    counts = operators(step)

    del counts["prim.device.default"]  # asks a fake tensor where it is
    assert counts.total() == expected, counts


def test_bytes_copied_in_a_step_are_exact(step, name):
    """Copies and conversions, by what they write."""
    expected = of_this_release(COPIED)[name]

    assert copied_bytes(step) == expected


def test_a_step_reads_the_images_of_its_batch_and_no_others(step, name):
    """Of uint8 pixels as many are picked as the batch has."""
    picked = Counter()

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            output = func(*args, **(kwargs or {}))
            if func is torch.ops.aten.index_select.default and output.dtype == torch.uint8:
                picked["images"] += output.numel() / PIXELS
            return output

    with Watch():
        step()

    assert picked["images"] == min(RECIPES[name].batch_size, IMAGES)


def test_a_step_waits_for_no_value(step):
    """No value is fetched from the device, for which a GPU would have to be done first."""
    assert operators(step)["aten._local_scalar_dense.default"] == 0
