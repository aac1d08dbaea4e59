"""What `blitz perf` found, as Markdown and as a picture."""

import io
import platform
from collections import Counter
from collections.abc import Sequence
from statistics import geometric_mean
from typing import NamedTuple

from matplotlib.figure import Figure  # without pyplot: no window, no backend to choose, nothing global
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from spec.harness.accelerator import machine
from spec.harness.perf.interleaving import Measured
from spec.harness.perf.ratios import CONFIDENCE, FAILURES, RESULTS, Ratio, ratio, result_of
from spec.harness.perf.sides import Side

# of Okabe and Ito, which differ for every kind of colour vision
COLOURS = {"slower": "#D55E00", "faster": "#0072B2", "unchanged": "#009E73", "inconclusive": "#777777"}


class Finding(NamedTuple):
    """What is said of one benchmark."""

    name: str
    result: str
    base: float | None = None  # seconds a call; geometric means, of which the ratio is the one reported
    head: float | None = None
    ratio: Ratio | None = None
    error: str = ""


def findings(measured: Measured, threshold: float) -> list[Finding]:
    """Return a finding for each benchmark, what asks for attention first."""
    found = [Finding(name, "failed", error=error) for name, error in measured.failed.items()]
    found += [Finding(name, "missing") for name in measured.missing]
    found += [Finding(name, "new") for name in measured.new]
    for name, rounds in measured.seconds.items():
        estimate = ratio(rounds)
        base, head = zip(*rounds, strict=True)
        result = result_of(estimate, threshold)
        found.append(Finding(name, result, geometric_mean(base), geometric_mean(head), estimate))
    return sorted(found, key=lambda finding: RESULTS.index(finding.result))


def markdown(found: list[Finding], about: Sequence[str], *, rounds: int, threshold: float) -> str:
    """Return the whole report."""
    counts = Counter(finding.result for finding in found)
    head = ", ".join(f"{counts[word]} {word}" for word in RESULTS if counts[word])
    rows = [
        f"| {finding.name} | {duration(finding.base)} | {duration(finding.head)} | {_ratio(finding.ratio)} "
        f"| {f'**{finding.result}**' if finding.result in FAILURES else finding.result} |"
        for finding in found
    ]
    after = [f"- {finding.error}" for finding in found if finding.error]
    if counts["missing"]:
        after.append("Missing is what only BASE has; a benchmark that was renamed counts as missing and new.")
    if counts["inconclusive"]:
        after.append(
            "Inconclusive: there may be a change or not; more --rounds or a quieter machine can tell."
        )
    return "\n".join(
        [
            f"## blitz perf: {head}",
            "",
            *(f"- {line}" for line in about),
            f"- {rounds} rounds, threshold {100 * threshold:g} %",
            "",
            f"| benchmark | BASE | HEAD | HEAD/BASE ({100 * CONFIDENCE:g} % interval) | result |",
            "| --- | --- | --- | --- | --- |",
            *rows,
            *(["", *after] if after else []),
        ]
    )


def about(sides: tuple[Side, Side], measured: Measured, load: float) -> list[str]:
    """Return lines about the machine, with its load average before the first round, and the two sides."""
    here = machine.describe()
    gpus = ", ".join(
        f"{device['name']}{', driver ' + device['driver'] if device['driver'] else ''}"
        for device in here["devices"]
    )
    # what is measured needs one core; where the rest takes the others as well, both take turns
    busy = "; **the machine is busy**" if load + 1 > here["cpus"] else ""
    lines = [
        f"{here['cpu']}, {here['cpus']} cores, {gpus or 'no GPU'}, {platform.system()}, "
        f"load average {load:.2f}{busy}"
    ]
    for side, told in zip(sides, measured.about, strict=True):
        words = [f"Python {told['python']}"]
        if told["torch"]:
            threads = f"{told['threads']} thread{'s' if told['threads'] != 1 else ''}"
            words = [f"torch {told['torch']}", *words, threads, f"on {told['device']}"]
        lines.append(f"{side}, {side.source}: {', '.join(words)}")
    return lines


def duration(seconds: float | None) -> str:
    """Return a time in the unit that suits it.

    >>> duration(0.00123), duration(2.5), duration(None)
    ('1.230 ms', '2.50 s', '')
    """
    if seconds is None:
        return ""
    unit, name = (1.0, "s") if seconds >= 1 else (1e-3, "ms") if seconds >= 1e-3 else (1e-6, "µs")
    return f"{_three(seconds / unit)} {name}"


def picture(found: list[Finding], *, threshold: float, suffix: str) -> bytes:
    """Draw the ratios with their intervals, on a logarithmic axis, over the band of the threshold.

    What has no ratio is written where that would be. The suffix is "svg" or "png".
    """
    figure = Figure(figsize=(8, 1.6 + 0.32 * len(found)), layout="constrained")
    axes = figure.subplots()
    limit = 1 + threshold
    axes.axvspan(1 / limit, limit, color="#009E73", alpha=0.12, label=f"threshold, {100 * threshold:g} %")
    axes.axvline(1, color="black", linewidth=0.8)
    # an interval may be endless; what is drawn reaches at most twice as far as the estimates
    reach = 2 * max([limit, *(max(one.ratio.point, 1 / one.ratio.point) for one in found if one.ratio)])
    widest = limit**2
    for height, finding in enumerate(reversed(found)):
        if finding.ratio is None:
            axes.text(1, height, f" {finding.result}", va="center", fontsize=9)
            continue
        low, high = max(finding.ratio.low, 1 / reach), min(finding.ratio.high, reach)
        colour = COLOURS[finding.result]
        axes.plot([low, high], [height, height], color=colour, linewidth=2.5)
        axes.plot(finding.ratio.point, height, "o", color=colour)
        widest = max(widest, 1 / low, high)
    axes.set_yticks(range(len(found)), [f"{one.name}: {one.result}" for one in reversed(found)])
    axes.set_ylim(-0.7, len(found) - 0.3)
    axes.set_xscale("log")
    axes.set_xlim(1 / widest / 1.02, widest * 1.02)
    axes.xaxis.set_major_locator(MaxNLocator(7) if widest < 3 else LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_xlabel(f"time of HEAD as a multiple of BASE's ({100 * CONFIDENCE:g} % interval; left is faster)")
    axes.legend(loc="upper right", fontsize=8)
    axes.grid(axis="x", alpha=0.3)
    buffer = io.BytesIO()
    shows = f"The times of HEAD as multiples of BASE's, each with an interval, of {len(found)} benchmarks"
    figure.savefig(
        buffer, format=suffix, dpi=110, metadata={"Description" if suffix == "png" else "Title": shows}
    )
    return buffer.getvalue()


def _ratio(ratio: Ratio | None) -> str:
    return f"{_three(ratio.point)} ({_three(ratio.low)} to {_three(ratio.high)})" if ratio else ""


def _three(value: float) -> str:
    """Return three digits behind a leading one, without an exponent: 0.987, 1.23, 12.3, 123."""
    digits = 3 if value < 2 else 2 if value < 10 else 1 if value < 100 else 0
    return f"{value:.{digits}f}"
