"""3 "Define the network", the comments in the code: convolution, pooling and linear layers."""

from itertools import product

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from blitz.training import nets
from blitz.training.nets import Net
from spec.harness import QUALIFIED, fault, statement

MISFITS = {
    "other planes": ((1, 2, 32, 32), "to have 1 channels, but got 2 channels"),
    "an image smaller than the kernel": ((1, 1, 2, 2), "Kernel size can't be greater than actual input size"),
}


def padding_the_end(real):
    """Count a place for the kernel that begins within the image and ends beyond."""
    return lambda x, weight, stride, padding: real(
        F.pad(x, (0, 0, 0, stride - 1)), weight, None, stride, padding
    )


@statement(
    "nn.conv-is-2d-convolution",
    notes="3 code comments",
    verdict=QUALIFIED,
    says="Conv2d applies a 2-D convolution",
)
@fault("the kernel is flipped", F, "conv2d", lambda real: lambda x, w, *rest: real(x, w.flip(-1, -2), *rest))
@fault("the bias is left out", F, "conv2d", lambda real: lambda x, w, b, *rest: real(x, w, None, *rest))
@fault("planes are averaged", F, "conv2d", lambda real: lambda x, *rest: real(x, *rest) / x.shape[1])
@fault("other planes are ignored", F, "conv2d", lambda real: lambda x, w, *rest: real(x[:, :1], w, *rest))
class TestConvIs2dConvolution:
    """Conv2d does not flip its kernel (its small grid of weights), so mathematics calls the operation a
    cross-correlation. Each element of the output is a bias plus a sum over all input channels.
    """

    def test_conv2d_does_not_flip_its_kernel(self, device):
        image = torch.arange(9.0, device=device).view(1, 1, 3, 3)
        kernel = torch.tensor([[[[1.0, 10.0], [0.0, 0.0]]]], device=device)

        output = F.conv2d(image, kernel)

        assert output.tolist() == [[[[0 + 10, 1 + 20], [3 + 40, 4 + 50]]]]

    def test_conv2d_sums_over_input_planes_and_adds_a_bias(self, device):
        planes = torch.tensor([[[[1.0, 2.0, 3.0]], [[4.0, 5.0, 6.0]]]], device=device)  # (1, 2, 1, 3)
        conv = nn.Conv2d(2, 1, (1, 2)).to(device)
        conv.weight = nn.Parameter(torch.tensor([[[[1.0, 10.0]], [[100.0, 200.0]]]], device=device))
        conv.bias = nn.Parameter(torch.tensor([7.0], device=device))

        output = conv(planes)

        assert output.tolist() == [[[[1 + 20 + 400 + 1000 + 7, 2 + 30 + 500 + 1200 + 7]]]]

    @pytest.mark.parametrize(("shape", "why"), MISFITS.values(), ids=MISFITS)
    def test_conv2d_refuses_what_does_not_fit(self, shape, why, device):
        conv = nn.Conv2d(1, 6, 3).to(device)

        with pytest.raises(RuntimeError, match=why):
            conv(torch.ones(shape, device=device))


@statement("nn.conv-output-size", notes="3 code comments")
@fault("convolutions pad", F, "conv2d", lambda real: lambda x, w, b, *rest: real(x, w, b, padding=1))
@fault("the kernel may reach beyond the image", F, "conv2d", padding_the_end)
@fault("pooling rounds up", F, "max_pool2d", lambda real: lambda x, size: real(x, size, ceil_mode=True))
@fault("pooling skips the first row", F, "max_pool2d", lambda real: lambda x, size: real(x[..., 1:, :], size))
class TestConvOutputSize:
    """A convolution turns an image with H rows into a map with floor((H + 2p - k) / s) + 1 rows. Here k is
    the kernel size, p the padding and s the stride. In Net, the net of the notes, convolutions and pooling
    turn 32x32 images into maps of 30x30, 15x15, 13x13 and 6x6.
    """

    def test_images_shrink_from_32_to_30_to_15_to_13_to_6(self, device):
        net, x = Net().to(device), torch.zeros(1, 1, 32, 32, device=device)

        first = net.conv1(x)
        first_pooled = nets.max_pool2d(first, (2, 2))
        second = net.conv2(first_pooled)
        second_pooled = nets.max_pool2d(second, 2)

        assert first.shape == (1, 6, 30, 30)
        assert first_pooled.shape == (1, 6, 15, 15)
        assert second.shape == (1, 16, 13, 13)
        assert second_pooled.shape == (1, 16, 6, 6)

    def test_output_size_counts_the_places_where_the_kernel_fits(self):
        for height, kernel, stride, padding in product([8, 9, 13, 32], [1, 3, 5], [1, 2, 3], [0, 2]):
            image, weight = torch.ones(1, 1, height, 9), torch.ones(1, 1, kernel, kernel)

            output = F.conv2d(image, weight, stride=stride, padding=padding)

            assert output.shape[2] == (height + 2 * padding - kernel) // stride + 1

    def test_pooling_13_by_2_leaves_out_the_last_row_and_column(self, device):
        maps = torch.randn(1, 1, 13, 13, device=device, requires_grad=True)

        pooled = F.max_pool2d(maps, 2)
        pooled.sum().backward()

        assert pooled.shape == (1, 1, 6, 6)
        assert not maps.grad[..., 12, :].cpu().any()
        assert not maps.grad[..., :, 12].cpu().any()


@statement("nn.linear-is-affine", notes="3 code comments")
@fault("the bias is left out", F, "linear", lambda real: lambda x, weight, bias: real(x, weight))
@fault("the weight is transposed", F, "linear", lambda real: lambda x, weight, bias: real(x, weight.T, bias))
@fault("biases are positive", nn.init, "uniform_", lambda real: lambda bias, low, high: real(bias, 0, high))
@fault("weights start as for relu", nn.init, "kaiming_uniform_", lambda real: lambda weight, a: real(weight))
class TestLinearIsAffine:
    """Linear turns each input vector x into Wx + b, with the weight W and the bias b. The vectors lie along
    the last axis of the input. A new Linear with n inputs draws W and b evenly between -1/sqrt(n) and
    1/sqrt(n).
    """

    def test_linear_is_wx_plus_b_on_the_last_axis(self, device):
        x = torch.tensor([[[1.0, 0.0], [0.0, 1.0]], [[1.0, 1.0], [2.0, 0.0]]], device=device)
        linear = nn.Linear(2, 2).to(device)
        linear.weight = nn.Parameter(torch.tensor([[1.0, 2.0], [3.0, 4.0]], device=device))
        linear.bias = nn.Parameter(torch.tensor([10.0, 20.0], device=device))

        output = linear(x)

        assert output.tolist() == [[[11, 23], [12, 24]], [[13, 27], [12, 26]]]

    def test_linear_starts_within_one_over_the_root_of_its_inputs(self):
        linear = nn.Linear(100, 1000)

        for parameter in linear.parameters():
            assert parameter.abs().max() <= 0.1
            quarters = parameter.detach().flatten().histc(4, -0.1, 0.1) / parameter.numel()
            # the share of 1,000 even draws in a quarter varies by 0.014: five times that
            torch.testing.assert_close(quarters, torch.full((4,), 0.25), rtol=0, atol=0.07)


@statement("nn.max-pool-single-number", notes="3 code comments")
@fault("the window steps by one", F, "max_pool2d", lambda real: lambda x, size: real(x, size, 1))
@fault("pooling averages", F, "max_pool2d", lambda real: lambda x, size: F.avg_pool2d(x, size))
def test_one_number_is_a_square_pooling_window(device):
    """max_pool2d() accepts a single number for a square window. With 2 as well as with (2, 2), max_pool2d()
    returns the maximum of each 2x2 block.
    """
    maps = torch.randn(2, 3, 4, 6, device=device)
    expected = maps.cpu().unflatten(3, (3, 2)).unflatten(2, (2, 2)).amax((3, 5))

    assert F.max_pool2d(maps, (2, 2)).cpu().equal(expected)
    assert F.max_pool2d(maps, 2).cpu().equal(expected)
