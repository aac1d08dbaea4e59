"""blitz/training/fit.py: training from beginning to end, and what is refused before it."""

import math

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from blitz.cifar10.augmentation import augmented
from blitz.cifar10.data import batches, load, normalize
from blitz.errors import BlitzError
from blitz.randomness import epoch_order
from blitz.training import devices
from blitz.training.evaluation import evaluate
from blitz.training.fit import Training, fit
from blitz.training.muon import Muon
from blitz.training.nets import CifarNet
from blitz.training.recipes import RECIPES, net_for, one_cycle
from spec.blitz.runs import REFUSED, SHORT, make_net, make_split, make_stopped
from spec.counters import operators


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
        """Over both epochs of 2 mini-batches; test_recipes.py compares them with PyTorch's."""
        training = Training(make_net(), make_split(8), SHORT)

        rates = [training.optimizer.param_groups[0]["lr"] for _ in training.steps()]

        assert rates == [one_cycle(SHORT.learning_rate, step, 4) for step in range(4)]

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


class TestBorder:
    """What is refused before any work is done."""

    @pytest.mark.parametrize(("split", "message"), REFUSED.values(), ids=REFUSED)
    def test_training_refuses_a_split_it_cannot_use(self, split, message):
        """The message says what was expected and what came."""
        with pytest.raises(ValueError, match=message):
            Training(make_net(), split, SHORT)

    @pytest.mark.parametrize("field", ["batch_size", "epochs", "report_every"])
    def test_training_refuses_a_recipe_that_does_nothing(self, field):
        """A recipe needs at least one of each."""
        with pytest.raises(ValueError, match=f"expected a {field} of at least 1, got 0"):
            Training(make_net(), make_split(4), SHORT._replace(**{field: 0}))

    def test_training_takes_one_of_each(self):
        """One image, in one mini-batch of one, for one epoch, and a report of it."""
        history = fit(make_net(), make_split(1), SHORT._replace(batch_size=1, epochs=1, report_every=1))

        assert [(line["epoch"], line["step"]) for line in history] == [(1, 1)]


WHITENED = SHORT._replace(
    batch_size=8, muon_learning_rate=0.1, label_smoothing=0.2, shift=2, flip=True, half=True, widths=(8, 16)
)


class TestWhatARecipeAdds:
    """What the recipes beyond the tutorial's ask for."""

    def test_muon_takes_the_matrices_and_sgd_the_rest(self):
        """Each weight that is trained belongs to one of the two, by its dimensions."""
        net = net_for(WHITENED)

        training = Training(net, make_split(8), WHITENED)

        [sgd], [muon] = training.optimizer.param_groups, training.muon.param_groups
        assert {weight.dim() for weight in muon["params"]} == {2, 4}
        assert {weight.dim() for weight in sgd["params"]} == {1}
        trained = [weight for weight in net.parameters() if weight.requires_grad]
        assert len(muon["params"]) + len(sgd["params"]) == len(trained)

    def test_what_is_frozen_stays(self):
        """The first layer's filters, and the scale of each BatchNorm, are not trained; all else is."""
        split = make_split(16)
        net = net_for(WHITENED, split.images)
        before = {name: weight.detach().clone() for name, weight in net.named_parameters()}

        fit(net, split, WHITENED)

        stayed = {name for name, weight in net.named_parameters() if torch.equal(weight, before[name])}
        assert stayed == {name for name, weight in net.named_parameters() if not weight.requires_grad}
        assert "whitening.weight" in stayed

    def test_the_loop_of_a_recipe_is_the_one_written_out(self):
        """The weights are those of a loop with the same images, loss and optimizers, in float32."""
        recipe = WHITENED._replace(half=False, epochs=1, one_cycle=False)
        split = make_split(16)
        torch.manual_seed(1)
        net = net_for(recipe, split.images)
        torch.manual_seed(1)
        twin = net_for(recipe, split.images)
        trained = [weight for weight in twin.parameters() if weight.requires_grad]
        muon = Muon([weight for weight in trained if weight.dim() > 1], lr=0.1, momentum=0.9)
        sgd = torch.optim.SGD([weight for weight in trained if weight.dim() == 1], lr=0.01, momentum=0.9)
        seen = augmented(split.images, shift=2, flip=True, seed=0, epoch=0)
        for index in epoch_order(16, seed=0, epoch=0).split(8):
            scores = twin(normalize(seen[index]))
            twin.zero_grad()
            nn.functional.cross_entropy(scores, split.labels[index], label_smoothing=0.2).backward()
            muon.step()
            sgd.step()

        fit(net, split, recipe)

        torch.testing.assert_close(net.state_dict(), twin.state_dict())

    def test_both_rates_follow_the_cycle(self):
        """Each optimizer has its own highest rate, and the same course."""
        training = Training(net_for(WHITENED), make_split(16), WHITENED)

        rates = [
            (training.muon.param_groups[0]["lr"], training.optimizer.param_groups[0]["lr"])
            for _ in training.steps()
        ]

        assert [muon / sgd for muon, sgd in rates] == pytest.approx([10] * 4)

    @pytest.mark.parametrize("half", [True, False])
    def test_half_precision_is_bfloat16_where_the_device_has_it(self, half, monkeypatch):
        """Convolutions see bfloat16, weights and loss stay float32; without `half` all is float32."""
        monkeypatch.setattr(devices, "has_bfloat16", lambda device: True)
        net = net_for(WHITENED)
        seen = []
        training = Training(net, make_split(8), WHITENED._replace(half=half, epochs=1))
        net.blocks[0].conv2.register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))

        list(training.steps())

        assert set(seen) == {torch.bfloat16 if half else torch.float32}
        assert {weight.dtype for weight in net.parameters()} == {torch.float32}

    def test_a_device_without_bfloat16_computes_in_float32(self, monkeypatch):
        """A recipe's `half` is for hardware that has it."""
        monkeypatch.setattr(devices, "has_bfloat16", lambda device: False)
        net = net_for(WHITENED)
        seen = []
        training = Training(net, make_split(8), WHITENED._replace(epochs=1))
        net.blocks[0].conv2.register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))

        list(training.steps())

        assert set(seen) == {torch.float32}

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
            first, second = next(steps), next(steps)
        finally:
            torch.cuda.set_sync_debug_mode("default")

        assert first is None
        assert second is None
