"""DCGAN, to which section 6 of the notes points: two nets that learn from each other's mistakes."""

import functools

import pytest
import torch
from torch import nn
from torch.nn.functional import softplus

from blitz.derived import dcgan
from blitz.derived.dcgan import DCGAN, Generator
from spec.harness import fault, statement


class Sum(nn.Module):
    """A discriminator that scores an image by the sum of its pixels, times a weight of 1."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, images):
        """Return scores (N,)."""
        return self.weight * images.flatten(1).sum(1)


def images_of_sums(sums, device):
    """Return an image (3, 32, 32) of each sum, which records gradients."""
    images = torch.zeros(len(sums), 3, 32, 32, device=device)
    images[:, 0, 0, 0] = torch.tensor(sums, device=device)
    return images.requires_grad_()


class Attached(torch.Tensor):
    """Images whose detach() does nothing."""

    def detach(self):
        """Return the images themselves."""
        return self


def not_detached(real):
    """Return the discriminator's loss with a gradient for what was drawn."""
    return lambda discriminator, images, drawn: real(discriminator, images, drawn.as_subclass(Attached))


def real_and_drawn_swapped(real):
    """Return the discriminator's loss with the labels of the two kinds of images swapped."""
    return lambda discriminator, images, drawn: real(discriminator, drawn, images)


def wants_to_be_found_out(real):
    """Return the generator's loss with the wrong label."""
    return lambda discriminator, drawn: softplus(discriminator(drawn)).mean()


@statement("derived.dcgan-losses", notes="6 DCGAN")
@fault("the drawn images are not detached", dcgan, "discriminator_loss", not_detached)
@fault("real and drawn images are swapped", dcgan, "discriminator_loss", real_and_drawn_swapped)
@fault("the generator wants to be found out", dcgan, "generator_loss", wants_to_be_found_out)
class TestLosses:
    """In a GAN, the loss of the discriminator is low if it scores real images above 0 and drawn ones below 0.
    The loss of the generator is low if the discriminator scores the drawn images above 0. Only the
    generator's loss passes a gradient to the generator.
    """

    def test_losses_are_the_cross_entropies_of_the_scores(self, device):
        discriminator = Sum().to(device)
        real, drawn = images_of_sums([2.0, -1.0], device), images_of_sums([0.5, -3.0], device)

        losses = [
            dcgan.discriminator_loss(discriminator, real, drawn).item(),
            dcgan.generator_loss(discriminator, drawn).item(),
        ]

        of_real, of_drawn = torch.tensor([2.0, -1.0]), torch.tensor([0.5, -3.0])
        expected = [softplus(-of_real).mean() + softplus(of_drawn).mean(), softplus(-of_drawn).mean()]
        assert losses == pytest.approx([value.item() for value in expected])

    def test_only_the_generators_loss_passes_a_gradient_to_what_was_drawn(self, device):
        discriminator = Sum().to(device)
        real, drawn = images_of_sums([2.0, -1.0], device), images_of_sums([0.5, -3.0], device)

        dcgan.discriminator_loss(discriminator, real, drawn).backward()
        assert drawn.grad is None

        dcgan.generator_loss(discriminator, drawn).backward()
        assert (drawn.grad.flatten(1).sum(1) < 0).tolist() == [True, True]  # a higher score, a lower loss


def optimizer_of_both(real):
    """Return a DCGAN whose generator's optimizer moves the discriminator, too."""

    def init(self, *arguments, **options):
        real(self, *arguments, **options)
        self.optimizers["generator"].add_param_group({
            "params": list(self.nets["discriminator"].parameters())
        })  # fmt: skip

    return init


def optimizer_of_none(real):
    """Return a DCGAN whose generator's optimizer moves nothing."""

    def init(self, *arguments, **options):
        real(self, *arguments, **options)
        self.optimizers["generator"].param_groups[0]["lr"] = 0.0

    return init


def ignores_its_noise(real):
    """Return a generator that draws one image again and again."""
    return lambda self, noise: real(self, noise[:1].expand_as(noise) * 0)


@statement("derived.dcgan-turns", notes="6 DCGAN")
@fault("the generator's optimizer moves both nets", DCGAN, "__init__", optimizer_of_both)
@fault("the generator's optimizer moves no net", DCGAN, "__init__", optimizer_of_none)
class TestTurns:
    """In each step of a GAN's training, one optimizer moves the weights of the discriminator, and another one
    moves the weights of the generator.
    """

    def test_each_optimizer_moves_its_own_net_alone(self, device, monkeypatch, little):
        system = DCGAN(little, steps=1, device=device)
        moved = {}
        for name, optimizer in system.optimizers.items():
            monkeypatch.setattr(
                optimizer, "step", functools.partial(noted, system, name, optimizer.step, moved)
            )

        system._learn(torch.rand(8, 3, 32, 32, device=device))

        assert moved == {"generator": {"generator"}, "discriminator": {"discriminator"}}


def noted(system, name, step, moved):
    """Take an optimizer's step, and note which nets it moved."""
    before = {
        net: [weight.detach().cpu().clone() for weight in system.nets[net].parameters()]
        for net in system.nets
    }
    step()
    moved[name] = {
        net
        for net, weights in before.items()
        if any(
            not old.equal(new.detach().cpu())
            for old, new in zip(weights, system.nets[net].parameters(), strict=True)
        )
    }


@statement("derived.frechet-distance", notes="6 DCGAN")
@fault("the covariances are ignored", torch.Tensor, "cov", lambda real: lambda x: real(x) * 0)
@fault("the means are ignored", torch.Tensor, "mean", lambda real: lambda x, *axes: real(x, *axes) * 0)
class TestFrechetDistance:
    """The Fréchet distance compares two sets of features by their means and covariances. Features have the
    distance |v|² from the same features shifted by v. If the mean of the features is zero, they have the
    distance (1 - s)² times the sum of their variances from the same features multiplied by s ≥ 0.
    """

    def test_shift_adds_its_square(self):
        features = torch.randn(500, 3, dtype=torch.float64)

        distance = dcgan.frechet_distance(features, features + torch.tensor([1.0, -2.0, 0.5]))

        assert distance == pytest.approx(1 + 4 + 0.25)

    def test_scale_counts_by_the_variance(self):
        features = torch.randn(500, 3, dtype=torch.float64)
        features -= features.sum(0) / 500

        distance = dcgan.frechet_distance(features, 3 * features)

        assert distance == pytest.approx(4 * features.var(0).sum().item())


@pytest.mark.slow
@pytest.mark.timeout(900)
@statement("derived.dcgan-comes-closer", notes="6 DCGAN")
@fault("the generator's optimizer moves no net", DCGAN, "__init__", optimizer_of_none)  # for one step
@fault("the generator ignores its noise", Generator, "forward", ignores_its_noise)
def test_drawn_images_come_closer_and_stay_different(cifar10, device, measured):
    """On CIFAR-10, 750 steps of DCGAN reduce the Fréchet distance between drawn and real images to less than
    half. The drawn images differ from each other at least half as much as real images do.
    """
    torch.manual_seed(0)
    system = DCGAN(cifar10, steps=750, device=device)

    for _ in system.steps():
        pass

    start, *_, end = system.history
    measured["distances"], measured["variety"] = [start["distance"], end["distance"]], end["variety"]
    assert end["distance"] < start["distance"] / 2
    assert end["variety"] > 0.5
