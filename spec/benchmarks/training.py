"""How long a step of each recipe takes, an update by each form of optim.SGD, and an evaluation."""

import itertools

import torch

from blitz.training.evaluation import evaluate
from blitz.training.fit import Training
from blitz.training.recipes import RECIPES, Recipe, net_for
from spec.benchmarks.builders import Builder, Operation, cifar_net, drawn, named, repeated, synchronised
from spec.harness.accelerator.devices import WITHOUT_HARDWARE

FOR_EVER = 10**6  # epochs
STEPS = {"tutorial": 20, "fast": 2}  # in an operation; one of any other recipe
ON_A_CPU = 10  # images a step of a recipe that is sized for a GPU
FORMS = {"loop": {"foreach": False}, "foreach": {"foreach": True}, "fused": {"fused": True}}
FUSED_ON = {"cpu", "cuda"}


def step_of(recipe: Recipe) -> Builder:
    """Return the builder of mini-batches of a recipe: choosing images, forward, loss, backward, update.

    The training goes on from sample to sample, over 5,000 images again and again.
    """
    count = STEPS.get(recipe.name, 1)

    def builder(device: torch.device) -> Operation:
        fitting = device.type not in ("cpu", WITHOUT_HARDWARE) or not recipe.for_gpu
        endless = recipe._replace(
            epochs=FOR_EVER, batch_size=recipe.batch_size if fitting else ON_A_CPU, report_every=FOR_EVER
        )
        split = drawn(5_000)
        net = net_for(recipe, split.images[:100])  # what its first layer is made of changes no step
        training = Training(net, split, endless, device=device)
        steps = training.steps()

        def operation() -> float:
            for _ in itertools.islice(steps, count):
                pass
            return float(training.step)

        return synchronised(operation, device)

    return named(f"step_of_{recipe.name}", builder)


def sgd_by(form: str) -> Builder:
    """Return the builder of twenty updates with momentum: by parameter, in groups, or in one kernel."""

    def builder(device: torch.device) -> Operation:
        if form == "fused" and device.type not in FUSED_ON:
            raise NotImplementedError(f"fused SGD is not currently supported on {device.type}")
        net = cifar_net(device)
        for parameter in net.parameters():
            parameter.grad = torch.ones_like(parameter)
        # with a learning rate of zero the weights stay as well, which costs no less
        optimizer = torch.optim.SGD(net.parameters(), lr=0.0, momentum=0.9, **FORMS[form])
        return repeated(optimizer.step, 20, device)

    return named(f"sgd_by_{form}", builder)


def evaluation(device: torch.device) -> Operation:
    """Accuracy of the notes' Net on 500 images, as evaluated after an epoch."""
    net, split = cifar_net(device), drawn(500)
    return lambda: evaluate(net, split, device=device).accuracy


OPERATIONS = [*map(step_of, RECIPES.values()), *map(sgd_by, FORMS), evaluation]
