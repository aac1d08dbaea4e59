"""What is each value of `record` worth? A slim net without one of them: python -m spec.benchmarks.ablation.

Each variant trains a net of few channels, for 90 steps of 1,000 images, on a thread of its own, and answers
for 5,000 held-out training images; the seeds are the same for all. What the published record
(airbench94_muon) does otherwise is a variant, too.
"""

import argparse
import os
import statistics
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import torch
from torch import nn

from blitz.cifar10 import data
from blitz.errors import BlitzError
from blitz.training import nets
from blitz.training.evaluation import evaluate
from blitz.training.fit import Training
from blitz.training.recipes import RECIPES, net_for
from spec.harness.accelerator import machine
from spec.harness.children import end_with_parent

# A score of the slim net sums 32 channels and one of `record` 256, so a step of the head changes a score as
# much at eight times the rate. The decay of a step, rate times weight decay, stays the same.
RATE = 8 * RECIPES["record"].learning_rate
DECAY = RECIPES["record"].weight_decay / 8
SLIM = {
    "widths": (8, 32, 32),
    "batch_size": 1000,
    "epochs": 2,
    "learning_rate": RATE,
    "weight_decay": DECAY,
}


def head_in_muon(training):
    """Have Muon take the last layer, too."""
    [group] = training.optimizer.param_groups
    group["params"] = [weight for weight in group["params"] if weight is not training.net.fc.weight]
    training.muon.param_groups[0]["params"].append(training.net.fc.weight)


def with_small_eps(training):
    """Have BatchNorm add 1e-12 to a variance instead of 1e-5."""
    for module in training.net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eps = 1e-12


def with_drawn_bias(training):
    """Draw the biases of the first layer, as PyTorch does, and train them for three eighths of the steps."""
    whitening = training.net.whitening
    nn.init.uniform_(whitening.bias, -(12**-0.5), 12**-0.5)
    last = training.total_steps * 3 // 8

    def stop_in_time(layer, inputs):
        layer.bias.requires_grad_(training.step < last)

    whitening.register_forward_pre_hook(stop_in_time)


def whitened_by_more(training):
    """Compute the first layer from 5,000 images, and scale up directions of small variance four times as far.

    That is what the same number added to variances means for pixels of standard deviation 1.
    """
    nets.LEAST_VARIANCE /= 4
    filters = nets.whitening_filters(training.split.images[::9], 2, 24)
    training.net.whitening.weight.data.copy_(filters)


def with_fast_biases(training):
    """Give the biases the rate of the published record, for a mean loss of 2,000 images, and its decay."""
    [group] = training.optimizer.param_groups
    biases = [weight for weight in group["params"] if weight.dim() == 1]
    group["params"] = [training.net.fc.weight]
    training.optimizer.add_param_group({"params": biases, "weight_decay": 4e-3 / 106})
    rate = training._set_rates

    def set_rates():
        rate()
        training.optimizer.param_groups[1]["lr"] *= 106 / RATE

    training._set_rates = set_rates


VARIANTS = {
    "`record`, slim": ({}, None),
    "Muon's momentum 0.85 instead of 0.6": ({"muon_momentum": 0.85}, None),
    "one cycle instead of a straight line": ({"schedule": "one cycle"}, None),
    "the head in Muon instead of SGD": ({}, head_in_muon),
    "relu instead of GELU": ({"activation": "relu"}, None),
    "all of these, and the rate and decay before": (
        {
            "learning_rate": 0.5,
            "weight_decay": 5e-5,
            "muon_momentum": 0.85,
            "schedule": "one cycle",
            "activation": "relu",
        },
        head_in_muon,
    ),
    "a quarter of the rate of biases and head": ({"learning_rate": RATE / 4}, None),
    "four times the rate of biases and head": ({"learning_rate": RATE * 4}, None),
    "biases at a rate of 106": ({}, with_fast_biases),
    "a tenth of the weight decay": ({"weight_decay": DECAY / 10}, None),
    "four times the weight decay": ({"weight_decay": DECAY * 4}, None),
    "biases of the whitening not trained": ({"train_first_bias": False}, None),
    "biases of the whitening drawn, trained for 3/8": ({}, with_drawn_bias),
    "whitening from 5,000 images, a fourth of the least variance": ({}, whitened_by_more),
    "BatchNorm's eps 1e-12": ({}, with_small_eps),
}


def run(name, seed, source, held_out):
    """Train a variant once and return its accuracy on the held-out images."""
    torch.set_num_threads(1)
    changes, change = VARIANTS[name]
    train, test, *_ = data.load(source, holdout=held_out)
    recipe = RECIPES["record"]._replace(**{**SLIM, **changes})
    torch.manual_seed(seed)
    training = Training(net_for(recipe, train.images), train, recipe, seed=seed)
    if change:
        change(training)
    for _ in training.steps():
        pass
    return evaluate(training.net, test, half=recipe.half, views=recipe.views).accuracy


def main():
    """Train all variants, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", help="CIFAR-10; else BLITZ_DATA, else the stand-in")
    parser.add_argument("--seeds", type=int, default=5, help="runs of each, seeds from 0 on; default: 5")
    parser.add_argument("--held-out", type=int, default=5000, help="training images to answer for")
    arguments = parser.parse_args()
    accuracies = {name: [] for name in VARIANTS}
    with ProcessPoolExecutor(
        os.cpu_count(), mp_context=get_context("spawn"), initializer=end_with_parent, max_tasks_per_child=1
    ) as processes:
        runs = [
            (name, seed, processes.submit(run, name, seed, arguments.data, arguments.held_out))
            for seed in range(arguments.seeds)
            for name in VARIANTS
        ]
        for name, seed, one in runs:
            try:
                accuracies[name].append(100 * one.result())
            except BlitzError as error:
                processes.shutdown(cancel_futures=True)
                parser.error(str(error))
            print(f"{name}, seed {seed}: {accuracies[name][-1]:.2f} %", file=sys.stderr, flush=True)
    origin, _ = data.find(arguments.data)
    print(f"{machine.describe()['cpu']}, torch {torch.__version__}; {origin}; n = {arguments.seeds}\n")
    print("\n".join(table(accuracies)))


def table(accuracies):
    """Return the lines of the report: the means, and the differences of runs with the same seed."""
    yield "| what differs | accuracy (standard error), % | difference (standard error) |"
    yield "| --- | --- | --- |"
    whole = next(iter(accuracies.values()))
    for name, these in accuracies.items():
        differences = [one - other for one, other in zip(these, whole, strict=True)]
        told = mean_and_error(differences, "+.2f") if these is not whole else ""
        yield f"| {name} | {mean_and_error(these, '.2f')} | {told} |"


def mean_and_error(values, style):
    """Return a mean and its standard error, in words; of one value the mean alone."""
    error = f" ({statistics.stdev(values) / len(values) ** 0.5:.2f})" if len(values) > 1 else ""
    return f"{statistics.mean(values):{style}}{error}"


if __name__ == "__main__":
    main()
