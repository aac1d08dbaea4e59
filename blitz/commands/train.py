"""The command `blitz train`: where training meets files, signals and a person."""

import argparse
import shlex
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from blitz.cifar10.data import Cifar10, normalize
from blitz.commands import folder, signals
from blitz.commands.shared import choose_threads, evaluate_test, given, labelled_as, load_data, print_accuracy
from blitz.errors import BlitzError, CheckpointError
from blitz.training import checkpoint, distributed
from blitz.training.devices import has_bfloat16
from blitz.training.evaluation import Evaluation, evaluating
from blitz.training.fit import Training
from blitz.training.recipes import RECIPES, Recipe, net_for
from blitz.training.weights import remember, remembered_classes


def train(arguments: argparse.Namespace) -> int:
    """Train, or go on training, and leave in --out the files that the command's help names.

    Ctrl-C and SIGTERM save, and print the command to go on. Before the first mini-batch and after the last,
    where there is nothing to save, they act at once.

    Raises:
        BlitzError: the device, the folder, the checkpoint or the data cannot be used; or the loss diverged.
    """
    recipe = RECIPES[arguments.recipe]
    recipe = recipe._replace(
        batch_size=arguments.batch or recipe.batch_size, epochs=arguments.epochs or recipe.epochs
    )
    out = arguments.out or Path("runs", recipe.name)
    with distributed.process_group(arguments.device) as device, signals.interrupting(), ExitStack() as stack:
        runs = set(distributed.gathered(distributed.run_name()))
        try:
            return _train_in_group(arguments, recipe, out, runs, device, stack)
        except KeyboardInterrupt as stop:
            return folder.stopped(stop, _command_to_go_on(arguments, out, runs))
        except torch.OutOfMemoryError as error:
            raise BlitzError(
                f"{device} has too little memory for {recipe.name} at {recipe.batch_size} images a step: "
                "choose a smaller --batch, or another --recipe"
            ) from error


def _expect_room(recipe: Recipe, device: torch.device) -> None:
    """Refuse a recipe on hardware that it is not made for; say it where it will only be slow."""
    if recipe.for_gpu and device.type == "cpu":
        raise BlitzError(
            f"the recipe {recipe.name} is sized for a GPU, and would take most of an hour on a CPU: "
            "use --recipe strong"
        )
    if recipe.half and not has_bfloat16(device):
        print(f"{device} does not compute in bfloat16: {recipe.name} takes float32, and about twice the time")


def _train_in_group(
    arguments: argparse.Namespace,
    recipe: Recipe,
    out: Path,
    runs: set[str],
    device: torch.device,
    stack: ExitStack,
) -> int:
    _expect_room(recipe, device)

    def begin() -> tuple[Path, dict[str, Any]] | None:
        start = folder.load_start(out, arguments.resume, runs)
        stack.enter_context(folder.claimed(out, start[0] if start else None))
        return start

    start = distributed.by_first(begin)
    if start and not arguments.epochs:
        recipe = recipe._replace(epochs=start[1]["settings"].get("epochs", recipe.epochs))
    data = load_data(arguments)
    if start:
        data = labelled_as(data, remembered_classes(start[1]["model"]), start[0])
    choose_threads(recipe.batch_size)
    torch.manual_seed(arguments.seed)
    net = net_for(recipe, data.train.images)
    if arguments.weights and not start:
        distributed.by_first(lambda: checkpoint.load_weights(net, arguments.weights))
        print(f"Starting from the weights in {arguments.weights}", flush=True)
    training = Training(net, data.train, recipe, seed=arguments.seed, device=device)
    if start:
        _go_on(training, *start, out, runs)
    with signals.postponed(all_of_them=distributed.launched()) as caught:
        evaluation = _train(training, data, out, runs, caught)
        stopped = distributed.any_of(bool(caught))
    if stopped:
        raise KeyboardInterrupt(f" after {training.step} of {training.total_steps} mini-batches")
    if distributed.rank() == 0:
        evaluation = evaluation or evaluate_test(training.net, data, recipe, device)
        checkpoint.save_weights(training.net, out / "cifar_net.pth", data.classes, recipe)
        _draw(training, evaluation, data, out)
        print_accuracy(evaluation, data)
        print(f"Saved in {out}: {', '.join(folder.FILES)}")
    return 0


def _go_on(training: Training, start: Path, state: dict[str, Any], out: Path, runs: set[str]) -> None:
    try:
        training.load_state_dict(state)
    except ValueError as error:
        raise CheckpointError(f"{start} does not fit: {error}") from error
    what = "the training is complete" if training.finished else "going on"
    done = f"{training.step} of {training.total_steps} mini-batches"
    print(f"Resumed from {start} after {done}: {what}", flush=True)
    distributed.by_first(lambda: folder.take_over(start, state, out, runs))


def _train(
    training: Training, data: Cifar10, out: Path, runs: set[str], caught: list[int]
) -> Evaluation | None:
    """Train, with reports and saves, until the end or a signal; return the last epoch's evaluation."""
    evaluation = None
    # To ask each other whether to stop takes as long as a fifth of a small mini-batch, and large ones take
    # seconds: torchrun gives them thirty.
    ask_every = 1 if distributed.size() == 1 else min(10, 1 + 1000 // training.recipe.batch_size)
    progress = {"initial": training.step, "total": training.total_steps, "unit": "batch"}
    with tqdm(training.steps(), **progress, disable=None, leave=False) as bar:
        for record in bar:
            if record:
                bar.set_postfix(loss=f"{record['loss']:.3f}")
                with bar.external_write_mode():
                    print(f"[{record['epoch']}, {record['step']:5d}] loss: {record['loss']:.3f}", flush=True)
            epoch_ends = training.step % training.steps_per_epoch == 0
            if epoch_ends:
                evaluation = _evaluate(training, data)
                training.record(accuracy=evaluation.accuracy)
            pause = record or epoch_ends
            stop = (pause or training.step % ask_every == 0) and distributed.any_of(bool(caught))
            if pause or stop:
                _save(training, data, out, runs)
            if stop:
                break
    return evaluation


def _evaluate(training: Training, data: Cifar10) -> Evaluation:
    """Evaluate in the first process, on fewer views as long as there are epochs to come."""
    recipe = training.recipe if training.finished else training.recipe._replace(views=1)
    return distributed.by_first(lambda: evaluate_test(training.net, data, recipe, training.device))


def _save(training: Training, data: Cifar10, out: Path, runs: set[str]) -> None:
    state = training.state_dict()
    remember(state["model"], classes=data.classes)
    distributed.by_first(lambda: folder.save(state, out, runs))


def _command_to_go_on(arguments: argparse.Namespace, out: Path, runs: set[str]) -> str:
    """Return the command that goes on from what this run has saved, or begins again."""
    options = ("recipe", "seed", "epochs", "batch", "data", "holdout", "device", "download")
    start = folder.where_to_go_on(arguments, out, runs)
    if not start and arguments.weights:
        start = ["--from", str(arguments.weights)]
    return shlex.join(["blitz", "train", "--out", str(out), *given(arguments, options), *start])


def _draw(training: Training, evaluation: Evaluation, data: Cifar10, out: Path) -> None:
    from blitz import pictures  # matplotlib takes half a second to import, and only this needs it

    names = {"official": "CIFAR-10", "image folder": "a folder of images"}
    data_name = names.get(data.origin, "the stand-in, not CIFAR-10")
    title = f"{type(training.net).__name__}, recipe {training.recipe.name}, on {data_name}"
    count = len(data.test.labels)
    some = torch.linspace(0, count - 1, min(32, count)).long()  # evenly spread: a folder is sorted by class
    images, labels = (tensor[some] for tensor in data.test)
    with evaluating(training.net):
        predicted = training.net(normalize(images).to(training.device)).argmax(1)
    drawn = {
        "training.png": pictures.training_curves(training.history, title=title),
        "predictions.png": pictures.predictions(images, labels, predicted, classes=data.classes, title=title),
        "confusion.png": pictures.confusion_matrix(evaluation.confusion, classes=data.classes, title=title),
    }
    for name, png in drawn.items():
        checkpoint.write(png, out / name)
