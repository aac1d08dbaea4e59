"""The rungs of autograd, training and checkpoints."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from spec.harness.accelerator.kernels import largest_error
from spec.harness.accelerator.precision import float32_precision
from spec.harness.accelerator.visibility import RungError, allowing_gaps, not_there

# Largest error of a gradient in parts of its largest value. Its path is some ten kernels long: ten times the
# tolerance that each of them has.
TOLERANCES = {torch.float64: 1e-11, torch.float32: 1e-4}
# A net that guesses among ten classes has a loss of log 10 = 2.3. On the CPU it comes below 0.001.
LEARNED = 0.1
STEPS = 100


def gradients_are_right(device: torch.device) -> str:
    """Return in which types the gradients of a small net are those of the CPU in float64.

    Raises:
        RungError: a gradient is off by more than its tolerance.
    """
    net = smooth_net()
    images, labels = torch.randn(8, 3, 32, 32), torch.arange(8)
    expected = gradients(net.double(), images.double(), labels)
    checked: list[str] = []
    left_out: list[str] = []
    for dtype, tolerance in TOLERANCES.items():
        with allowing_gaps(device, str(dtype), left_out), float32_precision("ieee"):
            actual = gradients(net.to(device, dtype), images.to(device, dtype), labels.to(device))
            check_gradients(actual, expected, tolerance, str(dtype))
            checked.append(str(dtype))
    if not checked:
        raise RungError(f"{device.type} has gradients neither in float64 nor in float32")
    return f"{len(expected)} gradients in {', '.join(checked)}{not_there(left_out)}"


def smooth_net() -> nn.Module:
    """Return a small net for images (N, 3, 32, 32) whose gradients rounding hardly changes.

    What relu and max_pool2d do with values that are nearly equal, rounding decides.
    """
    layers = [nn.Conv2d(3, 6, 5), nn.Tanh(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(6 * 14 * 14, 10)]
    return nn.Sequential(*layers)


def tutorials_net() -> nn.Module:
    """Return a net of the tutorial's layers for images (N, 3, 32, 32)."""
    convolutions = [
        nn.Conv2d(3, 6, 5),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5),
        nn.ReLU(),
        nn.MaxPool2d(2),
    ]
    linear = [nn.Linear(16 * 5 * 5, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10)]
    return nn.Sequential(*convolutions, nn.Flatten(), *linear)


def gradients(net: nn.Module, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """Return the gradient of each parameter for one batch, on the CPU; by its name in a parallel net, too."""
    net.zero_grad()
    F.cross_entropy(net(images), labels).backward()
    found = {name.removeprefix("module."): weight.grad for name, weight in net.named_parameters()}
    return {name: gradient.cpu() for name, gradient in found.items() if gradient is not None}


def check_gradients(
    actual: Mapping[str, Tensor], expected: Mapping[str, Tensor], tolerance: float, where: str
) -> None:
    """Raise a RungError where a gradient is missing, or off by more than `tolerance` of its largest value."""
    if missing := expected.keys() - actual.keys():
        raise RungError(f"no gradient of {', '.join(sorted(missing))} in {where}")
    for name, gradient in expected.items():
        error = largest_error(actual[name], gradient.double())
        if not error <= tolerance:
            raise RungError(
                f"the gradient of {name} in {where} is off by {error:.1e} of its largest value, "
                f"expected {tolerance:.0e} at most"
            )


def a_batch_is_overfitted(device: torch.device) -> str:
    """Return how the loss of one batch fell.

    Raises:
        RungError: it did not fall far enough.
    """
    _, _, first, last = _trained(device, STEPS)
    course = f"loss from {first:.3f} to {last:.3f} in {STEPS} steps on one batch of 16"
    if not last < LEARNED:
        raise RungError(f"{course}, expected less than {LEARNED}")
    return course


def _trained(device: torch.device, steps: int) -> tuple[nn.Module, torch.optim.Optimizer, float, float]:
    """Return a net that learned one batch, its optimizer, and the losses of the first and last step."""
    net = tutorials_net().to(device)
    images, labels = torch.randn(16, 3, 32, 32).to(device), (torch.arange(16) % 10).to(device)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.02, momentum=0.9)
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = F.cross_entropy(net(images), labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    return net, optimizer, float(losses[0]), float(losses[-1])


def checkpoint_is_the_same(device: torch.device) -> str:
    """Return how much was saved on the device, loaded on the CPU, and put back on the device.

    Raises:
        RungError: a tensor differs in a bit.
    """
    net, optimizer, _, _ = _trained(device, 2)
    state = {"model": net.state_dict(), "optimizer": optimizer.state_dict()}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "checkpoint.pt"
        torch.save(state, path)
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    saved = tensors(state)
    _check_bits(saved, tensors(loaded), "on the CPU")
    again = tutorials_net().to(device)
    again.load_state_dict(loaded["model"])
    resumed = torch.optim.SGD(again.parameters(), lr=0.1, momentum=0.9)
    resumed.load_state_dict(loaded["optimizer"])
    back = tensors({"model": again.state_dict(), "optimizer": resumed.state_dict()})
    _check_bits(saved, back, f"back on {device}")
    size = sum(tensor.nbytes for tensor in saved.values())
    return f"{len(saved)} tensors, {size / 1e3:.0f} kB, the same bit for bit"


def tensors(state: Any, name: str = "") -> dict[str, Tensor]:
    """Return the tensors in nested dictionaries, by the path of their keys."""
    if isinstance(state, Tensor):
        return {name: state}
    found: dict[str, Tensor] = {}
    for key, entry in state.items() if isinstance(state, Mapping) else ():
        found |= tensors(entry, f"{name}.{key}" if name else str(key))
    return found


def _check_bits(saved: Mapping[str, Tensor], loaded: Mapping[str, Tensor], where: str) -> None:
    for name, tensor in saved.items():
        pair = [t.detach().cpu().contiguous().flatten().view(torch.uint8) for t in (tensor, loaded[name])]
        if not torch.equal(*pair):
            raise RungError(f"{name} {where} differs from what was saved on the device")
