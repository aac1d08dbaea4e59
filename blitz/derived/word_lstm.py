"""word-lstm: an LSTM reads a text and learns to say at each word which one comes next.

It is judged by its perplexity on a part of the text that it did not learn from: among how many equally
likely words it would be as unsure. Beside it a trigram model is judged, which has counted what followed the
last two words.

Source: PyTorch's example "Word-level Language Modeling using RNN", which section 6 of the notes points to.
"""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from blitz.derived.trigram import trigram_perplexities
from blitz.derived.word_net import WordNet, batchify, detached, perplexity, sample, window
from blitz.derived.words import OFTEN, read

COLUMNS = 20
ROWS = 35  # of a window
MAX_NORM = 0.25  # of the gradient of all weights together
LR = 7e-3
EPOCHS = 6
SAMPLE_WORDS = 200


class WordLSTM:
    """Learning to write, a step for each window; see System in blitz.commands.chapter.

    Args:
        text: a file in UTF-8; without one, the help texts of this Python.
        seed: of the sampled text; all else is drawn from PyTorch's generators.
        steps: how many windows to learn from, by default EPOCHS times all of the training part; the learning
            rate falls to 0 meanwhile.
        device: where to train.

    Raises:
        DataError: the text cannot be read or is too short.
    """

    def __init__(
        self, text: Path | None, *, seed: int, steps: int | None = None, device: torch.device | str = "cpu"
    ) -> None:
        self.text, self.seed, self.device = read(text), seed, torch.device(device)
        self.train, self.validation, self.heldout = (part.to(self.device) for part in self.text[-3:])
        self.source = batchify(self.train, COLUMNS)
        self.steps_per_epoch = math.ceil((len(self.source) - 1) / ROWS)
        self.step, self.total_steps = 0, steps or EPOCHS * self.steps_per_epoch
        self.settings: dict[str, Any] = {"text": self.text.size, "steps": self.total_steps}
        self.history: list[dict[str, float]] = []
        self.net = WordNet(len(self.text.vocabulary)).to(self.device)
        self.criterion = nn.CrossEntropyLoss()
        self.optimizer = torch.optim.Adam(self.net.parameters(), fused=self.device.type in ("cpu", "cuda"))
        self.hidden = self.net.start(COLUMNS)
        self.losses = torch.zeros(2, device=self.device)  # their sum since the last report, and their number

    def steps(self) -> Iterator[str | None]:
        """Learn from one window after another, and report after each epoch."""
        while self.step < self.total_steps:
            row = self.step % self.steps_per_epoch * ROWS
            if row == 0:
                self.hidden = self.net.start(COLUMNS)
            self.learn(*window(self.source, row, ROWS))
            self.step += 1
            yield self._report()

    def learn(self, inputs: Tensor, targets: Tensor) -> None:
        """Take a step on a window, both (T, COLUMNS)."""
        self.optimizer.zero_grad()
        loss = self.loss(inputs, targets)
        loss.backward()
        nn.utils.clip_grad_norm_(self.net.parameters(), MAX_NORM)
        self.optimizer.param_groups[0]["lr"] = LR * (1 - self.step / self.total_steps)
        self.optimizer.step()
        self.losses += torch.stack([loss.detach(), torch.ones_like(loss)])

    def loss(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """Return the mean loss of a window; the state goes on from the window before, without its graph."""
        scores, self.hidden = self.net(inputs, detached(self.hidden))
        return self.criterion(scores.flatten(0, 1), targets.flatten())

    def state_dict(self) -> dict[str, Any]:
        """Return the weights, the optimizer's state, the state of the LSTM, and the losses to be reported."""
        return {
            "model": self.net.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "hidden": list(self.hidden),
            "losses": self.losses,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from `state`."""
        self.net.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        h, c = state["hidden"]
        self.hidden = h.to(self.device), c.to(self.device)
        self.losses = state["losses"].to(self.device)

    def results(self) -> dict[str, bytes]:
        """Return a sampled text, and a picture of the perplexity by epoch beside the trigram model's."""
        from blitz import pictures  # matplotlib takes a second to import

        title = f"word-lstm on {self.text.name}"
        return {
            "samples.txt": (self._sample() + "\n").encode(),
            "perplexity.png": pictures.perplexities(self.history, title=title),
        }

    def _sample(self) -> str:
        return sample(self.net, self.text.vocabulary, count=SAMPLE_WORDS, seed=self.seed)

    def _begin(self) -> str:
        size = len(self.text.vocabulary)
        validation, heldout = trigram_perplexities(*self.text[-3:], size)
        self.history.append({"step": 0, "trigram validation": validation, "trigram held-out": heldout})
        unknown = (self.text.train == 0).double().mean().item()
        return (
            f"Text: {self.text.name}, {self.text.size}: {len(self.train)} to learn from, then "
            f"{len(self.validation)} for validation, then {len(self.heldout)} held out\n"
            f"Vocabulary: {size} words, each {OFTEN} times or more in what is learned; "
            f"{unknown:.1%} of that is unknown words"
        )

    def _report(self) -> str | None:
        lines = [self._begin()] if self.step == 1 else []
        if self.step % self.steps_per_epoch == 0 or self.step == self.total_steps:
            loss, number = self.losses.tolist()
            self.losses = torch.zeros_like(self.losses)
            epoch, training = self.step / self.steps_per_epoch, math.exp(loss / number)
            validation = perplexity(self.net, self.validation)
            self.history.append(
                {"step": self.step, "epoch": epoch, "training": training, "validation": validation}
            )
            lines.append(
                f"epoch {epoch:.3g}, step {self.step} of {self.total_steps}: perplexity {training:.1f} in "
                f"training, {validation:.1f} on the validation part"
            )
        if self.step == self.total_steps:
            heldout, trigram = perplexity(self.net, self.heldout), self.history[0]["trigram held-out"]
            self.history[-1]["held-out"] = heldout
            lines.append(f"Held-out part: perplexity {heldout:.1f}, of a trigram model {trigram:.1f}")
            lines.append(f"A sampled text:\n\n{self._sample()}\n")
        return "\n".join(lines) or None
