"""Pictures for the page: what the strides of a view are, and what the checks of some statements measured."""

import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from blitz.explained.graph import Node, draw_nodes
from blitz.explained.layout import Layout, positions
from spec.harness.statements.notes import Measured, Picture

ROWS = 30  # of the batch in the notes
# Okabe and Ito's, which differ for every kind of colour vision
COLOURS = ["#56b4e9", "#e69f00", "#009e73", "#f0e442", "#cc79a7", "#d55e00", "#0072b2", "#999999"]


def pictures(measured: Measured) -> dict[str, Sequence[Picture]]:
    """Return pictures by statement; those of trainings only where a run has measured them."""
    drawn = {"tensor.strides": [_views()]}
    if nodes := measured.get("autograd.graph-structure", {}).get("nodes"):
        drawn["autograd.graph-structure"] = [_graph([Node(*node) for node in nodes])]
    if shares := _of_the_batch(measured.get("parallel.equal-shares", {})):
        drawn["parallel.equal-shares"] = [_shares(shares)]
    if losses := measured.get("cifar.reported-losses", {}).get("losses"):
        drawn["cifar.reported-losses"] = [_losses(losses)]
    if per_class := measured.get("cifar.reported-per-class", {}).get("per_class"):
        drawn["cifar.reported-per-class"] = [_per_class(per_class)]
    return drawn


def _views() -> Picture:
    """Draw six numbers in memory, and three views of them."""
    views = {
        "x, strides (3, 1)": Layout((2, 3), (3, 1)),
        "x.T, strides (1, 3)": Layout((3, 2), (1, 3)),
        "x[:, ::2], strides (3, 2)": Layout((2, 2), (3, 2)),
    }
    figure = Figure(figsize=(8, 3.2), layout="constrained")
    memory, below = figure.subfigures(2, 1, height_ratios=(1, 2))
    line = _board(memory.subplots(), (1, 6), "the memory of x = torch.arange(6).view(2, 3)")
    for position in range(6):
        _cell(line, 0, position, position)
    for axes, (title, layout) in zip(below.subplots(1, 3), views.items(), strict=True):
        _board(axes, layout.shape, title)
        for number, position in enumerate(positions(layout)):
            _cell(axes, *divmod(number, layout.shape[1]), position)
    return Picture(
        _svg(figure),
        "Three views read the same six numbers in memory, each by other steps; a colour is a place in memory",
    )


def _board(axes: Any, shape: tuple[int, ...], title: str) -> Any:
    rows, columns = shape
    axes.set(xlim=(0, columns), ylim=(rows, 0), aspect="equal", title=title)
    axes.title.set_fontsize(10)
    axes.axis("off")
    return axes


def _cell(axes: Any, row: int, column: int, position: int) -> None:
    axes.add_patch(
        Rectangle((column, row), 1, 1, facecolor=COLOURS[position], edgecolor="white", linewidth=2)
    )
    axes.text(column + 0.5, row + 0.5, str(position), ha="center", va="center", fontsize=11)


def _graph(nodes: Sequence[Node]) -> Picture:
    shows = "The graph that autograd records for Q = 3a³ - b², from the leaves a and b down to Q"
    return Picture(draw_nodes(nodes, title=shows).encode(), shows)


def _of_the_batch(measured: Mapping[str, Sequence[int]]) -> dict[int, Sequence[int]]:
    """Return the shares of the batch of the notes by the number of devices."""
    found = {key: re.fullmatch(rf"shares of {ROWS} rows on (\d+) devices", key) for key in measured}
    return dict(sorted((int(match[1]), measured[key]) for key, match in found.items() if match))


def _shares(shares: Mapping[int, Sequence[int]]) -> Picture:
    """Draw the rows of a batch as a bar for each number of devices, cut into their shares."""
    figure = Figure(figsize=(8, 2.8), layout="constrained")
    axes = figure.subplots()
    for height, sizes in enumerate(shares.values()):
        start = 0
        for index, size in enumerate(sizes):
            axes.barh(height, size, left=start, color=COLOURS[index], edgecolor="white", linewidth=2)
            axes.text(start + size / 2, height, str(size), ha="center", va="center")
            start += size
    axes.set_yticks(range(len(shares)), [f"{devices} devices" for devices in shares])
    axes.set(xlabel="rows of the batch, in their order", xlim=(0, ROWS))
    axes.invert_yaxis()
    axes.spines[["top", "right", "left"]].set_visible(False)
    return Picture(
        _svg(figure), f"A batch of {ROWS} rows over several devices: only the last share can be smaller"
    )


def _losses(losses: Sequence[float]) -> Picture:
    from spec.section_4_cifar10.test_4_reported_results import REPORTED_LOSSES  # which takes a second

    figure = Figure(figsize=(7, 3.5), layout="constrained")
    axes = figure.subplots()
    batches = [2000 * (1 + number) for number in range(len(losses))]
    axes.plot(batches, REPORTED_LOSSES[: len(losses)], "s--", color=COLOURS[5], label="the notes")
    axes.plot(batches, losses, "o-", color=COLOURS[6], label="here")
    axes.set(xlabel="mini-batches of 4 images", ylabel="running loss", ylim=(0, None))
    axes.grid(alpha=0.3)
    axes.legend()
    return Picture(_svg(figure), "The running loss of the training, beside the one that the notes report")


def _per_class(accuracies: Mapping[str, float]) -> Picture:
    figure = Figure(figsize=(7, 3.5), layout="constrained")
    axes = figure.subplots()
    bars = axes.bar(list(accuracies), [100 * share for share in accuracies.values()], color=COLOURS[6])
    axes.bar_label(bars, fmt="%.0f")
    axes.axhline(10, color="grey", linestyle="--", label="chance")
    axes.set(ylabel="right (% of the class)", ylim=(0, 100))
    axes.tick_params(axis="x", rotation=30)
    axes.legend()
    return Picture(_svg(figure), "How many test images of each class the trained net classifies correctly")


def _svg(figure: Figure) -> bytes:
    file = io.BytesIO()
    with rc_context({"svg.hashsalt": "blitz"}):  # the same file in every run
        figure.savefig(file, format="svg", metadata={"Date": None})
    return file.getvalue()
