"""Pictures of a training, as PNG bytes: its course, some predictions, what is taken for what; and of DQN."""

import io
import math
from collections.abc import Mapping, Sequence

import torch
from matplotlib.figure import Figure  # without pyplot: no window, no backend to choose, nothing global
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from blitz.training.fit import Progress

# of Okabe and Ito's colours, which differ for every kind of colour vision, and in brightness
_BLUE, _ORANGE, _GREEN = "#0072B2", "#D55E00", "#009E73"


def training_curves(history: Sequence[Progress], *, title: str) -> bytes:
    """Draw the running loss and the test accuracy over the epochs of a Training's history."""
    losses = [record for record in history if "loss" in record]
    accuracies = [record for record in history if "accuracy" in record]
    steps_per_epoch = max(record["step"] for record in history)

    figure = Figure(figsize=(7, 6), layout="constrained")
    figure.suptitle(title)
    top, bottom = figure.subplots(2, 1, sharex=True)
    when = [record["epoch"] - 1 + record["step"] / steps_per_epoch for record in losses]
    top.plot(when, [record["loss"] for record in losses], "o-", color=_BLUE, markersize=4)
    top.set_ylabel("running loss\n(cross-entropy, nats)")

    epochs = [record["epoch"] for record in accuracies]
    shares = [100 * record["accuracy"] for record in accuracies]
    bottom.plot(epochs, shares, "s-", color=_ORANGE)
    for epoch, share in zip(epochs, shares, strict=True):
        bottom.annotate(f"{share:.1f} %", (epoch, share), (0, 7), textcoords="offset points", ha="center")
    bottom.axhline(10, color="grey", linestyle="--", label="chance: one class of ten")
    bottom.legend(loc="upper left")
    bottom.set(ylabel="test accuracy (%)", ylim=(0, 100), xlabel="epoch", xlim=(0, 1.05 * max(epochs)))
    bottom.xaxis.get_major_locator().set_params(integer=True)
    for axes in (top, bottom):
        axes.grid(alpha=0.3)
    shows = (
        f"{title}: running loss and test accuracy over the epochs; the last accuracy is {shares[-1]:.1f} %"
    )
    return _png(figure, shows)


def accuracies(curves: Mapping[str, Sequence[tuple[float, float]]], *, title: str, chance: float) -> bytes:
    """Draw the test accuracy of several trainings over their epochs.

    Args:
        curves: for each training, three at most, by its name: pairs of an epoch and an accuracy in [0, 1].
        title: stands above it.
        chance: the accuracy of guessing.
    """
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    figure.suptitle(title)
    axes = figure.subplots()
    styles = ((_BLUE, "o-"), (_ORANGE, "s-"), (_GREEN, "D-"))
    for (colour, style), (name, points) in zip(styles, curves.items(), strict=False):
        epochs, shares = [epoch for epoch, _ in points], [100 * share for _, share in points]
        axes.plot(epochs, shares, style, color=colour, label=f"{name}: {shares[-1]:.1f} %")
    axes.axhline(100 * chance, color="grey", linestyle="--", label=f"chance: {100 * chance:.0f} %")
    axes.legend(loc="upper left")
    axes.set(xlabel="epoch", ylabel="test accuracy (%)", ylim=(0, 100), xlim=(0, None))
    return _png(figure, f"{title}: the test accuracy over the epochs of {', '.join(curves)}")


def top_accuracies(history: Sequence[dict[str, float]], *, classes: int, title: str) -> bytes:
    """Draw "top-1" and "top-5" of a history, shares in [0, 1], over its "epoch", beside those of a guess."""
    records = [record for record in history if "top-1" in record]
    epochs = [0.0, *(record["epoch"] for record in records)]
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    for count, colour, mark in ((5, _BLUE, "o-"), (1, _ORANGE, "s-")):
        chance = 100 * min(1, count / classes)  # which is where an untrained net stands
        shares = [chance, *(100 * record[f"top-{count}"] for record in records)]
        axes.plot(epochs, shares, mark, color=colour, label=f"top-{count}")
        axes.annotate(f"{shares[-1]:.1f} %", (epochs[-1], shares[-1]), (8, -4), textcoords="offset points")
        axes.axhline(chance, color=colour, linestyle="--", alpha=0.5, label=f"top-{count} by chance")
    axes.set(xlabel="epoch", ylabel="validation images (%)", title=title)
    axes.set(xlim=(0, 1.15 * epochs[-1]), ylim=(0, 105))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.legend(loc="outside lower center", ncols=4)
    axes.grid(alpha=0.3)
    return _png(
        figure,
        f"{title}: the share of validation images whose class is among the first guess and the first five",
    )


def returns(history: Sequence[Progress], *, levels: Mapping[str, float]) -> bytes:
    """Draw the returns of a DQN over its steps: of each episode, and the means of its judgements.

    Args:
        history: has a "return" for each episode that ended at a step, and a "mean" for each judgement.
        levels: returns to compare them with, by name.
    """
    episodes, judgements = ([each for each in history if name in each] for name in ("return", "mean"))
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    axes.plot(*_course(episodes, "return"), ".", color=_BLUE, alpha=0.4, label="an episode of the training")
    axes.plot(*_course(judgements, "mean"), "s-", color=_ORANGE, label="the net, without random actions")
    for (name, level), line in zip(levels.items(), ("--", ":"), strict=True):
        axes.axhline(level, color="grey", linestyle=line, label=f"{name}: {level:.0f}")
    axes.set(xlabel="step", ylabel="return (steps before the end)", ylim=(0, 520))
    axes.grid(alpha=0.3)
    figure.legend(loc="outside upper center", ncols=2)
    return _png(figure, "The return of each episode of the training, and of the net without random actions")


def _course(records: Sequence[Progress], name: str) -> tuple[list[float], list[float]]:
    return [record["step"] for record in records], [record[name] for record in records]


def cart_pole(episodes: Mapping[str, Sequence[Sequence[float]]]) -> bytes:
    """Draw two episodes of CartPole: eight moments of each as a film strip, and the course of both.

    Args:
        episodes: by name, the states: position, speed, angle (in 0.1 rad) and angular speed, 50 in a second.
    """
    figure = Figure(figsize=(10, 6), layout="constrained")
    grid = figure.add_gridspec(3, 2, height_ratios=(1, 1, 2))
    position, angle = (figure.add_subplot(grid[2, column]) for column in (0, 1))
    for row, (colour, (name, states)) in enumerate(zip((_ORANGE, _BLUE), episodes.items(), strict=True)):
        strip = figure.add_subplot(grid[row, :])
        moments = [round(number * (len(states) - 1) / 7) for number in range(8)]
        for place, moment in enumerate(moments):
            lean = states[moment][2] / 10
            strip.plot([place, place + math.sin(lean)], [0, math.cos(lean)], color=colour, linewidth=5)
            strip.plot([place], [0], "s", color="black", markersize=12)
        strip.axhline(0, color="grey", linewidth=1, zorder=0)
        strip.set(xlim=(-0.5, 7.5), ylim=(-0.3, 1.2), aspect="equal", yticks=[])
        strip.set_xticks(range(8), [f"{moment / 50:.2f} s" for moment in moments])
        strip.set_title(f"{name}: {len(states)} steps", fontsize=10)
        seconds = [number / 50 for number in range(len(states))]
        position.plot(seconds, [state[0] for state in states], color=colour, label=name)
        angle.plot(seconds, [math.degrees(state[2] / 10) for state in states], color=colour, label=name)
    position.set(xlabel="time (s)", ylabel="position of the cart\n(the track ends at ±2.4)", ylim=(-2.4, 2.4))
    angle.set(xlabel="time (s)", ylabel="angle of the pole (°)\n(a fall is beyond ±12°)", ylim=(-13, 13))
    for axes in (position, angle):
        axes.grid(alpha=0.3)
        axes.legend()
    return _png(
        figure, f"CartPole: eight moments and the course of an episode with {' and with '.join(episodes)}"
    )


def predictions(
    images: Tensor, labels: Tensor, predicted: Tensor, *, classes: Sequence[str], title: str
) -> bytes:
    """Draw images in rows of eight, each under what the net takes it for, and the truth where that differs.

    Images are uint8 (N, 3, H, W), true and predicted labels int64 (N,).
    """
    columns = min(8, len(images))
    rows = -(-len(images) // columns)
    figure = Figure(figsize=(1.3 * columns + 0.2, 1.65 * rows + 0.7), layout="constrained")
    figure.suptitle(f"{title}\nblue: right · orange: wrong, with the true class in brackets")
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in grid:
        axes.axis("off")
    for axes, image, label, guess in zip(grid, images, labels.tolist(), predicted.tolist(), strict=False):
        axes.imshow(image.permute(1, 2, 0).cpu().numpy())
        right = label == guess
        words = classes[guess] if right else f"{classes[guess]}\n({classes[label]})"
        axes.set_title(words, color=_BLUE if right else _ORANGE, fontsize=9)
    return _png(
        figure,
        f"{title}: {len(images)} images, {int((labels == predicted).sum())} of them classified correctly",
    )


def confusion_matrix(confusion: Tensor, *, classes: Sequence[str], title: str) -> bytes:
    """Draw for each true class (a row) how many per cent of its images were taken for which (a column).

    `confusion` holds numbers of images, int64 (C, C).
    """
    shares = 100 * confusion.double() / confusion.sum(1, keepdim=True).clamp(min=1)
    figure = Figure(figsize=(7.5, 6.5), layout="constrained")
    axes = figure.subplots()
    picture = axes.imshow(shares.numpy(), cmap="cividis", vmin=0, vmax=100)
    for row, values in enumerate(shares.tolist()):
        for column, share in enumerate(values):
            colour = "black" if share > 55 else "white"
            axes.text(column, row, f"{share:.0f}", ha="center", va="center", color=colour)
    axes.set_xticks(range(len(classes)), classes, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(classes)), classes)
    axes.set(xlabel="predicted class", ylabel="true class", title=title)
    figure.colorbar(picture, label="share of the images of the true class (%)")
    return _png(
        figure, f"{title}: for each true class the share of its images that were taken for which class"
    )


def perplexities(history: Sequence[Progress], *, title: str) -> bytes:
    """Draw a word-lstm's perplexity by epoch in training and on the validation part, and at last held out.

    The first record of the history holds the perplexities of a trigram model.
    """
    trigram, *records = history
    figure = Figure(figsize=(7, 5), layout="constrained")
    axes = figure.subplots()
    epochs = [record["epoch"] for record in records]
    axes.plot(
        epochs, [record["training"] for record in records], ".-", color="grey", label="LSTM in training"
    )
    for part, colour in (("validation", _BLUE), ("held-out", _ORANGE)):
        values = [record[part] for record in records if part in record]
        axes.plot(epochs[-len(values) :], values, "o-", color=colour, label=f"LSTM, {part} part")
        line = trigram[f"trigram {part}"]
        axes.axhline(line, color=colour, linestyle="--", label=f"trigram model, {part} part")
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter("{x:.0f}")
    axes.yaxis.set_minor_formatter("{x:.0f}")
    axes.set(xlabel="epoch", ylabel="perplexity (lower is better)", xlim=(0, 1.05 * max(epochs)), title=title)
    axes.locator_params(axis="x", integer=True)
    axes.grid(alpha=0.3, which="both")
    axes.legend()
    return _png(figure, f"{title}: the perplexity of the LSTM by epoch, beside that of a trigram model")


def image_rows(rows: Sequence[Tensor], *, labels: Sequence[str], title: str) -> bytes:
    """Draw rows of images, each uint8 (N, 3, H, W), with a label at the left of each."""
    columns = max(map(len, rows))
    figure = Figure(figsize=(0.6 * columns + 1.2, 0.62 * len(rows) + 0.5), layout="constrained")
    figure.suptitle(title)
    grid = figure.subplots(len(rows), 1, squeeze=False).ravel()
    for axes, images, label in zip(grid, rows, labels, strict=True):
        axes.imshow(torch.cat(list(images.cpu()), dim=2).permute(1, 2, 0).numpy())
        axes.set_ylabel(label, rotation=0, ha="right", va="center")
        axes.set(xticks=[], yticks=[])
    return _png(figure, f"{title}: rows of images, labelled {', '.join(labels)}")


def _png(figure: Figure, shows: str) -> bytes:
    """Return the picture as a PNG file that tells what it shows, for those who do not see it."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110, metadata={"Description": shows})
    return buffer.getvalue()
