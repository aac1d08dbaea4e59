"""Fine-tuning: a ResNet-18 that has learned five classes learns five others from 100 images of each."""

import zlib
from collections.abc import Iterator, Mapping
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models import resnet18

from blitz.cifar10.augmentation import augmented
from blitz.cifar10.data import Cifar10, Split, batches, normalize
from blitz.errors import BlitzError, CheckpointError
from blitz.explained.freezing import freeze
from blitz.randomness import epoch_order
from blitz.training import checkpoint
from blitz.training.evaluation import evaluate, evaluating
from blitz.training.recipes import one_cycle
from blitz.training.weights import find

WAYS = ("from scratch", "head only", "all weights")
TRAININGS = {
    # mini-batches, images in each, and the highest learning rate: one epoch, and five for each way
    "pretraining": (200, 125, 0.03),
    "from scratch": (50, 50, 0.02),
    "head only": (50, 50, 0.03),
    "all weights": (50, 50, 0.01),  # low, to keep what the net has learned before
}
OLD, NEW = range(5), range(5, 10)  # the classes of the pretraining, and those that are learned after it
IMAGES = 100  # of each new class to learn from
TEST_IMAGES = 200  # of each class to test on


class FineTuning:
    """Learns five classes in three ways, one after the other: a system for `blitz chapter`.

    A ResNet-18 is trained on the first five classes, unless weights are given. Then the other five are
    learned from 100 images of each: by a new net, from scratch; by a new head on the pretrained net, the rest
    of which is frozen; and by all weights of the pretrained net under a new head.

    Args:
        data: CIFAR-10, or ten other classes in its form.
        weights: a saved ResNet-18, of any number of classes, in the place of the pretraining.
        seed: decides which images of the new classes are learned from, and the order of all.
        steps: mini-batches of all trainings together; None means those of TRAININGS.
        device: where to train.

    Raises:
        BlitzError: there are too few steps for so many trainings.
        CheckpointError: `weights` cannot be read, or are of another net.

    Source: notes 6, "fine-tuning torchvision models"; notes 2.7.
    """

    def __init__(
        self,
        data: Cifar10,
        *,
        weights: Path | None,
        seed: int,
        steps: int | None = None,
        device: torch.device,
    ) -> None:
        names = WAYS if weights else tuple(TRAININGS)
        lengths = [TRAININGS[name][0] for name in names]
        self.total_steps = steps or sum(lengths)
        least = -(-sum(lengths) // min(lengths))
        if self.total_steps < least:
            raise BlitzError(
                f"expected at least {least} steps, so that there is one for each of {', '.join(names)}; "
                f"got {self.total_steps}"
            )
        ends = [self.total_steps * end // sum(lengths) for end in accumulate(lengths, initial=0)]
        self.parts = dict(zip(names, pairwise(ends), strict=True))
        self.pretrained = read_resnet18(weights) if weights else {}
        old, few = some_of(data.train, OLD), some_of(data.train, NEW, most=IMAGES, seed=seed)
        test = [some_of(data.test, classes, most=TEST_IMAGES) for classes in (OLD, NEW)]
        self.settings = {
            "steps": self.total_steps,
            "weights": weights and f"{zlib.crc32(weights.read_bytes()):08x}",
            "images": f"{zlib.crc32(few.images.numpy().tobytes()):08x}",
        }
        self.old, self.new = (
            [Split(images.to(device), labels.to(device)) for images, labels in splits]
            for splits in ((old, test[0]), (few, test[1]))
        )
        self.classes = data.classes[NEW.start : NEW.stop]
        self.seed, self.device = seed, device
        self.criterion = nn.CrossEntropyLoss()
        self.net: nn.Module  # of the training at hand, as its optimizer
        self.optimizer: torch.optim.Optimizer
        self.step = 0
        self.history: list[dict[str, float]] = []

    def steps(self) -> Iterator[str | None]:
        """Train on what is left, and pause after each mini-batch; each fifth of a training has its line."""
        while self.step < self.total_steps:
            name = self._training(self.step + 1)
            start, end = self.parts[name]
            if self.step == start:
                self._begin(name)
            # a frozen layer of batch norm would move its running statistics on, were it not in eval mode
            self.net.train(mode=name != "head only")
            (images, labels), test = self.old if name == "pretraining" else self.new
            _, size, rate = TRAININGS[name]
            each_epoch = max(1, len(labels) // size)  # batch norm cannot do with a rest of one image
            epoch, before = divmod(self.step - start, each_epoch)
            left = slice(before * size, min(each_epoch, before + end - self.step) * size)
            order = epoch_order(len(labels), seed=self.seed, epoch=epoch)[left]
            seen = augmented(images, shift=2, flip=True, seed=self.seed, epoch=epoch)
            for inputs, targets in batches(Split(seen, labels), size, order=order):
                self.optimizer.param_groups[0]["lr"] = one_cycle(rate, self.step - start, end - start)
                self.optimizer.zero_grad()
                self.criterion(self.net(inputs), targets).backward()
                self.optimizer.step()
                self.step += 1
                done = self.step - start
                due = done % max(1, (end - start) // 5) == 0 or self.step == end
                yield self._report(name, done / each_epoch, test) if due else None

    def _training(self, step: int) -> str:
        """Return the name of the training that a step, counted from 1, belongs to."""
        return next(name for name, (_, end) in self.parts.items() if step <= end)

    def _begin(self, name: str) -> None:
        if name != "pretraining" and not self.pretrained:
            self.pretrained = {key: value.cpu() for key, value in self.net.state_dict().items()}
        self.net = new_net(name, self.pretrained).to(self.device)
        self.optimizer = torch.optim.SGD(
            [weight for weight in self.net.parameters() if weight.requires_grad],
            lr=TRAININGS[name][2],
            momentum=0.9,
            nesterov=True,
            weight_decay=5e-4,
            fused=self.device.type in ("cpu", "cuda"),  # the default takes longer on the CPU
        )

    def _report(self, name: str, epoch: float, test: Split) -> str:
        accuracy = evaluate(self.net, test, device=self.device).accuracy
        self.history.append({"step": self.step, "epoch": round(epoch, 2), name: accuracy})
        return f"{name}, epoch {epoch:.3g}: {100 * accuracy:.1f} % of {len(test.labels)} test images right"

    def state_dict(self) -> dict[str, Any]:
        """Return the net of the training at hand and its optimizer, and the net of the pretraining."""
        return {
            "model": self.net.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "pretrained": self.pretrained,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from where `state` was taken."""
        self.pretrained = dict(state["pretrained"])
        self._begin(self._training(self.step))
        self.net.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])

    def results(self) -> dict[str, bytes]:
        """Draw the test accuracy of each way over its epochs, and what the last net takes test images for."""
        from blitz import pictures  # matplotlib takes a second to import

        curves = {way: [(line["epoch"], line[way]) for line in self.history if way in line] for way in WAYS}
        images, labels = (part[:: -(-len(part) // 24)] for part in self.new[1])
        with evaluating(self.net):
            predicted = self.net(normalize(images)).argmax(1)
        above = f"five new classes, {IMAGES} images of each to learn from"
        title = "all weights fine-tuned: test images"
        return {
            "accuracy.png": pictures.accuracies(curves, title=above, chance=1 / len(NEW)),
            "predictions.png": pictures.predictions(
                images, labels, predicted, classes=self.classes, title=title
            ),
        }


def new_net(name: str, pretrained: Mapping[str, Tensor]) -> nn.Module:
    """Return the net that a training begins with: float (N, 3, H, W) to scores (N, 5).

    Args:
        name: "pretraining", or one of WAYS.
        pretrained: the weights of a ResNet-18; "pretraining" and "from scratch" do without.
    """
    if name in ("pretraining", "from scratch"):
        return resnet18(num_classes=len(OLD))
    net = resnet18(num_classes=len(pretrained["fc.bias"]))
    net.load_state_dict(pretrained)
    if name == "head only":
        freeze(net)
    net.fc = nn.Linear(net.fc.in_features, len(NEW))  # a new layer, and so not a frozen one
    return net


def read_resnet18(path: Path) -> dict[str, Tensor]:
    """Return the weights of the ResNet-18 in a file, by their names in the net.

    Raises:
        CheckpointError: the file cannot be read, or has the weights of another net.
    """
    content = checkpoint.read(path)
    with torch.device("meta"):  # names and shapes alone
        nets = [resnet18(num_classes=number) for number in sorted(_numbers_of_classes(content)) or [1000]]
    try:
        return find(content, nets)[1].tensors
    except ValueError as error:
        raise CheckpointError(f"{path} {error}") from error


def _numbers_of_classes(content: Any, depth: int = 3) -> set[int]:
    """Return the lengths of all tensors that are called fc.bias in a dict, or in the dicts inside."""
    if not isinstance(content, Mapping) or depth < 0:
        return set()
    biases = [value for name, value in content.items() if str(name).endswith("fc.bias")]
    numbers = {len(bias) for bias in biases if isinstance(bias, Tensor) and bias.dim() == 1}
    return numbers.union(*(_numbers_of_classes(value, depth - 1) for value in content.values()))


def some_of(split: Split, classes: range, *, most: int | None = None, seed: int = 0) -> Split:
    """Return the images of some classes, which get numbers from 0: all, or `most` of each by the seed."""
    order = epoch_order(len(split.labels), seed=seed, epoch=0)
    index = torch.cat([order[split.labels[order] == label][:most] for label in classes])
    return Split(split.images[index], split.labels[index] - classes.start)
