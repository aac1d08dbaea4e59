"""Notes 4, step 1: ToTensor and Normalize, and the way back to a picture."""

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from torchvision import transforms

from spec.harness import QUALIFIED, broken_by, claim

HALVES = (0.5, 0.5, 0.5)

# a picture, 3 wide and 2 high, as Pillow and NumPy have it, and its planes as a net takes them
PIXELS = np.array([[[0, 1, 2], [50, 51, 52], [100, 101, 102]], [[9, 8, 7], [59, 58, 57], [255, 254, 253]]])
RED, GREEN, BLUE = [[0, 50, 100], [9, 59, 255]], [[1, 51, 101], [8, 58, 254]], [[2, 52, 102], [7, 57, 253]]


def make_picture():
    """Return PIXELS as a Pillow image."""
    return Image.fromarray(PIXELS.astype(np.uint8))


def from_right_to_left(real):
    """Fault: Compose applies the last transform first."""

    def call(self, image):
        for transform in reversed(self.transforms):
            image = transform(image)
        return image

    return call


def converting(real):
    """Fault: Normalize makes a tensor of a picture."""
    to_tensor = transforms.functional.to_tensor
    return lambda self, image: real(self, image if isinstance(image, torch.Tensor) else to_tensor(image))


@claim(
    "cifar.to-tensor",
    notes="notebook cifar",
    verdict=QUALIFIED,
    says="ToTensor converts a PIL image or an ndarray to a tensor",
)
@broken_by(transforms.ToTensor, "__call__", lambda real: lambda self, pic: real(self, pic).transpose(1, 2))
@broken_by(transforms.ToTensor, "__call__", lambda real: lambda self, pic: real(self, pic) * 255 / 256)
@broken_by(transforms.ToTensor, "__call__", lambda real: lambda self, pic: real(self, pic).double())
def test_to_tensor_moves_the_channel_first_and_divides_by_255():
    """Of bytes (H, W, C), a picture or an array, ToTensor makes float32 (C, H, W), divided by 255."""
    picture = make_picture()
    expected = torch.tensor([RED, GREEN, BLUE], dtype=torch.float32) / 255

    torch.testing.assert_close(transforms.ToTensor()(picture), expected)
    torch.testing.assert_close(transforms.ToTensor()(np.array(picture)), expected)


@claim(
    "cifar.to-tensor-only-scales-bytes",
    notes="notebook cifar",
    verdict=QUALIFIED,
    says="ToTensor converts a PIL image or an ndarray to a tensor",
)
@broken_by(transforms.ToTensor, "__call__", lambda real: lambda self, array: real(self, array) / 255)
@broken_by(transforms.ToTensor, "__call__", lambda real: lambda self, array: real(self, array).float())
def test_to_tensor_leaves_numbers_that_are_no_bytes_unscaled():
    """ToTensor neither scales nor converts an array of float64 or int64; one (H, W) it makes (1, H, W)."""
    for dtype in (torch.float64, torch.int64):
        array = torch.tensor([[0, 128], [255, 1]], dtype=dtype).numpy()

        tensor = transforms.ToTensor()(array)

        assert tensor.dtype == dtype
        assert tensor.tolist() == [[[0, 128], [255, 1]]]


@claim(
    "cifar.to-tensor-refuses-a-tensor",
    notes="notebook cifar",
    verdict=QUALIFIED,
    says="ToTensor converts a PIL image or an ndarray to a tensor",
)
@broken_by(transforms.ToTensor, "__call__", lambda real: lambda self, tensor: tensor)
def test_to_tensor_refuses_what_is_a_tensor_already():
    """ToTensor raises a TypeError on a tensor, so it cannot stand twice in a chain."""
    with pytest.raises(TypeError, match="should be PIL Image or ndarray"):
        transforms.ToTensor()(torch.zeros(3, 2, 2))


@claim("cifar.normalize-range", notes="4 step 1; notebook cifar")
@broken_by(transforms.Normalize, "forward", lambda real: lambda self, images: (images - 0.5) * 0.5)
@broken_by(transforms.Normalize, "forward", lambda real: lambda self, x: x.copy_(real(self, x)))
def test_normalize_by_one_half_maps_0_to_1_onto_minus_1_to_1():
    """Normalize with mean and std 0.5 maps 0, 0.5 and 1 to -1, 0 and 1, and leaves its input as it was."""
    image = torch.tensor([0.0, 0.5, 1.0]).expand(3, 1, 3).clone()

    normalized = transforms.Normalize(HALVES, HALVES)(image)

    assert normalized.tolist() == [[[-1, 0, 1]]] * 3
    assert image.tolist() == [[[0, 0.5, 1]]] * 3


@claim("cifar.normalize-range-per-channel", notes="4 step 1; notebook cifar")
@broken_by(transforms.Normalize, "__init__", lambda real: lambda self, mean, std: real(self, std, mean))
@broken_by(transforms.Normalize, "__init__", lambda real: lambda self, m, s: real(self, m[:1], s[:1]))
def test_normalize_subtracts_mean_and_divides_by_std_of_each_channel():
    """Normalize gives (x - mean) / std with the numbers of each channel, in a batch as in one image."""
    mean, std = (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)
    images = torch.rand(2, 3, 4, 5, dtype=torch.float64)

    normalized = transforms.Normalize(mean, std)(images)

    for channel in range(3):
        expected = (images.numpy()[:, channel] - mean[channel]) / std[channel]
        torch.testing.assert_close(normalized[:, channel], torch.from_numpy(expected))


@claim("cifar.normalize-range-zero-std", notes="4 step 1; notebook cifar")
@broken_by(transforms.Normalize, "forward", lambda real: lambda self, images: images / 0)
def test_normalize_refuses_a_standard_deviation_of_zero():
    """A std of 0 raises a ValueError: no image of inf and nan comes out."""
    with pytest.raises(ValueError, match="division by zero"):
        transforms.Normalize(HALVES, (0.5, 0.0, 0.5))(torch.rand(3, 2, 2))


@claim("cifar.normalize-range-is-not-standardising", notes="4 step 1; notebook cifar")
@broken_by(transforms.Normalize, "forward", lambda real: lambda self, images: images / images.std())
def test_normalize_by_one_half_does_not_give_unit_variance():
    """Mean and std 0.5 rescale the range: evenly spread pixels keep a standard deviation of 1/√3, not 1."""
    image = torch.linspace(0, 1, 3 * 101 * 100, dtype=torch.float64).view(3, 101, 100)

    normalized = transforms.Normalize(HALVES, HALVES)(image)

    assert normalized.std().item() == pytest.approx(3**-0.5, rel=1e-4)  # a sum in place of the integral


@claim("cifar.normalize-rejects-pil", notes="notebook cifar")
@broken_by(transforms.Compose, "__call__", from_right_to_left)
@broken_by(transforms.Normalize, "forward", converting)
def test_normalize_refuses_a_picture_so_to_tensor_comes_first():
    """Normalize refuses a picture by a TypeError, and Compose goes left to right: ToTensor comes first."""
    to_tensor, normalize = transforms.ToTensor(), transforms.Normalize(HALVES, HALVES)

    with pytest.raises(TypeError, match="should be Tensor Image"):
        transforms.Compose([normalize, to_tensor])(make_picture())
    image = transforms.Compose([to_tensor, normalize])(make_picture())

    torch.testing.assert_close(image[0], torch.tensor(RED) / 127.5 - 1)


@claim("cifar.normalize-rejects-pil-and-bytes", notes="notebook cifar")
@broken_by(transforms.Normalize, "forward", lambda real: lambda self, images: real(self, images.float()))
def test_normalize_refuses_a_tensor_of_bytes():
    """Normalize refuses a tensor of bytes by a TypeError: it has to be floating-point."""
    with pytest.raises(TypeError, match="should be a float tensor"):
        transforms.Normalize(HALVES, HALVES)(torch.zeros(3, 2, 2, dtype=torch.uint8))


@claim("cifar.display-helpers", notes="notebook cifar")
@broken_by(transforms.Normalize, "forward", lambda real: lambda self, images: images - 0.5)
def test_half_plus_one_half_undoes_the_normalisation():
    """The picture img / 2 + 0.5 is the image that was normalised with mean and std 0.5."""
    image = torch.rand(3, 4, 5)

    normalized = transforms.Normalize(HALVES, HALVES)(image)

    torch.testing.assert_close(normalized / 2 + 0.5, image)


@claim("cifar.display-helpers-grid", notes="notebook cifar")
@broken_by(torchvision.utils, "make_grid", lambda real: lambda images: real(images, padding=0))
@broken_by(torchvision.utils, "make_grid", lambda real: lambda images: real(images.flip(0)))
@broken_by(np, "transpose", lambda real: lambda array, axes: real(array, (2, 1, 0)))
def test_make_grid_tiles_a_batch_with_a_border_of_two_pixels():
    """make_grid sets four images side by side, 2 pixels apart; transposed by (1, 2, 0) it can be shown."""
    images = torch.rand(4, 3, 32, 32)

    grid = torchvision.utils.make_grid(images)
    shown = np.transpose(grid.numpy(), (1, 2, 0))

    assert shown.shape == (2 + 32 + 2, 4 * (2 + 32) + 2, 3)
    for i in range(4):
        torch.testing.assert_close(grid[:, 2:34, 34 * i + 2 : 34 * i + 34], images[i])
