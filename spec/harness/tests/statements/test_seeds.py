"""Each test starts from its own seed, whatever the order, the device or the sabotage."""

import pytest

from spec.harness.tests.accelerator.test_devices import pretend_accelerator

DRAWS = """
import random
import numpy as np
from hypothesis import given, settings, strategies as st

def draw(name):
    with open("draws", "a") as file:
        file.write(f"{name}: {random.random()} {np.random.rand()} {torch.rand(1).item()}\\n")
    assert True

@pytest.fixture(scope="module")
def shared():
    draw("shared")

@statement("nn.a", notes="3")
@fault("ones is broken", torch, "ones", zeros)
def test_a(device, shared):
    "True."
    draw("a")

@statement("nn.b", notes="3")
@fault("ones is broken", torch, "ones", zeros)
def test_b(shared):
    "True."
    draw("b")

@statement("nn.generated", notes="3")
@settings(max_examples=20)
@given(st.integers())
def test_generated(number):
    "True."
    draw(f"generated {number}")
"""


@pytest.fixture
def draws(run_spec, pytester):
    """Run with options; return the lines that the tests wrote, in alphabetical order."""

    def run(*options):
        run_spec(DRAWS, *options)
        path = pytester.path / "draws"
        lines = path.read_text().splitlines()
        path.unlink()
        return sorted(lines)

    return run


def test_draws_depend_neither_on_the_order_nor_on_a_sabotage(draws):
    """A test, and a fixture that tests share, draw the same alone, after another one, and under a fault."""
    together = draws("-k", "test_a or test_b")
    drawn = {number for line in together for number in line.split()[1:]}

    assert len(drawn) == 9  # by two tests and a fixture, from three generators each
    assert draws("-k", "test_b") == together[1:]
    assert sorted(set(draws("-k", "test_a or test_b", "--sabotage"))) == together


def test_draws_are_the_same_on_each_device_and_in_every_run(draws, monkeypatch):
    """The seed leaves the device out, so that devices can be compared; a generated case that fails today
    fails tomorrow, on every machine.
    """
    pretend_accelerator(monkeypatch)

    drawn = draws("-k", "test_a or generated")

    cpu, accelerator, *generated = drawn[:-1]
    assert accelerator == cpu
    assert len(generated) == 20
    assert draws("-k", "test_a or generated") == drawn


def test_seed_and_params_hold_no_addresses(recorded):
    """A case that is a function is named, since its address is another one in the next process."""
    rows = '@pytest.mark.parametrize("f", [torch.relu, lambda x: x, object()])\n'
    source = '@statement("nn.f", notes="3")\ndef test_f(f):\n    "True."\n    assert f\n'

    records = recorded(rows + source)

    assert [record["params"]["f"] for record in records.results] == ["relu", "<lambda>", "<object object>"]
