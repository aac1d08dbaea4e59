"""The commands `blitz train` and `blitz evaluate`: where training meets files, signals and a person."""

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
from blitz.data import Cifar10, find, load, normalize
from blitz.devices import find_device, take_own_accelerator
from blitz.errors import BlitzError, CheckpointError
from blitz.nets import CifarNet
from blitz.training import RECIPES, Evaluation, Recipe, Training
from blitz.training import evaluate as evaluate_net

_FILES = (
    "checkpoint.pt",
    "cifar_net.pth",
    "history.jsonl",
    "training.png",
    "predictions.png",
    "confusion.png",
)
_STOPPED = 130  # what a shell reports of a program that Ctrl-C ended


def add_commands(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `train` and `evaluate` to the parser of `blitz`; each sets `run`: arguments to exit status."""
    data = argparse.ArgumentParser(add_help=False)
    data.add_argument(
        "--data",
        metavar="PATH",
        help="CIFAR-10, official or as a folder of images, or stand-in; "
        "else BLITZ_DATA, else the user's cache, else the stand-in",
    )
    data.add_argument(
        "--download", action="store_true", help="fetch the official CIFAR-10 (170 MB) if it is absent"
    )
    data.add_argument(
        "--device", default="auto", help="auto (default): the accelerator if there is one, else cpu"
    )

    run = subparsers.add_parser(
        "train", parents=[data], help="train the notes' Net on CIFAR-10 and evaluate it"
    )
    run.add_argument("--recipe", choices=list(RECIPES), default="tutorial", help="default: tutorial")
    run.add_argument(
        "--batch", type=_count, metavar="N", help="images a step, over all processes; default: the recipe's"
    )
    run.add_argument(
        "--out", type=Path, metavar="DIR", help="folder for what comes out; default: runs/RECIPE"
    )
    run.add_argument("--seed", type=_seed, default=0, metavar="N", help="default: 0")
    run.add_argument(
        "--resume",
        nargs="?",
        const="",
        metavar="PATH",
        help="go on from a checkpoint; default: DIR/checkpoint.pt",
    )
    run.epilog = "Started by torchrun it trains in several processes, and goes on by itself after a restart."
    run.set_defaults(run=train)

    check = subparsers.add_parser("evaluate", parents=[data], help="print the accuracy of saved weights")
    check.add_argument(
        "checkpoint", type=Path, metavar="CHECKPOINT", help="a checkpoint.pt, or a saved state_dict"
    )
    check.set_defaults(run=evaluate)


def train(arguments: argparse.Namespace) -> int:
    """Train, or go on training, and leave in --out the files that the command's help names.

    Raises:
        BlitzError: the device, the folder, the checkpoint or the data cannot be used; or the loss diverged.
    """
    recipe = RECIPES[arguments.recipe]
    recipe = recipe._replace(batch_size=arguments.batch or recipe.batch_size)
    out = arguments.out or Path("runs", recipe.name)
    if distributed.launched():
        take_own_accelerator(arguments.device)
    device = find_device(arguments.device)
    with distributed.process_group(device), ExitStack() as stack:
        return _train_in_group(arguments, recipe, out, device, stack)


def _train_in_group(
    arguments: argparse.Namespace, recipe: Recipe, out: Path, device: torch.device, stack: ExitStack
) -> int:
    resume, state = distributed.by_first(lambda: _begin(arguments, out, stack))
    data = _load(arguments)
    _choose_threads(recipe.batch_size)
    torch.manual_seed(arguments.seed)
    training = Training(CifarNet(), data.train, recipe, seed=arguments.seed, device=device)
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
        evaluation = evaluation or evaluate_net(training.net, data.test, device=device)
        checkpoint.save_weights(training.net, out / "cifar_net.pth")
        _draw(training, evaluation, data, out)
        _print_accuracy(evaluation, data)
        print(f"Saved in {out}: {', '.join(_FILES)}")
    return 0


def evaluate(arguments: argparse.Namespace) -> int:
    """Print the accuracy of a checkpoint, or of a state_dict saved as the notes do, on the test images.

    Raises:
        BlitzError: the device, the file or the data cannot be used.
    """
    device = find_device(arguments.device)
    net = CifarNet()
    checkpoint.load_weights(net, arguments.checkpoint)
    data = _load(arguments)
    _print_accuracy(evaluate_net(net, data.test, device=device), data)
    return 0


def _seed(text: str) -> int:
    if not text.isdecimal() or int(text) >= 2**32:
        raise argparse.ArgumentTypeError(f"expected a seed in 0..{2**32 - 1}, got {text}")
    return int(text)


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a number of images of at least 1, got {text}")
    return int(text)


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


def _load(arguments: argparse.Namespace) -> Cifar10:
    data = load(arguments.data, download=arguments.download, progress=True)
    sizes = f"{len(data.train.labels)} training and {len(data.test.labels)} test images"
    if data.origin == "stand-in":
        line = f"the built-in stand-in, NOT CIFAR-10 ({sizes}); --download fetches CIFAR-10"
    else:
        line = f"{data.origin} {find(arguments.data)[1]} ({sizes})"
    print(f"Data: {line}", flush=True)
    return data


def _choose_threads(batch_size: int) -> None:
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
                evaluation = evaluate_net(training.net, data.test, device=training.device)
                training.record(accuracy=evaluation.accuracy)
            if record or epoch_ends or (signals and distributed.size() == 1):
                _save(training, out)
                stop = distributed.any_of(bool(signals))
            if stop:
                break
    return evaluation, stop


def _save(training: Training, out: Path) -> None:
    state = training.state_dict()
    if distributed.rank() == 0:
        checkpoint.save(state, out / "checkpoint.pt")
        _save_history(training, out)


def _save_history(training: Training, out: Path) -> None:
    lines = "".join(f"{json.dumps(record)}\n" for record in training.history)
    checkpoint.write(lines.encode(), out / "history.jsonl")


def _resume_command(arguments: argparse.Namespace, out: Path) -> str:
    words = ["blitz", "train", "--recipe", arguments.recipe, "--seed", str(arguments.seed), "--out", str(out)]
    words += ["--batch", str(arguments.batch)] if arguments.batch else []
    words += ["--data", arguments.data] if arguments.data else []
    words += ["--device", arguments.device] if arguments.device != "auto" else []
    return shlex.join([*words, "--resume"])


def _print_accuracy(evaluation: Evaluation, data: Cifar10) -> None:
    """Print what the notes print, in whole per cent, rounded down as their %d does."""
    right, images = evaluation.confusion.diagonal(), evaluation.confusion.sum(1)
    note = " of the stand-in (NOT CIFAR-10)" if data.origin == "stand-in" else ""
    share = 100 * int(right.sum()) // int(images.sum())
    print(f"Accuracy of the network on the {int(images.sum())} test images{note}: {share} %")
    width = max(map(len, data.classes))
    for name, hits, total in zip(data.classes, right.tolist(), images.tolist(), strict=True):
        print(f"Accuracy of {name:>{width}} : {f'{100 * hits // total:2d} %' if total else 'no images'}")


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
    with torch.no_grad():
        predicted = training.net(normalize(images).to(training.device)).argmax(1)
    drawn = {
        "training.png": pictures.training_curves(training.history, title=title),
        "predictions.png": pictures.predictions(images, labels, predicted, classes=data.classes, title=title),
        "confusion.png": pictures.confusion_matrix(evaluation.confusion, classes=data.classes, title=title),
    }
    for name, png in drawn.items():
        checkpoint.write(png, out / name)
