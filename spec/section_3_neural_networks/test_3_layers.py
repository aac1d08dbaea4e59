"""3 "Define the network", the comments in the code: convolution, pooling and linear layers."""

from itertools import product

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from blitz.training import nets
from blitz.training.nets import Net
from spec.harness import QUALIFIED, fault, statement


@statement(
    "nn.conv-is-2d-convolution",
    notes="3 code comments",
    verdict=QUALIFIED,
    says="Conv2d applies a 2-D convolution",
)
@fault("the kernel is flipped", F, "conv2d", lambda real: lambda x, kernel: real(x, kernel.flip(-1, -2)))
@fault("the kernel is transposed", F, "conv2d", lambda real: lambda x, kernel: real(x, kernel.mT))
@fault(
    "the bias is left out",
    F,
    "conv2d",
    lambda real: lambda x, weight, bias, *rest: real(x, weight, None, *rest),
)
@fault(
    "the sum is a mean over planes", F, "conv2d", lambda real: lambda x, *rest: real(x, *rest) / x.shape[1]
)
@fault("planes are reversed", F, "conv2d", lambda real: lambda x, *rest: real(x.flip(1), *rest))
@fault(
    "superfluous planes are ignored",
    F,
    "conv2d",
    lambda real: lambda x, weight, *rest: real(x[:, : weight.shape[1]], weight, *rest),
)
@fault(
    "a small image is padded", F, "conv2d", lambda real: lambda x, *rest: real(F.pad(x, (0, 1, 0, 1)), *rest)
)
class TestConvIs2dConvolution:
    """Conv2d slides its kernel over the image without flipping it, which mathematics calls cross-correlation.
    Each output value is a bias plus a sum over all input planes.
    """

    def test_conv2d_does_not_flip_its_kernel(self, device):
        image = torch.arange(9.0, device=device).view(1, 1, 3, 3)
        kernel = torch.tensor([[[[1.0, 10.0], [0.0, 0.0]]]], device=device)

        output = F.conv2d(image, kernel)

        assert output.tolist() == [[[[0 + 10, 1 + 20], [3 + 40, 4 + 50]]]]

    def test_conv2d_sums_over_input_planes_and_adds_a_bias(self, device):
        images = torch.randn(2, 3, 5, 6, dtype=torch.float64, device=device)
        conv = nn.Conv2d(3, 4, (2, 3)).double().to(device)

        output = conv(images)

        for row, column in product(range(4), range(4)):
            patch = images[:, None, :, row : row + 2, column : column + 3]  # (N, 1, 3, 2, 3)
            expected = (patch * conv.weight).sum((2, 3, 4)) + conv.bias
            torch.testing.assert_close(output[:, :, row, column], expected)

    def test_conv2d_refuses_other_planes_and_smaller_images(self, device):
        conv = nn.Conv2d(1, 6, 3).to(device)

        with pytest.raises(RuntimeError, match="to have 1 channels, but got 2 channels"):
            conv(torch.ones(1, 2, 32, 32, device=device))
        with pytest.raises(RuntimeError, match="Kernel size can't be greater than actual input size"):
            conv(torch.ones(1, 1, 2, 2, device=device))


@statement("nn.conv-output-size", notes="3 code comments")
@fault("pooling cuts its maps", nets, "max_pool2d", lambda real: lambda x, size: real(x, size)[..., :12, :12])
@fault(
    "convolutions pad",
    F,
    "conv2d",
    lambda real: lambda x, weight, bias, *rest: real(x, weight, bias, padding=1),
)
@fault(
    "convolutions lose a row",
    F,
    "conv2d",
    lambda real: lambda x, weight, bias, *rest: real(x, weight, bias)[..., 1:, :],
)
@fault(
    "padding is ignored",
    F,
    "conv2d",
    lambda real: lambda x, weight, stride, padding: real(x, weight, stride=stride),
)
@fault(
    "the last places are padded",
    F,
    "conv2d",
    lambda real: (
        lambda x, *rest, stride, padding: real(
            F.pad(x, (0, 0, 0, stride - 1)), *rest, stride=stride, padding=padding
        )
    ),
)
@fault(
    "pooling rounds up",
    F,
    "max_pool2d",
    lambda real: lambda x, size, **options: real(x, size, ceil_mode=True),
)
@fault(
    "pooling leaves out the first row",
    F,
    "max_pool2d",
    lambda real: lambda x, size, **options: real(x[..., 1:, 1:], size, **options),
)
class TestConvOutputSize:
    """For height H, padding p, kernel k and stride s, a convolution gives floor((H + 2p - k) / s) + 1 rows.
    So Net makes maps of 30x30, 15x15, 13x13 and 6x6 of an image of 32x32.
    """

    def test_images_shrink_from_32_to_30_to_15_to_13_to_6(self, device):
        net = Net().to(device)

        first = net.conv1(torch.zeros(1, 1, 32, 32, device=device))
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

        assert pooled.shape[2:] == (6, 6)
        assert F.max_pool2d(maps, 2, ceil_mode=True).shape[2:] == (7, 7)
        gradient = maps.grad.cpu()
        assert gradient[..., :12, :12].sum() == 36
        assert not gradient[..., 12, :].any()
        assert not gradient[..., :, 12].any()


@statement("nn.linear-is-affine", notes="3 code comments")
@fault("the bias is left out", F, "linear", lambda real: lambda x, weight, bias: real(x, weight))
@fault(
    "the weight is stored as (in, out)",
    F,
    "linear",
    lambda real: lambda x, weight, bias: real(x, weight.T, bias),
)
@fault(
    "the first axis is mapped",
    F,
    "linear",
    lambda real: lambda x, weight, bias: real(x.transpose(0, 1), weight, bias),
)
@fault(
    "weights are spread as for relu", nn.init, "kaiming_uniform_", lambda real: lambda weight, a: real(weight)
)
@fault(
    "biases are spread twice as far",
    nn.init,
    "uniform_",
    lambda real: lambda tensor, low, high: real(tensor, 2 * low, 2 * high),
)
@fault("biases are zero", nn.init, "uniform_", lambda real: lambda tensor, low, high: nn.init.zeros_(tensor))
@fault(
    "biases are positive", nn.init, "uniform_", lambda real: lambda tensor, low, high: real(tensor, 0, high)
)
@fault(
    "biases are one number",
    nn.init,
    "uniform_",
    lambda real: lambda tensor, low, high: nn.init.constant_(tensor, high),
)
class TestLinearIsAffine:
    """Linear maps each vector x on the last axis to Wx + b, where the weight W is stored as (out, in). A new
    Linear of n inputs has weights and biases spread evenly over ±1/sqrt(n).
    """

    def test_linear_is_wx_plus_b_on_the_last_axis(self, device):
        x = torch.randn(2, 2, 3, dtype=torch.float64, device=device)
        linear = nn.Linear(3, 3).double().to(device)

        output = linear(x)

        for i, j in [(0, 0), (0, 1), (1, 0), (1, 1)]:
            expected = [row @ x[i, j] + bias for row, bias in zip(linear.weight, linear.bias, strict=True)]
            torch.testing.assert_close(output[i, j], torch.stack(expected))

    def test_linear_starts_within_one_over_the_root_of_its_inputs(self):
        linear = nn.Linear(100, 1000)

        for parameter in linear.parameters():
            assert parameter.abs().max() <= 0.1
            # of 1,000 or more even draws, none beyond 0.098 would have a chance of 0.98**1000, 2e-9
            assert parameter.abs().max() > 0.098
            quarters = parameter.detach().flatten().histc(4, -0.1, 0.1) / parameter.numel()
            # the share of 1,000 even draws in a quarter varies by 0.014: five times that
            torch.testing.assert_close(quarters, torch.full((4,), 0.25), rtol=0, atol=0.07)


@statement("nn.max-pool-single-number", notes="3 code comments")
@fault(
    "one number is a window that steps by one",
    F,
    "max_pool2d",
    lambda real: lambda x, size: real(x, size, 1 if size == 2 else None),
)
@fault(
    "one number is a column",
    F,
    "max_pool2d",
    lambda real: lambda x, size: real(x, (size, 1) if size == 2 else size),
)
@fault("pooling averages", F, "max_pool2d", lambda real: lambda x, size: F.avg_pool2d(x, size))
def test_one_number_is_a_square_pooling_window(device):
    """For a square pooling window one number is enough: 2 and (2, 2) take the maximum of each 2x2 block."""
    maps = torch.randn(2, 3, 4, 6, device=device)
    expected = maps.cpu().unflatten(3, (3, 2)).unflatten(2, (2, 2)).amax((3, 5))

    assert F.max_pool2d(maps, (2, 2)).cpu().equal(expected)
    assert F.max_pool2d(maps, 2).cpu().equal(expected)
