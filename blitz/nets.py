"""The two Nets of the notes, and a listing of the shapes inside a net."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import max_pool2d, relu
from torch.overrides import TorchFunctionMode, resolve_name


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


def _expect_images(net: "Net | CifarNet", inputs: tuple[Any, ...]) -> None:
    """Refuse what the net would misread: some wrong sizes run, and mix samples (see the claims)."""
    expected = net.image_shape
    images = inputs[0]
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
    trace = _Trace()
    layers = [(name, layer) for name, layer in net.named_modules() if not list(layer.children())]
    handles = [layer.register_forward_pre_hook(trace.enter) for _, layer in layers]
    handles += [layer.register_forward_hook(trace.leave(name)) for name, layer in layers]
    try:
        with torch.no_grad(), trace:
            net(input)
    finally:
        for handle in handles:
            handle.remove()
    return trace.steps


class _Trace(TorchFunctionMode):
    """Record layers by their hooks, and the functions called outside of any layer."""

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[tuple[str, tuple[int, ...]]] = []
        self.inside = False  # a layer

    def enter(self, layer: nn.Module, inputs: Any) -> None:
        self.inside = True

    def leave(self, name: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(layer: nn.Module, inputs: Any, output: Any) -> None:
            self.inside = False
            self.steps.append((name, tuple(output.shape)))

        return hook

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))  # PyTorch hides from here what it calls in turn: one step
        if not self.inside and isinstance(output, Tensor):
            self.steps.append((resolve_name(func).split(".")[-1], tuple(output.shape)))
        return output
