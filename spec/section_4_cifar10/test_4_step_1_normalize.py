"""Notes 4, step 1: ToTensor and Normalize, the way back to a picture, and the name of its class."""

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from torchvision.transforms import Compose, Normalize, ToTensor

from spec.harness import QUALIFIED, each_row, fault, statement
from spec.section_4_cifar10.faults import given, giving

HALVES = (0.5, 0.5, 0.5)

# a picture, 3 wide and 2 high, as Pillow and NumPy have it, and its planes as a net takes them
PIXELS = np.array(
    [[[0, 1, 2], [50, 51, 52], [100, 101, 102]], [[9, 8, 7], [59, 58, 57], [255, 254, 253]]], "uint8"
)
RED, GREEN, BLUE = [[0, 50, 100], [9, 59, 255]], [[1, 51, 101], [8, 58, 254]], [[2, 52, 102], [7, 57, 253]]


def from_right_to_left(real):
    """Let Compose begin with its last transform."""
    return lambda self, image: real(Compose(self.transforms[::-1]), image)


@statement(
    "cifar.to-tensor",
    notes="notebook cifar",
    verdict=QUALIFIED,
    says="ToTensor converts a PIL image or an ndarray to a tensor",
)
@fault("height and width change places", ToTensor, "__call__", giving(lambda tensor: tensor.mT))
@fault("all numbers are scaled", ToTensor, "__call__", giving(lambda tensor: tensor / 255))
class TestToTensor:
    """ToTensor turns a picture or a NumPy array of bytes into a float32 tensor with the channel first. The
    values are divided by 255. An array of float64 or int64 keeps its dtype and its values.
    """

    @each_row
    @pytest.mark.parametrize("make", [Image.fromarray, np.array], ids=["picture", "array"])
    def test_bytes_become_float32_channel_first_divided_by_255(self, make):
        expected = torch.tensor([RED, GREEN, BLUE], dtype=torch.float32) / 255

        torch.testing.assert_close(ToTensor()(make(PIXELS)), expected)

    @pytest.mark.parametrize("dtype", ["float64", "int64"])
    def test_other_numbers_keep_type_and_range(self, dtype):
        tensor = ToTensor()(np.array([[0, 128], [255, 1]], dtype))

        assert tensor.dtype == getattr(torch, dtype)
        assert tensor.tolist() == [[[0, 128], [255, 1]]]


@statement("cifar.normalize-range", notes="4 step 1; notebook cifar")
@fault("std is multiplied by", Normalize, "forward", lambda real: lambda self, images: (images - 0.5) * 0.5)
@fault("mean and std change places", Normalize, "__init__", lambda real: lambda self, a, b: real(self, b, a))
@fault("the variance is one", Normalize, "forward", giving(lambda images: images / images.std()))
class TestNormalizeRange:
    """Normalize subtracts a mean from each channel of an image and divides the result by a standard
    deviation. With 0.5 for both numbers, Normalize maps the range [0, 1] onto [-1, 1]. The variance of the
    pixels need not become one.
    """

    def test_one_half_maps_0_to_1_onto_minus_1_to_1_in_a_new_tensor(self):
        image = torch.tensor([0.0, 0.5, 1.0]).expand(3, 1, 3).clone()

        assert Normalize(HALVES, HALVES)(image).tolist() == [[[-1, 0, 1]]] * 3
        assert image.tolist() == [[[0, 0.5, 1]]] * 3

    def test_each_channel_of_a_batch_has_its_own_mean_and_std(self):
        images = torch.tensor([10.0, 20.0, 30.0]).view(1, 3, 1, 1).repeat(2, 1, 1, 1)

        assert Normalize((1, 2, 3), (9, 6, 3))(images).flatten(1).tolist() == [[1, 3, 9], [1, 3, 9]]

    def test_one_half_does_not_give_unit_variance(self):
        image = torch.linspace(0, 1, 3 * 101 * 100, dtype=torch.float64).view(3, 101, 100)

        normalized = Normalize(HALVES, HALVES)(image)

        assert normalized.std().item() == pytest.approx(3**-0.5, rel=1e-4)  # a sum in place of the integral


@statement("cifar.normalize-rejects-pil", notes="notebook cifar")
@fault("Compose begins with the last one", Compose, "__call__", from_right_to_left)
@fault("Normalize converts bytes", Normalize, "forward", lambda real: lambda self, x: real(self, x.float()))
class TestNormalizeRejectsPil:
    """Normalize accepts only tensors of floating-point numbers. For a picture or a tensor of bytes, Normalize
    raises a TypeError. Compose applies its transforms from left to right, so ToTensor has to come before
    Normalize.
    """

    def test_normalize_refuses_a_picture_so_to_tensor_comes_first(self):
        with pytest.raises(TypeError, match="should be Tensor Image"):
            Compose([Normalize(HALVES, HALVES), ToTensor()])(Image.fromarray(PIXELS))
        image = Compose([ToTensor(), Normalize(HALVES, HALVES)])(Image.fromarray(PIXELS))

        torch.testing.assert_close(image[0], torch.tensor(RED) / 127.5 - 1)

    def test_normalize_refuses_a_tensor_of_bytes(self):
        with pytest.raises(TypeError, match="should be a float tensor"):
            Normalize(HALVES, HALVES)(torch.zeros(3, 2, 2, dtype=torch.uint8))


@statement("cifar.display-helpers", notes="notebook cifar")
@fault("Normalize only subtracts", Normalize, "forward", lambda real: lambda self, images: images - 0.5)
@fault("the grid has no border", torchvision.utils, "make_grid", given(padding=0))
@fault("the grid is turned round", torchvision.utils, "make_grid", giving(lambda grid: grid.flip(2)))
class TestDisplayHelpers:
    """If an image `img` was normalized with mean and standard deviation 0.5, `img / 2 + 0.5` restores the
    original. `make_grid` sets the images of a batch side by side, with a border of two pixels.
    `np.transpose(grid, (1, 2, 0))` puts the channel last.
    """

    def test_half_plus_one_half_undoes_the_normalization(self):
        image = torch.rand(3, 4, 5)

        torch.testing.assert_close(Normalize(HALVES, HALVES)(image) / 2 + 0.5, image)

    def test_make_grid_tiles_a_batch_with_a_border_of_two_pixels(self):
        images = torch.rand(4, 3, 32, 32)

        grid = torchvision.utils.make_grid(images)

        assert np.transpose(grid.numpy(), (1, 2, 0)).shape == (2 + 32 + 2, 4 * (2 + 32) + 2, 3)
        for i in range(4):
            torch.testing.assert_close(grid[:, 2:34, 34 * i + 2 : 34 * i + 34], images[i])


@statement("cifar.label-indexes-a-tuple", notes="notebook cifar")
@fault("indices count from 1", torch.Tensor, "__index__", lambda real: lambda tensor: real(tensor) - 1)
@fault("floats are indices", torch.Tensor, "__index__", lambda real: lambda tensor: int(tensor.sum()))
class TestLabelIndexesATuple:
    """`classes[labels[j]]` is the name of a class, because a tensor with a single integer can be the index of
    a tuple or a list. As an index, a float tensor or a tensor of several integers raises a TypeError.
    """

    @pytest.mark.parametrize("sequence", [tuple, list])
    def test_single_integer_picks_an_item(self, sequence, device):
        classes, labels = sequence(["plane", "car", "bird"]), torch.tensor([2, 0], device=device)

        assert [classes[labels[j]] for j in range(2)] == ["bird", "plane"]

    @pytest.mark.parametrize("index", [1.0, [0, 1]], ids=["a float", "two integers"])
    def test_other_tensors_are_refused(self, index, device):
        with pytest.raises(TypeError, match="only integer tensors of a single element"):
            ("plane", "car")[torch.tensor(index, device=device)]
