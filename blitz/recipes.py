"""Recipes: what a training depends on besides net, data and seed."""

import math
from typing import NamedTuple


class Recipe(NamedTuple):
    """What a training depends on besides net, data and seed, as plain values.

    `learning_rate` is the highest one where `one_cycle` changes it (see the function of that name);
    the running loss is reported every `report_every` mini-batches, as its mean over them.
    """

    name: str
    batch_size: int
    epochs: int
    learning_rate: float
    momentum: float
    nesterov: bool = False
    weight_decay: float = 0.0
    one_cycle: bool = False
    report_every: int = 2000


RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe("tutorial", batch_size=4, epochs=2, learning_rate=0.001, momentum=0.9),
        Recipe(
            "fast",
            batch_size=64,
            epochs=2,
            learning_rate=0.05,
            momentum=0.9,
            nesterov=True,
            weight_decay=5e-4,
            one_cycle=True,
            report_every=200,
        ),
    )
}


def learning_rate(recipe: Recipe, step: int, total_steps: int) -> float:
    """Return the learning rate of mini-batch `step`, counted from 0 over all epochs.

    With `one_cycle` it climbs along half a cosine from 1/25 of the highest, for 30 % of the steps, and
    falls to 1/250,000 of it: torch's OneCycleLR as a function of the step, so that a resume needs no
    scheduler state and one release of PyTorch reads what another wrote. Otherwise it stays the same.

    >>> learning_rate(RECIPES["tutorial"], 0, 25_000)
    0.001
    >>> [round(learning_rate(RECIPES["fast"], step, 11), 4) for step in (0, 2, 3, 10)]
    [0.002, 0.048, 0.049, 0.0]
    """
    if not recipe.one_cycle:
        return recipe.learning_rate
    top, first, last = recipe.learning_rate, recipe.learning_rate / 25, recipe.learning_rate / 250_000
    turn = 0.3 * total_steps - 1
    if step <= turn:
        start, end, share = first, top, step / turn
    else:
        start, end, share = top, last, (step - turn) / (total_steps - 1 - turn)
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2
