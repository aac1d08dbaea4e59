"""One process, DataParallel or DistributedDataParallel? `python -m spec.benchmarks.data_parallel` tells.

Each way trains the notes' Net by the recipe `fast` on the same batches in the same order; only who computes
what differs. Rounds go through the ways forwards and backwards in turn, each way in processes of its own. It
takes all accelerators, or two cores of a machine that has none.
"""

import argparse
import math
import statistics
import tempfile
from functools import partial
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn

from blitz.cifar10 import data
from blitz.explained.parallel import data_parallel
from blitz.training.fit import Training
from blitz.training.nets import CifarNet
from blitz.training.recipes import RECIPES
from spec import ranks
from spec.benchmarks.measuring import memory, now


def train(source, batch_size, steps, count, way, threads):
    """In each rank: train so many mini-batches; return images a second, and peak memory in MB."""
    torch.set_num_threads(threads)
    device = torch.device("cpu")
    if torch.accelerator.is_available():
        torch.accelerator.set_device_index(dist.get_rank())
        device = torch.device(torch.accelerator.current_accelerator().type, dist.get_rank())
    torch.manual_seed(0)
    recipe = RECIPES["fast"]._replace(batch_size=batch_size, report_every=50)
    training = Training(CifarNet(), data.load(source).train, recipe, device=device)
    if way != "DDP":  # which is what a training in a group takes, be it a group of one
        training.forward = (
            over_all_devices(training.net, device, count) if way == "DataParallel" else training.net
        )
    begin = None
    for _ in training.steps():
        if begin is None:  # the first mini-batch is the warm-up
            begin = now(device)
        if training.step == steps:
            break
    seconds = now(device) - begin
    return batch_size * (steps - 1) / seconds, memory(device)


def over_all_devices(net, device, count):
    """Return nn.DataParallel over GPUs; over CPU cores, which it does not know, what blitz makes of it."""
    if device.type == "cpu":
        return partial(data_parallel, net, devices=[device] * count)
    return nn.DataParallel(net)


def main():
    """Measure all ways in so many rounds, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default=None, help="CIFAR-10; else BLITZ_DATA, else the stand-in")
    parser.add_argument("--batch", type=int, default=64, help="images a step, over all devices")
    parser.add_argument("--steps", type=int, default=150, help="mini-batches a round")
    parser.add_argument("--rounds", type=int, default=4)
    arguments = parser.parse_args()
    images = len(data.load(arguments.data).train.labels)
    there_are = RECIPES["fast"].epochs * math.ceil(images / arguments.batch)
    if arguments.steps > there_are:
        parser.error(f"{images} images make {there_are} mini-batches in all: choose fewer --steps")
    gpus = torch.accelerator.device_count() if torch.accelerator.is_available() else 0
    count = max(gpus, 2)
    ways = {"one process": (1, "one", 1)}
    if not gpus:
        ways[f"one process, {count} threads"] = (1, "one", count)
    ways[f"DataParallel over {count}"] = (1, "DataParallel", 1)
    ways[f"DDP, {count} processes"] = (count, "DDP", 1)
    backend = f"cpu:gloo,{torch.accelerator.current_accelerator()}:nccl" if gpus else "gloo"

    measured = {name: [] for name in ways}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(arguments.rounds):
            for name in list(ways)[:: -1 if number % 2 else 1]:
                size, way, threads = ways[name]
                words = (arguments.data, arguments.batch, arguments.steps, count, way, threads)
                measured[name].append(ranks.run(size, train, *words, folder=Path(folder), backend=backend))
    report(arguments, measured)


def report(arguments, measured):
    """Print the table: medians over the rounds, with their range."""
    origin, _ = data.find(arguments.data)
    place = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
    print(
        f"torch {torch.__version__}, {place}, {origin}, batch {arguments.batch}, "
        f"{arguments.steps} mini-batches, n = {arguments.rounds}\n"
    )
    print("| way | images a second (range) | ratio | peak memory, MB |")
    print("| --- | --- | --- | --- |")
    base = [by_rank[0][0] for by_rank in measured["one process"]]
    for name, rounds in measured.items():
        speeds = [by_rank[0][0] for by_rank in rounds]
        ratio = statistics.median(speed / other for speed, other in zip(speeds, base, strict=True))
        peaks = " + ".join(f"{peak:.0f}" for _, rank in rounds[-1] for peak in rank)
        print(
            f"| {name} | {statistics.median(speeds):.0f} ({min(speeds):.0f} to {max(speeds):.0f}) "
            f"| {ratio:.2f} | {peaks} |"
        )


if __name__ == "__main__":
    main()
