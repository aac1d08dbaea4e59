"""Each test starts from its own seed, whatever the order, the device or the sabotage."""

import json

import torch

from spec.harness.records.reading import read
from spec.harness.statements.seeds import seed_of

DRAWS = """
import json, random
import numpy as np

def draw(name):
    with open("draws.jsonl", "a") as file:
        values = [random.random(), float(np.random.rand()), float(torch.rand(1)), torch.get_num_threads()]
        file.write(json.dumps([name, *values]) + "\\n")
    assert True

@statement("nn.a", notes="3")
@fault("ones is broken", torch, "ones", zeros)
def test_a(device):
    "True."
    draw("a")

@statement("nn.b", notes="3")
@fault("ones is broken", torch, "ones", zeros)
def test_b():
    "True."
    draw("b")
"""


def draws(pytester):
    """Return the lines that the tests wrote, and start afresh."""
    path = pytester.path / "draws.jsonl"
    lines = path.read_text().splitlines()
    path.unlink()
    return sorted(lines)


def test_draws_do_not_depend_on_the_order(run_spec, pytester):
    """A test draws the same numbers alone, and after another one."""
    run_spec(DRAWS)
    together = draws(pytester)
    run_spec(DRAWS, "-k", "test_b")

    assert draws(pytester) == together[1:]
    assert len(together) == 2


def test_draws_are_the_same_on_each_device(run_spec, pytester, monkeypatch):
    """The seed leaves the device out, so that devices can be compared."""
    monkeypatch.setattr(torch.accelerator, "is_available", lambda *args, **kwargs: True)
    monkeypatch.setattr(
        torch.accelerator, "current_accelerator", lambda *args, **kwargs: torch.device("meta")
    )
    monkeypatch.setattr(torch.accelerator, "current_device_index", lambda: 0)

    run_spec(DRAWS, "-k", "test_a")
    cpu, accelerator = draws(pytester)

    assert accelerator == cpu


def test_draws_are_the_same_under_a_sabotage(run_spec, pytester):
    """A sabotaged run sees the data of the plain one."""
    run_spec(DRAWS)
    plain = draws(pytester)
    run_spec(DRAWS, "--sabotage")

    assert sorted(set(draws(pytester))) == plain


def test_shared_fixtures_draw_the_same_whichever_test_comes_first(run_spec, pytester):
    """A fixture of a wider scope starts from a seed of its own."""
    fixture = '@pytest.fixture(scope="module")\ndef shared():\n    draw("shared")\n'
    source = DRAWS.replace("test_a(device)", "test_a(shared)").replace("test_b()", "test_b(shared)")
    together = [line for line in (run_spec(source + fixture), draws(pytester))[1] if "shared" in line]

    run_spec(source + fixture, "-k", "test_b")

    assert [line for line in draws(pytester) if "shared" in line] == together


def test_seed_and_params_hold_no_addresses(run_spec, pytester):
    """A case that is a function is named, since its address is another one in the next process."""
    cases = (
        '@pytest.mark.parametrize("f", [torch.relu, lambda x: x, object()])\n@statement("nn.f", notes="3")\n'
    )
    run_spec(f"{cases}def test_f(f):\n    'True.'\n    assert f\n", "--records=v.jsonl")

    records = read(pytester.path / "v.jsonl").results

    assert [record["params"]["f"] for record in records] == ["relu", "<lambda>", "<object object>"]


def test_two_tests_draw_different_numbers(run_spec, pytester):
    """The seed comes from the node id, so no two tests share their luck; torch has one thread."""
    run_spec(DRAWS)
    (_, *a, threads), (_, *b, _) = map(json.loads, draws(pytester))

    assert all(x != y for x, y in zip(a, b, strict=True))
    assert threads == 1


def test_seed_is_a_number_that_every_generator_takes(request):
    """The seed lies in [0, 2**32) and repeats."""
    seed = seed_of(request.node)

    assert 0 <= seed < 2**32
    assert seed_of(request.node) == seed


GENERATED = """
from hypothesis import given, strategies as st

@statement("nn.generated", notes="3")
@fault("zeros is broken", torch, "zeros", zeros)
@given(st.integers())
def test_generated(number):
    'True.'
    draw(number)
    assert number is not None
"""


def test_hypothesis_draws_the_same_cases_in_every_run(run_spec, pytester):
    """A generated case that fails today fails tomorrow, on every machine."""
    run_spec(DRAWS + GENERATED, "-k", "generated")
    first = draws(pytester)
    run_spec(DRAWS + GENERATED, "-k", "generated")

    assert len(first) == 100
    assert draws(pytester) == first
