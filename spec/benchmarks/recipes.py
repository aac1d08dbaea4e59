"""How accurate and fast is each recipe? Beside the tutorial's code: python -m spec.benchmarks.recipes.

Each run has a process of its own. Rounds go through the competitors forwards and backwards in turn, each
round with the next seed. The time is that of training and evaluation, from images decoded in memory to an
accuracy: it includes moving them to the device and computing a first layer, and leaves out imports and files.
"""

import argparse
import statistics
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import torch
from torch import nn

from blitz.cifar10 import data
from blitz.commands.shared import choose_threads
from blitz.errors import BlitzError
from blitz.training.devices import find_device
from blitz.training.evaluation import evaluate
from blitz.training.fit import fit
from blitz.training.nets import CifarNet
from blitz.training.recipes import RECIPES, net_for
from spec.benchmarks.measuring import memory, now, place
from spec.harness.children import end_with_parent

OPPONENT = "the tutorial's own code"
HELD_OUT = 5000


def run(competitor, seed, epochs, source, held_out):
    """Train once and return accuracy, seconds and peak memory in MB; `epochs` None leaves the recipe's."""
    train, test, *_ = data.load(source, holdout=HELD_OUT if held_out else 0)
    device = find_device("auto")
    if competitor != OPPONENT:
        choose_threads(RECIPES[competitor].batch_size)
    begin = now(device)
    torch.manual_seed(seed)
    if competitor == OPPONENT:
        accuracy = evaluate(train_as_the_tutorial(train, epochs or 2), test).accuracy
    else:
        recipe = RECIPES[competitor]
        recipe = recipe._replace(epochs=epochs or recipe.epochs)
        net = net_for(recipe, train.images)
        fit(net, train, recipe, seed=seed, device=device)
        accuracy = evaluate(net, test, device=device, half=recipe.half, views=recipe.views).accuracy
    seconds = now(device) - begin
    return {"accuracy": accuracy, "seconds": seconds, "memory": max(memory(device))}


def train_as_the_tutorial(split, epochs):
    """Train by the tutorial's own loop, written out from its description; return the net."""
    trainloader = data.loader(split, batch_size=4, shuffle=True, num_workers=2)
    net = CifarNet()
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.001, momentum=0.9)
    for _ in range(epochs):
        running_loss = 0.0
        for i, (inputs, labels) in enumerate(trainloader):
            optimizer.zero_grad()
            outputs = net(inputs)
            loss = criterion(outputs, labels)
            loss.backward()
            optimizer.step()
            running_loss += loss.item()
            if i % 2000 == 1999:
                running_loss = 0.0
    return net


def main():
    """Measure, each run in a process of its own, and print the table."""
    default = [OPPONENT, "tutorial", "fast", "strong"]
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("competitors", nargs="*", metavar="RECIPE", help=f"default: {', '.join(default)}")
    parser.add_argument("--data", help="CIFAR-10; else BLITZ_DATA, else the stand-in")
    parser.add_argument("--seeds", type=int, default=3, help="runs of each, seeds from 0 on; default: 3")
    parser.add_argument("--epochs", type=int, help="instead of each recipe's own")
    parser.add_argument("--held-out", action="store_true", help=f"on {HELD_OUT} training images")
    arguments = parser.parse_args()
    names = arguments.competitors or default
    if unknown := [name for name in names if name not in {OPPONENT, *RECIPES}]:
        parser.error(f"there is no recipe {unknown[0]}: there are {', '.join(RECIPES)}")
    results = {name: [] for name in names}
    with ProcessPoolExecutor(
        1, mp_context=get_context("spawn"), initializer=end_with_parent, max_tasks_per_child=1
    ) as processes:
        for seed in range(arguments.seeds):
            for name in names[:: -1 if seed % 2 else 1]:
                how = (arguments.epochs, arguments.data, arguments.held_out)
                try:
                    results[name].append(processes.submit(run, name, seed, *how).result())
                except BlitzError as error:
                    parser.error(str(error))
                print(f"{name}, seed {seed}: {results[name][-1]}", file=sys.stderr, flush=True)
    print("\n".join(table(results, arguments)))


def table(results, arguments):
    """Return the lines of the report: means, with their deviation over the seeds."""
    origin, _ = data.find(arguments.data)
    on = f"{HELD_OUT} held-out training images" if arguments.held_out else "the test images"
    where = place(find_device("auto"))
    yield f"{where}, torch {torch.__version__}; {origin}, accuracy on {on}; n = {arguments.seeds}"
    yield ""
    yield "| what | accuracy (deviation), % | seconds (least to most) | times as fast | peak memory, MB |"
    yield "| --- | --- | --- | --- | --- |"
    base = [one["seconds"] for one in results.get(OPPONENT, [])]
    for name, runs in results.items():
        accuracies = [100 * one["accuracy"] for one in runs]
        deviation = f" ({statistics.stdev(accuracies):.2f})" if len(runs) > 1 else ""
        seconds = [one["seconds"] for one in runs]
        ratio = f"{statistics.mean(a / b for a, b in zip(base, seconds, strict=True)):.1f}" if base else ""
        peak = max(one["memory"] for one in runs)
        yield (
            f"| {name} | {statistics.mean(accuracies):.2f}{deviation} | {statistics.mean(seconds):.1f} "
            f"({min(seconds):.1f} to {max(seconds):.1f}) | {ratio} | {peak:.0f} |"
        )


if __name__ == "__main__":
    main()
