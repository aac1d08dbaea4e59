"""What a text says of the next word without any net: how often it followed the last two words."""

import itertools
from collections import Counter

import torch
from torch import Tensor

WEIGHTS = [number / 10 for number in range(1, 10)]


def shares(train: Tensor, words: Tensor) -> Tensor:
    """Return how often each word but the first followed the 0, 1 and 2 words before it in the training part.

    Both are numbers of words, int64 (N,) and (M,). The result is float64 (3, M - 1), each number a share of
    what followed the same words, and nan where nothing did.

    >>> shares(torch.tensor([5, 6, 5, 7, 5, 6]), torch.tensor([5, 6, 5, 6]))
    tensor([[0.3333, 0.5000, 0.3333],
            [0.6667, 1.0000, 0.6667],
            [   nan, 1.0000, 0.0000]], dtype=torch.float64)
    """
    learned, told = train.tolist(), words.tolist()
    rows = []
    for order in (1, 2, 3):
        grams = list(zip(*(learned[start:] for start in range(order)), strict=False))
        count, before = Counter(grams), Counter(gram[:-1] for gram in grams)
        row = [float("nan")] * len(told)
        for end in range(order, len(told) + 1):
            gram = tuple(told[end - order : end])
            if before[gram[:-1]]:
                row[end - 1] = count[gram] / before[gram[:-1]]
        rows.append(row[1:])
    return torch.tensor(rows, dtype=torch.float64)


def interpolated(shares: Tensor, weights: tuple[float, ...], size: int) -> Tensor:
    """Return the probability of each word, float64 (M,): all words alike, mixed with one share after another.

    Each weight, in 0..1, is that of its share against all before it. Where a share is unknown, what comes
    before it has the whole weight, so the probabilities of all `size` words add up to 1.
    """
    probability = torch.full_like(shares[0], 1 / size)
    for share, weight in zip(shares, weights, strict=True):
        mixed = weight * share + (1 - weight) * probability
        probability = torch.where(share.isnan(), probability, mixed)
    return probability


def perplexity(probabilities: Tensor) -> float:
    """Return among how many equally likely words a model would be as unsure as it was; infinite after a 0.

    >>> perplexity(torch.tensor([0.25, 0.25]))
    4.0
    """
    return probabilities.log().mean().neg().exp().item()


def best_weights(validation: Tensor, size: int) -> tuple[float, ...]:
    """Return the weights with the lowest perplexity on the shares of a validation part."""
    every = itertools.product(WEIGHTS, repeat=len(validation))
    return min(every, key=lambda weights: perplexity(interpolated(validation, weights, size)))


def trigram_perplexities(train: Tensor, validation: Tensor, heldout: Tensor, size: int) -> list[float]:
    """Return the perplexities on the validation part, which chooses the weights, and on the held-out part.

    All parts are numbers of words below `size`, int64 (N,), with N at least 2.
    """
    chosen_by, judged_by = shares(train, validation), shares(train, heldout)
    weights = best_weights(chosen_by, size)
    return [perplexity(interpolated(part, weights, size)) for part in (chosen_by, judged_by)]
