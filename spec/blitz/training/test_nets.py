"""blitz/training/nets.py: the shapes inside the two Nets, and what they refuse."""

import pytest
import torch

from blitz.cifar10.data import load, normalize
from blitz.training import nets
from blitz.training.nets import CifarNet, Net, WhitenedNet, shapes, whitening_filters
from blitz.training.recipes import RECIPES, net_for

NETS = {"Net": (Net, 1), "CifarNet": (CifarNet, 3), "WhitenedNet": (WhitenedNet, 3)}


def test_shapes_lists_each_layer_and_function_in_order():
    """What comes out of each step of the Net of section 3, layers and functions between them alike."""
    assert shapes(Net(), torch.zeros(2, 1, 32, 32)) == [
        ("conv1", (2, 6, 30, 30)), ("relu", (2, 6, 30, 30)), ("max_pool2d", (2, 6, 15, 15)),
        ("conv2", (2, 16, 13, 13)), ("relu", (2, 16, 13, 13)), ("max_pool2d", (2, 16, 6, 6)),
        ("view", (2, 576)),
        ("fc1", (2, 120)), ("relu", (2, 120)), ("fc2", (2, 84)), ("relu", (2, 84)), ("fc3", (2, 10)),
    ]  # fmt: skip


@pytest.mark.parametrize(("make_net", "channels"), NETS.values(), ids=NETS)
def test_scores_come_one_row_an_image(make_net, channels, device):
    """A batch of N images gives (N, 10), on every device."""
    scores = make_net().to(device)(torch.zeros(3, channels, 32, 32, device=device))

    assert scores.shape == (3, 10)


@pytest.mark.parametrize(("make_net", "channels"), NETS.values(), ids=NETS)
def test_a_missing_batch_axis_is_refused_with_the_way_to_add_it(make_net, channels):
    """One image without a batch axis is named as that, since PyTorch itself would let it pass."""
    message = (
        rf"^expected images \(N, {channels}, 32, 32\), got \({channels}, 32, 32\): the batch axis is missing"
    )

    with pytest.raises(ValueError, match=message + r", add it with images\.unsqueeze\(0\)"):
        make_net()(torch.zeros(channels, 32, 32))


REFUSED = {
    "a size that mixes samples": (torch.zeros(1, 3, 54, 54), r"got \(1, 3, 54, 54\)$"),
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


def test_images_may_be_named():
    """`net(x=images)` is `net(images)`, as with the tutorial's own Net."""
    net, images = CifarNet(), torch.rand(2, 3, 32, 32)

    assert torch.equal(net(x=images), net(images))


class TestWhitenedNet:
    """The stronger net."""

    def test_its_first_layer_whitens_the_images(self):
        """What comes out for the images themselves is uncorrelated, and of variance 1 in each filter."""
        images = load("stand-in").train.images[:100]
        filters = whitening_filters(images, 3, 12).double()

        patches = normalize(images).double().unfold(2, 3, 1).unfold(3, 3, 1)
        rows = patches.permute(0, 2, 3, 1, 4, 5).reshape(-1, 27) @ filters.view(12, 27).mT
        products = rows.mT @ rows / len(rows)

        assert products[:6, :6].sub(products[:6, :6].diag().diag()).abs().max() < 1e-3
        assert 0.8 < products.diag().min() <= products.diag().max() < 1.001
        torch.testing.assert_close(filters[6:], -filters[:6])

    def test_its_first_layer_is_computed_from_a_thousand_images_and_not_trained(self, monkeypatch):
        """A folder's images are sorted by class: of 1,500 every second one is taken."""
        images, seen = torch.randint(0, 256, (1500, 3, 32, 32), dtype=torch.uint8), []
        monkeypatch.setattr(
            nets,
            "whitening_filters",
            lambda *arguments: seen.append(arguments) or torch.full((12, 3, 3, 3), 7.0),
        )

        net = WhitenedNet(images, widths=(8,), filters=12, patch=3, stride=4)

        [(some, *sizes)] = seen
        assert (torch.equal(some, images[::2]), sizes) == (True, [3, 12])
        assert net.whitening.weight.unique().tolist() == [7]
        assert net.whitening.bias.tolist() == [0] * 12
        assert not any(weight.requires_grad for weight in net.whitening.parameters())

    def test_biases_of_its_first_layer_may_be_trained(self):
        """The filters are not."""
        first = WhitenedNet(widths=(8,), train_first_bias=True).whitening

        assert (first.weight.requires_grad, first.bias.requires_grad) == (False, True)

    @pytest.mark.parametrize("name", ["relu", "gelu"])
    def test_its_activation_follows_each_layer_before_the_last(self, name):
        """The first layer, and both convolutions of each block."""
        steps = [
            step for step, _ in shapes(WhitenedNet(widths=(8,), activation=name), torch.zeros(1, 3, 32, 32))
        ]

        assert steps == [
            "whitening", name, "blocks.0.conv1", "blocks.0.pool", "blocks.0.norm1", name,
            "blocks.0.conv2", "blocks.0.norm2", name, "amax", "fc", "truediv",
        ]  # fmt: skip

    def test_an_unknown_activation_is_refused(self):
        """As a file with weights may name it."""
        with pytest.raises(ValueError, match=r"^expected an activation, relu or gelu, got 'exec'$"):
            WhitenedNet(activation="exec")


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
        assert net.activation is nets.ACTIVATIONS[RECIPES[name].activation]
        assert net.whitening.bias.requires_grad is RECIPES[name].train_first_bias
