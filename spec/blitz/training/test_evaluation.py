"""blitz/training/evaluation.py: how a net does on a split, and what is refused before it."""

import pytest
import torch
from torch import nn

from blitz.cifar10.data import Split, batches, normalize
from blitz.errors import BlitzError
from blitz.training.evaluation import evaluate, probabilities
from blitz.training.nets import CifarNet
from spec.blitz.runs import REFUSED, make_net, make_split


class Echo(nn.Module):
    """Takes the value of an image's first pixel for its class."""

    def forward(self, images):
        """Return scores (N, 3)."""
        pixels = ((images[:, 0, 0, 0] + 1) * 127.5).round().long()
        return nn.functional.one_hot(pixels, 3).float()


def make_echo_split(predicted, labels):
    """Return images that Echo takes for `predicted`."""
    images = torch.zeros(len(predicted), 3, 32, 32, dtype=torch.uint8)
    images[:, 0, 0, 0] = torch.tensor(predicted)
    return Split(images, torch.tensor(labels))


class TestEvaluate:
    """How a net does."""

    @pytest.mark.parametrize(("split", "message"), REFUSED.values(), ids=REFUSED)
    def test_evaluate_refuses_a_split_it_cannot_use(self, split, message):
        """The message says what was expected and what came."""
        with pytest.raises(ValueError, match=message):
            evaluate(make_net(), split)

    def test_confusion_has_a_row_per_true_class_and_a_column_per_prediction(self):
        """Three images of class 0 of which one is taken for class 2, and one of class 1 taken for 0."""
        evaluation = evaluate(Echo(), make_echo_split([0, 0, 2, 0], labels=[0, 0, 0, 1]))

        assert evaluation.confusion.tolist() == [[2, 0, 1], [1, 0, 0], [0, 0, 0]]
        assert evaluation.confusion.dtype == torch.int64

    def test_accuracy_is_the_share_of_right_predictions(self):
        """Two of four are right: of class 0 two of three, of class 1 none, of class 2 there is no image."""
        evaluation = evaluate(Echo(), make_echo_split([0, 0, 2, 0], labels=[0, 0, 0, 1]))

        assert evaluation.accuracy == 0.5
        assert evaluation.per_class[:2].tolist() == pytest.approx([2 / 3, 0])
        assert evaluation.per_class[2].isnan()

    @pytest.mark.parametrize("batch_size", [1, 3, 7, 100])
    def test_evaluation_does_not_depend_on_the_batch_size(self, batch_size):
        """Every image counts once, also in a last batch that is smaller."""
        split = make_split(7)
        net = CifarNet()
        predicted = [int(net(inputs).argmax()) for inputs, _ in batches(split, 1)]

        evaluation = evaluate(net, split, batch_size=batch_size)

        right = sum(guess == label for guess, label in zip(predicted, split.labels.tolist(), strict=True))
        assert evaluation.accuracy == right / 7
        assert evaluation.confusion.sum() == 7

    def test_evaluation_switches_dropout_off_and_puts_each_module_back(self):
        """A frozen part stays in evaluation mode, and the rest in training mode."""
        net, split = make_net(), make_split(20)
        net[0].eval()

        first, second = evaluate(net, split), evaluate(net, split)

        assert torch.equal(first.confusion, second.confusion)
        assert [module.training for module in net] == [False, True, True, True]
        assert net.training

    def test_evaluation_builds_no_graph_and_leaves_gradients_alone(self):
        """Gradients of the training are neither needed nor touched."""
        net = make_net()
        seen = []
        net.register_forward_hook(lambda module, inputs, output: seen.append(output.requires_grad))

        evaluate(net, make_split(4))

        assert set(seen) == {False}
        assert net[3].weight.grad is None


class Bright(nn.Module):
    """Scores class 0 by the pixels of the left half, and class 1 by the top row, in a place of one's own."""

    def forward(self, images):
        """Return scores (N, 2)."""
        return torch.stack([images[..., :16].sum((1, 2, 3)), images[..., 0, :].sum((1, 2))], dim=1)


class TestViews:
    """Scores summed over views of each image."""

    @pytest.mark.parametrize("views", [1, 2, 6])
    def test_scores_of_all_views_are_added_by_their_weights(self, views):
        """The image and its mirror image; both moved by one pixel either way count half."""
        split = make_split(40)
        net = Bright()
        inputs = normalize(split.images)
        padded = nn.functional.pad(inputs, (1, 1, 1, 1), mode="reflect")
        shown = {
            1: [(1, inputs)],
            2: [(1, inputs), (1, inputs.flip(3))],
            6: [
                (weight, flipped)
                for weight, image in ((1, inputs), (0.5, padded[:, :, 2:, 2:]), (0.5, padded[:, :, :32, :32]))
                for flipped in (image, image.flip(3))
            ],
        }
        scores = sum(weight * net(image) for weight, image in shown[views])

        evaluation = evaluate(net, Split(split.images, split.labels % 2), views=views)

        assert evaluation.confusion.sum(0).tolist() == scores.argmax(1).bincount(minlength=2).tolist()
        assert evaluation.accuracy == (scores.argmax(1) == split.labels % 2).double().mean()

    @pytest.mark.parametrize("views", [0, 3])
    def test_other_numbers_of_views_are_refused(self, views):
        """There are one, two and six."""
        with pytest.raises(ValueError, match=f"^expected 1, 2 or 6 views, got {views}$"):
            evaluate(make_net(), make_split(2), views=views)


class TestScoresThatAreNoNumbers:
    """What a net gives whose weights are NaN or infinite, or whose values overflow."""

    @pytest.fixture(params=[float("nan"), float("inf"), -float("inf")], ids=str)
    def spoilt(self, request):
        """A net whose score of class 1 is lost for white images, and a split whose first two are white."""

        class Spoilt(nn.Module):
            def forward(self, images):
                scores = torch.zeros(len(images), 3)
                scores[images[:, 0, 0, 0] == 1, 1] = request.param
                return scores

        return Spoilt(), make_echo_split([255, 255, 0, 0], labels=[1, 1, 1, 1])

    @pytest.mark.parametrize("batch_size", [1, 4])
    def test_evaluation_says_so(self, spoilt, batch_size):
        """No accuracy is told, be it one image in ten thousand."""
        with pytest.raises(
            BlitzError, match=r"^the scores of 2 of 4 images are not finite numbers: a weight"
        ):
            evaluate(*spoilt, batch_size=batch_size)

    def test_probabilities_are_refused(self, spoilt):
        """An argmax would still name a class."""
        net, split = spoilt

        with pytest.raises(
            BlitzError, match=r"^the scores of 2 of 4 images are not finite numbers: a weight"
        ):
            probabilities(net, split.images)

    def test_weights_that_overflow_are_seen(self):
        """Every weight is finite, and no score."""
        net = make_net()
        net[3].weight.data.fill_(3e38)

        with pytest.raises(BlitzError, match=r"^the scores of 5 of 5 images are not finite numbers"):
            evaluate(net, Split(torch.zeros(5, 3, 32, 32, dtype=torch.uint8), torch.zeros(5).long()))


class TestProbabilities:
    """probabilities(net, images)."""

    @pytest.mark.parametrize("views", [1, 2, 6])
    def test_they_are_the_softmax_of_the_mean_score(self, views):
        """A net that gives every view the same scores is as sure by six views as by one."""
        scores = torch.tensor([0.0, 1.0, 3.0])

        class Sure(nn.Module):
            def forward(self, images):
                return scores.expand(len(images), 3)

        found = probabilities(Sure(), make_split(2).images, views=views)

        torch.testing.assert_close(found, (scores.exp() / scores.exp().sum()).expand(2, 3))

    def test_the_net_is_in_evaluation_mode_for_them_alone(self):
        """Dropout is off, no graph is built, and afterwards the net trains on."""
        net, images = make_net(), make_split(3).images

        first, second = probabilities(net, images), probabilities(net, images)

        assert torch.equal(first, second)
        assert not first.requires_grad
        assert net.training
