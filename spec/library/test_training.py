"""What blitz.training promises: recipes, training that can stop anywhere, and evaluation."""

import math
import random

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from blitz.data import Split, batches, load
from blitz.errors import BlitzError
from blitz.nets import CifarNet
from blitz.randomness import epoch_order
from blitz.training import RECIPES, Recipe, Training, evaluate, fit

SHORT = Recipe(
    "short", batch_size=4, epochs=2, learning_rate=0.01, momentum=0.9, one_cycle=True, report_every=3
)


def make_split(length, *, seed=0):
    """Return random images and labels."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (length, 3, 32, 32), dtype=torch.uint8, generator=generator)
    return Split(images, torch.randint(0, 10, (length,), generator=generator))


def make_net():
    """Return a small net that draws random numbers as it trains, the same one at each call."""
    torch.manual_seed(0)
    return nn.Sequential(nn.AvgPool2d(8), nn.Flatten(), nn.Dropout(0.2), nn.Linear(48, 10))


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


class TestFit:
    """Training from beginning to end."""

    def test_training_is_the_loop_of_the_notes(self):
        """The weights are those of the notes' plain loop with torch's default SGD."""
        recipe = SHORT._replace(one_cycle=False, nesterov=True, weight_decay=0.01)
        split, net, twin = make_split(10), CifarNet(), CifarNet()
        twin.load_state_dict(net.state_dict())
        optimizer = torch.optim.SGD(
            twin.parameters(), 0.01, momentum=0.9, nesterov=True, weight_decay=0.01, fused=False
        )
        for epoch in range(2):
            for inputs, labels in batches(split, 4, order=epoch_order(10, seed=5, epoch=epoch)):
                optimizer.zero_grad()
                nn.CrossEntropyLoss()(twin(inputs), labels).backward()
                optimizer.step()

        fit(net, split, recipe, seed=5)

        torch.testing.assert_close(net.state_dict(), twin.state_dict())

    def test_running_loss_is_reported_every_so_many_mini_batches(self):
        """Of an epoch's 5 mini-batches, the 2nd and the 4th end in a report, and the rest is left out."""
        history = fit(make_net(), make_split(20), SHORT._replace(report_every=2))

        assert [(line["epoch"], line["step"]) for line in history] == [(1, 2), (1, 4), (2, 2), (2, 4)]

    def test_reported_loss_is_the_mean_since_the_last_report(self):
        """At a learning rate of zero the reports are the means of the mini-batches' losses."""
        net, split = make_net(), make_split(20)
        net[2].p = 0.0
        order = epoch_order(20, seed=0, epoch=0)
        losses = [nn.CrossEntropyLoss()(net(x), y).item() for x, y in batches(split, 4, order=order)]

        history = fit(net, split, SHORT._replace(epochs=1, learning_rate=0.0, report_every=2))

        means = [sum(losses[:2]) / 2, sum(losses[2:4]) / 2]
        assert [line["loss"] for line in history] == pytest.approx(means, rel=1e-6)

    def test_epoch_shorter_than_the_interval_reports_at_its_end(self):
        """The stand-in's 1,250 mini-batches of 4 still say how they went."""
        history = fit(make_net(), make_split(20), SHORT._replace(report_every=2000))

        assert [(line["epoch"], line["step"]) for line in history] == [(1, 5), (2, 5)]

    def test_between_reports_nothing_waits_for_the_device(self):
        """No value is fetched from a tensor, which on a GPU would wait for it, until a report is due."""
        training = Training(make_net(), make_split(40), SHORT._replace(report_every=8))
        fetched = []

        class Watch(TorchDispatchMode):
            def __torch_dispatch__(self, func, types, args=(), kwargs=None):
                if func is torch.ops.aten._local_scalar_dense.default:
                    fetched.append(training.step)
                return func(*args, **(kwargs or {}))

        with Watch():
            for _ in training.steps():
                if training.step == 10:
                    break

        assert fetched == [8, 10]

    def test_net_learns_the_stand_in(self):
        """Two epochs get nine of ten stand-in images right (five seeds: 99 %), where chance gets one."""
        data = load("stand-in")
        torch.manual_seed(0)
        net = CifarNet()

        fit(net, data.train, RECIPES["fast"]._replace(batch_size=16), seed=0)

        assert evaluate(net, data.test).accuracy > 0.9

    def test_diverged_training_ends_with_a_sentence(self):
        """A loss that is no finite number ends the training at the next report, and says where."""
        net = make_net()
        nn.init.constant_(net[3].weight, math.inf)

        with pytest.raises(
            BlitzError, match=r"the loss is nan at mini-batch 3 of epoch 1: .* below 0\.01 may help"
        ):
            fit(net, make_split(20), SHORT)

    def test_divergence_after_the_last_report_of_an_epoch_is_seen(self):
        """The end of an epoch asks too, although its last mini-batches are never reported."""
        training = make_stopped(3)  # the last report of an epoch of 5 mini-batches
        training.running_loss.fill_(math.inf)

        with pytest.raises(BlitzError, match="the loss is inf at mini-batch 5 of epoch 1"):
            list(training.steps())

        assert len(training.history) == 1


REFUSED = {
    "labels missing": (
        Split(make_split(3).images, torch.tensor([1])),
        "one label per image: 3 images, 1 labels",
    ),
    "empty": (make_split(0), "at least one image, got an empty split"),
    "float images": (
        Split(torch.zeros(2, 3, 32, 32), torch.tensor([1, 2])),
        "uint8 images and int64 labels, got torch.float32 and torch.int64",
    ),
    "int32 labels": (
        Split(make_split(2).images, torch.tensor([1, 2], dtype=torch.int32)),
        "uint8 images and int64 labels, got torch.uint8 and torch.int32",
    ),
    "label 10": (Split(make_split(2).images, torch.tensor([0, 10])), r"labels in 0\.\.9, got 0\.\.10"),
    "label -1": (Split(make_split(2).images, torch.tensor([-1, 3])), r"labels in 0\.\.9, got -1\.\.3"),
    "wrong size": (
        Split(torch.zeros(2, 3, 28, 28, dtype=torch.uint8), torch.tensor([1, 2])),
        r"\(2, 3, 28, 28\)|\(1, 3, 28, 28\)",
    ),
}


class TestBorder:
    """What is refused before any work is done."""

    @pytest.mark.parametrize(("split", "message"), REFUSED.values(), ids=REFUSED)
    def test_training_refuses_a_split_it_cannot_use(self, split, message):
        """The message says what was expected and what came."""
        with pytest.raises(ValueError, match=message):
            Training(make_net(), split, SHORT)

    @pytest.mark.parametrize(("split", "message"), REFUSED.values(), ids=REFUSED)
    def test_evaluate_refuses_a_split_it_cannot_use(self, split, message):
        """The message says what was expected and what came."""
        with pytest.raises(ValueError, match=message):
            evaluate(make_net(), split)

    @pytest.mark.parametrize("field", ["batch_size", "epochs", "report_every"])
    def test_training_refuses_a_recipe_that_does_nothing(self, field):
        """A recipe needs at least one of each."""
        with pytest.raises(ValueError, match=f"expected a {field} of at least 1, got 0"):
            Training(make_net(), make_split(4), SHORT._replace(**{field: 0}))


def make_stopped(steps, **options):
    """Return a training stopped after so many mini-batches."""
    training = Training(make_net(), make_split(18), SHORT, **options)
    for _ in training.steps():
        if training.step == steps:
            break
    return training


class TestResume:
    """A training that stops and goes on ends as if it never had stopped."""

    @pytest.mark.parametrize("stop", [1, 2, 3, 5, 7, 10])
    def test_resumed_training_ends_with_the_same_bits(self, stop):
        """After any of its 10 mini-batches; a net with dropout and a changing learning rate included."""
        whole = make_stopped(None, seed=1)
        state = torch.utils._pytree.tree_map(
            lambda leaf: leaf.clone() if isinstance(leaf, torch.Tensor) else leaf,
            make_stopped(stop, seed=1).state_dict(),
        )
        resumed = Training(make_net(), make_split(18), SHORT, seed=1)
        torch.manual_seed(99)

        resumed.load_state_dict(state)
        for _ in resumed.steps():
            pass

        assert resumed.history == whole.history
        actual, expected = resumed.state_dict(), whole.state_dict()
        for part in ("model", "optimizer", "running_loss"):
            torch.testing.assert_close(actual[part], expected[part], rtol=0, atol=0)

    def test_generators_of_python_numpy_and_torch_come_back(self):
        """What is drawn after a resume is what would have been drawn."""
        training = make_stopped(2)
        state = training.state_dict()
        drawn = random.random(), np.random.rand(), torch.rand(1).item()

        training.load_state_dict(state)

        assert (random.random(), np.random.rand(), torch.rand(1).item()) == drawn

    def test_epoch_counts_what_is_complete(self):
        """Of two epochs of 5 mini-batches one is complete after 5 and after 9, and both after 10."""
        epochs = [make_stopped(steps).epoch for steps in (1, 5, 9, 10)]

        assert epochs == [0, 1, 1, 2]

    def test_finished_training_has_no_step_left(self):
        """A training at its end makes no further mini-batch."""
        training = make_stopped(10)

        assert training.finished
        assert list(training.steps()) == []

    @pytest.mark.parametrize(
        ("other", "message"),
        [
            (
                {"recipe": SHORT._replace(name="long")},
                "trained with recipe short, not long; resume with the recipe",
            ),
            ({"recipe": SHORT._replace(epochs=9)}, "trained with epochs 2, not 9"),
            ({"seed": 7}, "trained with seed 0, not 7"),
            ({"split": make_split(17)}, "trained with images 18, not 17"),
            ({"split": make_split(18, seed=1)}, "trained with checksum of images [0-9a-f]{8}, not "),
        ],
        ids=["recipe", "its values", "seed", "number of images", "images"],
    )
    def test_resume_with_other_settings_is_refused(self, other, message):
        """The sentence names the first setting that differs, and the training stays as it was."""
        state = make_stopped(3).state_dict()
        arguments = {"net": make_net(), "split": make_split(18), "recipe": SHORT, "seed": 0, **other}
        training = Training(**arguments)

        with pytest.raises(ValueError, match=message):
            training.load_state_dict(state)

        assert training.step == 0

    def test_resume_with_another_net_is_refused(self):
        """The sentence names the first weight that differs, and none is loaded."""
        state = make_stopped(3).state_dict()
        training = Training(CifarNet(), make_split(18), SHORT)

        with pytest.raises(ValueError, match=r"weights of another net: conv1\.weight is missing"):
            training.load_state_dict(state)

        assert training.step == 0

    def test_weights_of_another_shape_are_refused(self):
        """Equal names are not enough."""
        state = make_stopped(3).state_dict()
        wide = nn.Sequential(nn.AvgPool2d(4), nn.Flatten(), nn.Dropout(0.2), nn.Linear(192, 10))

        with pytest.raises(ValueError, match=r"3\.weight has shape \(10, 48\), not \(10, 192\)"):
            Training(wide, make_split(18), SHORT).load_state_dict(state)

    def test_state_with_a_part_missing_is_refused(self):
        """The sentence names what is missing."""
        training = make_stopped(3)
        state = training.state_dict()
        del state["random"]

        with pytest.raises(ValueError, match="not the state of a training: random is missing"):
            training.load_state_dict(state)


class TestEvaluate:
    """How a net does."""

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
