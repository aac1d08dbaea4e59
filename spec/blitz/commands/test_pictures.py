"""What blitz.commands.pictures promises: PNG images with all that they should show."""

import io

import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from PIL import Image

from blitz.commands import pictures

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

    def keep(self, *arguments, **options):
        saved.append(self)
        return save(self, *arguments, **options)

    monkeypatch.setattr(Figure, "savefig", keep)
    return saved


def pixels(png):
    """Return the picture as an array (H, W, 3)."""
    return np.asarray(Image.open(io.BytesIO(png), formats=["PNG"]).convert("RGB"))


def texts(axes):
    """Return the words and numbers written in the axes."""
    return [text.get_text() for text in axes.texts]


def assert_stands_above(text, gap):
    """Fail unless the words stand right above the point they belong to, `gap` pixels at most."""
    box = text.get_window_extent()
    _, y = text.axes.transData.transform(text.xy)
    assert 0 < box.y0 - y < gap, f"{text.get_text()} stands {box.y0 - y} pixels above its point"


class TestTrainingCurves:
    """Loss and accuracy over the epochs."""

    def test_curves_run_over_epochs(self, figures):
        """A loss stands where in its epoch it was reported, an accuracy at its epoch's end."""
        png = pictures.training_curves(HISTORY, title="a title")

        top, bottom = figures[0].axes
        assert pixels(png).shape[2] == 3
        assert np.asarray(top.lines[0].get_xydata()).tolist() == [[0.5, 2.2], [1, 1.9], [1.5, 1.4], [2, 1.3]]
        assert np.asarray(bottom.lines[0].get_xydata()).tolist() == [[1, 45], [2, 54]]

    def test_axes_say_what_they_show_and_in_which_unit(self, figures):
        """Loss in nats, accuracy in per cent, with the level of chance."""
        pictures.training_curves(HISTORY, title="a title")

        top, bottom = figures[0].axes
        assert top.get_ylabel() == "running loss\n(cross-entropy, nats)"
        assert (bottom.get_xlabel(), bottom.get_ylabel()) == ("epoch", "test accuracy (%)")
        assert texts(bottom) == ["45.0 %", "54.0 %", "chance: one class of ten"]
        assert figures[0].get_suptitle() == "a title"

    def test_words_stand_above_their_points(self, figures):
        """Each accuracy is written in the middle above its point, "chance" above the line at 10 %."""
        pictures.training_curves(HISTORY, title="a title")

        bottom = figures[0].axes[1]
        assert [text.xy for text in bottom.texts[:2]] == [(1, 45), (2, 54)]
        assert list(bottom.lines[1].get_ydata()) == [10, 10]
        for text in bottom.texts:
            assert_stands_above(text, gap=20)
        for text in bottom.texts[:2]:
            box, (x, _) = text.get_window_extent(), bottom.transData.transform(text.xy)
            assert (box.x0 + box.x1) / 2 == pytest.approx(x, abs=2)

    def test_axes_share_whole_epochs_and_reach_from_0_to_100_per_cent(self, figures):
        """Both curves run over the same epochs from 0, marked at whole numbers; 54 % looks like a half."""
        pictures.training_curves(HISTORY, title="a title")

        top, bottom = figures[0].axes
        assert top.get_xlim() == bottom.get_xlim() == (0, pytest.approx(2.1))
        assert all(tick == round(tick) for tick in bottom.get_xticks())
        assert bottom.get_ylim() == (0, 100)

    @pytest.mark.parametrize("length", [0, 1, 3])
    def test_short_history_is_drawn_too(self, length):
        """Before the first report, after it, and after one epoch."""
        png = pictures.training_curves(HISTORY[:length], title="a title")

        assert pixels(png).size > 0


class TestPredictions:
    """Test images and what the net takes them for."""

    def test_each_image_is_shown_under_its_prediction(self, figures):
        """Right: the class; wrong: the class and, in brackets, the true one, in another colour."""
        images = torch.zeros(3, 3, 32, 32, dtype=torch.uint8)
        images[:, 1] = 200

        png = pictures.predictions(
            images, torch.tensor([0, 1, 2]), torch.tensor([0, 2, 2]), classes=CLASSES, title="a title"
        )

        titles = [axes.get_title() for axes in figures[0].axes]
        colours = [axes.title.get_color() for axes in figures[0].axes]
        assert titles == ["airplane", "bird\n(automobile)", "bird"]
        assert colours[0] == colours[2] != colours[1]
        assert figures[0].get_suptitle() == (
            "a title\nblue: right · orange: wrong, with the true class in brackets"
        )
        assert [np.argmax(to_rgb(colour)) for colour in colours[:2]] == [2, 0]  # most blue, most red
        assert (pixels(png) == [0, 200, 0]).all(axis=2).mean() > 0.2

    @pytest.mark.parametrize(("count", "grid"), [(1, (1, 1)), (8, (1, 8)), (11, (2, 8))])
    def test_images_stand_in_rows_of_eight(self, figures, count, grid):
        """A last row may be shorter; what is over stays blank."""
        images, labels = (
            torch.zeros(count, 3, 32, 32, dtype=torch.uint8),
            torch.zeros(count, dtype=torch.long),
        )

        pictures.predictions(images, labels, labels, classes=CLASSES, title="a title")

        assert figures[0].axes[0].get_gridspec().get_geometry() == grid
        assert sum(bool(axes.images) for axes in figures[0].axes) == count
        assert not any(axes.axison for axes in figures[0].axes)
        rows, columns = grid
        width, height = figures[0].get_size_inches()
        assert width / columns > 1
        assert height / rows > 1.5


class TestConfusionMatrix:
    """What is taken for what."""

    def test_cells_are_per_cent_of_the_true_class(self, figures):
        """Each row adds up to 100; a class without images has zeros."""
        confusion = torch.tensor([[3, 1, 0], [0, 8, 8], [0, 0, 0]])

        pictures.confusion_matrix(confusion, classes=CLASSES, title="a title")

        axes = figures[0].axes[0]
        assert texts(axes) == ["75", "25", "0", "0", "50", "50", "0", "0", "0"]
        assert [text.get_position() for text in axes.texts] == [(x, y) for y in range(3) for x in range(3)]
        for text in axes.texts:
            box = text.get_window_extent()
            centre = (box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2
            assert centre == pytest.approx(axes.transData.transform(text.get_position()), abs=3)

    def test_colours_say_what_the_cells_say(self, figures):
        """From 0 to 100 %, as the bar beside it names; numbers are black on bright and white on dark."""
        pictures.confusion_matrix(torch.tensor([[3, 1], [4, 6]]), classes=CLASSES[:2], title="a title")

        axes, bar = figures[0].axes
        assert axes.images[0].get_array().tolist() == [[75, 25], [40, 60]]
        assert axes.images[0].get_clim() == (0, 100)
        assert bar.get_ylabel() == "share of the images of the true class (%)"
        assert [text.get_color() for text in axes.texts] == ["black", "white", "white", "black"]

    def test_rows_are_true_and_columns_predicted(self, figures):
        """Both axes name the classes."""
        pictures.confusion_matrix(torch.eye(3, dtype=torch.long), classes=CLASSES, title="a title")

        axes = figures[0].axes[0]
        assert axes.get_title() == "a title"
        assert (axes.get_ylabel(), axes.get_xlabel()) == ("true class", "predicted class")
        assert [label.get_text() for label in axes.get_yticklabels()] == list(CLASSES)
        assert [label.get_text() for label in axes.get_xticklabels()] == list(CLASSES)
