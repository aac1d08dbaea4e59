"""The command `blitz chapter`: the systems that section 6 of the notes points to."""

import argparse
import shlex
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol

import torch
from tqdm import tqdm

from blitz.commands import folder, signals
from blitz.commands.shared import choose_threads, given, load_data
from blitz.errors import BlitzError, CheckpointError
from blitz.randomness import random_states, restore_random_states
from blitz.training import checkpoint, distributed

_OPTIONS = ("data", "holdout", "text", "weights", "seed", "steps", "device", "download")


class System(Protocol):
    """A training that can stop after any step and go on from its state_dict() as if it never had.

    Its random numbers come from PyTorch's generators, whose states the command keeps, or from generators
    whose states are part of its state_dict().

    Attributes:
        settings: what the training depends on, as plain values; only a training with the same ones goes on.
        step: the number of steps done.
        total_steps: the number of steps of the whole training.
        history: what was measured so far, a dict of numbers for each time.
    """

    settings: dict[str, Any]
    step: int
    total_steps: int
    history: list[dict[str, float]]

    def steps(self) -> Iterator[str | None]:
        """Train on what is left, and pause after each step: for a line to print, if one is due, or None."""

    def state_dict(self) -> dict[str, Any]:
        """Return "model" (tensors by name), "optimizer", and what else the rest of the training needs."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from where `state` was taken; settings, step and history are already those of `state`."""

    def results(self) -> dict[str, bytes]:
        """Return the files that a person looks at after the last step, by name."""


def chapter(arguments: argparse.Namespace) -> int:
    """Run a system, or go on with it, and leave its results, its history and its checkpoint in --out.

    Ctrl-C and SIGTERM save, and print the command to go on.

    Raises:
        BlitzError: the device, the folder, the checkpoint or the data cannot be used.
    """
    out = arguments.out or Path("runs", arguments.chapter)
    with distributed.process_group(arguments.device) as device, signals.interrupting(), ExitStack() as stack:
        if distributed.size() > 1 and arguments.chapter != "imagenet":
            raise BlitzError(
                f"blitz chapter {arguments.chapter} trains in one process: start it without torchrun"
            )
        runs = set(distributed.gathered(distributed.run_name()))
        try:
            return _run(arguments, out, runs, device, stack)
        except KeyboardInterrupt as stop:
            return folder.stopped(stop, _command_to_go_on(arguments, out, runs))


def _run(
    arguments: argparse.Namespace, out: Path, runs: set[str], device: torch.device, stack: ExitStack
) -> int:
    def begin() -> tuple[Path, dict[str, Any]] | None:
        start = folder.load_start(out, arguments.resume, runs)
        stack.enter_context(folder.claimed(out, start[0] if start else None))
        return start

    start = distributed.by_first(begin)
    torch.manual_seed(arguments.seed)
    system = _BUILDERS[arguments.chapter](arguments, device)
    system.settings = {"chapter": arguments.chapter, "seed": arguments.seed, **system.settings}
    if start:
        _go_on(system, *start, device)
        distributed.by_first(lambda: folder.take_over(*start, out, runs))
    with signals.postponed(all_of_them=distributed.launched()) as caught:
        _train(system, out, runs, device, caught)
        stopped = distributed.any_of(bool(caught))
    if stopped:
        raise KeyboardInterrupt(f" after {system.step} of {system.total_steps} steps")
    if distributed.rank() == 0:
        results = system.results()
        for name, content in results.items():
            checkpoint.write(content, out / name)
        print(f"Saved in {out}: {', '.join(['checkpoint.pt', 'history.jsonl', *results])}")
    return 0


def _go_on(system: System, path: Path, state: dict[str, Any], device: torch.device) -> None:
    """Put a system to where a saved one was.

    Raises:
        CheckpointError: it was saved by another system, or with other settings.
    """
    saved = state["settings"]
    if saved.keys() != system.settings.keys():
        raise CheckpointError(f"{path} is not of blitz chapter {system.settings['chapter']}")
    for name, value in system.settings.items():
        if saved[name] != value:
            raise CheckpointError(
                f"{path} does not fit: its {name} was {saved[name]}, not {value}; "
                "resume with the options it began with"
            )
    system.step, system.history = state["step"], list(state["history"])
    system.load_state_dict(state)
    states = state["random of each process"]
    if distributed.rank() < len(states):
        restore_random_states(states[distributed.rank()], device)
    done = "complete" if system.step >= system.total_steps else "going on"
    print(f"Resumed from {path} after {system.step} of {system.total_steps} steps: {done}", flush=True)


def _train(system: System, out: Path, runs: set[str], device: torch.device, caught: list[int]) -> None:
    """Train until the end or a signal, and save whenever a line is due."""
    progress = {"initial": system.step, "total": system.total_steps, "unit": "step"}
    with tqdm(system.steps(), **progress, disable=None, leave=False) as bar:
        for line in bar:
            if line:
                with bar.external_write_mode():
                    print(line, flush=True)
            stop = distributed.any_of(bool(caught))
            if line or stop or system.step >= system.total_steps:
                _save(system, out, runs, device)
            if stop:
                break


def _save(system: System, out: Path, runs: set[str], device: torch.device) -> None:
    state = {
        "settings": system.settings,
        "step": system.step,
        "history": system.history,
        "random of each process": distributed.gathered(random_states(device)),
        **system.state_dict(),
    }
    distributed.by_first(lambda: folder.save(state, out, runs))


def _command_to_go_on(arguments: argparse.Namespace, out: Path, runs: set[str]) -> str:
    """Return the command that goes on from what this run has saved, or begins again."""
    words = ["blitz", "chapter", arguments.chapter, "--out", str(out)]
    return shlex.join([*words, *given(arguments, _OPTIONS), *folder.where_to_go_on(arguments, out, runs)])


def _options(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return what the constructors of all systems take, apart from the device."""
    return {"seed": arguments.seed, **({"steps": arguments.steps} if arguments.steps else {})}


def _fine_tuning(arguments: argparse.Namespace, device: torch.device) -> System:
    from blitz.derived.fine_tuning import FineTuning  # each needs libraries that the others do not

    data = load_data(arguments)
    return FineTuning(data, weights=arguments.weights, device=device, **_options(arguments))


def _dqn(arguments: argparse.Namespace, device: torch.device) -> System:
    from blitz.derived.dqn import DQN

    choose_threads(1)
    return DQN(device=device, **_options(arguments))


def _imagenet(arguments: argparse.Namespace, device: torch.device) -> System:
    from blitz.derived.imagenet import ImageNet

    return ImageNet(arguments.data, device=device, **_options(arguments))


def _dcgan(arguments: argparse.Namespace, device: torch.device) -> System:
    from blitz.derived.dcgan import DCGAN

    return DCGAN(load_data(arguments), device=device, **_options(arguments))


def _word_lstm(arguments: argparse.Namespace, device: torch.device) -> System:
    from blitz.derived.word_lstm import COLUMNS, WordLSTM

    choose_threads(COLUMNS)
    return WordLSTM(arguments.text, device=device, **_options(arguments))


_BUILDERS = {
    "fine-tuning": _fine_tuning,
    "dqn": _dqn,
    "imagenet": _imagenet,
    "dcgan": _dcgan,
    "word-lstm": _word_lstm,
}
