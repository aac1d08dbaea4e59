"""Texts as words: reading one, taking it apart, and numbering the words that occur often enough."""

import re
import sys
import zlib
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from blitz.errors import DataError, why

SHORTEST = 1000  # words
MOST_WORDS = 5000  # a vocabulary has no more: the decoder scores each of them at every place
OFTEN = 3  # times that a word of the vocabulary occurs in the training part
UNKNOWN, PARAGRAPH = "<unk>", "\n\n"

# A word keeps the space before it, so that joined words are the text again. Each digit is a word, as most
# numbers would be unknown, and each sign of Chinese and Japanese, which are written without spaces.
_SIGN = "0-9\u3040-\u30ff\u3400-\u9fff"
_WORD = re.compile(rf" ?(?:[{_SIGN}]|[^\W{_SIGN}]+|[^\w\s])|{PARAGRAPH}")


class Text(NamedTuple):
    """A text in three parts, in their order: 80 % to learn from, 10 % to choose by, the last 10 % held out.

    Attributes:
        name: what it is.
        size: its number of words and a checksum, which differ for every text.
        vocabulary: the words that have a number, the unknown word (0) first.
        train: numbers of words, int64 (N,); validation and heldout likewise.
    """

    name: str
    size: str
    vocabulary: list[str]
    train: Tensor
    validation: Tensor
    heldout: Tensor


def read(path: Path | None) -> Text:
    """Return the text of a file in UTF-8, or without one the help texts of this Python.

    Raises:
        DataError: the file cannot be read, is not UTF-8, has fewer than 1,000 words, or none often.
    """
    try:
        text = _help_texts() if path is None else path.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"expected a text in UTF-8, {path} is not: convert it first") from error
    except OSError as error:
        raise DataError(f"cannot read {path}: {why(error)}") from error
    name = str(path) if path else f"the help texts of Python {'.'.join(map(str, sys.version_info[:3]))}"
    words = split(text)
    if len(words) < SHORTEST:
        raise DataError(f"expected a text of at least {SHORTEST} words, {name} has {len(words)}")
    numbers = numbered(words)
    if len(numbers[0]) == 1:
        raise DataError(f"expected words that occur {OFTEN} times or more, {name} has none")
    size = f"{len(words)} words, CRC-32 {zlib.crc32(text.encode()):08x}"
    return Text(name, size, *numbers)


def split(text: str) -> list[str]:
    r"""Return words, digits, marks and ends of paragraphs; a paragraph ends at an empty line.

    >>> split('Use "if" here.\n\nOr  not\n(!)')
    ['Use', ' "', 'if', '"', ' here', '.', '\n\n', 'Or', ' not', ' (', '!', ')', '\n\n']
    """
    return [word for paragraph in _paragraphs(text) for word in _WORD.findall(paragraph + PARAGRAPH)]


def numbered(words: Sequence[str]) -> tuple[list[str], Tensor, Tensor, Tensor]:
    """Return the vocabulary and the three parts of a Text; words that are not in it have the number 0."""
    ends = [0, len(words) * 8 // 10, len(words) * 9 // 10, len(words)]
    counts = Counter(words[: ends[1]]).most_common(MOST_WORDS - 1)
    vocabulary = [UNKNOWN, *(word for word, count in counts if count >= OFTEN)]
    number = {word: index for index, word in enumerate(vocabulary)}
    numbers = torch.tensor([number.get(word, 0) for word in words])
    train, validation, heldout = (numbers[start:end] for start, end in pairwise(ends))
    return vocabulary, train, validation, heldout


def _paragraphs(text: str) -> list[str]:
    """Return the paragraphs that are not empty, each in one line."""
    return [" ".join(part.split()) for part in re.split(r"\n\s*\n", text) if part.strip()]


def _help_texts() -> str:
    """Return what `help("for")` and the like print, in the order of their names.

    Topics repeat each other, a fifth of the whole: a paragraph is taken only once, so that none of the
    held-out part has been learned before. The lines under headings are left out.
    """
    from pydoc_data.topics import topics

    texts = [re.sub(r"^[*=~-]{4,}$", "", topics[name], flags=re.MULTILINE) for name in sorted(topics)]
    return PARAGRAPH.join(dict.fromkeys(part for text in texts for part in _paragraphs(text)))
