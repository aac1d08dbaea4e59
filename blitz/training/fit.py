"""Training a net by recipes of plain values; nothing here knows of files."""

import math
import zlib
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from blitz.cifar10.augmentation import augmented
from blitz.cifar10.data import Split, batches, normalize
from blitz.errors import BlitzError
from blitz.randomness import epoch_order, random_states, restore_random_states
from blitz.training import distributed
from blitz.training.cuda_graph import CapturedStep
from blitz.training.devices import half_precision
from blitz.training.evaluation import checked
from blitz.training.muon import Muon
from blitz.training.recipes import SCHEDULES, Recipe
from blitz.training.weights import find

Progress = dict[str, float]
"""A line of a history: "epoch" and "step" (the mini-batch in its epoch), from 1, and what was measured."""


class Training:
    """A training that can stop after any mini-batch and go on from its state_dict() as if it never had.

    Moves `net` to `device`. `seed` and the epoch decide the order of the samples; what else is drawn
    (the net's first weights, dropout) comes from the global generators, which the caller seeds.

    Where this process has joined a process group, all its processes train together, on equal parts of every
    batch (see blitz.training.distributed): each has to call the same methods, in the same order.

    Args:
        net: takes float (N, 3, 32, 32), returns class scores (N, C).
        split: images, uint8 (N, 3, 32, 32), and labels, int64 (N,) in 0..C-1.
        recipe: one of RECIPES, or one of your own.
        seed: together with the epoch it decides the order of the samples.
        device: where to train.

    Raises:
        ValueError: the split is empty, not of these shapes and types, or has a label outside 0..C-1.
        BlitzError: the processes cannot share a batch equally.

    Source: notes 4, steps 3 and 4.

    >>> training = Training(net, split, RECIPES["tutorial"])  # doctest: +SKIP
    >>> for record in training.steps():  # doctest: +SKIP
    ...     if record:
    ...         print(record["loss"])
    """

    def __init__(
        self,
        net: nn.Module,
        split: Split,
        recipe: Recipe,
        *,
        seed: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        for field in ("batch_size", "epochs", "report_every"):
            if getattr(recipe, field) < 1:
                raise ValueError(f"expected a {field} of at least 1, got {getattr(recipe, field)}")
        self.own_batch_size = distributed.own_batch_size(recipe.batch_size)
        self.device = torch.device(device)
        self.net = net.to(self.device)
        self.split = checked(net, split, self.device)
        self.forward = distributed.replicated(self.net, normalize(self.split.images[:1]))
        self.recipe = recipe
        self.seed = seed
        self.criterion = nn.CrossEntropyLoss(label_smoothing=recipe.label_smoothing)
        weights = [weight for weight in net.parameters() if weight.requires_grad]
        hidden = [weight for weight in weights if weight.dim() > 1][:-1] if recipe.muon_learning_rate else []
        self.muon: Muon | None = None
        if hidden:
            self.muon = Muon(hidden, lr=recipe.muon_learning_rate, momentum=recipe.muon_momentum)
        others = set(weights).difference(hidden)
        self.optimizer = torch.optim.SGD(
            [weight for weight in weights if weight in others],
            lr=recipe.learning_rate,
            momentum=recipe.momentum,
            nesterov=recipe.nesterov,
            weight_decay=recipe.weight_decay,
            fused=self.device.type in ("cpu", "cuda"),  # on the CPU 2.4 times faster than the default loop
        )
        self.running_loss = torch.zeros((), device=self.device)
        self._rates: dict[torch.optim.Optimizer, Tensor] = {}  # of a step that is a graph
        self._take_step = self._learn
        if takes_graphs(recipe, self.device):
            self._rates = {each: torch.zeros((), device=self.device) for each in self._optimizers}
            self._take_step = CapturedStep(self._learn)
        self.step = 0
        self.history: list[Progress] = []
        if distributed.rank():  # the first process draws on as it would alone, and the others otherwise
            torch.manual_seed(torch.initial_seed() + 1_000_003 * distributed.rank())

    @property
    def steps_per_epoch(self) -> int:
        """The number of mini-batches in an epoch, the smaller last one included."""
        return math.ceil(len(self.split.labels) / self.recipe.batch_size)

    @property
    def total_steps(self) -> int:
        """The number of mini-batches in the whole training."""
        return self.steps_per_epoch * self.recipe.epochs

    @property
    def finished(self) -> bool:
        """Whether no mini-batch is left."""
        return self.step >= self.total_steps

    def steps(self) -> Iterator[Progress | None]:
        """Train on what is left, and pause after each mini-batch: for its report, if one is due, or None.

        Raises:
            BlitzError: the loss is not a finite number, seen at a report or at the end of an epoch.
        """
        self.net.train()
        while not self.finished:
            epoch, before = divmod(self.step, self.steps_per_epoch)
            order = epoch_order(len(self.split.labels), seed=self.seed, epoch=epoch)
            recipe = self.recipe
            images = augmented(
                self.split.images, shift=recipe.shift, flip=recipe.flip, seed=self.seed, epoch=epoch
            )
            # what is left of the whole epoch's share, which may end in a repetition
            left = distributed.own_indices(order)[before * self.own_batch_size :]
            for inputs, labels in batches(Split(images, self.split.labels), self.own_batch_size, order=left):
                self._set_rates()
                self._take_step(inputs, labels)
                self.step += 1
                yield self._report()

    def record(self, **measured: float) -> Progress:
        """Add what was measured after the last mini-batch to the history."""
        epoch, before = self._place
        self.history.append({"epoch": epoch, "step": before, **measured})
        return self.history[-1]

    def state_dict(self) -> dict[str, Any]:
        """Return all that the rest of the training depends on, in plain values and tensors.

        As everywhere in PyTorch the tensors are the live ones: save them before the next mini-batch.
        """
        return {
            "settings": dict(self._settings),
            "step": self.step,
            "model": self.net.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            **({"muon": self.muon.state_dict()} if self.muon else {}),
            "running_loss": torch.tensor(distributed.gathered(self.running_loss.item())),
            "history": list(self.history),
            "random of each process": distributed.gathered(random_states(self.device)),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from where `state` was taken; weights, optimizer and random states become those of `state`.

        Where the learning rate stays the same, the epochs may be more than they were, or fewer.

        Raises:
            ValueError: `state` comes from another recipe, seed, data set or net, its optimizers have other
                weights, or it has done more epochs than are asked for; nothing has changed then.
        """
        # a setting that a recipe did not have yet was what is now its default; some had other names
        told = state["settings"]
        muons = {"muon_learning_rate": told.get("muon", 0.0), "muon_momentum": told.get("momentum")}
        before = {**Recipe._field_defaults, **(muons if "muon" in told else {})}
        before["schedule"] = "one cycle" if told.get("one_cycle") else "constant"
        for setting, value in self._settings.items():
            other = told.get(setting, before.get(setting))
            if other == value:
                continue
            if setting != "epochs":
                raise ValueError(
                    f"it was trained with {setting} {other}, not {value}; "
                    "resume with the recipe, seed and data it began with"
                )
            if self.recipe.schedule != "constant":
                raise ValueError(
                    f"its learning rate falls to 0 in {other} epochs, not in {value}: resume with "
                    f"--epochs {other}, or start a new training from its weights with --from"
                )
        own_state = self.state_dict()
        if missing := own_state.keys() - state.keys():
            raise ValueError(f"it is not the state of a training: {', '.join(sorted(missing))} is missing")
        if state["step"] > self.total_steps:
            raise ValueError(
                f"it has done {state['step'] / self.steps_per_epoch:.3g} epochs, "
                f"more than the {self.recipe.epochs} asked for"
            )
        find(state["model"], [self.net])  # load_state_dict would load a part of another net's
        for each in own_state.keys() & {"optimizer", "muon"}:
            if _weights_of(state[each]) != _weights_of(own_state[each]):
                raise ValueError(
                    "another version of blitz trained it, whose SGD and Muon had other weights than now: "
                    "start a new training from its weights with --from"
                )
        self.net.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.muon:
            self.muon.load_state_dict(state["muon"])
        losses = state["running_loss"].flatten()  # one number before it was one of each process
        own = losses[distributed.rank()] if len(losses) == distributed.size() else losses.mean()
        self.running_loss.copy_(own)
        if self._rates:  # the graph would go on with the buffers that were there before
            self._take_step = CapturedStep(self._learn)
        self.step = state["step"]
        self.history = list(state["history"])
        states = state["random of each process"]
        if distributed.rank() < len(states):  # a process more than there were goes on with a seed of its own
            restore_random_states(states[distributed.rank()], self.device)

    @cached_property
    def _settings(self) -> dict[str, Any]:
        # a checksum, because by their sizes the official CIFAR-10 and its JPEG copy are the same data
        images, labels = (zlib.crc32(tensor.cpu().contiguous().numpy().data) for tensor in self.split)
        recipe = self.recipe._asdict()
        return {
            "recipe": recipe.pop("name"),
            "seed": self.seed,
            **recipe,
            "images": len(self.split.labels),
            "checksum of images": f"{images:08x}",
            "checksum of labels": f"{labels:08x}",
        }

    @property
    def _place(self) -> tuple[int, int]:
        """The epoch of the last mini-batch, and its number there, both from 1."""
        epoch, before = divmod(self.step - 1, self.steps_per_epoch)
        return epoch + 1, before + 1

    @property
    def _optimizers(self) -> dict[torch.optim.Optimizer, float]:
        """The optimizers, and the highest learning rate of each."""
        highest: dict[torch.optim.Optimizer, float] = {self.optimizer: self.recipe.learning_rate}
        return {**highest, self.muon: self.recipe.muon_learning_rate} if self.muon else highest

    def _set_rates(self) -> None:
        for optimizer, highest in self._optimizers.items():
            rate = SCHEDULES[self.recipe.schedule](highest, self.step, self.total_steps)
            for group in optimizer.param_groups:
                group["lr"] = self._rates[optimizer].fill_(rate) if self._rates else rate

    def _learn(self, inputs: Tensor, labels: Tensor) -> None:
        """Launch all that a step computes, and ask for no value: a GPU would have to finish it first."""
        self.net.zero_grad()
        with half_precision(self.device, self.recipe.half):
            loss = self.criterion(self.forward(inputs), labels)
        loss.backward()
        self.optimizer.step()
        if self.muon:
            with half_precision(self.device, self.recipe.half):
                self.muon.step()
        self.running_loss += loss.detach()

    def _report(self) -> Progress | None:
        # an epoch shorter than the interval (the stand-in's) reports once, at its end
        every = min(self.recipe.report_every, self.steps_per_epoch)
        epoch, before = self._place
        due, ends = before % every == 0, before == self.steps_per_epoch
        if not due and not ends:
            return None
        loss = distributed.mean(self.running_loss).item() / every
        self.running_loss.zero_()
        if not math.isfinite(loss):
            raise BlitzError(
                f"the loss is {loss} at mini-batch {before} of epoch {epoch}: training has diverged, "
                f"and a learning rate below {self.recipe.learning_rate} may help"
            )
        return self.record(loss=loss) if due else None  # like the notes, leave an epoch's last part out


def _weights_of(optimizer: Mapping[str, Any]) -> list[list[int]]:
    """Return the numbers of the weights in each group of an optimizer's state."""
    return [group["params"] for group in optimizer["param_groups"]]


def takes_graphs(recipe: Recipe, device: torch.device) -> bool:
    """Tell whether the steps of a training are captured: on one CUDA device, if the recipe asks for it."""
    return recipe.cuda_graph and device.type == "cuda" and distributed.size() == 1


def fit(
    net: nn.Module, split: Split, recipe: Recipe, *, seed: int = 0, device: torch.device | str = "cpu"
) -> list[Progress]:
    """Train `net` from beginning to end and return the history of its running loss (see Training)."""
    training = Training(net, split, recipe, seed=seed, device=device)
    for _ in training.steps():
        pass
    return training.history
