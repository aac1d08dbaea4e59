"""blitz/training/evaluation.py: how a net does on a split, and what is refused before it."""

import pytest
import torch
from torch import nn

from blitz.cifar10.data import Split, normalize
from blitz.errors import BlitzError
from blitz.training.evaluation import evaluate, probabilities
from spec.blitz.runs import REFUSED, make_net, make_split


class Scoring(nn.Module):
    """Takes the value of an image's first pixel for its class; scores an image of 255 by `lost`."""

    def __init__(self, lost=0.0):
        super().__init__()
        self.lost = lost

    def forward(self, images):
        """Return scores (N, 3)."""
        pixels = ((images[:, 0, 0, 0] + 1) * 127.5).round().long()
        scores = nn.functional.one_hot(pixels % 255, 3).float()
        scores[pixels == 255, 1] = self.lost
        return scores


def make_echo(pixels, labels):
    """Return images of these first pixels, which Scoring takes for their classes."""
    images = torch.zeros(len(pixels), 3, 32, 32, dtype=torch.uint8)
    images[:, 0, 0, 0] = torch.tensor(pixels)
    return Split(images, torch.tensor(labels))


class TestEvaluate:
    """How a net does."""

    @pytest.mark.parametrize(("split", "message"), REFUSED.values(), ids=REFUSED)
    def test_evaluate_refuses_a_split_it_cannot_use(self, split, message):
        """The message says what was expected and what came."""
        with pytest.raises(ValueError, match=message):
            evaluate(make_net(), split)

    @pytest.mark.parametrize("batch_size", [1, 3, 100])
    def test_accuracy_and_confusion_are_those_of_the_predictions(self, batch_size):
        """Three images of class 0, of which one is taken for class 2, and one of class 1 taken for 0.

        A row is a true class. Every image counts once, also in a last batch that is smaller.
        """
        evaluation = evaluate(Scoring(), make_echo([0, 0, 2, 0], labels=[0, 0, 0, 1]), batch_size=batch_size)

        assert evaluation.confusion.tolist() == [[2, 0, 1], [1, 0, 0], [0, 0, 0]]
        assert evaluation.accuracy == 0.5
        assert evaluation.per_class[:2].tolist() == pytest.approx([2 / 3, 0])
        assert evaluation.per_class[2].isnan()

    def test_evaluation_leaves_the_net_as_it_was(self):
        """Dropout is off and no graph is built for it alone; a frozen part stays in evaluation mode."""
        net, split, seen = make_net(), make_split(20), []
        net[0].eval()
        net.register_forward_hook(lambda module, inputs, output: seen.append(output.requires_grad))

        first, second = evaluate(net, split), evaluate(net, split)

        assert torch.equal(first.confusion, second.confusion)
        assert set(seen) == {False}
        assert [module.training for module in (net, *net)] == [True, False, True, True, True]


class Bright(nn.Module):
    """Scores class 0 by the pixels of the left half, and class 1 by the top row, in a place of one's own."""

    def forward(self, images):
        """Return scores (N, 2)."""
        return torch.stack([images[..., :16].sum((1, 2, 3)), images[..., 0, :].sum((1, 2))], dim=1) / 1000


class TestViews:
    """Scores of several views of each image."""

    @pytest.mark.parametrize("views", [1, 2, 6])
    def test_scores_are_the_mean_over_the_views_by_their_weights(self, views):
        """The image and its mirror image; both moved by one pixel either way count half.

        Probabilities are the softmax of these scores, and the prediction is the highest.
        """
        split, net = make_split(40), Bright()
        inputs = normalize(split.images)
        padded = nn.functional.pad(inputs, (1, 1, 1, 1), mode="reflect")
        both = [(1, inputs), (1, inputs.flip(3))]
        moved = [(0.5, padded[:, :, 2:, 2:]), (0.5, padded[:, :, :32, :32])]
        shown = {
            1: both[:1],
            2: both,
            6: [*both, *moved, *((weight, image.flip(3)) for weight, image in moved)],
        }[views]
        scores = sum(weight * net(image) for weight, image in shown) / sum(weight for weight, _ in shown)

        evaluation = evaluate(net, Split(split.images, split.labels % 2), views=views)
        shares = probabilities(net, split.images, half=False, views=views)

        assert evaluation.confusion.sum(0).tolist() == scores.argmax(1).bincount(minlength=2).tolist()
        torch.testing.assert_close(shares, scores.exp() / scores.exp().sum(1, keepdim=True))

    def test_other_numbers_of_views_are_refused(self):
        """There are one, two and six."""
        with pytest.raises(ValueError, match=r"^expected 1, 2 or 6 views, got 3$"):
            evaluate(make_net(), make_split(2), views=3)


@pytest.mark.parametrize("lost", [float("nan"), float("inf"), -float("inf")], ids=str)
def test_scores_that_are_no_numbers_are_refused(lost):
    """No accuracy and no class is told, be it one image in ten thousand: an argmax would still name one."""
    net, split = Scoring(lost), make_echo([255, 255, 0, 0], labels=[1, 1, 1, 1])
    sentence = (
        r"^the scores of 2 of 4 images are not finite numbers: a weight is NaN or infinite, or so large"
    )

    with pytest.raises(BlitzError, match=sentence):
        evaluate(net, split, batch_size=1)
    with pytest.raises(BlitzError, match=sentence):
        probabilities(net, split.images, half=False, views=1)
