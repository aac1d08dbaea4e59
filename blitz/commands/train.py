"""The command `blitz train`: where training meets files, signals and a person."""

import argparse
import json
import os
import shlex
import signal
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from tqdm import tqdm

from blitz import checkpoint, distributed
from blitz.commands.shared import evaluate_test, labelled_as, load_data, print_accuracy
from blitz.data import Cifar10, normalize
from blitz.devices import find_device, has_bfloat16, take_own_accelerator
from blitz.errors import BlitzError, CheckpointError
from blitz.evaluation import Evaluation, evaluating
from blitz.nets import net_for
from blitz.recipes import RECIPES, Recipe
from blitz.training import Training
from blitz.weights import remember_classes, remembered_classes

_FILES = (
    "checkpoint.pt",
    "cifar_net.pth",
    "history.jsonl",
    "training.png",
    "predictions.png",
    "confusion.png",
)
_STOPPED = 130  # what a shell reports of a program that Ctrl-C ended


def train(arguments: argparse.Namespace) -> int:
    """Train, or go on training, and leave in --out the files that the command's help names.

    Raises:
        BlitzError: the device, the folder, the checkpoint or the data cannot be used; or the loss diverged.
    """
    recipe = RECIPES[arguments.recipe]
    recipe = recipe._replace(
        batch_size=arguments.batch or recipe.batch_size, epochs=arguments.epochs or recipe.epochs
    )
    out = arguments.out or Path("runs", recipe.name)
    if distributed.launched():
        take_own_accelerator(arguments.device)
    device = find_device(arguments.device)
    _expect_room(recipe, device)
    with distributed.process_group(device), ExitStack() as stack:
        try:
            return _train_in_group(arguments, recipe, out, device, stack)
        except torch.OutOfMemoryError as error:
            raise BlitzError(
                f"{device} has too little memory for {recipe.name} with {recipe.batch_size} images a step: "
                "choose a smaller --batch, or another --recipe"
            ) from error


def _expect_room(recipe: Recipe, device: torch.device) -> None:
    """Refuse a recipe on hardware that it is not made for; say it where it will only be slow."""
    if recipe.for_gpu and device.type == "cpu":
        raise BlitzError(
            f"the recipe {recipe.name} is sized for a GPU, and would take a CPU the better part of an hour: "
            "use --recipe strong"
        )
    if recipe.half and not has_bfloat16(device):
        print(f"{device} does not compute in bfloat16: {recipe.name} takes float32, and about twice the time")


def _train_in_group(
    arguments: argparse.Namespace, recipe: Recipe, out: Path, device: torch.device, stack: ExitStack
) -> int:
    resume, state = distributed.by_first(lambda: _begin(arguments, out, stack))
    data = load_data(arguments)
    if state is not None:
        data = labelled_as(data, remembered_classes(state["model"]), resume)
    choose_threads(recipe.batch_size)
    torch.manual_seed(arguments.seed)
    net = net_for(recipe, data.train.images)
    training = Training(net, data.train, recipe, seed=arguments.seed, device=device)
    if state is not None:
        _go_on(training, state, resume, out)
    with _postponed_signals() as signals:
        evaluation, stopped = _train(training, data, out, signals)
    if stopped:
        how = ", under torchrun as before" if distributed.launched() else ""
        print(f"Stopped after {training.step} of {training.total_steps} mini-batches. To go on{how}:")
        print(f"    {_resume_command(arguments, out)}")
        return _STOPPED
    if distributed.rank() == 0:
        evaluation = evaluation or evaluate_test(training.net, data, recipe, device)
        checkpoint.save_weights(training.net, out / "cifar_net.pth", data.classes)
        _draw(training, evaluation, data, out)
        print_accuracy(evaluation, data)
        print(f"Saved in {out}: {', '.join(_FILES)}")
    return 0


def _begin(
    arguments: argparse.Namespace, out: Path, stack: ExitStack
) -> tuple[Path | None, dict[str, Any] | None]:
    """Claim the folder until `stack` ends; return the checkpoint to go on from, if there is one."""
    name, note = distributed.run_name(), out / ".run"
    restarted = name is not None and note.exists() and note.read_text() == name
    resume = None if arguments.resume is None else Path(arguments.resume or out / "checkpoint.pt")
    if restarted and (out / "checkpoint.pt").exists():
        resume = out / "checkpoint.pt"
    state = None if resume is None else checkpoint.load(resume)
    stack.enter_context(_claimed(out, resume, restarted=restarted))
    if name is not None:
        checkpoint.write(name.encode(), note)
    return resume, state


@contextmanager
def _claimed(out: Path, resume: Path | None, *, restarted: bool) -> Iterator[None]:
    """Hold the folder for this training alone; refuse one that is read-only or holds another training."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=out).close()
    except OSError as error:
        raise BlitzError(f"cannot write to the folder {out}: {error.strerror}") from error
    held = [name for name in _FILES if (out / name).exists()]
    if held and not restarted and (resume is None or resume.resolve().parent != out.resolve()):
        raise CheckpointError(f"{out} already holds {held[0]}: go on with --resume, or choose another --out")
    try:
        with FileLock(out / ".lock", timeout=0):
            yield
    except Timeout:
        raise BlitzError(f"another training is writing to {out}: choose another --out") from None


def choose_threads(batch_size: int) -> None:
    """Take one thread where more would wait for each other, unless OMP_NUM_THREADS says how many."""
    # below a batch of 32 a second thread gains nothing, and beside other work the two wait for each other
    # in a loop: at batch 4 that is 14 to 25 times slower
    if batch_size < 32 and "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(1)


def _go_on(training: Training, state: dict[str, Any], path: Path | None, out: Path) -> None:
    try:
        training.load_state_dict(state)
    except ValueError as error:
        raise CheckpointError(f"{path} does not fit: {error}") from error
    what = "the training is complete" if training.finished else "going on"
    print(
        f"Resumed from {path} after {training.step} of {training.total_steps} mini-batches: {what}",
        flush=True,
    )
    if distributed.rank() == 0:
        _save_history(training, out)  # a kill may have left it one save behind the checkpoint


@contextmanager
def _postponed_signals() -> Iterator[list[int]]:
    """Collect SIGINT and SIGTERM instead of ending by them; the second of a kind acts at once."""
    caught: list[int] = []

    def note(number: int, frame: object) -> None:
        caught.append(number)
        signal.signal(number, before[signal.Signals(number)])

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in before:
        signal.signal(number, note)
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _train(
    training: Training, data: Cifar10, out: Path, signals: list[int]
) -> tuple[Evaluation | None, bool]:
    """Train, with reports and saves; return the last epoch's evaluation, and whether a signal ended it.

    One process alone stops after the mini-batch in which a signal comes; several agree at the next report.
    """
    evaluation, stop = None, False
    with tqdm(
        training.steps(),
        initial=training.step,
        total=training.total_steps,
        unit="batch",
        disable=None,
        leave=False,
    ) as bar:
        for record in bar:
            if record:
                bar.set_postfix(loss=f"{record['loss']:.3f}")
                with bar.external_write_mode():
                    print(f"[{record['epoch']}, {record['step']:5d}] loss: {record['loss']:.3f}", flush=True)
            epoch_ends = training.step % training.steps_per_epoch == 0
            if epoch_ends and distributed.rank() == 0:
                recipe = training.recipe if training.finished else training.recipe._replace(views=1)
                evaluation = evaluate_test(training.net, data, recipe, training.device)
                training.record(accuracy=evaluation.accuracy)
            if record or epoch_ends or (signals and distributed.size() == 1):
                _save(training, data, out)
                stop = distributed.any_of(bool(signals))
            if stop:
                break
    return evaluation, stop


def _save(training: Training, data: Cifar10, out: Path) -> None:
    state = training.state_dict()
    remember_classes(state["model"], data.classes)
    if distributed.rank() == 0:
        checkpoint.save(state, out / "checkpoint.pt")
        _save_history(training, out)


def _save_history(training: Training, out: Path) -> None:
    lines = "".join(f"{json.dumps(record)}\n" for record in training.history)
    checkpoint.write(lines.encode(), out / "history.jsonl")


def _resume_command(arguments: argparse.Namespace, out: Path) -> str:
    words = ["blitz", "train", "--recipe", arguments.recipe, "--seed", str(arguments.seed), "--out", str(out)]
    words += ["--epochs", str(arguments.epochs)] if arguments.epochs else []
    words += ["--batch", str(arguments.batch)] if arguments.batch else []
    words += ["--data", arguments.data] if arguments.data else []
    words += ["--holdout", str(arguments.holdout)] if arguments.holdout else []
    words += ["--device", arguments.device] if arguments.device != "auto" else []
    return shlex.join([*words, "--resume"])


def _draw(training: Training, evaluation: Evaluation, data: Cifar10, out: Path) -> None:
    from blitz import pictures  # matplotlib takes half a second to import, and only this needs it

    names = {
        "official": "CIFAR-10",
        "image folder": "a folder of images",
        "stand-in": "the stand-in, not CIFAR-10",
    }
    title = f"{type(training.net).__name__}, recipe {training.recipe.name}, on {names[data.origin]}"
    some = torch.linspace(
        0, len(data.test.labels) - 1, min(32, len(data.test.labels))
    ).long()  # folders are sorted
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
