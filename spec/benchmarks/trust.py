"""How far `blitz perf` can be trusted: `python -m spec.benchmarks.trust RECORDS.jsonl`.

Each comparison is one of `blitz perf` itself, of two copies of this tree. Every other one has nothing
planted: a result of slower or faster is a false alarm. In the rest the operations of HEAD are slowed down by
5, 10 and 20 % of the time that each call takes, each operation by another share in the next comparison: a
result of slower is a catch. Each comparison is appended to RECORDS when it is done; a run that was ended
goes on from there.
"""

import argparse
import datetime
import json
import math
import shutil
import statistics
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from tqdm import tqdm

from blitz.training import checkpoint
from spec.harness.errors import HarnessError
from spec.harness.perf import compare as perf

ROOT = Path(__file__).parents[2]
QUICK = (
    "forward_with_no_grad backward_with_nothing_frozen batches_by_index "
    "tensor_of_an_array clone sgd_by_foreach"
)
PLANTED = (0.05, 0.10, 0.20)

# Appended to the list of operations. What is timed is slowed down, and not the timing: a call goes on for its
# share. BASE has it too, with a share of nothing, so that it differs by the share alone.
PLANT = """
import time as _time


def _slowed(builder, share):
    def build(device):
        operation = builder(device)

        def slow():
            begin = _time.perf_counter()
            result = operation()
            end = begin + (_time.perf_counter() - begin) * (1 + share)
            while _time.perf_counter() < end:
                pass
            return result

        return slow

    build.__name__ = builder.__name__
    return build


_SHARES = {shares}
OPERATIONS = [_slowed(builder, _SHARES.get(builder.__name__, 0.0)) for builder in OPERATIONS]
"""


def copy(root, folder, shares=None):
    """Copy what is measured of the tree `root`; plant these shares by the names of benchmarks, if any."""
    for package in ("blitz", "spec"):
        shutil.copytree(
            root / package, folder / package, ignore=shutil.ignore_patterns("__pycache__", "records")
        )
    if shares is not None:
        with (folder / "spec" / "benchmarks" / "operations.py").open("a") as file:
            file.write(PLANT.format(shares=shares))
    return folder


def compare(number, names, rounds):
    """Make comparison `number`, which is planted if it is odd; return its record."""
    planted = number % 2 == 1
    shares = {name: PLANTED[(number // 2 + place) % len(PLANTED)] for place, name in enumerate(names)}
    with tempfile.TemporaryDirectory() as folder:
        source = copy(ROOT, Path(folder) / "tree")  # once, or somebody could edit the tree in between
        base = copy(source, Path(folder) / "base", {} if planted else None)
        head = copy(source, Path(folder) / "head", shares if planted else None)
        begin = time.monotonic()
        findings, (machine, _, side) = perf.compare(
            str(base), str(head), rounds=rounds, select=" ".join(names)
        )
        seconds = time.monotonic() - begin
    found = {finding.name: [finding.result, *finding.ratio] for finding in findings if finding.ratio}
    if sorted(found) != sorted(names):
        raise HarnessError(f"expected the benchmarks {', '.join(names)}, got {', '.join(found) or 'none'}")
    return {
        "number": number,
        "rounds": rounds,
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "machine": machine,
        "side": side.partition(": ")[2],
        "seconds": seconds,
        "shares": shares if planted else dict.fromkeys(names, 0.0),
        "found": found,
    }


def read(path, names, rounds):
    """Return the records of an earlier run, of which the last may have been cut off."""
    records = []
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            records.append(json.loads(line))
        except ValueError:
            break
    for record in records:
        if (sorted(record["found"]), record["rounds"]) != (sorted(names), rounds):
            raise HarnessError(
                f"{path} is of other benchmarks or rounds: name a new file, or say the same again"
            )
    return records


def wilson(hits, count):
    """Return the 95 % interval of a share by Wilson's score.

    >>> [round(end, 3) for end in wilson(0, 100)]
    [0.0, 0.037]
    """
    z = 1.959964
    share, width = hits / count, z * z / count
    middle = (share + width / 2) / (1 + width)
    half = z / (1 + width) * math.sqrt(share * (1 - share) / count + width / count / 4)
    return max(0.0, middle - half), min(1.0, middle + half)


def report(records):
    """Return the results as Markdown."""
    results = [
        (record["shares"][name], name, *found)
        for record in records
        for name, found in record["found"].items()
    ]
    seconds = [record["seconds"] for record in records]
    loads = [float(record["machine"].partition("load average ")[2].partition(";")[0]) for record in records]
    lines = [
        f"- {records[0]['machine'].partition(', load average')[0]}; {records[0]['side']}",
        f"- {records[0]['date'][:16]} to {records[-1]['date'][:16]} UTC, {len(records)} comparisons of "
        f"{records[0]['rounds']} rounds and {len(records[0]['found'])} benchmarks",
        f"- {statistics.median(seconds):.0f} s a comparison ({min(seconds):.0f} to {max(seconds):.0f}); load "
        f"average before it {statistics.median(loads):.1f} ({min(loads):.1f} to {max(loads):.1f})",
        "",
        "| planted | results | slower | faster | inconclusive | unchanged | called a change (95 % interval) "
        "| estimate: median (range) |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for share in sorted({share for share, *_ in results}):
        lines.append(row(f"{share:.0%}" if share else "nothing", [one for one in results if one[0] == share]))
    lines += ["", "By benchmark, with nothing planted and with 10 %:", ""]
    lines += ["| benchmark | false alarms | inconclusive | 10 % caught | inconclusive |", "| --- " * 5 + "|"]
    for name in records[0]["found"]:
        cells = []
        for share, words in ((0.0, ("slower", "faster")), (0.10, ("slower",))):
            words_of = [one[2] for one in results if one[:2] == (share, name)]
            for wanted in (words, ("inconclusive",)):
                cells.append(f"{sum(word in wanted for word in words_of)} of {len(words_of)}")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def row(planted, results):
    """Return the row of the results of one planted share."""
    counts = Counter(word for _, _, word, *_ in results)
    estimates = [point - 1 for _, _, _, point, *_ in results]
    called = counts["slower"] + (counts["faster"] if planted == "nothing" else 0)
    low, high = wilson(called, len(results))
    words = " | ".join(str(counts[word]) for word in ("slower", "faster", "inconclusive", "unchanged"))
    return (
        f"| {planted} | {len(results)} | {words} | {called / len(results):.1%} ({low:.1%} to {high:.1%}) "
        f"| {statistics.median(estimates):+.1%} ({min(estimates):+.1%} to {max(estimates):+.1%}) |"
    )


def main():
    """Make the comparisons that the file lacks, and print the report."""
    parser = argparse.ArgumentParser(prog="python -m spec.benchmarks.trust", description=__doc__)
    parser.add_argument("records", type=Path, metavar="RECORDS.jsonl", help="appended to; goes on from there")
    parser.add_argument("--comparisons", type=int, default=40, help="of each kind; default: %(default)s")
    parser.add_argument("--rounds", type=perf.rounds, default=perf.ROUNDS, help="default: %(default)s")
    parser.add_argument("--select", default=QUICK, help="full names of benchmarks; default: %(default)s")
    parser.add_argument("--report", type=Path, metavar="FILE.md", help="write the report there, too")
    arguments = parser.parse_args()
    names = arguments.select.split()
    try:
        records = read(arguments.records, names, arguments.rounds)
        arguments.records.write_text("".join(f"{json.dumps(record)}\n" for record in records))
        with arguments.records.open("a") as file:
            for number in tqdm(
                range(len(records), 2 * arguments.comparisons), desc="comparisons", disable=None
            ):
                records.append(compare(number, names, arguments.rounds))
                file.write(f"{json.dumps(records[-1])}\n")
                file.flush()
        print(report(records), end="")
        if arguments.report:
            checkpoint.write(report(records).encode(), arguments.report)
    except HarnessError as error:
        sys.exit(f"trust: {error}")


if __name__ == "__main__":
    main()
