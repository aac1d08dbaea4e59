"""How accurate and fast is the recipe `record`? Beside airbench94_muon: python -m spec.benchmarks.record.

Both train in this process, once with each seed, and who begins changes from seed to seed. Before that each
trains once without being measured: libraries are loaded, and kernels chosen or compiled. The time goes from
images that lie decoded on the device to an accuracy: it includes drawing weights, computing the first layer,
training and evaluation, and leaves out imports, files, and moving the images to the device.
"""

import argparse
import gc
import json
import math
import os
import signal
import statistics
import sys

import torch

from blitz.cifar10 import data, stand_in
from blitz.cifar10.data import Split
from blitz.commands.shared import choose_threads
from blitz.errors import BlitzError
from blitz.training.devices import find_device
from blitz.training.evaluation import evaluate
from blitz.training.fit import fit
from blitz.training.recipes import RECIPES, net_for
from spec.benchmarks import airbench
from spec.benchmarks.measuring import events, place, timed
from spec.harness.errors import HarnessError
from spec.harness.perf.ratios import CONFIDENCE, ratio
from spec.harness.records.escaping import printable

OURS, OPPONENT = "record", "airbench94_muon"
GOAL = 0.94


def main(words=None):
    """Measure and print the table; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m spec.benchmarks.record", description=__doc__)
    parser.add_argument("--seeds", type=int, default=20, help="runs of each, from seed 0 on; default: 20")
    parser.add_argument("--device", default="auto", help="such as cuda:1; default: the accelerator")
    parser.add_argument("--data", help="CIFAR-10; else BLITZ_DATA, else the stand-in")
    parser.add_argument("--slim", action="store_true", help="try it out with tiny nets on the stand-in")
    parser.add_argument("--compile", action="store_true", help="compile the opponent, as published")
    parser.add_argument("--json", default=os.devnull, metavar="FILE", help="append a line for each run to it")
    arguments = parser.parse_args(words)
    if arguments.seeds < 1:
        parser.error(f"expected at least 1 seed, got {arguments.seeds}")
    try:
        measure(arguments)
    except (BlitzError, HarnessError, OSError) as error:
        print(f"record: {printable(str(error))}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("record: stopped", file=sys.stderr)
        return 130
    return 0


def measure(arguments):
    """Do all runs, print what they are, and at last, also if they are stopped, the table."""
    device = find_device(arguments.device)
    if device.type == "cpu" and arguments.device == "auto" and not arguments.slim:
        raise HarnessError(
            "there is no accelerator here, and on a CPU each run takes many minutes: "
            "try it out with --slim, or ask for it with --device cpu"
        )
    if device.type != "cpu" and device.index is not None:
        torch.accelerator.set_device_index(device.index)
    with open(arguments.json, "a") as file:
        found = stand_in.draw(500, 100) if arguments.slim else data.load(arguments.data, progress=True)
        if len(found.classes) != 10:
            raise HarnessError(f"expected ten classes, as CIFAR-10 has, got {len(found.classes)}")
        about = {"place": place(device), "torch": torch.__version__, "data": found.origin}
        about |= {"slim": arguments.slim, "compiled": arguments.compile}
        print("\n".join(head(about, device)), flush=True)
        both, done = competitors(found, device, arguments.slim, arguments.compile), []
        try:
            for run in runs(both, arguments.seeds, device):
                done.append(run)
                print(json.dumps({**run, **about}), file=file, flush=True)
                told = f"{run['accuracy']:.4f} in {run['seconds']:.3f} s"
                print(f"{run['what']}, seed {run['seed']}: {told}", file=sys.stderr, flush=True)
        finally:
            for line in table(done):
                print(line)


def competitors(found, device, slim, compiled):
    """Return by name what trains with a seed, and returns the accuracy on the test images."""
    train, test = (Split(*(part.to(device) for part in split)) for split in (found.train, found.test))
    recipe, widths, sizes = RECIPES["record"], airbench.WIDTHS, {}
    if slim:
        choose_threads(1)
        widths, sizes = (8, 16, 16), {"batch_size": 100, "epochs": 2}
        rate = recipe.learning_rate * 100 / recipe.batch_size  # smaller batches, smaller steps
        recipe = recipe._replace(widths=widths, **sizes, learning_rate=rate)
    net = airbench.airbench_net(device, widths=widths, compiled=compiled)

    def ours(seed):
        torch.manual_seed(seed)
        own = net_for(recipe, train.images)
        fit(own, train, recipe, seed=seed, device=device)
        return evaluate(own, test, device=device, half=recipe.half, views=recipe.views).accuracy

    def opponent(seed):
        torch.manual_seed(seed)
        before, torch.backends.cudnn.benchmark = torch.backends.cudnn.benchmark, True  # as published
        try:
            airbench.train(net, *train, **sizes, compiled=compiled)
            return airbench.accuracy(net, *test)
        finally:
            torch.backends.cudnn.benchmark = before

    return {OURS: ours, OPPONENT: opponent}


def runs(competitors, seeds, device):
    """Train in turn, and yield a record of each run when it has ended, but not of the first of each."""
    held = {name: run_once(train, 0, device)["memory"] for name, train in competitors.items()}
    for seed in range(seeds):
        for name in list(competitors)[:: -1 if seed % 2 else 1]:
            yield {"what": name, "seed": seed, **run_once(competitors[name], seed, device, held[name])}


def run_once(train, seed, device, held=None):
    """Return the accuracy, seconds, and peak memory in bytes of a training, None where nobody can tell.

    Begins with free memory of the size that an earlier run held. Otherwise one would pay for what the other
    does: whoever captures a graph gives all free memory back to the driver, and to get it again takes time.
    """
    gc.collect()  # the graph of an earlier run, and its memory
    module = torch.get_device_module(device)
    told = hasattr(module, "reset_peak_memory_stats")
    if told:
        torch.empty(max(0, (held or 0) - module.memory_allocated()), dtype=torch.uint8, device=device)
        module.reset_peak_memory_stats()
    accuracy, seconds = timed(lambda: train(seed), device)
    return {
        "accuracy": accuracy,
        "seconds": seconds,
        "memory": module.max_memory_allocated() if told else None,
    }


def head(about, device):
    """Return the lines that say what is measured; the first one says so if the figures mean nothing."""
    if about["slim"]:
        yield "These figures mean nothing: tiny nets saw a few drawn images, to try the command out."
    clock = "the device's events" if events(device) else "the clock"
    yield (
        f"{about['place']}, torch {about['torch']}; {about['data']}, accuracy on the test images; seconds by "
        f"{clock}; {OPPONENT} {'compiled' if about['compiled'] else 'not compiled'}"
    )
    yield ""


def table(done):
    """Return the lines of the table of these runs, two for each seed; a single last one is left out."""
    pairs = [{run["what"]: run for run in pair} for pair in zip(done[::2], done[1::2], strict=False)]
    if not pairs:
        return
    yield (
        f"| n = {len(pairs)} | accuracy (deviation, standard error), % | with {100 * GOAL:.0f} % or more "
        f"| seconds (least to most) | times as fast ({100 * CONFIDENCE:.0f} % interval) | peak memory, MB |"
    )
    yield "| --- " * 6 + "|"
    for name in (OURS, OPPONENT):
        own = [pair[name] for pair in pairs]
        accuracies = [100 * run["accuracy"] for run in own]
        seconds = [run["seconds"] for run in own]
        reached = sum(run["accuracy"] >= GOAL for run in own)
        peaks = [run["memory"] for run in own]
        memory = "not known" if None in peaks else f"{max(peaks) / 2**20:.0f}"
        yield (
            f"| {name} | {statistics.mean(accuracies):.2f}{spread(accuracies)} | {reached} of {len(own)} "
            f"| {statistics.mean(seconds):.3f} ({min(seconds):.3f} to {max(seconds):.3f}) "
            f"| {times(pairs) if name == OURS else '1'} | {memory} |"
        )


def spread(accuracies):
    """Return the deviation and the standard error of the mean in brackets, of two values or more."""
    if len(accuracies) < 2:
        return ""
    deviation = statistics.stdev(accuracies)
    return f" ({deviation:.2f}, {deviation / math.sqrt(len(accuracies)):.2f})"


def times(pairs):
    """Return how many times as fast as the opponent ours is, seed by seed, with its interval."""
    seconds = [(pair[OURS]["seconds"], pair[OPPONENT]["seconds"]) for pair in pairs]
    if len(seconds) < 2:
        return f"{seconds[0][1] / seconds[0][0]:.2f}"
    found = ratio(seconds)
    return f"{found.point:.2f} ({found.low:.2f} to {found.high:.2f})"


if __name__ == "__main__":
    signal.signal(
        signal.SIGTERM, signal.default_int_handler
    )  # the table of what is done, at a time limit, too
    sys.exit(main())
