"""blitz/training/fit.py: training from beginning to end, and what is refused before it."""

import math

import pytest
import torch
from torch import nn

from blitz.cifar10.augmentation import augmented
from blitz.cifar10.data import batches, normalize
from blitz.errors import BlitzError
from blitz.randomness import epoch_order
from blitz.training import devices
from blitz.training.fit import Training, fit
from blitz.training.muon import Muon
from blitz.training.nets import CifarNet
from blitz.training.recipes import RECIPES, net_for, one_cycle
from spec.blitz.runs import SHORT, make_net, make_split, make_stopped


class TestFit:
    """Training from beginning to end."""

    def test_training_is_the_loop_of_the_notes(self):
        """The weights are those of the notes' plain loop with torch's default SGD."""
        recipe = SHORT._replace(schedule="constant", nesterov=True, weight_decay=0.01)
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

    def test_training_takes_one_of_each(self):
        """One image, in one mini-batch of one, for one epoch, and a report of it."""
        history = fit(make_net(), make_split(1), SHORT._replace(batch_size=1, epochs=1, report_every=1))

        assert [(line["epoch"], line["step"]) for line in history] == [(1, 1)]

    @pytest.mark.parametrize(
        ("every", "reports"),
        [(2, [(1, 2), (1, 4), (2, 2), (2, 4)]), (2000, [(1, 5), (2, 5)])],
        ids=["the last left out", "longer than an epoch"],
    )
    def test_running_loss_is_reported_every_so_many_mini_batches(self, every, reports):
        """What an epoch of 5 leaves over is left out; where that is all of it, its end reports."""
        history = fit(make_net(), make_split(20), SHORT._replace(report_every=every))

        assert [(line["epoch"], line["step"]) for line in history] == reports

    def test_reported_loss_is_the_mean_since_the_last_report(self):
        """At a learning rate of zero the reports are the means of the mini-batches' losses."""
        net, split = make_net(), make_split(20)
        net[2].p = 0.0
        order = epoch_order(20, seed=0, epoch=0)
        losses = [nn.CrossEntropyLoss()(net(x), y).item() for x, y in batches(split, 4, order=order)]

        history = fit(net, split, SHORT._replace(epochs=1, learning_rate=0.0, report_every=2))

        means = [sum(losses[:2]) / 2, sum(losses[2:4]) / 2]
        assert [line["loss"] for line in history] == pytest.approx(means, rel=1e-6)

    def test_diverged_training_ends_with_a_sentence(self):
        """A loss that is no finite number ends the training at the next report, and says where."""
        training = make_stopped(5, recipe=SHORT._replace(report_every=1))
        training.running_loss.fill_(math.inf)

        with pytest.raises(BlitzError) as caught:
            list(training.steps())

        assert str(caught.value) == (
            "the loss is inf at mini-batch 1 of epoch 2: training has diverged, "
            "and a learning rate below 0.01 may help"
        )

    def test_divergence_after_the_last_report_of_an_epoch_is_seen(self):
        """The end of an epoch asks too, although its last mini-batches are never reported."""
        training = make_stopped(3)  # the last report of an epoch of 5 mini-batches
        training.running_loss.fill_(math.inf)

        with pytest.raises(BlitzError, match="the loss is inf at mini-batch 5 of epoch 1"):
            list(training.steps())

    def test_split_that_cannot_be_used_is_refused(self):
        """Before any work is done; test_evaluation.py has all that is refused."""
        with pytest.raises(ValueError, match=r"^expected at least one image, got an empty split$"):
            Training(make_net(), make_split(0), SHORT)

    @pytest.mark.parametrize("field", ["batch_size", "epochs", "report_every"])
    def test_recipe_that_does_nothing_is_refused(self, field):
        """A recipe needs at least one of each."""
        with pytest.raises(ValueError, match=f"expected a {field} of at least 1, got 0"):
            Training(make_net(), make_split(4), SHORT._replace(**{field: 0}))


WHITENED = SHORT._replace(
    batch_size=8, muon_learning_rate=0.1, label_smoothing=0.2, shift=2, flip=True, half=True, widths=(8, 16)
)


class TestWhatARecipeAdds:
    """What the recipes beyond the tutorial's ask for."""

    def test_the_loop_of_a_recipe_is_the_one_written_out(self):
        """The weights are those of a loop with the same images, loss and optimizers, in float32."""
        recipe = WHITENED._replace(half=False, epochs=1, schedule="constant")
        split = make_split(16)
        torch.manual_seed(1)
        net = net_for(recipe, split.images).eval()  # as after an evaluation
        torch.manual_seed(1)
        twin = net_for(recipe, split.images)
        biases = [weight for weight in twin.parameters() if weight.requires_grad and weight.dim() == 1]
        muon = Muon([weight for weight in twin.blocks.parameters() if weight.dim() > 1], lr=0.1, momentum=0.9)
        sgd = torch.optim.SGD([*biases, twin.fc.weight], lr=0.01, momentum=0.9)
        seen = augmented(split.images, shift=2, flip=True, seed=0, epoch=0)
        for index in epoch_order(16, seed=0, epoch=0).split(8):
            scores = twin(normalize(seen[index]))
            twin.zero_grad()
            nn.functional.cross_entropy(scores, split.labels[index], label_smoothing=0.2).backward()
            muon.step()
            sgd.step()

        fit(net, split, recipe)

        torch.testing.assert_close(net.state_dict(), twin.state_dict())

    def test_both_rates_follow_the_schedule(self):
        """Each optimizer has its own highest rate, and the same course over all epochs."""
        training = Training(net_for(WHITENED), make_split(16), WHITENED)

        rates = [
            (training.optimizer.param_groups[0]["lr"], training.muon.param_groups[0]["lr"])
            for _ in training.steps()
        ]

        assert rates == [(one_cycle(0.01, step, 4), one_cycle(0.1, step, 4)) for step in range(4)]

    @pytest.mark.parametrize(
        ("half", "has", "dtype"),
        [
            (True, True, torch.bfloat16),
            (False, True, torch.float32),
            (True, False, torch.float32),
        ],
        ids=["asked for", "not asked for", "not there"],
    )
    def test_half_precision_is_bfloat16_where_the_device_has_it(self, half, has, dtype, monkeypatch):
        """Convolutions see it; weights stay float32."""
        monkeypatch.setattr(devices, "has_bfloat16", lambda device: has)
        net = net_for(WHITENED)
        seen = []
        training = Training(net, make_split(8), WHITENED._replace(half=half, epochs=1))
        net.blocks[0].conv2.register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))

        list(training.steps())

        assert seen == [dtype]
        assert {weight.dtype for weight in net.parameters()} == {torch.float32}

    @pytest.mark.gpu
    @pytest.mark.parametrize("name", RECIPES)
    def test_no_step_waits_for_the_device(self, name):
        """CUDA itself refuses to wait within steps, once an epoch's draws are on the device."""
        if not torch.cuda.is_available():
            pytest.skip("only CUDA can refuse to wait")
        split = make_split(4 * RECIPES[name].batch_size)
        net = net_for(RECIPES[name], split.images)
        steps = Training(net, split, RECIPES[name], device="cuda").steps()
        next(steps)

        torch.cuda.set_sync_debug_mode("error")
        try:
            reports = [next(steps), next(steps)]
        finally:
            torch.cuda.set_sync_debug_mode("default")

        assert reports == [None, None]
