"""Section 3 of the notes, "Define the network": from maps to rows, and the images that this allows."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from blitz.training import nets
from blitz.training.nets import CifarNet, Net
from spec.harness import ANSWERED, OUTDATED, QUALIFIED, WRONG, broken_by, claim


class HardCodedNet(Net):
    """The Net with the number that the author of the notes expected in place of num_flat_features()."""

    def num_flat_features(self, x):
        """Return the size that the notes know beforehand."""
        return 16 * 6 * 6


class TestFlattening:
    """Comments and questions on x.view(-1, self.num_flat_features(x))."""

    @claim("nn.view-minus-one", notes="3 code comments")
    @broken_by(torch.Tensor, "view", lambda real: lambda x, *shape: real(x.mT.contiguous(), *shape))
    @broken_by(torch.Tensor, "view", lambda real: lambda x, *shape: real(x, shape[1], shape[0]))
    @broken_by(torch.Tensor, "view", lambda real: lambda x, *shape: real(x, -1))
    def test_view_works_out_the_axis_given_as_minus_one(self):
        """The axis given as -1, first or last, gets the size that the number of values leaves for it."""
        x = torch.arange(6).reshape(3, 2)

        assert x.view(-1, 3).tolist() == [[0, 1, 2], [3, 4, 5]]
        assert x.view(2, -1).tolist() == [[0, 1, 2], [3, 4, 5]]
        assert x.view(-1, 1).tolist() == [[0], [1], [2], [3], [4], [5]]

    @claim("nn.view-minus-one-refused", notes="3 code comments")
    @broken_by(torch.Tensor, "view", lambda real: lambda x, *shape: real(x[:9] if 3 in shape else x, *shape))
    @broken_by(torch.Tensor, "view", lambda real: lambda x, *shape: real(x, shape[0], abs(shape[1])))
    def test_view_refuses_what_does_not_divide_and_two_unknowns(self):
        """A -1 that leaves a remainder is a RuntimeError, and so are two of them."""
        x = torch.zeros(10)

        with pytest.raises(RuntimeError, match="is invalid for input of size 10"):
            x.view(3, -1)
        with pytest.raises(RuntimeError, match="only one dimension can be inferred"):
            x.view(-1, -1)

    @claim("nn.view-minus-one-empty-batch", notes="3 code comments")
    @broken_by(torch.Tensor, "reshape", lambda real: lambda x, rows, columns: x.new_zeros(rows, 576))
    @broken_by(torch.Tensor, "view", lambda real: lambda x, rows, columns: x.new_zeros(1, columns))
    def test_empty_batch_passes_view_with_the_rows_unknown(self):
        """A batch of no images gives no scores (0, 10): view(-1, 576) takes it, reshape(0, -1) would not."""
        maps = torch.zeros(0, 16, 6, 6)

        assert Net()(torch.zeros(0, 1, 32, 32)).shape == (0, 10)
        with pytest.raises(RuntimeError, match="is ambiguous"):
            maps.reshape(maps.size(0), -1)

    @claim(
        "nn.flatten-comment-3d-to-1d",
        notes="3 code comments",
        verdict=WRONG,
        says="the view turns the three-dimensional x into a one-dimensional vector",
    )
    @broken_by(torch.Tensor, "view", lambda real: lambda x, *shape: x.transpose(0, 1).reshape(shape))
    @broken_by(torch.Tensor, "view", lambda real: lambda x, *shape: real(x, *shape).flip(0))
    @broken_by(Net, "num_flat_features", lambda real: lambda net, x: x.numel())
    def test_view_makes_one_row_of_each_image_of_the_batch(self, device):
        """The view turns maps (N, 16, 6, 6), four axes, into rows (N, 576), two: one row an image."""
        seen = {}
        net = Net().to(device)
        net.conv2.register_forward_hook(lambda layer, inputs, output: seen.update(maps=output))
        net.fc1.forward = lambda rows: seen.update(rows=rows) or rows.new_zeros(3, 120)

        net(torch.randn(3, 1, 32, 32, device=device))

        maps = nets.max_pool2d(nets.relu(seen["maps"]), 2)
        assert maps.shape == (3, 16, 6, 6)
        assert seen["rows"].shape == (3, 576)
        assert seen["rows"].tolist() == [image.flatten().tolist() for image in maps]

    @claim(
        "nn.why-num-flat-features",
        notes="3 define the network, question",
        verdict=ANSWERED,
        says="why does num_flat_features() work out a size that is known to be 16 * 6 * 6?",
    )
    @broken_by(Net, "num_flat_features", lambda real: lambda net, x: 576)
    @broken_by(Net, "num_flat_features", lambda real: lambda net, x: x.shape[2:].numel())
    @broken_by(nn.Linear, "forward", lambda real: lambda layer, x: real(layer, x[..., : layer.in_features]))
    @broken_by(torch.Tensor, "view", lambda real: lambda x, rows, columns: real(x, rows, columns)[:1])
    def test_computed_size_keeps_images_apart_where_576_mixes_them(self, device):
        """It guards: one 54x54 image is refused by fc1, where a fixed 576 makes four rows of scores of it."""
        image = torch.randn(1, 1, 54, 54, device=device)

        assert HardCodedNet().to(device).forward(image).shape == (4, 10)
        with pytest.raises(RuntimeError, match="1x2304 and 576x120"):
            Net().to(device).forward(image)

    @claim(
        "nn.why-num-flat-features-unbatched",
        notes="3 define the network, question",
        verdict=ANSWERED,
        says="why does num_flat_features() work out a size that is known to be 16 * 6 * 6?",
    )
    @broken_by(Net, "num_flat_features", lambda real: lambda net, x: 576)
    @broken_by(Net, "num_flat_features", lambda real: lambda net, x: x.numel())
    @broken_by(torch.Tensor, "view", lambda real: lambda x, *shape: real(x, *shape).squeeze(0))
    def test_computed_size_notices_a_missing_batch_axis(self, device):
        """An image without a batch axis is refused by fc1, where a fixed 576 takes it for a batch of one."""
        image = torch.randn(1, 32, 32, device=device)

        assert HardCodedNet().to(device).forward(image).shape == (1, 10)
        with pytest.raises(RuntimeError, match="16x36 and 576x120"):
            Net().to(device).forward(image)

    @claim(
        "nn.why-num-flat-features-alike",
        notes="3 define the network, question",
        verdict=ANSWERED,
        says="why does num_flat_features() work out a size that is known to be 16 * 6 * 6?",
    )
    @broken_by(Net, "num_flat_features", lambda real: lambda net, x: x.numel())
    @broken_by(torch.Tensor, "flatten", lambda real: lambda x, start: real(x.transpose(1, 2), start))
    @broken_by(torch.Tensor, "reshape", lambda real: lambda x, *shape: real(x, *shape).mT)
    def test_four_ways_to_flatten_agree_for_the_size_of_the_notes(self, device):
        """For 32x32 images it need not: view with either size, flatten(1) and reshape(N, -1) agree."""
        maps = torch.randn(2, 16, 6, 6, device=device)

        rows = maps.view(-1, 576).tolist()

        assert maps.view(-1, Net().num_flat_features(maps)).tolist() == rows
        assert maps.flatten(1).tolist() == rows
        assert maps.reshape(2, -1).tolist() == rows

    @claim(
        "nn.flatten-with-view-needs-contiguous",
        notes="3 and 4, code",
        verdict=OUTDATED,
        since="1.12",
        says="view flattens the maps that the convolutions give",
    )
    @broken_by(F, "conv2d", lambda real: lambda *inputs: real(*inputs).contiguous())
    @broken_by(torch.Tensor, "view", lambda real: lambda x, *shape: x.reshape(*shape))
    def test_view_refuses_maps_of_channels_last_images(self, device):
        """Float32 channels_last images keep that format through a convolution, and the view then raises."""
        for net in (Net().to(device), CifarNet().to(device)):
            images = torch.randn(2, *net.image_shape, device=device).to(memory_format=torch.channels_last)

            with pytest.raises(RuntimeError, match="view size is not compatible"):
                net(images)

    @claim("nn.flatten-with-view-needs-contiguous-flatten", notes="3 and 4, code")
    @broken_by(
        torch.Tensor, "flatten", lambda real: lambda x, start: real(x.permute(0, 2, 3, 1).contiguous(), start)
    )
    def test_flatten_takes_channels_last_maps(self, device):
        """flatten(1) gives channels_last maps the rows that it gives the same maps in the usual format."""
        maps = torch.randn(2, 16, 6, 6, device=device)

        converted = maps.to(memory_format=torch.channels_last)

        assert not converted.is_contiguous()
        assert converted.flatten(1).tolist() == maps.view(2, 576).tolist()


def refusal(net, image):
    """Return the message with which the unguarded net refuses `image`, "" if it takes it."""
    try:
        net.forward(image)
    except RuntimeError as error:
        return str(error)
    return ""


class TestImageSize:
    """The size of image that the network expects."""

    @claim(
        "nn.expected-input-32", notes="notebook nn", verdict=QUALIFIED, says="the net expects images of 32x32"
    )
    @broken_by(
        nets, "max_pool2d", lambda real: lambda x, size: F.adaptive_max_pool2d(x, {6: 15, 16: 6}[x.shape[1]])
    )
    @broken_by(nets, "max_pool2d", lambda real: lambda x, size: real(x, size, ceil_mode=True))
    @broken_by(Net, "num_flat_features", lambda real: lambda net, x: 576)
    def test_sizes_30_to_33_pass_and_28_does_not(self, device):
        """The notes' code takes 30x30 to 33x33; 28x28 is refused by fc1, so MNIST has to be resized."""
        net = Net().to(device)

        refusals = {n: refusal(net, torch.zeros(1, 1, n, n, device=device)) for n in range(26, 38)}

        assert [n for n, message in refusals.items() if not message] == [30, 31, 32, 33]
        assert "1x400 and 576x120" in refusals[28]
