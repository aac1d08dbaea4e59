"""3 "Define the network": the view that flattens the maps, and the size of the images."""

from contextlib import suppress

import pytest
import torch
import torch.nn.functional as F

from blitz.training import nets
from blitz.training.nets import CifarNet, Net
from spec.harness import ANSWERED, OUTDATED, QUALIFIED, WRONG, fault, since, statement

MISREAD = {  # images, the scores that a fixed size gives for them, and why the computed size refuses them
    "54x54": ((1, 1, 54, 54), (4, 10), "1x2304 and 576x120"),
    "no batch axis": ((1, 32, 32), (1, 10), "16x36 and 576x120"),
}


class HardCodedNet(Net):
    """The Net with the number that the author of the notes expected in place of num_flat_features()."""

    def num_flat_features(self, x):
        """Return the size that the notes know beforehand."""
        return 16 * 6 * 6


@statement("nn.view-minus-one", notes="3 code comments")
@fault("view swaps the sizes", torch.Tensor, "view", lambda real: lambda x, a, b: real(x, b, a))
@fault("view flattens all", torch.Tensor, "view", lambda real: lambda x, a, b: real(x, -1))
def test_view_works_out_the_axis_given_as_minus_one():
    """One of the sizes that are passed to view() may be -1. view() computes this size from the number of
    elements.
    """
    x = torch.arange(6).reshape(3, 2)

    assert x.view(-1, 3).tolist() == [[0, 1, 2], [3, 4, 5]]
    assert x.view(2, -1).tolist() == [[0, 1, 2], [3, 4, 5]]
    assert x.view(-1, 1).tolist() == [[0], [1], [2], [3], [4], [5]]


@statement(
    "nn.flatten-comment-3d-to-1d",
    notes="3 code comments",
    verdict=WRONG,
    says="view() turns the three-dimensional tensor x into a one-dimensional vector",
)
@fault("view reverses the batch", torch.Tensor, "view", lambda real: lambda x, a, b: real(x, a, b).flip(0))
@fault("the batch counts as features", Net, "num_flat_features", lambda real: lambda net, x: x.numel())
def test_view_makes_one_row_of_each_image_of_the_batch(device):
    """In Net, the net of the notes, view() turns the feature maps of each image into one row. For N images,
    the shape (N, 16, 6, 6) becomes (N, 576), so four axes become two.
    """
    seen = {}
    net = Net().to(device)
    net.conv2.register_forward_hook(lambda layer, inputs, output: seen.update(maps=output))
    net.fc1.forward = lambda rows: seen.update(rows=rows) or rows.new_zeros(3, 120)

    net(torch.randn(3, 1, 32, 32, device=device))

    maps = F.max_pool2d(F.relu(seen["maps"]), 2)
    assert maps.shape == (3, 16, 6, 6)
    assert seen["rows"].shape == (3, 576)
    assert seen["rows"].tolist() == [image.flatten().tolist() for image in maps]


@statement(
    "nn.why-num-flat-features",
    notes="3 define the network",
    verdict=ANSWERED,
    says="why does num_flat_features() compute a size that is known to be 16 * 6 * 6?",
)
@fault("the size is fixed", Net, "num_flat_features", lambda real: lambda net, x: 576)
@fault("the size counts the batch", Net, "num_flat_features", lambda real: lambda net, x: x.numel())
@fault("flatten swaps axes", torch.Tensor, "flatten", lambda real: lambda x, start: real(x.mT, start))
class TestWhyNumFlatFeatures:
    """num_flat_features() returns 576 for the 32x32 images of the notes, where a fixed 576 would work too.
    But a fixed 576 would turn one image of 54x54 into four rows instead of one, without an error. With
    num_flat_features(), Net raises a RuntimeError for this image.
    """

    @pytest.mark.parametrize(("shape", "scores", "why"), MISREAD.values(), ids=MISREAD)
    def test_computed_size_refuses_images_that_a_fixed_one_misreads(self, shape, scores, why, device):
        images = torch.randn(shape, device=device)

        assert HardCodedNet().to(device).forward(images).shape == scores
        with pytest.raises(RuntimeError, match=why):
            Net().to(device).forward(images)

    def test_four_ways_to_flatten_agree_for_the_size_of_the_notes(self, device):
        maps = torch.randn(2, 16, 6, 6, device=device)

        rows = maps.view(-1, 576).tolist()

        assert maps.view(-1, Net().num_flat_features(maps)).tolist() == rows
        assert maps.flatten(1).tolist() == rows
        assert maps.reshape(2, -1).tolist() == rows


@statement(
    "nn.flatten-with-view-needs-contiguous",
    notes="3 define the network; 4 step 2",
    verdict=OUTDATED,
    says="view() flattens the maps that the convolutions return",
)
@fault("conv2d gives contiguous maps", F, "conv2d", lambda real: lambda *inputs: real(*inputs).contiguous())
@fault("view is reshape", torch.Tensor, "view", lambda real: torch.Tensor.reshape)
@fault("flatten follows the memory", torch.Tensor, "flatten", lambda real: lambda x, start: real(x.mT, start))
class TestFlattenWithViewNeedsContiguous:
    """view() cannot flatten feature maps in channels_last format (an order of the elements in memory). The
    method flatten(1) can flatten such maps. Since PyTorch 1.12, a convolution returns such maps for float32
    images in channels_last format.
    """

    @since("1.12")
    def test_view_refuses_maps_of_channels_last_images(self, device):
        for net in (Net().to(device), CifarNet().to(device)):
            images = torch.randn(2, *net.image_shape, device=device).to(memory_format=torch.channels_last)

            with pytest.raises(RuntimeError, match="view size is not compatible"):
                net(images)

    def test_flatten_takes_channels_last_maps(self, device):
        maps = torch.randn(2, 16, 6, 6, device=device)

        converted = maps.to(memory_format=torch.channels_last)

        assert not converted.is_contiguous()
        assert converted.flatten(1).tolist() == maps.view(2, 576).tolist()


@statement(
    "nn.expected-input-32", notes="notebook nn", verdict=QUALIFIED, says="the net expects images of 32x32"
)
@fault("pooling rounds up", nets, "max_pool2d", lambda real: lambda x, size: real(x, size, ceil_mode=True))
@fault("the size is fixed", Net, "num_flat_features", lambda real: lambda net, x: 576)
def test_sizes_30_to_33_pass_and_28_does_not(device):
    """Net, the net of the notes, accepts square images from 30x30 to 33x33. Net raises a RuntimeError for
    images of 28x28, the size of the images of MNIST.
    """
    net, passed = Net().to(device), []

    for n in range(26, 38):
        with suppress(RuntimeError):
            net.forward(torch.zeros(1, 1, n, n, device=device))
            passed.append(n)

    assert passed == [30, 31, 32, 33]
    with pytest.raises(RuntimeError, match="1x400 and 576x120"):
        net.forward(torch.zeros(1, 1, 28, 28, device=device))
