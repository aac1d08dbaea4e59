"""Notes 4, step 2: the net for colour images."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from blitz.training.nets import CifarNet, shapes
from spec.harness import QUALIFIED, fault, since, statement
from spec.section_4_cifar10.faults import given, giving

LAYERS = {"conv1", "conv2", "pool", "fc1", "fc2", "fc3"}

ROWS = {
    "1 of 35 pixels": ((1, 3, 35, 35), 1),
    "1 of 52 pixels": ((1, 3, 52, 52), 4),
    "25 of 28 pixels": ((25, 3, 28, 28), 16),
    "none": ((0, 3, 32, 32), 0),
    "one without a batch axis": pytest.param((3, 32, 32), 1, marks=since("1.11")),
}


def resized(real):
    """Fit any image to 32x32, and so give a row for each."""
    return lambda self, images: real(self, F.interpolate(images, (32, 32)))


def narrowed(real):
    """Let a convolution pass over the channels that its weight has no place for."""
    return lambda x, weight, *rest: real(x[:, : weight.shape[1]], weight, *rest)


@statement("cifar.net-shapes", notes="4 step 2; notebook cifar")
@fault("convolutions pad", nn.Conv2d, "__init__", given(padding=2))
@fault(
    "the pool moves by 1", nn.MaxPool2d, "__init__", lambda real: lambda self, size, _: real(self, size, 1)
)
@fault("layers have no bias", nn.Linear, "__init__", given(bias=False))
class TestNetShapes:
    """The CIFAR-10 net of the notes turns an image of 32x32 pixels into 10 scores. The convolutions return
    planes of 28x28 and 10x10, which the pooling layer halves to 14x14 and 5x5. Its
    parameters hold 62,006 numbers.
    """

    def test_net_halves_28_to_14_and_10_to_5(self, device):
        trace = shapes(CifarNet().to(device), torch.rand(25, 3, 32, 32, device=device))

        assert [(step, *shape) for step, (n, *shape) in trace if n == 25 and step in LAYERS] == [
            ("conv1", 6, 28, 28), ("pool", 6, 14, 14),
            ("conv2", 16, 10, 10), ("pool", 16, 5, 5),
            ("fc1", 120), ("fc2", 84), ("fc3", 10),
        ]  # fmt: skip

    def test_net_has_62006_parameters_in_ten_tensors(self):
        counts = {name: parameter.numel() for name, parameter in CifarNet().named_parameters()}

        assert counts == {
            "conv1.weight": 6 * 3 * 5 * 5, "conv1.bias": 6,
            "conv2.weight": 16 * 6 * 5 * 5, "conv2.bias": 16,
            "fc1.weight": 120 * 16 * 5 * 5, "fc1.bias": 120,
            "fc2.weight": 84 * 120, "fc2.bias": 84,
            "fc3.weight": 10 * 84, "fc3.bias": 10,
        }  # fmt: skip
        assert sum(counts.values()) == 62_006


@statement(
    "cifar.hard-coded-view",
    notes="4 step 2",
    verdict=QUALIFIED,
    says="the net for CIFAR-10 flattens with a constant: view(-1, 16 * 5 * 5)",
)
@fault("each image gives a row", CifarNet, "forward", resized)
@fault("there is one row", CifarNet, "forward", giving(lambda scores: scores[:1]))
class TestHardCodedView:
    """In the CIFAR-10 net, `view(-1, 16 * 5 * 5)` fits only images whose sides have 32 to 35 pixels. For
    other images, the net raises a RuntimeError or silently returns a wrong number of rows. One image of 52x52
    pixels becomes four rows.
    """

    @pytest.mark.parametrize(("shape", "rows"), ROWS.values(), ids=ROWS)
    def test_each_400_values_give_a_row_of_scores(self, shape, rows, device):
        scores = CifarNet().to(device).forward(torch.zeros(shape, device=device))

        assert scores.shape == (rows, 10)

    @pytest.mark.parametrize("size", [31, 36])
    def test_one_image_of_another_size_raises(self, size, device):
        with pytest.raises(RuntimeError, match=r"shape '\[-1, 400\]' is invalid"):
            CifarNet().to(device).forward(torch.zeros(1, 3, size, size, device=device))


@statement("cifar.conv-width-exercise", notes="notebook cifar")
@fault("channels are passed over", F, "conv2d", narrowed)
def test_second_convolution_must_take_what_the_first_one_gives(device):
    """A convolution with 6 input channels raises a RuntimeError if it follows a convolution with 8 output
    channels. The message of the error names both numbers.
    """
    net = nn.Sequential(nn.Conv2d(3, 8, 5), nn.Conv2d(6, 16, 5)).to(device)

    with pytest.raises(RuntimeError, match="to have 6 channels, but got 8 channels"):
        net(torch.zeros(1, 3, 32, 32, device=device))
