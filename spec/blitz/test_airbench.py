"""spec/benchmarks/airbench.py: the opponent of `record` does what its published description says."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch.nn.functional import conv2d, max_pool2d
from torch.optim.optimizer import register_optimizer_step_pre_hook

from blitz.cifar10 import stand_in
from spec.benchmarks import airbench
from spec.harness.errors import HarnessError

SLIM = (8, 16, 16)
RATES = {"the first bias": (0, 0.053), "BatchNorm's biases": (1, 0.053), "the head": (2, 0.67)}
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def drawn():
    """A thousand images to train on, and two hundred to test on."""
    return stand_in.draw(1000, 200)


@pytest.fixture
def net():
    """A net of few channels, its weights drawn."""
    net = airbench.airbench_net(CPU, widths=SLIM)
    airbench.draw(net)
    return net


def train_on(net, split, count, **settings):
    """Train on so many images."""
    airbench.train(net, split.images[:count], split.labels[:count], **settings)


class TestNet:
    """AirbenchNet, airbench_net(device) and draw(net)."""

    def test_published_widths_have_their_number_of_trained_weights(self):
        """The first layer's bias, six banks of filters, BatchNorm's biases, and the head."""
        net = airbench.airbench_net(CPU)
        banks = [(24, 64), (64, 64), (64, 256), (256, 256), (256, 256), (256, 256)]

        trained = sum(weight.numel() for weight in net.parameters() if weight.requires_grad)

        assert trained == 24 + sum(9 * a * b for a, b in banks) + 2 * (64 + 256 + 256) + 256 * 10

    def test_scores_are_those_of_the_formula(self, net):
        """Each layer by hand: GELU is written with the error function, BatchNorm with the batch."""
        images = torch.randn(5, 3, 32, 32)

        def active(x):
            return x * (1 + torch.erf(x / math.sqrt(2))) / 2

        def normalised(x):
            return (x - x.mean((0, 2, 3), keepdim=True)) / x.std((0, 2, 3), correction=0, keepdim=True)

        x = active(conv2d(images, net.whitening.weight, net.whitening.bias))
        for first, second in zip(*[iter(airbench.filters(net))] * 2, strict=True):
            x = active(normalised(max_pool2d(conv2d(x, first, padding=1), 2)))
            x = active(normalised(conv2d(x, second, padding=1)))
        expected = x.amax((2, 3)) @ net.head.weight.mT / 16

        torch.testing.assert_close(net(images), expected, atol=1e-5, rtol=1e-4)

    def test_batch_norm_takes_up_two_fifths_of_each_batch(self, net):
        """Of the mean of a batch, 0.4 goes into the running one, and the rest of that stays."""
        images = torch.randn(5, 3, 32, 32)
        means = []
        net.blocks[0][2].register_forward_pre_hook(
            lambda norm, inputs: means.append(inputs[0].mean((0, 2, 3)))
        )

        net(images)
        net(2 * images)

        torch.testing.assert_close(net.blocks[0][2].running_mean, 0.24 * means[0] + 0.4 * means[1])

    def test_filters_begin_by_passing_their_inputs_on(self, net):
        """The first ones are the identity, as many as there are inputs, and the others are drawn."""
        images = torch.randn(2, 8, 9, 9)
        widening = airbench.filters(net)[2]

        passed = conv2d(images, widening, padding=1)

        torch.testing.assert_close(passed[:, :8], images)
        assert passed[:, 8:].std() > 0.1

    def test_the_head_begins_with_a_deviation_of_1(self, net):
        """As drawn it would have a smaller one."""
        assert net.head.weight.std().item() == pytest.approx(1)

    def test_a_net_can_be_drawn_again(self, net):
        """By the same seed it begins as before, whatever a training has left in it."""
        torch.manual_seed(0)
        airbench.draw(net)
        before = {name: value.clone() for name, value in net.state_dict().items()}
        for value in net.state_dict().values():
            value.add_(1)

        torch.manual_seed(0)
        airbench.draw(net)

        after = net.state_dict()
        assert [name for name in before if not after[name].equal(before[name])] == []

    def test_weights_are_halves_on_cuda_alone(self, device):
        """There BatchNorm stays in float32, and elsewhere all does."""
        net = airbench.airbench_net(device, widths=SLIM)

        assert (
            net.head.weight.dtype
            == net.whitening.bias.dtype
            == {"cuda": torch.float16}.get(device.type, torch.float32)
        )
        assert net.blocks[0][2].running_mean.dtype == net.blocks[0][2].bias.dtype == torch.float32


class TestImages:
    """prepared(net, images), whiten(net, inputs) and augmented(inputs, epochs)."""

    def test_a_colour_is_measured_from_its_mean_in_deviations(self, net):
        """White is (1 - mean) / deviation in each of the three."""
        white = torch.full((1, 3, 32, 32), 255, dtype=torch.uint8)

        values = airbench.prepared(net, white)[0, :, 5, 5].tolist()

        assert values == pytest.approx([0.5086 / 0.247, 0.5178 / 0.2435, 0.5535 / 0.2616])

    def test_whitened_images_are_uncorrelated(self, net, drawn):
        """What a filter gives has a mean square of 1, and twelve filters are the negatives of the others."""
        inputs = airbench.prepared(net, drawn.train.images[:500])
        inputs += torch.randn(inputs.shape)  # the stand-in's patches differ too little in some directions

        airbench.whiten(net, inputs)

        given = conv2d(inputs, net.whitening.weight).movedim(1, 0).flatten(1)
        assert given[12:].equal(-given[:12])
        torch.testing.assert_close(
            given[:12] @ given[:12].mT / given.shape[1], torch.eye(12), atol=0.01, rtol=0
        )

    def test_images_move_by_up_to_two_pixels(self):
        """Each is one of the 25 windows of the image with a mirrored border, or that window mirrored."""
        image = np.arange(3 * 32 * 32, dtype=np.float32).reshape(3, 32, 32)
        padded = np.pad(image, ((0, 0), (2, 2), (2, 2)), mode="reflect")
        windows = [padded[:, y : y + 32, x : x + 32] for y in range(5) for x in range(5)]
        known = {window.tobytes() for window in windows} | {
            window[:, :, ::-1].tobytes() for window in windows
        }

        [seen] = airbench.augmented(torch.from_numpy(image).repeat(1000, 1, 1, 1), 1)

        assert {one.contiguous().numpy().tobytes() for one in seen} == known

    def test_flips_alternate(self):
        """A random half is mirrored in the first epoch, the other half in the second, the first again."""
        rising = torch.arange(32.0).expand(1000, 3, 32, 32)

        first, second, third = (
            seen[:, 0, 16, 20] < seen[:, 0, 16, 10] for seen in airbench.augmented(rising, 3)
        )

        assert 400 < first.sum() < 600
        assert second.equal(~first)
        assert third.equal(first)

    def test_every_epoch_draws_new_moves(self):
        """The first and the third, which mirror the same images, move most of them otherwise."""
        images = torch.randn(200, 3, 32, 32)

        first, _, third = airbench.augmented(images, 3)

        assert (first != third).flatten(1).any(1).sum() > 150


class TestTraining:
    """train(net, images, labels)."""

    def test_rates_fall_in_a_straight_line(self, net, drawn):
        """From 0.053 for biases, 0.67 for the head, 0.24 for filters; in 3 epochs for the first bias."""
        rates = {"SGD": [], "FilterMuon": []}
        hook = register_optimizer_step_pre_hook(
            lambda optimizer, *_: rates[type(optimizer).__name__].append(
                [group["lr"] for group in optimizer.param_groups]
            )
        )

        train_on(net, drawn.train, 20, batch_size=20, epochs=8)
        hook.remove()

        left = [1, 7 / 8, 6 / 8, 5 / 8, 4 / 8, 3 / 8, 2 / 8, 1 / 8]
        assert [rate for [rate] in rates["FilterMuon"]] == pytest.approx([0.24 * one for one in left])
        first, norms, head = zip(*rates["SGD"], strict=True)
        assert first == pytest.approx([0.053 * one for one in [1, 2 / 3, 1 / 3, 0, 0, 0, 0, 0]])
        assert norms == pytest.approx([0.053 * one for one in left])
        assert head == pytest.approx([0.67 * one for one in left])

    def test_the_first_bias_stays_after_three_epochs(self, net, drawn):
        """It changes with each of the first three steps, one an epoch, and does not learn in the others."""
        biases, learns = [], []

        def note(net, inputs):
            biases.append(net.whitening.bias.detach().clone())
            learns.append(inputs[1])

        net.register_forward_pre_hook(note)
        train_on(net, drawn.train, 20, batch_size=20, epochs=6)

        assert [one.equal(other) for one, other in pairwise(biases)] == [False, False, False, True, True]
        assert learns == [True, True, True, False, False, False]

    def test_a_bias_that_does_not_learn_has_no_gradient(self, net):
        """Nothing is computed for it, which takes time."""
        net(torch.randn(2, 3, 32, 32), False).sum().backward()

        assert net.whitening.bias.grad is None
        assert net.head.weight.grad is not None

    def test_scales_and_the_first_filters_are_not_trained(self, net, drawn):
        """BatchNorm's scales stay 1, and the first layer stays as computed; all else changes."""
        train_on(net, drawn.train, 20, batch_size=20, epochs=1)
        before = {name: weight.detach().clone() for name, weight in net.named_parameters()}
        torch.manual_seed(1)

        train_on(net, drawn.train, 20, batch_size=20, epochs=1)

        kept = [name for name, weight in net.named_parameters() if weight.equal(before[name])]
        assert kept == ["whitening.weight", *(f"blocks.{n}.{m}.weight" for n in range(3) for m in (2, 5))]
        assert all(before[name].eq(1).all() for name in kept[1:])

    def test_loss_is_summed_with_a_fifth_of_each_label_spread(self, net, drawn):
        """Its gradient is the softmax less the label, of which 0.82 is the class's and 0.02 each other's."""
        outputs, gradients = [], []

        def note(net, inputs, scores):
            outputs.append(scores.detach())
            scores.register_hook(gradients.append)

        net.register_forward_hook(note)
        train_on(net, drawn.train, 20, batch_size=20, epochs=1)

        labels = (outputs[0].softmax(1) - gradients[0]).sort(1).values
        torch.testing.assert_close(
            labels, torch.tensor([0.02] * 9 + [0.82]).expand(20, 10), atol=1e-5, rtol=0
        )

    def test_an_epoch_sees_whole_batches_in_a_new_order(self, net):
        """Of 50 images 40 are seen in two steps, none of them twice, and in the next epoch otherwise."""
        grey = torch.arange(50, dtype=torch.uint8)[:, None, None, None].expand(50, 3, 32, 32)
        seen = []
        net.register_forward_pre_hook(lambda net, inputs: seen.append(inputs[0][:, 0, 0, 0]))

        airbench.train(net, grey, torch.arange(50) % 10, batch_size=20, epochs=2)

        first, second = torch.cat(seen[:2]), torch.cat(seen[2:])
        assert [len(batch) for batch in seen] == [20, 20, 20, 20]
        assert len(first.unique()) == len(second.unique()) == 40
        assert not first.equal(first.sort().values)
        assert not first.equal(second)

    def test_fewer_images_than_a_batch_are_refused(self, net, drawn):
        """They would make no step at all."""
        with pytest.raises(HarnessError, match="at least 2000 training images, a batch, got 1000"):
            airbench.train(net, *drawn.train)

    def test_it_learns_the_stand_in(self, drawn, device):
        """After twenty small steps nine in ten test images are right, where chance is one in ten."""
        net = airbench.airbench_net(device, widths=SLIM)
        train, test = ([part.to(device) for part in split] for split in (drawn.train, drawn.test))

        airbench.train(net, *train, batch_size=50, epochs=2)

        assert airbench.accuracy(net, *test) > 0.8


class TestSteps:
    """biases_and_head(net, batch_size), FilterMuon(weights) and orthogonalize(matrix)."""

    @pytest.mark.parametrize(("group", "rate"), RATES.values(), ids=RATES)
    def test_two_steps_of_sgd_are_those_of_the_formula(self, net, group, rate):
        """Nesterov momentum of 0.85, and a decay of 2e-6 for each of 2,000 images, whatever the rate."""
        optimizer = airbench.biases_and_head(net, 2000)
        weight = optimizer.param_groups[group]["params"][0]
        weight.data.add_(3)
        expected, momentum = weight.detach().double(), 0

        for _ in range(2):
            weight.grad = torch.randn(weight.shape)
            gradient = weight.grad.double() + 0.004 / rate * expected
            momentum = 0.85 * momentum + gradient
            expected = expected - rate * (gradient + 0.85 * momentum)
            optimizer.step()

        torch.testing.assert_close(weight.detach().double(), expected, atol=1e-5, rtol=1e-5)

    def test_three_steps_of_muon_are_those_of_the_formula(self):
        """Momentum 0.6, and before each step the norm √out."""
        weight = torch.nn.Parameter(torch.randn(4, 2, 3, 3))
        optimizer = airbench.FilterMuon([weight], airbench.orthogonalize)
        expected, momentum = weight.detach().clone(), 0

        for _ in range(3):
            weight.grad = torch.randn(4, 2, 3, 3)
            momentum = 0.6 * momentum + weight.grad
            change = airbench.orthogonalize((weight.grad + 0.6 * momentum).view(4, 18)).view(4, 2, 3, 3)
            expected = 2 * expected / expected.square().sum().sqrt() - 0.24 * change
            optimizer.step()

        torch.testing.assert_close(weight.detach(), expected, atol=0.005, rtol=0)

    @pytest.mark.parametrize("shape", [(5, 5), (4, 30), (30, 4)], ids=str)
    def test_singular_values_go_through_the_polynomial_three_times(self, shape):
        """As the decomposition says in float64, up to bfloat16; the singular vectors stay."""
        matrix = torch.randn(shape, dtype=torch.float64)
        left, values, right = torch.linalg.svd(matrix, full_matrices=False)
        values = values / values.norm()
        for _ in range(3):
            values = 3.4445 * values - 4.7750 * values**3 + 2.0315 * values**5

        result = airbench.orthogonalize(matrix)

        assert result.dtype == torch.bfloat16
        torch.testing.assert_close(result.double(), left @ values.diag() @ right, atol=0.03, rtol=0)


class TestEvaluation:
    """scores(net, inputs) and accuracy(net, images, labels)."""

    def test_the_moved_views_count_half(self):
        """A pixel in the corner and one inside, as they stand and mirrored; moved by one, half of that."""
        image = np.random.default_rng(0).normal(size=(1, 3, 32, 32)).astype(np.float32)
        padded = np.pad(image, ((0, 0), (0, 0), (1, 1), (1, 1)), mode="reflect")
        views = [(1 / 4, image), (1 / 8, padded[..., :32, :32]), (1 / 8, padded[..., 2:, 2:])]

        def pixels(view):
            return view[..., 0, 0] + 2 * view[..., 5, 7]

        scores = airbench.scores(pixels, torch.from_numpy(image))

        expected = sum(weight * (pixels(view) + pixels(view[..., ::-1])) for weight, view in views)
        torch.testing.assert_close(scores.numpy(), expected)

    def test_accuracy_is_the_share_of_right_labels(self, net, drawn):
        """With the running statistics of BatchNorm: a net gives the labels that it would give alone."""
        images = drawn.test.images[:40]
        net(airbench.prepared(net, images))
        net.eval()
        with torch.no_grad():
            labels = torch.cat(
                [airbench.scores(net, airbench.prepared(net, one[None])).argmax(1) for one in images]
            )
        net.train()
        labels[:10] = (labels[:10] + 1) % 10

        assert airbench.accuracy(net, images, labels) == 0.75
