"""Timed samples of an operation, of which those count during which the device was not throttled."""

from collections import Counter

import pytest

from spec.benchmarks import throttling

SAMPLES = 20
AT_LEAST = 10  # samples, for a median that one or two odd ones do not move


def sample(benchmark, operation, device, samples=SAMPLES, at_least=AT_LEAST):
    """Time `operation`, which returns once the device is done, so often; return what it returns.

    A sample is dropped if the device was throttled right before or right after it. With fewer than `at_least`
    left there is no number, neither in the table nor in a file: the result is invalid, and the test fails.
    In a run that times nothing, `operation` is done twice.
    """
    if benchmark.disabled:
        operation()
        return benchmark(operation)
    before, after = [], []
    result = benchmark.pedantic(
        operation,
        setup=lambda: before.append(throttling.reasons(device)),
        teardown=lambda: after.append(throttling.reasons(device)),
        rounds=samples,
        warmup_rounds=1,
    )
    throttled = [(one or set()) | (other or set()) for one, other in zip(before, after, strict=True)][1:]
    times = benchmark.stats.stats.data
    times[:] = [seconds for seconds, why in zip(times, throttled, strict=True) if not why]
    benchmark.extra_info["samples dropped"] = samples - len(times)
    benchmark.extra_info["throttling"] = "known" if None not in (*before, *after) else "not known here"
    if len(times) < min(at_least, samples):
        benchmark._add_stats.__self__.remove(
            benchmark.stats
        )  # the only way to have it neither shown nor saved
        causes = Counter(word for why in throttled for word in why)
        pytest.fail(
            f"invalid: {samples - len(times)} of {samples} samples were taken while {device} was throttled "
            f"({', '.join(causes)}); let it cool down, or look at its power limit, and measure again",
            pytrace=False,
        )
    return result
