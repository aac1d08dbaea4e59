"""`blitz perf` says of a benchmark what its rounds allow, and is wrong no more often than it says."""

import math

import numpy as np
import pytest

from spec.harness.perf.ratios import Ratio, ratio, result_of

RESULTS = {
    "all of the interval beyond the threshold": (Ratio(1.10, 1.08, 1.12), "slower"),
    "the interval reaches into the band, but not to 1": (Ratio(1.06, 1.01, 1.11), "slower"),
    "the estimate within the threshold": (Ratio(1.04, 1.01, 1.07), "inconclusive"),
    "the interval holds 1": (Ratio(1.10, 0.99, 1.22), "inconclusive"),
    "a slowdown, but all of it within the threshold": (Ratio(1.03, 1.02, 1.04), "unchanged"),
    "as wide as the threshold": (Ratio(1.0, 1 / 1.05, 1.05), "unchanged"),
    "a little wider than the threshold": (Ratio(1.0, 0.95, 1.05), "inconclusive"),
    "4.9 % less time is the inverse of 5.2 % more": (Ratio(0.951, 0.94, 0.97), "faster"),
    "4.7 % less time is the inverse of 4.9 % more": (Ratio(0.953, 0.94, 0.97), "inconclusive"),
    "no end": (Ratio(1.5, 0.0, math.inf), "inconclusive"),
}


@pytest.mark.parametrize(("found", "word"), RESULTS.values(), ids=RESULTS)
def test_a_result_needs_the_interval_and_the_estimate(found, word):
    """A change leaves out 1 and is beyond the threshold; swapping the sides swaps slower and faster."""
    inverse = Ratio(1 / found.point, 1 / found.high, 1 / found.low if found.low else math.inf)
    swapped = {"slower": "faster", "faster": "slower"}

    assert result_of(found, 0.05) == word
    assert result_of(inverse, 0.05) == swapped.get(word, word)


def test_the_estimate_is_the_geometric_mean_of_the_rounds():
    """Twice as slow in one round and twice as fast in the other is no change, however often one asks."""
    rounds = [(1.0, 2.0), (3.0, 1.5)] * 4

    found = ratio(rounds)

    assert found.point == pytest.approx(1.0)
    assert found.low == pytest.approx(1 / found.high)
    assert found == ratio(rounds)


NOISES = {
    "normal": lambda random, size: random.normal(0, 0.02, size),
    "a process is lucky or not": lambda random, size: (
        random.choice([-0.02, 0.02], size) + random.normal(0, 0.004, size)
    ),
    "rounds that others disturbed": lambda random, size: (
        random.normal(0, 0.02, size) + (random.random(size) < 0.15) * random.normal(0, 0.2, size)
    ),
}
TRIALS = 400
NO_CHANCE = 11  # of 400 at 1 % each: so many or more come with a probability of 0.3 %


@pytest.mark.parametrize("noise", NOISES.values(), ids=NOISES)
def test_99_of_100_intervals_hold_the_true_ratio(noise, monkeypatch):
    """Eight rounds suffice for it, whatever the noise is like; here HEAD takes 1.1 times as long."""
    monkeypatch.setattr("spec.harness.perf.ratios.RESAMPLES", 1500)
    random = np.random.default_rng(1)
    found = [
        ratio([(1.0, 1.1 * math.exp(each)) for each in noise(random, 8)], seed=trial)
        for trial in range(TRIALS)
    ]

    missed = sum(not one.low <= 1.1 <= one.high for one in found)

    assert missed < NO_CHANCE


def test_a_steady_slowdown_is_seen_through_the_noise_of_a_quiet_machine():
    """Rounds that differ by 2 % tell 10 % from nothing, nearly always."""
    random = np.random.default_rng(2)
    found = [
        result_of(ratio([(1.0, 1.1 * math.exp(each)) for each in random.normal(0, 0.02, 8)]), 0.05)
        for _ in range(100)
    ]

    assert found.count("slower") >= 95
