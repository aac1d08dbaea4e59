"""How much slower HEAD is than BASE, how sure that is, and what it is called."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

CONFIDENCE = 0.99  # share of such intervals that hold the true ratio
RESAMPLES = 10_000

FAILURES = ("slower", "failed", "missing")
RESULTS = (*FAILURES, "inconclusive", "new", "faster", "unchanged")


class Ratio(NamedTuple):
    """HEAD's time as a multiple of BASE's: the estimate, and the ends of its interval."""

    point: float
    low: float
    high: float


def ratio(rounds: Sequence[tuple[float, float]], seed: int = 0) -> Ratio:
    """Return the ratio of the rounds, with a symmetric studentised bootstrap interval over the rounds.

    The mean of the logarithms of the rounds' ratios, and the interval of the resampled means in units of
    their own standard error. Percentile intervals, BCa among them, are far too narrow for eight rounds:
    docs/decisions/perf.md.

    Args:
        rounds: seconds of BASE and HEAD in each round; rounds are independent, and what is measured within
            one is not, so they are what is drawn.
        seed: of the draws; the same rounds give the same interval.

    >>> ratio([(1.0, 2.0)] * 8)
    Ratio(point=2.0, low=2.0, high=2.0)
    """
    logs = np.log([head / base for base, head in rounds])
    centre, error = logs.mean(), _standard_error(logs)
    drawn = np.random.default_rng(seed).choice(logs, (RESAMPLES, len(logs)))
    errors = _standard_error(drawn)
    away = np.abs(drawn.mean(axis=-1) - centre)
    distances = np.divide(away, errors, out=np.where(away > 0, np.inf, 0.0), where=errors > 0)
    # an error of zero times an infinite distance is no uncertainty, since all rounds are the same
    half = error and float(np.quantile(distances, CONFIDENCE, method="higher")) * error
    with np.errstate(over="ignore"):
        return Ratio(*(float(end) for end in np.exp([centre, centre - half, centre + half])))


def result_of(ratio: Ratio, threshold: float) -> str:
    """Return faster, slower, unchanged or inconclusive.

    A change is one when the interval leaves out 1 and the estimate is beyond the threshold; there is none
    when the whole interval lies within. Being slower by the threshold t is the ratio 1 + t, and being faster
    its inverse, so that swapping the sides swaps the results.

    >>> result_of(Ratio(1.10, 1.08, 1.12), 0.05), result_of(Ratio(1.10, 0.98, 1.23), 0.05)
    ('slower', 'inconclusive')
    """
    limit = 1 + threshold
    if ratio.low > 1 and ratio.point > limit:
        return "slower"
    if ratio.high < 1 and ratio.point < 1 / limit:
        return "faster"
    if 1 / limit <= ratio.low and ratio.high <= limit:
        return "unchanged"
    return "inconclusive"


def _standard_error(values: np.ndarray) -> np.ndarray:
    """Return the standard error of the mean, along the last axis."""
    return values.std(axis=-1, ddof=1) / math.sqrt(values.shape[-1])
