"""The parser of `blitz train`, `evaluate`, `predict` and `chapter`; PyTorch is imported when one runs."""

import argparse
import importlib
from collections.abc import Callable
from pathlib import Path

from blitz.training.recipes import RECIPES


def add_commands(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add these commands to the parser of `blitz`; each sets `run`: arguments to exit status."""
    device = argparse.ArgumentParser(add_help=False)
    device.add_argument("--device", default="auto", help="default: the accelerator if there is one, else cpu")

    data = argparse.ArgumentParser(add_help=False)
    data.add_argument(
        "--data",
        metavar="PATH",
        help="CIFAR-10, official (its folder or archive), as a folder of images or in Kaggle's layout; "
        "or stand-in; else BLITZ_DATA, else the user's cache, else the stand-in",
    )
    data.add_argument("--download", action="store_true", help="fetch CIFAR-10 (170 MB) where no data set is")
    data.add_argument(
        "--holdout",
        type=_count,
        metavar="N",
        help="test on N of the training images, and train on the others",
    )

    weights = argparse.ArgumentParser(add_help=False)
    weights.add_argument(
        "weights", type=Path, metavar="WEIGHTS", help="a checkpoint.pt, or a saved state_dict, also wrapped"
    )

    run = subparsers.add_parser(
        "train", parents=[data, device], help="train the notes' Net on CIFAR-10 and evaluate it"
    )
    run.set_defaults(run=_command("train"))
    run.epilog = "Started by torchrun it trains in several processes, and goes on by itself after a restart."
    run.add_argument("--recipe", choices=list(RECIPES), default="tutorial", help="default: tutorial")
    run.add_argument(
        "--epochs", type=_count, metavar="N", help="default: the recipe's, or those of what --resume names"
    )
    run.add_argument(
        "--batch", type=_count, metavar="N", help="images a step, over all processes; default: the recipe's"
    )
    run.add_argument("--out", type=Path, metavar="DIR", help="folder to write to; default: runs/RECIPE")
    run.add_argument("--seed", type=_seed, default=0, metavar="N", help="default: 0")
    start = run.add_mutually_exclusive_group()
    start.add_argument(
        "--resume",
        nargs="?",
        const="",
        metavar="PATH",
        help="checkpoint to go on from; default: the one in DIR",
    )
    start.add_argument(
        "--from", dest="weights", type=Path, metavar="WEIGHTS", help="start a new training from these weights"
    )

    check = subparsers.add_parser(
        "evaluate", parents=[weights, data, device], help="print the accuracy of saved weights"
    )
    check.set_defaults(run=_command("evaluate"))

    look = subparsers.add_parser(
        "predict", parents=[weights, device], help="print what saved weights take images for"
    )
    look.set_defaults(run=_command("predict"))
    look.add_argument(
        "images", type=Path, nargs="+", metavar="IMAGE", help="an image of any size, or a folder of images"
    )

    _add_chapters(subparsers, data, device)


def _add_chapters(
    subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]",
    data: argparse.ArgumentParser,
    device: argparse.ArgumentParser,
) -> None:
    """Add `blitz chapter NAME`, a parser for each system with the options that it has."""
    chapters = subparsers.add_parser(
        "chapter", help="run a system that section 6 of the notes points to"
    ).add_subparsers(required=True, metavar="NAME")
    training = argparse.ArgumentParser(add_help=False, parents=[device])
    training.add_argument("--out", type=Path, metavar="DIR", help="folder to write to; default: runs/NAME")
    training.add_argument("--seed", type=_seed, default=0, metavar="N", help="default: 0")
    training.add_argument(
        "--steps", type=_count, metavar="N", help="train for N steps; default: the chapter's"
    )
    training.add_argument(
        "--resume",
        nargs="?",
        const="",
        metavar="PATH",
        help="checkpoint to go on from; default: the one in DIR",
    )
    parsers = {}
    for name, parents, words in (
        ("fine-tuning", [data, training], "fine-tune a ResNet-18 on classes that it has not seen"),
        ("dqn", [training], "learn to balance the pole of CartPole with a deep Q-network (needs gymnasium)"),
        ("imagenet", [training], "train a ResNet-18 on a folder of images, as for ImageNet"),
        ("dcgan", [data, training], "learn to draw images with a generative adversarial network"),
        ("word-lstm", [training], "learn to write text, word by word, with an LSTM"),
    ):
        parsers[name] = chapters.add_parser(name, parents=parents, help=words, description=words)
        parsers[name].set_defaults(run=_command("chapter"), chapter=name)
    parsers["fine-tuning"].add_argument(
        "--weights", type=Path, metavar="FILE", help="a pretrained ResNet-18; default: it is trained first"
    )
    parsers["imagenet"].add_argument(
        "--data", metavar="DIR", help="folder with train/CLASS/ and val/CLASS/; default: the stand-in"
    )
    parsers["word-lstm"].add_argument(
        "--text", type=Path, metavar="FILE", help="text to learn; default: the help texts of Python"
    )


def _command(name: str) -> Callable[[argparse.Namespace], int]:
    """Return the command of that name, whose module is imported when it runs."""

    def run(arguments: argparse.Namespace) -> int:
        module = importlib.import_module(f"blitz.commands.{name}")
        return int(getattr(module, name)(arguments))

    return run


def _seed(text: str) -> int:
    if not text.isdecimal() or int(text) >= 2**32:
        raise argparse.ArgumentTypeError(f"expected a seed in 0..{2**32 - 1}, got {text}")
    return int(text)


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a number of at least 1, got {text}")
    return int(text)
