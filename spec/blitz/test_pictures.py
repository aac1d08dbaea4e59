"""blitz/pictures.py: PNG images with all that they should show."""

import io

import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from PIL import Image

from blitz import pictures

CLASSES = ("airplane", "automobile", "bird")
HISTORY = [
    {"epoch": 1, "step": 2000, "loss": 2.2},
    {"epoch": 1, "step": 4000, "loss": 1.9},
    {"epoch": 1, "step": 4000, "accuracy": 0.45},
    {"epoch": 2, "step": 2000, "loss": 1.4},
    {"epoch": 2, "step": 4000, "loss": 1.3},
    {"epoch": 2, "step": 4000, "accuracy": 0.54},
]


@pytest.fixture
def figures(monkeypatch):
    """The figures that were saved, in order."""
    saved = []
    save = Figure.savefig
    monkeypatch.setattr(
        Figure, "savefig", lambda self, *words, **options: saved.append(self) or save(self, *words, **options)
    )
    return saved


def texts(axes):
    """Return the words and numbers written in the axes."""
    return [text.get_text() for text in axes.texts]


def test_curves_run_over_epochs(figures):
    """A loss stands where in its epoch it was reported, an accuracy at its epoch's end.

    Both have a unit, and axes that begin at epoch 0; 54 % looks like a half. The file tells what it shows to
    those who do not see it, and to `blitz report`.
    """
    png = pictures.training_curves(HISTORY, title="a title")

    top, bottom = figures[0].axes
    assert np.asarray(top.lines[0].get_xydata()).tolist() == [[0.5, 2.2], [1, 1.9], [1.5, 1.4], [2, 1.3]]
    assert np.asarray(bottom.lines[0].get_xydata()).tolist() == [[1, 45], [2, 54]]
    assert list(bottom.lines[1].get_ydata()) == [10, 10]
    assert top.get_ylabel() == "running loss\n(cross-entropy, nats)"
    assert (bottom.get_xlabel(), bottom.get_ylabel()) == ("epoch", "test accuracy (%)")
    assert texts(bottom) == ["45.0 %", "54.0 %"]
    assert texts(bottom.get_legend())[-1] == "chance: one class of ten"
    assert figures[0].get_suptitle() == "a title"
    assert top.get_xlim() == bottom.get_xlim() == (0, pytest.approx(2.1))
    assert all(tick == round(tick) for tick in bottom.get_xticks())
    assert bottom.get_ylim() == (0, 100)
    assert Image.open(io.BytesIO(png)).info["Description"] == (
        "a title: running loss and test accuracy over the epochs; the last accuracy is 54.0 %"
    )


def test_trainings_in_one_picture_have_a_curve_each(figures):
    """Each has a colour, a marker and its last accuracy in the legend; guessing is a line."""
    curves = {"from scratch": [(2, 0.3), (4, 0.45)], "head only": [(2, 0.5), (4, 0.54)]}

    pictures.accuracies(curves, title="a title", chance=0.2)

    (axes,) = figures[0].axes
    first, second, guessing = axes.lines
    assert np.asarray(first.get_xydata()).tolist() == [[2, 30], [4, 45]]
    assert np.asarray(second.get_xydata()).tolist() == [[2, 50], [4, 54]]
    assert list(guessing.get_ydata()) == [20, 20]
    assert first.get_marker() != second.get_marker()
    assert first.get_color() != second.get_color()
    assert texts(axes.get_legend()) == ["from scratch: 45.0 %", "head only: 54.0 %", "chance: 20 %"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("epoch", "test accuracy (%)")
    assert axes.get_ylim() == (0, 100)
    assert figures[0].get_suptitle() == "a title"


def test_top_accuracies_run_over_epochs_from_chance(figures):
    """Both are shares of the images, in per cent; a guess is right for 1 of 20 classes, or has it among 5."""
    history = [
        {"epoch": 0.5, "step": 10, "loss": 2.0},
        {"epoch": 1.0, "step": 20, "loss": 1.0, "top-1": 0.5, "top-5": 0.75},
        {"epoch": 1.5, "step": 30, "loss": 0.5, "top-1": 0.625, "top-5": 0.875},
    ]

    pictures.top_accuracies(history, classes=20, title="a title")

    (axes,) = figures[0].axes
    lines = {line.get_label(): np.asarray(line.get_xydata()).tolist() for line in axes.lines}
    assert lines["top-1"] == [[0, 5], [1, 50], [1.5, 62.5]]
    assert lines["top-5"] == [[0, 25], [1, 75], [1.5, 87.5]]
    assert [y for _, y in lines["top-1 by chance"]] == [5, 5]
    assert [y for _, y in lines["top-5 by chance"]] == [25, 25]
    assert texts(axes) == ["87.5 %", "62.5 %"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("epoch", "validation images (%)")
    assert axes.get_title() == "a title"


def test_images_stand_in_rows_of_eight_under_their_predictions(figures):
    """Right: the class; wrong: the class and, in brackets, the true one, in another colour."""
    images = torch.zeros(9, 3, 32, 32, dtype=torch.uint8)
    images[:, 1] = 200
    labels, predicted = torch.tensor([0] * 7 + [1, 2]), torch.tensor([0] * 7 + [2, 2])

    png = pictures.predictions(images, labels, predicted, classes=CLASSES, title="a title")

    grid = figures[0].axes
    colours = [np.argmax(to_rgb(axes.title.get_color())) for axes in grid[6:9]]  # which is strongest
    pixels = np.asarray(Image.open(io.BytesIO(png), formats=["PNG"]).convert("RGB"))
    assert grid[0].get_gridspec().get_geometry() == (2, 8)
    assert not any(axes.axison for axes in grid)
    assert [axes.get_title() for axes in grid[6:10]] == ["airplane", "bird\n(automobile)", "bird", ""]
    assert colours == [2, 0, 2]
    assert (pixels == [0, 200, 0]).all(axis=2).mean() > 0.2
    assert figures[0].get_suptitle() == (
        "a title\nblue: right · orange: wrong, with the true class in brackets"
    )


def test_confusion_is_told_in_per_cent_of_the_true_class(figures):
    """Each row adds up to 100, but of a class without images; numbers are black on bright, white on dark."""
    confusion = torch.tensor([[3, 1, 0], [0, 8, 8], [0, 0, 0]])

    pictures.confusion_matrix(confusion, classes=CLASSES, title="a title")

    axes, bar = figures[0].axes
    cells = {text.get_position(): text for text in axes.texts}
    rows = [[int(cells[column, row].get_text()) for column in range(3)] for row in range(3)]
    assert rows == axes.images[0].get_array().tolist() == [[75, 25, 0], [0, 50, 50], [0, 0, 0]]
    assert axes.images[0].get_clim() == (0, 100)
    assert [cells[column, 0].get_color() for column in range(3)] == ["black", "white", "white"]
    assert axes.get_title() == "a title"
    assert (axes.get_ylabel(), axes.get_xlabel()) == ("true class", "predicted class")
    assert bar.get_ylabel() == "share of the images of the true class (%)"
    for labels in (axes.get_yticklabels(), axes.get_xticklabels()):
        assert [label.get_text() for label in labels] == list(CLASSES)


def test_returns_stand_at_their_steps_beside_what_they_are_compared_with(figures):
    """Episodes are points, judgements a line; one step may have both."""
    history = [{"step": 20, "return": 20}, {"step": 100, "mean": 90}, {"step": 200, "return": 180}]

    pictures.returns([*history, {"step": 200, "mean": 400}], levels={"solved": 195, "random actions": 22})

    [axes] = figures[0].axes
    episodes, judgements, solved, chance = axes.lines
    assert np.asarray(episodes.get_xydata()).tolist() == [[20, 20], [200, 180]]
    assert np.asarray(judgements.get_xydata()).tolist() == [[100, 90], [200, 400]]
    assert (solved.get_ydata()[0], chance.get_ydata()[0]) == (195, 22)
    assert texts(figures[0].legends[0])[1:] == [
        "the net, without random actions",
        "solved: 195",
        "random actions: 22",
    ]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("step", "return (steps before the end)")


def test_film_strip_shows_an_episode_from_its_first_state_to_its_last(figures):
    """The pole leans as in the state, to the right if the angle is positive; 50 states are a second."""
    upright, leaning = [0.0, 0, 0, 0], [0.5, 0, 10 * np.pi / 6, 0]

    pictures.cart_pole({"short": [upright, leaning], "long": [upright] * 100 + [leaning]})

    position, angle, short, long = figures[0].axes
    times = [[label.get_text() for label in strip.get_xticklabels()] for strip in (short, long)]
    assert [(its[0], its[-1]) for its in times] == [("0.00 s", "0.02 s"), ("0.00 s", "2.00 s")]
    assert (short.get_title(), long.get_title()) == ("short: 2 steps", "long: 101 steps")
    poles = [np.asarray(line.get_xydata()) for line in (long.lines[0], long.lines[14])]
    np.testing.assert_allclose(poles, [[[0, 0], [0, 1]], [[7, 0], [7.5, np.sqrt(0.75)]]], atol=1e-12)
    assert np.asarray(position.lines[0].get_xydata()).tolist() == [[0, 0], [0.02, 0.5]]
    assert angle.lines[1].get_ydata()[-1] == pytest.approx(30)
    assert texts(angle.get_legend()) == ["short", "long"]


def test_perplexities_stand_beside_those_of_the_trigram_model(figures):
    """Of the same part in the same colour; that of the held-out part is known at the end alone."""
    trigram = {"step": 0, "trigram validation": 42.0, "trigram held-out": 21.0}
    first = {"step": 10, "epoch": 1.0, "training": 150.0, "validation": 60.0}
    last = {"step": 15, "epoch": 1.5, "training": 50.0, "validation": 30.0, "held-out": 17.0}

    pictures.perplexities([trigram, first, last], title="a title")

    axes = figures[0].axes[0]
    lines = {line.get_label(): np.asarray(line.get_xydata()).tolist() for line in axes.lines}
    colours = {line.get_label(): line.get_color() for line in axes.lines}
    assert lines["LSTM in training"] == [[1, 150], [1.5, 50]]
    for part, values, level in (
        ("validation part", [[1, 60], [1.5, 30]], 42),
        ("held-out part", [[1.5, 17]], 21),
    ):
        assert lines[f"LSTM, {part}"] == values
        assert [y for _, y in lines[f"trigram model, {part}"]] == [level, level]
        assert colours[f"LSTM, {part}"] == colours[f"trigram model, {part}"]
    assert texts(axes.get_legend()) == list(lines)
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("epoch", "perplexity (lower is better)")
    assert axes.get_title() == "a title"
