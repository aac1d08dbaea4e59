"""The opponent of `record`: airbench94_muon, written out from its published description.

It shares no code with `blitz`, since an opponent that shares our code shares our faults. On CUDA its images
and weights are in half precision and its BatchNorm in float32, as published; elsewhere all is in float32.

Source: K. Jordan, "94% on CIFAR-10 in 3.29 Seconds on a Single GPU", arXiv 2404.00498, and "Muon: an
optimizer for hidden layers in neural networks", 2024.
"""

from collections.abc import Callable, Iterator
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, cross_entropy, gelu, pad

from spec.harness.errors import HarnessError

WIDTHS, BATCH_SIZE, EPOCHS = (64, 256, 256), 2000, 8
BIAS_EPOCHS = 3  # in which the bias of the first layer is trained
BIAS_RATE, HEAD_RATE, FILTER_RATE = 0.053, 0.67, 0.24
DECAY = 2e-6  # times the images of a batch, divided by the rate
SHIFT = 2  # pixels
MEAN, DEVIATION = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)  # of CIFAR-10's red, green and blue


class AirbenchNet(nn.Module):
    """A first layer computed from images, three blocks of two convolutions, and a linear layer.

    Called as `net(images)` it takes images (N, 3, 32, 32) as prepared() returns them, and returns class
    scores (N, 10). With `bias_learns` False the bias of the first layer gets no gradient.
    """

    def __init__(self, widths: tuple[int, ...] = WIDTHS) -> None:
        super().__init__()
        self.whitening = nn.Conv2d(3, 24, 2)
        self.whitening.weight.requires_grad = False
        self.blocks = nn.Sequential(*(_block(*pair) for pair in pairwise((24, *widths))))
        self.pool = nn.MaxPool2d(3)
        self.head = nn.Linear(widths[-1], 10, bias=False)

    def forward(self, images: Tensor, bias_learns: bool = True) -> Tensor:
        """Return class scores (N, 10)."""
        bias = self.whitening.bias if bias_learns else self.whitening.bias.detach()
        x = gelu(conv2d(images, self.whitening.weight, bias))  # (N, 24, 31, 31)
        x = self.blocks(x)  # (N, widths[-1], 3, 3)
        x = self.pool(x).flatten(1)  # (N, widths[-1])
        return self.head(x) / x.shape[1]  # (N, 10)


def _block(channels_in: int, channels: int) -> nn.Sequential:
    norms = [nn.BatchNorm2d(channels, eps=1e-12, momentum=0.4) for _ in range(2)]
    for norm in norms:
        norm.weight.requires_grad = False
    return nn.Sequential(
        nn.Conv2d(channels_in, channels, 3, padding=1, bias=False),
        nn.MaxPool2d(2),
        norms[0],
        nn.GELU(),
        nn.Conv2d(channels, channels, 3, padding=1, bias=False),
        norms[1],
        nn.GELU(),
    )


def airbench_net(
    device: torch.device, *, widths: tuple[int, ...] = WIDTHS, compiled: bool = False
) -> AirbenchNet:
    """Return the net on a device. It can be trained again and again, so that it is compiled once."""
    net = AirbenchNet(widths).to(device, memory_format=torch.channels_last)
    if device.type == "cuda":
        net.half()
        for norm in _norms(net):
            norm.float()
    if compiled:
        net.compile(mode="max-autotune")
    return net


def train(
    net: AirbenchNet,
    images: Tensor,
    labels: Tensor,
    *,
    batch_size: int = BATCH_SIZE,
    epochs: int = EPOCHS,
    compiled: bool = False,
) -> None:
    """Draw the weights of a net by the global generator, and train it.

    Args:
        net: as airbench_net() returns it.
        images: uint8 (N, 3, 32, 32), on the net's device.
        labels: int64 (N,) in 0..9, on the net's device.
        batch_size: images a step; what is left of them in an epoch is not seen in it.
        epochs: how often the images are seen.
        compiled: whether to compile the steps of Newton and Schulz.

    Raises:
        HarnessError: there are fewer images than `batch_size`.
    """
    steps = len(images) // batch_size  # in an epoch
    if not steps:
        raise HarnessError(f"expected at least {batch_size} training images, a batch, got {len(images)}")
    draw(net)
    inputs = prepared(net, images)
    whiten(net, inputs[:5000])
    sgd = biases_and_head(net, batch_size)
    muon = FilterMuon(filters(net), torch.compile(orthogonalize) if compiled else orthogonalize)
    groups = [*sgd.param_groups, *muon.param_groups]
    net.train()
    for epoch, seen in enumerate(augmented(inputs, epochs)):
        order = torch.randperm(len(images), device=images.device)[: steps * batch_size]
        for number, batch in enumerate(order.split(batch_size), epoch * steps):
            set_rates(groups, number, steps * epochs, steps * BIAS_EPOCHS)
            scores = net(seen[batch], number < steps * BIAS_EPOCHS)
            cross_entropy(scores, labels[batch], label_smoothing=0.2, reduction="sum").backward()
            sgd.step()
            muon.step()
            net.zero_grad()


@torch.no_grad()
def draw(net: AirbenchNet) -> None:
    """Draw the weights: filters begin by passing their inputs on, and those of the head have deviation 1."""
    for module in net.modules():
        if isinstance(module, (nn.Conv2d, nn.BatchNorm2d, nn.Linear)):
            module.reset_parameters()
    for weight in filters(net):
        nn.init.dirac_(weight[: weight.shape[1]])
    net.head.weight.div_(net.head.weight.std())


def filters(net: AirbenchNet) -> list[Tensor]:
    """Return the weights of all convolutions but the first."""
    return [module.weight for module in net.blocks.modules() if isinstance(module, nn.Conv2d)]


def _norms(net: AirbenchNet) -> list[nn.BatchNorm2d]:
    return [module for module in net.modules() if isinstance(module, nn.BatchNorm2d)]


def prepared(net: AirbenchNet, images: Tensor) -> Tensor:
    """Return uint8 images as the net takes them: of mean 0 and deviation 1 in each colour of CIFAR-10."""
    mean, deviation = torch.tensor([MEAN, DEVIATION], device=images.device).view(2, 3, 1, 1)
    values = (images.float() / 255 - mean) / deviation
    return values.to(net.head.weight.dtype, memory_format=torch.channels_last)


@torch.no_grad()
def whiten(net: AirbenchNet, inputs: Tensor) -> None:
    """Make the filters of the first layer the directions of the inputs' 2x2 patches, and their negatives.

    What they give on the inputs is uncorrelated, and its mean square is 1.
    """
    windows = inputs.float().unfold(2, 2, 1).unfold(3, 2, 1)  # (N, 3, 31, 31, 2, 2)
    patches = windows.permute(0, 2, 3, 1, 4, 5).reshape(-1, 12)
    squares, directions = torch.linalg.eigh(patches.mT @ patches / len(patches))
    scaled = (directions / (squares + 5e-4).sqrt()).mT.view(12, 3, 2, 2)
    net.whitening.weight.copy_(torch.cat([scaled, -scaled]))


def biases_and_head(net: AirbenchNet, batch_size: int) -> torch.optim.SGD:
    """Return the optimizer of the first layer's bias, BatchNorm's biases, and the head, a group each."""
    weights = [[net.whitening.bias], [norm.bias for norm in _norms(net)], [net.head.weight]]
    groups = [
        {"params": params, "lr": rate, "weight_decay": DECAY * batch_size / rate}
        for params, rate in zip(weights, (BIAS_RATE, BIAS_RATE, HEAD_RATE), strict=True)
    ]
    fused = net.head.weight.device.type in ("cpu", "cuda")
    return torch.optim.SGD(groups, momentum=0.85, nesterov=True, fused=fused)


class FilterMuon(torch.optim.Optimizer):
    """Muon with Nesterov momentum, for filters that are set to the norm √out before each step.

    `orthogonalize` is the function of this name, as it is or compiled.
    """

    def __init__(self, weights: list[Tensor], orthogonalize: Callable[[Tensor], Tensor]) -> None:
        super().__init__(weights, {"lr": FILTER_RATE, "momentum": 0.6})
        self.orthogonalize = orthogonalize

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        """Change all filters by their gradients."""
        for group in self.param_groups:
            for weight in group["params"]:
                state = self.state[weight]
                if not state:
                    state["buffer"] = torch.zeros_like(weight)
                buffer = state["buffer"].mul_(group["momentum"]).add_(weight.grad)
                ahead = weight.grad.add(buffer, alpha=group["momentum"])
                change = self.orthogonalize(ahead.flatten(1)).view_as(weight)
                weight.mul_(len(weight) ** 0.5 / weight.norm())
                weight.add_(change, alpha=-group["lr"])


def orthogonalize(matrix: Tensor) -> Tensor:
    """Push the singular values of a matrix (M, N) towards 1 by three Newton-Schulz steps in bfloat16."""
    tall = matrix.shape[0] > matrix.shape[1]
    x = (matrix.mT if tall else matrix).bfloat16()
    x = x / (x.norm() + 1e-7)
    for _ in range(3):
        square = x @ x.mT
        x = 3.4445 * x + (-4.7750 * square + 2.0315 * square @ square) @ x
    return x.mT if tall else x


def set_rates(groups: list[dict], step: int, steps: int, bias_steps: int) -> None:
    """Let the learning rates fall in a straight line to 0: that of the first group in `bias_steps`."""
    for group, last in zip(groups, [bias_steps] + [steps] * (len(groups) - 1), strict=True):
        group["lr"] = group.setdefault("initial_lr", group["lr"]) * max(0.0, 1 - step / last)


def augmented(inputs: Tensor, epochs: int) -> Iterator[Tensor]:
    """Yield the inputs (N, 3, 32, 32) as each epoch sees them.

    A random half of them is mirrored in the first epoch, and the other half in the next, in turn. Each is
    moved by up to SHIFT pixels; what comes in at its border is the image, mirrored there.
    """
    chosen = torch.rand(len(inputs), device=inputs.device) < 0.5
    halves = torch.where(chosen[:, None, None, None], inputs.flip(3), inputs)
    padded = pad(halves, (SHIFT,) * 4, "reflect").contiguous(memory_format=torch.channels_last)
    for epoch in range(epochs):
        windows = padded.unfold(2, 32, 1).unfold(3, 32, 1)  # (N, 3, 5, 5, 32, 32)
        down, right = torch.randint(0, 2 * SHIFT + 1, (2, len(inputs)), device=inputs.device)
        moved = windows[torch.arange(len(inputs), device=inputs.device), :, down, right]
        seen = moved.flip(3) if epoch % 2 else moved
        yield seen.contiguous(memory_format=torch.channels_last)


@torch.no_grad()
def accuracy(net: AirbenchNet, images: Tensor, labels: Tensor) -> float:
    """Return the share of uint8 images (N, 3, 32, 32) whose highest score is that of their label (N,)."""
    net.eval()
    parts = prepared(net, images).split(BATCH_SIZE)
    found = torch.cat([scores(net, part).argmax(1) for part in parts])
    return (found == labels).double().mean().item()


def scores(net: nn.Module, inputs: Tensor) -> Tensor:
    """Return the mean scores of six views: the images and their mirror images, as they stand and moved.

    They are moved by a pixel, up and to the left, and down and to the right; these count half.
    """

    def both(view: Tensor) -> Tensor:
        return 0.5 * net(view) + 0.5 * net(view.flip(3))  # copies: a compiled net may write over its result

    padded = pad(inputs, (1,) * 4, "reflect")
    return 0.5 * both(inputs) + 0.25 * both(padded[:, :, :32, :32]) + 0.25 * both(padded[:, :, 2:, 2:])
