"""The two Nets of the notes, a stronger one, and a listing of the shapes inside a net."""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.functional import gelu, max_pool2d, relu

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"relu": relu, "gelu": gelu}
"""What may stand between the layers of a WhitenedNet."""

LEAST_VARIANCE = 5e-4
"""What is added to the variance of a direction before it is whitened, for pixels in [-1, 1]."""


class Net(nn.Module):
    """The Net of section 3: one grey channel, 3x3 kernels, 81,194 parameters.

    Called as `net(images)` it takes float (N, 1, 32, 32) and returns class scores, float (N, 10);
    anything else is a ValueError. `net.forward(images)` is the notes' own code, unguarded.

    Source: notes 3, "Define the network".

    >>> Net()(torch.zeros(2, 1, 32, 32)).shape
    torch.Size([2, 10])
    """

    image_shape = (1, 32, 32)

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 6, 3)
        self.conv2 = nn.Conv2d(6, 16, 3)
        self.fc1 = nn.Linear(16 * 6 * 6, 120)
        self.fc2 = nn.Linear(120, 84)
        self.fc3 = nn.Linear(84, 10)
        self.register_forward_pre_hook(_expect_images)

    def forward(self, x: Tensor) -> Tensor:
        """Return class scores (N, 10) for images (N, 1, 32, 32)."""
        x = max_pool2d(relu(self.conv1(x)), (2, 2))  # (N, 6, 15, 15)
        x = max_pool2d(relu(self.conv2(x)), 2)  # (N, 16, 6, 6)
        x = x.view(-1, self.num_flat_features(x))  # (N, 576)
        x = relu(self.fc1(x))  # (N, 120)
        x = relu(self.fc2(x))  # (N, 84)
        return self.fc3(x)  # (N, 10)

    def num_flat_features(self, x: Tensor) -> int:
        """Return the number of values in one sample of a batch (N, ...)."""
        return x.shape[1:].numel()


class CifarNet(nn.Module):
    """The Net of section 4: three colour channels, 5x5 kernels, 62,006 parameters.

    Called as `net(images)` it takes float (N, 3, 32, 32) and returns class scores, float (N, 10);
    anything else is a ValueError. `net.forward(images)` is the notes' own code, unguarded.

    Source: notes 4, step 2.

    >>> CifarNet()(torch.zeros(2, 3, 32, 32)).shape
    torch.Size([2, 10])
    """

    image_shape = (3, 32, 32)

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 6, 5)
        self.pool = nn.MaxPool2d(2, 2)
        self.conv2 = nn.Conv2d(6, 16, 5)
        self.fc1 = nn.Linear(16 * 5 * 5, 120)
        self.fc2 = nn.Linear(120, 84)
        self.fc3 = nn.Linear(84, 10)
        self.register_forward_pre_hook(_expect_images)

    def forward(self, x: Tensor) -> Tensor:
        """Return class scores (N, 10) for images (N, 3, 32, 32)."""
        x = self.pool(relu(self.conv1(x)))  # (N, 6, 14, 14)
        x = self.pool(relu(self.conv2(x)))  # (N, 16, 5, 5)
        x = x.view(-1, 16 * 5 * 5)  # (N, 400)
        x = relu(self.fc1(x))  # (N, 120)
        x = relu(self.fc2(x))  # (N, 84)
        return self.fc3(x)  # (N, 10)


class WhitenedNet(nn.Module):
    """A stronger net for CIFAR-10: a first layer computed from images, and blocks of two convolutions.

    Called as `net(images)` it takes float (N, 3, 32, 32) and returns class scores, float (N, 10); anything
    else is a ValueError. It computes in channels_last.

    The filters of the first layer are not trained. They are the directions in which `patch` x `patch`
    patches of `images` differ most, scaled so that what comes out has the same variance in each (patch
    whitening), once with either sign, and their biases begin at 0. Without `images`, filters and
    biases stay as drawn, for weights that are loaded afterwards.

    Args:
        images: what the first layer is computed from, uint8 (N, 3, 32, 32): a
            thousand of them at most, evenly spread.
        widths: the channels of each block.
        patch: the side of the first layer's filters.
        stride: of the first layer: 1 for accuracy, 2 for speed.
        filters: how many the first layer has, an even number up to 2 * 3 * patch * patch.
        activation: what stands between the layers, one of ACTIVATIONS.
        train_first_bias: whether the biases of the first layer are trained. If not, no gradient is computed
            that far down, which saves time.

    Raises:
        ValueError: there is no such activation.

    Source: K. Jordan, "94% on CIFAR-10 in 3.29 Seconds on a Single GPU", arXiv 2404.00498; the whitening is
    D. Page's.

    >>> WhitenedNet(widths=(16, 32))(torch.zeros(2, 3, 32, 32)).shape
    torch.Size([2, 10])
    """

    image_shape = (3, 32, 32)

    def __init__(
        self,
        images: Tensor | None = None,
        *,
        widths: Sequence[int] = (64, 128),
        patch: int = 4,
        stride: int = 2,
        filters: int = 32,
        activation: str = "relu",
        train_first_bias: bool = False,
    ) -> None:
        super().__init__()
        if activation not in ACTIVATIONS:
            raise ValueError(f"expected an activation, {' or '.join(ACTIVATIONS)}, got {activation!r}")
        self.activation = ACTIVATIONS[activation]
        self.whitening = nn.Conv2d(3, filters, patch, stride=stride).requires_grad_(False)
        self.whitening.bias.requires_grad_(train_first_bias)  # type: ignore[union-attr]
        sides = [filters, *widths]
        self.blocks = nn.Sequential(*(_Block(*pair, self.activation) for pair in pairwise(sides)))
        self.fc = nn.Linear(sides[-1], 10, bias=False)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.register_forward_pre_hook(_expect_images)
        if images is not None:
            some = images[:: math.ceil(len(images) / 1000)]  # of a folder the first ones are all airplanes
            with torch.no_grad():
                self.whitening.weight.copy_(whitening_filters(some, patch, filters))
                self.whitening.bias.zero_()  # type: ignore[union-attr]

    def forward(self, x: Tensor) -> Tensor:
        """Return class scores (N, 10) for images (N, 3, 32, 32)."""
        x = self.activation(self.whitening(x))  # (N, filters, H, H), H = (32 - patch) // stride + 1
        x = self.blocks(x)  # (N, widths[-1], h, h), H halved by each block
        x = x.amax((2, 3))  # (N, widths[-1])
        return self.fc(x) / 9  # (N, 10)


class _Block(nn.Module):
    """Two convolutions, the first of them pooled; the scale after BatchNorm is left to the next layer."""

    def __init__(self, channels_in: int, channels: int, activation: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.activation = activation
        self.conv1 = nn.Conv2d(channels_in, channels, 3, padding=1, bias=False)
        self.pool = nn.MaxPool2d(2)
        self.norm1 = nn.BatchNorm2d(channels, momentum=0.4)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(channels, momentum=0.4)
        for conv in (self.conv1, self.conv2):
            nn.init.dirac_(conv.weight[: conv.in_channels])  # begins by passing its inputs on
        for norm in (self.norm1, self.norm2):
            norm.weight.requires_grad = False

    def forward(self, x: Tensor) -> Tensor:
        x = self.activation(self.norm1(self.pool(self.conv1(x))))  # (N, channels, h, h), h = H // 2
        return self.activation(self.norm2(self.conv2(x)))  # (N, channels, h, h)


def whitening_filters(images: Tensor, patch: int, filters: int) -> Tensor:
    """Return filters (filters, 3, patch, patch) whose results on `images` are uncorrelated and of variance 1.

    The second half are the first with the other sign, so that a relu keeps both. Directions in which patches
    hardly differ are scaled up less.

    Args:
        images: uint8 (N, 3, 32, 32).
        patch: the side of a filter.
        filters: an even number up to 2 * 3 * patch * patch.
    """
    windows = (images.float() / 127.5 - 1).unfold(2, patch, 1).unfold(3, patch, 1)  # (N, 3, h, h, P, P)
    patches = windows.permute(0, 2, 3, 1, 4, 5).reshape(-1, 3 * patch**2)
    variances, directions = torch.linalg.eigh(patches.mT @ patches / len(patches))  # in ascending order
    scaled = (directions / (variances + LEAST_VARIANCE).sqrt()).mT.flip(0)[: filters // 2]
    return torch.cat([scaled, -scaled]).view(filters, 3, patch, patch)


def _expect_images(net: "Net | CifarNet | WhitenedNet", inputs: tuple[Any, ...]) -> None:
    """Refuse what the net would misread: some wrong sizes run, and mix samples."""
    if not inputs:
        return  # forward(x) itself says what it misses
    [images, *_], expected = inputs, net.image_shape
    wanted = f"expected images (N, {', '.join(map(str, expected))})"
    if not isinstance(images, Tensor):
        raise ValueError(f"{wanted} as a tensor, got {type(images).__name__}")
    if images.shape == expected:
        raise ValueError(
            f"{wanted}, got {tuple(images.shape)}: the batch axis is missing, add it with images.unsqueeze(0)"
        )
    if images.dim() != 4 or images.shape[1:] != expected:
        raise ValueError(f"{wanted}, got {tuple(images.shape)}")
    if not images.is_floating_point():
        raise ValueError(f"{wanted} of a floating-point type, got {images.dtype}; see blitz.normalize")


def shapes(net: nn.Module, input: Tensor) -> list[tuple[str, tuple[int, ...]]]:
    """List what comes out of each step of `net` for `input`, in order, as (step, shape).

    A step is a layer, by its name in the net ("conv1"), or a function called between layers ("relu").

    >>> for step, shape in shapes(CifarNet(), torch.zeros(1, 3, 32, 32))[:3]:
    ...     print(step, shape)
    conv1 (1, 6, 28, 28)
    relu (1, 6, 28, 28)
    pool (1, 6, 14, 14)
    """
    listing = _Listing(fx.symbolic_trace(net))
    with torch.no_grad():
        listing.run(input)
    return listing.steps


class _Listing(fx.Interpreter):
    """Runs a net step by step, and notes them."""

    def __init__(self, net: fx.GraphModule) -> None:
        super().__init__(net)
        self.steps: list[tuple[str, tuple[int, ...]]] = []

    def run_node(self, n: fx.Node) -> Any:
        output = super().run_node(n)
        if n.op.startswith("call_") and isinstance(output, Tensor):
            name = n.target if isinstance(n.target, str) else n.target.__name__
            self.steps.append((name, tuple(output.shape)))
        return output
