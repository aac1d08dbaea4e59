"""spec/benchmarks/ablation.py: each variant of `record` changes what it names, and seeds are paired."""

import pytest
import torch
from torch import nn

from blitz.training import nets
from blitz.training.fit import Training
from blitz.training.recipes import RECIPES, net_for
from spec.benchmarks import ablation
from spec.blitz.data_folders import write_image_folder
from spec.blitz.runs import make_split


@pytest.fixture
def training():
    """A training of the slim `record` on 40 images, four steps an epoch."""
    recipe = RECIPES["record"]._replace(**{**ablation.SLIM, "batch_size": 10, "half": False})
    split = make_split(40)
    return Training(net_for(recipe, split.images), split, recipe)


def rates(training):
    """Return the rates of a step, by the number of weights in each of SGD's groups."""
    next(training.steps())
    return {len(group["params"]): group["lr"] for group in training.optimizer.param_groups}


def test_head_goes_to_muon(training):
    """And SGD no longer has it."""
    ablation.head_in_muon(training)

    assert training.muon.param_groups[0]["params"][-1] is training.net.fc.weight
    assert all(weight.dim() == 1 for weight in training.optimizer.param_groups[0]["params"])


def test_biases_get_a_rate_of_their_own(training):
    """The head keeps the one it has."""
    ablation.with_fast_biases(training)

    assert rates(training) == {1: ablation.RATE, 7: pytest.approx(106)}


def test_eps_becomes_small_in_all_layers(training):
    """There are two in each of three blocks."""
    ablation.with_small_eps(training)

    eps = [module.eps for module in training.net.modules() if isinstance(module, nn.BatchNorm2d)]
    assert eps == [1e-12] * 6


def test_biases_of_the_whitening_are_drawn_and_then_stay(training):
    """They are trained in three of the eight steps."""
    bias = training.net.whitening.bias
    ablation.with_drawn_bias(training)
    drawn = bias.detach().clone()
    seen = [bias.detach().clone() for _ in training.steps()]

    assert drawn.abs().max() > 0
    changed = [not torch.equal(*pair) for pair in zip([drawn, *seen], seen, strict=False)]
    assert changed == [True] * 3 + [False] * 5


def test_whitening_scales_up_small_variances_further(training, monkeypatch):
    """Each filter is as long as before, or longer."""
    monkeypatch.setattr(nets, "LEAST_VARIANCE", 5e-4)
    before = training.net.whitening.weight.flatten(1).norm(dim=1)

    ablation.whitened_by_more(training)

    assert nets.LEAST_VARIANCE == 5e-4 / 4
    assert training.net.whitening.weight.flatten(1).norm(dim=1).max() > before.max()


def test_table_pairs_the_seeds():
    """The error of a difference is that of the pairs, which may be far smaller than those of the means."""
    lines = list(ablation.table({"whole": [60.0, 70.0], "less": [59.0, 68.0]}))

    assert lines[2:] == ["| whole | 65.00 (5.00) |  |", "| less | 63.50 (4.50) | -1.50 (0.50) |"]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_ablation_trains_every_variant(capsys, monkeypatch, tmp_path):
    """By the command, one seed of each, on ten images."""
    folder = write_image_folder(tmp_path / "images")
    monkeypatch.setenv("BLITZ_CACHE", str(tmp_path / "cache"))
    words = ["ablation", "--data", str(folder), "--seeds", "1", "--held-out", "10"]
    monkeypatch.setattr("sys.argv", words)

    ablation.main()

    table = capsys.readouterr().out.split("\n\n")[1].splitlines()[2:]
    assert [line.split(" | ")[0].removeprefix("| ") for line in table] == list(ablation.VARIANTS)
