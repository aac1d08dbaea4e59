"""blitz/training/nets.py: the shapes inside the two Nets, and what they refuse."""

import pytest
import torch
from torch import nn

from blitz.cifar10.data import load, normalize
from blitz.training.nets import CifarNet, Net, WhitenedNet, shapes, whitening_filters
from blitz.training.recipes import RECIPES, net_for

SHAPES = {
    "Net": (
        Net,
        [
            ("conv1", (2, 6, 30, 30)),
            ("relu", (2, 6, 30, 30)),
            ("max_pool2d", (2, 6, 15, 15)),
            ("conv2", (2, 16, 13, 13)),
            ("relu", (2, 16, 13, 13)),
            ("max_pool2d", (2, 16, 6, 6)),
            ("view", (2, 576)),
        ],
    ),
    "CifarNet": (
        CifarNet,
        [
            ("conv1", (2, 6, 28, 28)),
            ("relu", (2, 6, 28, 28)),
            ("pool", (2, 6, 14, 14)),
            ("conv2", (2, 16, 10, 10)),
            ("relu", (2, 16, 10, 10)),
            ("pool", (2, 16, 5, 5)),
            ("view", (2, 400)),
        ],
    ),
}
HEAD = [("fc1", (2, 120)), ("relu", (2, 120)), ("fc2", (2, 84)), ("relu", (2, 84)), ("fc3", (2, 10))]
NETS = {"Net": (Net, 1), "CifarNet": (CifarNet, 3), "WhitenedNet": (WhitenedNet, 3)}


@pytest.mark.parametrize(("make_net", "body"), SHAPES.values(), ids=SHAPES)
def test_shapes_lists_each_layer_and_function_in_order(make_net, body):
    """What comes out of each step of the two Nets, layers and functions between them alike."""
    assert shapes(make_net(), torch.zeros(2, *make_net.image_shape)) == body + HEAD


def test_shapes_leaves_the_net_as_it_was():
    """The listing takes its hooks away again, also where the net refuses the input."""
    net = CifarNet()
    with pytest.raises(ValueError, match="expected images"):
        shapes(net, torch.zeros(1))

    assert not any(layer._forward_hooks for layer in net.modules())
    assert [len(layer._forward_pre_hooks) for layer in net.modules()] == [1, 0, 0, 0, 0, 0, 0]


def test_shapes_takes_any_module():
    """A net of one's own is listed by the names of its layers."""
    net = nn.Sequential(nn.Linear(3, 2), nn.ReLU())

    assert shapes(net, torch.zeros(5, 3)) == [("0", (5, 2)), ("1", (5, 2))]


def test_functions_keep_their_keyword_arguments():
    """A function that the net calls by keyword is called so under the listing too."""

    class Rows(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(6, 2)

        def forward(self, x):
            return self.fc(torch.flatten(x, start_dim=1))

    assert shapes(Rows(), torch.zeros(5, 3, 2)) == [("flatten", (5, 6)), ("fc", (5, 2))]


@pytest.mark.parametrize(("make_net", "channels"), NETS.values(), ids=NETS)
def test_scores_come_one_row_an_image(make_net, channels, device):
    """A batch of N images gives (N, 10), on every device."""
    scores = make_net().to(device)(torch.zeros(3, channels, 32, 32, device=device))

    assert scores.shape == (3, 10)


@pytest.mark.parametrize(("make_net", "channels"), NETS.values(), ids=NETS)
def test_a_missing_batch_axis_is_refused_with_the_way_to_add_it(make_net, channels):
    """One image without a batch axis is named as that, since PyTorch itself would let it pass."""
    message = (
        rf"expected images \(N, {channels}, 32, 32\), got \({channels}, 32, 32\): the batch axis is missing"
    )

    with pytest.raises(ValueError, match=message + r", add it with images\.unsqueeze\(0\)"):
        make_net()(torch.zeros(channels, 32, 32))


REFUSED = {
    "another size": (torch.zeros(1, 3, 28, 28), r"got \(1, 3, 28, 28\)$"),
    "a size that mixes samples": (torch.zeros(1, 3, 54, 54), r"got \(1, 3, 54, 54\)$"),
    "another number of channels": (torch.zeros(1, 1, 32, 32), r"got \(1, 1, 32, 32\)$"),
    "channels last": (torch.zeros(1, 32, 32, 3), r"got \(1, 32, 32, 3\)$"),
    "bytes": (
        torch.zeros(1, 3, 32, 32, dtype=torch.uint8),
        "floating-point type, got torch.uint8; see blitz",
    ),
    "no tensor": ([[0.0]], "as a tensor, got list"),
}


@pytest.mark.parametrize(("images", "message"), REFUSED.values(), ids=REFUSED)
def test_what_are_no_images_is_refused_in_a_sentence(images, message):
    """A wrong input says what was expected and what came."""
    with pytest.raises(ValueError, match=r"^expected images \(N, 3, 32, 32\).*" + message):
        CifarNet()(images)


@pytest.mark.parametrize(("make_net", "channels"), NETS.values(), ids=NETS)
def test_images_may_be_named(make_net, channels):
    """`net(x=images)` is `net(images)`, as with the tutorial's own Net."""
    net, images = make_net(), torch.rand(2, channels, 32, 32)

    assert torch.equal(net(x=images), net(images))


def test_named_images_are_refused_as_others_are():
    """The same sentence."""
    with pytest.raises(ValueError, match=r"^expected images \(N, 3, 32, 32\), got \(1, 3, 28, 28\)$"):
        CifarNet()(x=torch.zeros(1, 3, 28, 28))


IMAGES = torch.zeros(1, 3, 32, 32)
CALLS = {
    "nothing": ((), {}, "missing 1 required positional argument: 'x'"),
    "two": ((IMAGES, IMAGES), {}, "takes 2 positional arguments but 3 were given"),
    "another name": ((), {"images": IMAGES}, "got an unexpected keyword argument 'images'"),
    "twice": ((IMAGES,), {"x": IMAGES}, "got multiple values for argument 'x'"),
}


@pytest.mark.parametrize(("inputs", "named", "message"), CALLS.values(), ids=CALLS)
def test_what_forward_does_not_take_is_pythons_own_error(inputs, named, message):
    """As plain PyTorch raises it."""
    with pytest.raises(TypeError, match=message):
        CifarNet()(*inputs, **named)


def test_forward_is_the_notes_own_unguarded_code():
    """`net.forward` runs what `net(...)` refuses, so that the statements can show what comes of it."""
    assert CifarNet().forward(torch.zeros(1, 3, 54, 54)).shape == (4, 10)


class TestWhitenedNet:
    """The stronger net."""

    def test_its_shapes_are_those_of_its_widths(self):
        """A first layer of stride 2, and blocks that halve what is left, rounded down."""
        net = WhitenedNet(widths=(16, 32), filters=48, patch=4, stride=2)

        steps = dict(shapes(net, torch.zeros(2, 3, 32, 32)))

        assert steps["whitening"] == (2, 48, 15, 15)
        assert steps["blocks.0.norm2"] == (2, 16, 7, 7)
        assert steps["blocks.1.norm2"] == (2, 32, 3, 3)
        assert steps["fc"] == (2, 10)

    def test_its_first_layer_whitens_the_images(self):
        """What comes out for the images themselves is uncorrelated, and of variance 1 in each filter."""
        images = load("stand-in").train.images[:500]
        filters = whitening_filters(images, 3, 12).double()

        patches = normalize(images).double().unfold(2, 3, 1).unfold(3, 3, 1)
        rows = patches.permute(0, 2, 3, 1, 4, 5).reshape(-1, 27) @ filters.view(12, 27).mT
        products = rows.mT @ rows / len(rows)

        assert products[:6, :6].sub(products[:6, :6].diag().diag()).abs().max() < 1e-3
        assert 0.8 < products.diag().min() <= products.diag().max() < 1.001
        torch.testing.assert_close(filters[6:], -filters[:6])

    def test_its_first_layer_is_computed_from_images_and_not_trained(self):
        """The filters are whitening_filters(), with a bias of zero, which is trained."""
        images = load("stand-in").train.images[:100]

        net = WhitenedNet(images, widths=(8,), filters=12, patch=3, stride=2)

        torch.testing.assert_close(net.whitening.weight, whitening_filters(images, 3, 12))
        assert not net.whitening.weight.requires_grad
        assert net.whitening.bias.tolist() == [0] * 12
        assert net.whitening.bias.requires_grad

    def test_its_first_layer_takes_a_thousand_images_from_first_to_last(self):
        """A folder's images are sorted by class: of 2,500 every third one is taken."""
        images = torch.randint(0, 256, (2500, 3, 32, 32), dtype=torch.uint8)

        net = WhitenedNet(images, widths=(8,), filters=12, patch=3, stride=4)

        torch.testing.assert_close(net.whitening.weight, whitening_filters(images[::3], 3, 12))

    def test_its_convolutions_begin_by_passing_their_inputs_on(self):
        """The first channels of each are the identity; those beyond, if there are more, are drawn."""
        net = WhitenedNet(widths=(16, 16), filters=12)
        images = torch.rand(2, 12, 5, 5)

        out = net.blocks[0].conv1(images)

        torch.testing.assert_close(out[:, :12], images)
        assert not torch.equal(out[:, 12], images[:, 0])

    def test_it_computes_in_channels_last(self):
        """From the first layer on, whatever the images' layout."""
        net = WhitenedNet(widths=(16,))
        seen = []
        net.blocks[0].conv2.register_forward_hook(
            lambda module, inputs, output: seen.append(
                output.is_contiguous(memory_format=torch.channels_last)
            )
        )

        net(torch.zeros(2, 3, 32, 32))

        assert seen == [True]

    @pytest.mark.parametrize("filters", [0, 7, 56])
    def test_more_filters_than_directions_are_refused(self, filters):
        """A patch of 3x3 has 27 directions, and each has two filters."""
        images = torch.zeros(5, 3, 32, 32, dtype=torch.uint8)

        with pytest.raises(ValueError, match=f"^expected an even number of filters up to 54, got {filters}$"):
            whitening_filters(images, 3, filters)

    def test_it_refuses_what_is_no_batch_of_images(self):
        """As the notes' Nets do."""
        with pytest.raises(ValueError, match=r"expected images \(N, 3, 32, 32\), got \(2, 3, 28, 28\)"):
            WhitenedNet(widths=(8,))(torch.zeros(2, 3, 28, 28))


@pytest.mark.parametrize(
    ("name", "kind"),
    [("tutorial", CifarNet), ("fast", CifarNet), ("strong", WhitenedNet), ("record", WhitenedNet)],
)
def test_each_recipe_has_its_net(name, kind):
    """The notes' Net for the tutorial and the fast recipe, and one of the recipe's widths for the others."""
    net = net_for(RECIPES[name])

    assert type(net) is kind
    if kind is WhitenedNet:
        assert tuple(block.conv2.out_channels for block in net.blocks) == RECIPES[name].widths
        filters, patch, stride = RECIPES[name].first_layer
        assert net.whitening.weight.shape == (filters, 3, patch, patch)
        assert net.whitening.stride == (stride, stride)
