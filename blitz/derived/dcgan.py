"""A deep convolutional generative adversarial network (DCGAN) that learns to draw images of 32x32 pixels.

The generator draws images from noise, and the discriminator learns to tell them from real images. Each one's
loss is what the other does well. How far the drawn images are from real ones is measured in the features of a
third net, which is trained beforehand to classify the real images.

Source: notes 6, PyTorch's DCGAN tutorial; the distance is that of Heusel et al., 2017.
"""

import zlib
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, relu

from blitz.cifar10.data import Cifar10, normalize
from blitz.pictures import image_rows
from blitz.randomness import epoch_order
from blitz.training.evaluation import evaluating
from blitz.training.fit import fit
from blitz.training.nets import CifarNet
from blitz.training.recipes import RECIPES

NOISE = 64  # random numbers from which an image is drawn
WIDTH = 32  # channels of the largest hidden layer's maps; each layer below has twice as many
BATCH = 64
SHOWN = 16  # images that are drawn from the same noise at each report
MEASURED = 1000  # images that the distance is measured on


class Generator(nn.Sequential):
    """Draws images, float (N, 3, 32, 32) in [-1, 1], from noise, float (N, NOISE, 1, 1)."""

    def __init__(self) -> None:
        super().__init__(
            *_up(NOISE, 4 * WIDTH, stride=1, padding=0),  # (N, 128, 4, 4)
            *_up(4 * WIDTH, 2 * WIDTH),  # (N, 64, 8, 8)
            *_up(2 * WIDTH, WIDTH),  # (N, 32, 16, 16)
            nn.ConvTranspose2d(WIDTH, 3, 4, stride=2, padding=1),
            nn.Tanh(),
        )
        self.apply(_initialise)


class Discriminator(nn.Sequential):
    """Scores images, float (N, 3, 32, 32): above 0 what it takes for real, float (N,)."""

    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(3, WIDTH, 4, stride=2, padding=1),  # (N, 32, 16, 16)
            nn.LeakyReLU(0.2),
            *_down(WIDTH, 2 * WIDTH),  # (N, 64, 8, 8)
            *_down(2 * WIDTH, 4 * WIDTH),  # (N, 128, 4, 4)
            nn.Conv2d(4 * WIDTH, 1, 4),
            nn.Flatten(0),
        )
        self.apply(_initialise)


class DCGAN:
    """The training of both nets (see blitz.commands.chapter.System).

    Args:
        data: the images to learn from, and its test images to measure the distance from.
        seed: decides the order of the images.
        steps: mini-batches to train on.
        device: where to train.
    """

    def __init__(
        self, data: Cifar10, *, seed: int = 0, steps: int = 1500, device: torch.device | str = "cpu"
    ) -> None:
        self.data, self.seed, self.device = data, seed, torch.device(device)
        self.images = data.train.images.to(self.device)
        self.real = _evenly(data.test.images, MEASURED)  # a folder is sorted by class
        self.nets = nn.ModuleDict(
            {"generator": Generator(), "discriminator": Discriminator(), "classifier": CifarNet()}
        ).to(self.device)
        self.optimizers = {
            name: torch.optim.Adam(self.nets[name].parameters(), lr=0.0005, betas=(0.5, 0.999))
            for name in ("generator", "discriminator")
        }
        self.noise = torch.randn(SHOWN, NOISE, 1, 1, device=self.device)
        self.drawn: list[Tensor] = []
        self.losses = torch.zeros(2, device=self.device)
        checksum = zlib.crc32(data.train.images.contiguous().numpy().data)
        self.settings: dict[str, Any] = {"checksum of images": f"{checksum:08x}"}
        self.step, self.total_steps = 0, steps
        self.history: list[dict[str, float]] = []

    def steps(self) -> Iterator[str | None]:
        """Train the classifier first, then generator and discriminator in turn."""
        if self.step == 0:
            fit(self.nets["classifier"], self.data.train, RECIPES["fast"], seed=self.seed, device=self.device)
            yield self._report()
        batches_per_epoch = max(1, len(self.images) // BATCH)
        while self.step < self.total_steps:
            epoch, batch = divmod(self.step, batches_per_epoch)
            order = epoch_order(len(self.images), seed=self.seed, epoch=epoch).to(self.device)
            for index in order.split(BATCH)[batch:batches_per_epoch]:
                if self.step == self.total_steps:
                    break
                self._learn(normalize(self.images[index]))
                self.step += 1
                due = self.step % 250 == 0 or self.step == self.total_steps
                yield self._report() if due else None

    def state_dict(self) -> dict[str, Any]:
        """Return the weights of the three nets, the states of the optimizers, and the images drawn so far."""
        return {
            "model": self.nets.state_dict(),
            "optimizer": {name: optimizer.state_dict() for name, optimizer in self.optimizers.items()},
            "noise": self.noise,
            "drawn": self.drawn,
            "losses": self.losses,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from where `state` was taken."""
        self.nets.load_state_dict(state["model"])
        for name, optimizer in self.optimizers.items():
            optimizer.load_state_dict(state["optimizer"][name])
        self.noise, self.losses = state["noise"].to(self.device), state["losses"].to(self.device)
        self.drawn = list(state["drawn"])

    def results(self) -> dict[str, bytes]:
        """Return a picture of the images drawn from the same noise at each report, a row for each."""
        labels = [f"step {record['step']:.0f}" for record in self.history]
        title = "The same noise, drawn after more and more steps; last row: real images"
        rows = [*self.drawn, _evenly(self.real, SHOWN)]
        return {"drawn.png": image_rows(rows, labels=[*labels, "real"], title=title)}

    def _learn(self, real: Tensor) -> None:
        """Take a step with each net; both see the same drawn images."""
        generator, discriminator = self.nets["generator"], self.nets["discriminator"]
        drawn = generator(torch.randn(len(real), NOISE, 1, 1, device=self.device))

        self.optimizers["discriminator"].zero_grad()
        loss = discriminator_loss(discriminator, real, drawn)
        loss.backward()
        self.optimizers["discriminator"].step()
        self.losses[0] += loss.detach()

        self.optimizers["generator"].zero_grad()
        loss = generator_loss(discriminator, drawn)
        loss.backward()
        self.optimizers["generator"].step()
        self.losses[1] += loss.detach()

    def _report(self) -> str:
        """Draw from the noise that stays the same, and measure the distance from the test images."""
        real = normalize(self.real.to(self.device))
        noise = torch.randn(len(real), NOISE, 1, 1, device=self.device)
        with evaluating(self.nets["generator"]):
            self.drawn.append(_pixels(self.nets["generator"](self.noise)))
            drawn = self.nets["generator"](noise)
        distance = frechet_distance(self._features(real), self._features(drawn))
        steps = max(1, self.step - int(self.history[-1]["step"])) if self.history else 1
        loss_d, loss_g = (self.losses / steps).tolist()
        self.losses.zero_()
        variety = spread(drawn) / spread(real)
        self.history.append({
            "step": self.step,
            "loss of discriminator": loss_d,
            "loss of generator": loss_g,
            "distance": distance,
            "variety": variety,
        })  # fmt: skip
        losses = f"loss of the discriminator: {loss_d:.3f}, of the generator: {loss_g:.3f}"
        return (
            f"[{self.step:5d}] {losses if self.step else 'before the first step'}, "
            f"Fréchet distance: {distance:.1f}, variety: {variety:.2f}"
        )

    def _features(self, images: Tensor) -> Tensor:
        """Return what the classifier's last hidden layer makes of images: float (N, 84)."""
        features: list[Tensor] = []
        classifier = self.nets["classifier"]
        last = classifier.get_submodule("fc2")
        hook = last.register_forward_hook(lambda *call: features.append(relu(call[-1])))
        with hook, evaluating(classifier):
            classifier(images)
        return features[0]


def discriminator_loss(discriminator: nn.Module, real: Tensor, drawn: Tensor) -> Tensor:
    """Return how far it is from scoring real images as real and drawn ones as drawn.

    Images are float (N, 3, 32, 32). The generator gets no gradient.
    """
    of_real, of_drawn = discriminator(real), discriminator(drawn.detach())
    criterion = binary_cross_entropy_with_logits
    return criterion(of_real, torch.ones_like(of_real)) + criterion(of_drawn, torch.zeros_like(of_drawn))


def generator_loss(discriminator: nn.Module, drawn: Tensor) -> Tensor:
    """Return how far drawn images, float (N, 3, 32, 32), are from passing for real."""
    scores = discriminator(drawn)
    return binary_cross_entropy_with_logits(scores, torch.ones_like(scores))


def frechet_distance(first: Tensor, second: Tensor) -> float:
    """Return the squared Fréchet distance between two normal distributions fitted to features, float (N, F).

    >>> features = torch.randn(100, 3)
    >>> round(frechet_distance(features, features + 2), 3)
    12.0
    """
    first, second = first.cpu().double(), second.cpu().double()
    shift = (first.mean(0) - second.mean(0)).square().sum()
    covariances = first.T.cov(), second.T.cov()
    # the trace of the root of a matrix is the sum of the roots of its eigenvalues
    root = torch.linalg.eigvals(covariances[0] @ covariances[1]).real.clamp(min=0).sqrt().sum()
    return float(shift + covariances[0].trace() + covariances[1].trace() - 2 * root)


def spread(images: Tensor) -> float:
    """Return the mean distance between two of the images, float (N, 3, 32, 32)."""
    return float(torch.pdist(images.cpu().flatten(1)).mean())


def _up(inputs: int, outputs: int, *, stride: int = 2, padding: int = 1) -> list[nn.Module]:
    layer = nn.ConvTranspose2d(inputs, outputs, 4, stride=stride, padding=padding, bias=False)
    return [layer, nn.BatchNorm2d(outputs), nn.ReLU()]


def _down(inputs: int, outputs: int) -> list[nn.Module]:
    layer = nn.Conv2d(inputs, outputs, 4, stride=2, padding=1, bias=False)
    return [layer, nn.BatchNorm2d(outputs), nn.LeakyReLU(0.2)]


def _initialise(module: nn.Module) -> None:
    """Draw the weights as the paper does: with a standard deviation of 0.02."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(module.weight, 0, 0.02)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1, 0.02)


def _pixels(images: Tensor) -> Tensor:
    """Return images in [-1, 1] as uint8 on the CPU."""
    return ((images + 1) * 127.5).round().clamp(0, 255).byte().cpu()


def _evenly(images: Tensor, count: int) -> Tensor:
    """Return so many images, or all if they are fewer, at equal distances in their order."""
    return images[torch.linspace(0, len(images) - 1, min(count, len(images))).long()]
