"""blitz/training.py: training from beginning to end, what is refused before it, and evaluation."""

import math

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from blitz.data import Split, batches, load
from blitz.errors import BlitzError
from blitz.nets import CifarNet
from blitz.randomness import epoch_order
from blitz.recipes import learning_rate
from blitz.training import RECIPES, Training, evaluate, fit
from spec.counters import operators
from spec.library.runs import SHORT, make_net, make_split, make_stopped


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

    def test_each_mini_batch_has_the_learning_rate_of_its_step(self):
        """Over both epochs of 2 mini-batches; those of blitz.recipes are compared with PyTorch's there."""
        training = Training(make_net(), make_split(8), SHORT)

        rates = [training.optimizer.param_groups[0]["lr"] for _ in training.steps()]

        assert rates == [learning_rate(SHORT, step, 4) for step in range(4)]

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

    def test_device_that_does_not_exist_is_refused(self):
        """By PyTorch itself, which names those it knows."""
        with pytest.raises(RuntimeError, match="nowhere"):
            fit(make_net(), make_split(1), SHORT, device="nowhere")

    def test_step_of_the_optimizer_is_one_operator(self):
        """On the CPU, too: there the fused SGD takes less than half the time of one operator a parameter."""
        training = Training(make_net(), make_split(4), SHORT._replace(epochs=1))

        counts = operators(lambda: list(training.steps()))

        assert counts["aten._fused_sgd_.default"] == 1

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

        with pytest.raises(BlitzError) as caught:
            fit(net, make_split(20), SHORT)

        assert str(caught.value) == (
            "the loss is nan at mini-batch 3 of epoch 1: training has diverged, "
            "and a learning rate below 0.01 may help"
        )

    def test_divergence_after_the_last_report_of_an_epoch_is_seen(self):
        """The end of an epoch asks too, although its last mini-batches are never reported."""
        training = make_stopped(3)  # the last report of an epoch of 5 mini-batches
        training.running_loss.fill_(math.inf)

        with pytest.raises(BlitzError, match="the loss is inf at mini-batch 5 of epoch 1"):
            list(training.steps())

        assert len(training.history) == 1

    def test_divergence_in_the_second_epoch_is_counted_in_it(self):
        """Mini-batches are counted from 1 in each epoch."""
        training = make_stopped(5, recipe=SHORT._replace(report_every=1))
        training.running_loss.fill_(math.inf)

        with pytest.raises(BlitzError, match="the loss is inf at mini-batch 1 of epoch 2"):
            list(training.steps())


REFUSED = {
    "labels missing": (
        Split(make_split(3).images, torch.tensor([1])),
        "one label per image: 3 images, 1 labels",
    ),
    "empty": (make_split(0), "^expected at least one image, got an empty split$"),
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

    def test_training_takes_one_of_each(self):
        """One image, in one mini-batch of one, for one epoch, and a report of it."""
        history = fit(make_net(), make_split(1), SHORT._replace(batch_size=1, epochs=1, report_every=1))

        assert [(line["epoch"], line["step"]) for line in history] == [(1, 1)]


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
