"""A ResNet-18 on a folder of images, trained as in PyTorch's ImageNet example, in one process or several.

Source: notes 6, "ImageNet"; https://github.com/pytorch/examples/tree/main/imagenet.
"""

import math
import os
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchvision.models import resnet18

from blitz import pictures
from blitz.derived.image_data import Views, centres, crops, draw, normalized, read
from blitz.errors import BlitzError, DataError
from blitz.randomness import epoch_order
from blitz.training import distributed
from blitz.training.evaluation import evaluating

BATCH = 32  # images a step, over all processes
HIGHEST = 0.1 * BATCH / 256  # learning rate: 0.1 for a batch of 256, and in proportion to it
WARM_UP = 0.1  # the share of the steps in which it climbs
EPOCHS, EPOCHS_OF_STAND_IN = 90, 4
REPORT_EVERY = 31  # steps, and a hundred times in a long epoch: with each line the state is saved


def learning_rate(step: int, total_steps: int) -> float:
    """Return the learning rate of a step, from 0: it climbs in a straight line, then falls as a half cosine.

    >>> [round(learning_rate(step, 40) / HIGHEST, 3) for step in (0, 1, 3, 4, 22, 39)]
    [0.25, 0.5, 1.0, 1.0, 0.5, 0.002]
    """
    warm_up = max(1, round(WARM_UP * total_steps))
    if step < warm_up:
        return HIGHEST * (step + 1) / warm_up
    return HIGHEST * (1 + math.cos(math.pi * (step - warm_up) / (total_steps - warm_up))) / 2


def hits(scores: Tensor, labels: Tensor) -> Tensor:
    """Return the numbers of images whose class is the best guess, and one of the best five: int64 (2,).

    >>> hits(torch.arange(10.0).repeat(3, 1), torch.tensor([9, 5, 4]))
    tensor([1, 2])
    """
    best = scores.topk(min(5, scores.shape[1])).indices  # (N, 5), the best first
    right = best == labels[:, None]
    return torch.stack([right[:, 0].sum(), right.sum()])


def _apart(worker: int) -> None:
    """Leave the process group, which Ctrl-C and SIGTERM go to: the training saves, and ends its workers."""
    os.setpgrp()


class ImageNet:
    """The training of a ResNet-18 (a System of blitz.commands.chapter).

    Its first weights come from the global generator, which the caller seeds. Where this process has joined a
    group, all its processes train together, and the BatchNorms of each see its own part of every batch.

    Args:
        folder: as read() takes it; None for the stand-in.
        seed: decides with the epoch in which order the images come, and how they are cropped.
        steps: on how many batches to train; by default 4 epochs of the stand-in, 90 of a folder.
        device: where to train.

    Raises:
        DataError: the folder cannot be used.
        BlitzError: the processes cannot share a batch equally.
    """

    def __init__(
        self, folder: str | None, *, seed: int, steps: int | None = None, device: torch.device | str
    ) -> None:
        self.own_batch = distributed.own_batch_size(BATCH)
        self.data = read(folder) if folder else draw()
        self.seed, self.device = seed, torch.device(device)
        self.net = resnet18(weights=None, num_classes=len(self.data.classes)).to(self.device)
        pixels = torch.zeros(1, 3, self.data.size, self.data.size, device=self.device)
        self.forward = distributed.replicated(self.net, pixels)
        self.criterion = nn.CrossEntropyLoss()
        self.optimizer = torch.optim.SGD(self.net.parameters(), lr=HIGHEST, momentum=0.9, weight_decay=1e-4)
        self.workers = 0 if self.device.type == "cpu" else 4  # a CPU trains 40 times as long as it decodes
        self.steps_per_epoch = max(1, len(self.data.train) // BATCH)  # what fills no batch is left out
        self.total_steps = steps or self.steps_per_epoch * (EPOCHS if folder else EPOCHS_OF_STAND_IN)
        self.losses = torch.zeros(2, device=self.device)  # since the last line: their sum and their number
        self.step = 0
        self.history: list[dict[str, float]] = []
        self.settings = {"data": str(self.data), "batch": BATCH, "steps": self.total_steps}

    def steps(self) -> Iterator[str | None]:
        """Train on what is left; the first line says on what.

        Raises:
            DataError: an image cannot be decoded.
            BlitzError: the loss is not a finite number.
        """
        lines = [f"Data: {self.data}"]
        self.net.train()
        while self.step < self.total_steps:
            epoch, done = divmod(self.step, self.steps_per_epoch)
            order = epoch_order(len(self.data.train), seed=self.seed, epoch=epoch)
            own = distributed.own_indices(order[: self.steps_per_epoch * BATCH])[done * self.own_batch :]
            for inputs, labels in self._batches(crops(self.data, seed=self.seed, epoch=epoch), own):
                self._learn(inputs, labels)
                lines += self._report()
                yield "\n".join(lines) or None
                lines.clear()
                if self.step == self.total_steps:
                    return

    def _batches(self, views: Views, order: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        generator = torch.Generator()  # the global one would else seed the workers
        loader = DataLoader(
            views,
            batch_size=self.own_batch,
            sampler=order.tolist(),
            num_workers=self.workers,
            worker_init_fn=_apart,
            generator=generator,
        )
        try:
            for pixels, labels in loader:
                yield normalized(pixels.to(self.device)), labels.to(self.device)
        except DataError as error:  # a worker tells where it was, too
            cause = error.with_traceback(None)  # which holds the loader, whose end would take five seconds
            raise DataError(str(error).strip().rpartition("DataError: ")[2]) from cause

    def _learn(self, inputs: Tensor, labels: Tensor) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.step, self.total_steps)
        self.optimizer.zero_grad()
        loss = self.criterion(self.forward(inputs), labels)
        loss.backward()
        self.optimizer.step()
        self.losses += distributed.mean(torch.stack([loss.detach(), torch.ones_like(loss)]))
        self.step += 1

    def _report(self) -> list[str]:
        ends = self.step % self.steps_per_epoch == 0 or self.step == self.total_steps
        if not ends and self.step % max(REPORT_EVERY, self.steps_per_epoch // 100):
            return []
        total, number = self.losses.tolist()
        self.losses.zero_()
        if not math.isfinite(total):
            raise BlitzError(f"the loss is {total} at step {self.step}: training has diverged")
        record = {"epoch": self.step / self.steps_per_epoch, "step": self.step, "loss": total / number}
        lines = [f"step {self.step} of {self.total_steps}: loss {record['loss']:.3f}"]
        if ends:
            record["top-1"], record["top-5"] = self.validate()
            shares = f"top-1 {record['top-1']:.1%}, top-5 {record['top-5']:.1%}"
            lines += [f"epoch {record['epoch']:.3g}: {shares} of the validation images"]
        self.history.append(record)
        return lines

    def validate(self) -> tuple[float, float]:
        """Return the shares of the validation images whose class is the best guess, and one of the best five.

        Each process sees to a part of them, with the mean of what the BatchNorms of all have seen.
        """
        for buffer in self.net.buffers():
            buffer.copy_(distributed.mean(buffer))
        count = len(self.data.val)
        own = torch.arange(distributed.rank(), count, distributed.size())
        right = torch.zeros(2, device=self.device)
        with evaluating(self.net):
            for inputs, labels in self._batches(centres(self.data), own):
                right += hits(self.net(inputs), labels)
        best, five = (distributed.mean(right) * distributed.size() / count).tolist()
        return best, five

    def state_dict(self) -> dict[str, Any]:
        """Return what the rest of the training needs; its tensors are the live ones."""
        return {
            "model": self.net.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "losses": self.losses,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from where `state` was taken, also with another number of processes."""
        self.net.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.losses = state["losses"].to(self.device)

    def results(self) -> dict[str, bytes]:
        """Return pictures: of the accuracy by epoch, and of validation images with the net's best guess."""
        views, count = centres(self.data), len(self.data.val)
        some = [views[index] for index in torch.linspace(0, count - 1, min(32, count)).long().tolist()]
        pixels, labels = torch.stack([image for image, _ in some]), torch.tensor([label for _, label in some])
        with evaluating(self.net):
            guesses = self.net(normalized(pixels.to(self.device))).argmax(1).cpu()
        title, classes = f"ResNet-18 on {self.data.name}", self.data.classes
        return {
            "accuracy.png": pictures.top_accuracies(self.history, classes=len(classes), title=title),
            "predictions.png": pictures.predictions(pixels, labels, guesses, classes=classes, title=title),
        }
