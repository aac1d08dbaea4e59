"""The net of a word-level language model: how it reads a text, how sure it is, and what it writes.

A text lies in columns that are read side by side, a window of rows at a time. The hidden state goes on from
one window to the next, and the gradient does not: it ends at the beginning of its window ("truncated
back-propagation through time").

Source: PyTorch's example "Word-level Language Modeling using RNN", which section 6 of the notes points to.
"""

import math
import textwrap
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from blitz.derived.words import PARAGRAPH

UNITS = 160  # of the embedding and of the LSTM: the decoder has the weights of the embedding
DROPOUT = 0.3
TEMPERATURE = 0.7  # of written text: below 1, a likely word is drawn more often than the net says
LINE = 100  # characters of a written line

Hidden = tuple[Tensor, Tensor]


class WordNet(nn.Module):
    """Words, int64 (T, B), and the state h and c before them, float (1, B, UNITS) each, to scores."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(size, UNITS)
        self.lstm = nn.LSTM(UNITS, UNITS)
        self.dropout = nn.Dropout(DROPOUT)
        self.decoder = nn.Linear(UNITS, size)
        self.decoder.weight = self.embedding.weight
        nn.init.uniform_(self.embedding.weight, -0.1, 0.1)
        nn.init.zeros_(self.decoder.bias)

    def forward(self, words: Tensor, hidden: Hidden) -> tuple[Tensor, Hidden]:
        """Return the scores of the next words, float (T, B, size), and the state after the last of them."""
        x = self.dropout(self.embedding(words))  # (T, B) -> (T, B, UNITS)
        x, hidden = self.lstm(x, hidden)  # (T, B, UNITS)
        return self.decoder(self.dropout(x)), hidden  # (T, B, size)

    def start(self, columns: int) -> Hidden:
        """Return the state before the first word: zeros."""
        zeros = self.decoder.bias.new_zeros(1, columns, UNITS)
        return zeros, zeros


def batchify(words: Tensor, columns: int) -> Tensor:
    """Lay words, int64 (N,), in columns, each a piece of the text; what does not fill a row is left out.

    >>> batchify(torch.arange(7), 2)
    tensor([[0, 3],
            [1, 4],
            [2, 5]])
    """
    rows = len(words) // columns
    return words[: rows * columns].view(columns, rows).t().contiguous()


def window(source: Tensor, start: int, rows: int) -> tuple[Tensor, Tensor]:
    """Return the words from row `start` on, and for each the next word of its column, int64 (T, B) both."""
    targets = source[start + 1 : start + 1 + rows]
    return source[start : start + len(targets)], targets


def detached(hidden: Hidden) -> Hidden:
    """Return the same state without the graph that it came from."""
    h, c = hidden
    return h.detach(), c.detach()


@torch.no_grad()
def perplexity(net: WordNet, words: Tensor) -> float:
    """Return the perplexity on words, int64 (N,), read in one column: each but the first is to be said.

    Dropout is off meanwhile.
    """
    net.eval()
    source, hidden, total = words.unsqueeze(1), net.start(1), words.new_zeros((), dtype=torch.float)
    for start in range(0, len(words) - 1, 500):
        inputs, targets = window(source, start, 500)
        scores, hidden = net(inputs, detached(hidden))
        total += nn.functional.cross_entropy(scores.flatten(0, 1), targets.flatten(), reduction="sum")
    net.train()
    return math.exp(total.item() / (len(words) - 1))


@torch.no_grad()
def sample(net: WordNet, vocabulary: Sequence[str], *, count: int, seed: int) -> str:
    """Return a text of `count` words that the net writes from the seed on; none is the unknown word."""
    net.eval()
    generator = torch.Generator().manual_seed(seed)
    hidden, number = net.start(1), vocabulary.index(PARAGRAPH) if PARAGRAPH in vocabulary else 0
    text = ""
    for _ in range(count):
        scores, hidden = net(torch.tensor([[number]], device=hidden[0].device), hidden)
        likely = (scores[0, 0, 1:].cpu() / TEMPERATURE).softmax(0)
        number = 1 + int(torch.multinomial(likely, 1, generator=generator))
        text += vocabulary[number]
    net.train()
    paragraphs = text.split(PARAGRAPH)
    return PARAGRAPH.join(textwrap.fill(part, LINE) for part in paragraphs if part.strip())
