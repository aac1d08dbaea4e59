"""Notes 6, the link to PyTorch's ImageNet example: the random parts of images that a net trains on."""

import numpy as np
import torch
from PIL import Image
from torchvision import transforms

from blitz.derived import image_data
from blitz.derived.image_data import ImageData, crops
from spec.faults import then
from spec.harness import fault, statement

SIDE, SEEN = 200, 32  # of an image, and of what the net sees of it, in pixels


def ramps(count):
    """Return images whose values tell the place of a pixel: its column, plus 1000 times its row."""
    rows, columns = np.mgrid[:SIDE, :SIDE].astype(np.float32)
    image = Image.fromarray(columns + 1000 * rows)
    return ImageData("ramps", [(image, 0)] * count, [(image, 0)], ("a", "b"), SEEN)


def part(view):
    """Return width and height of the part that `view` shows, as shares of the image's, and if it is mirrored.

    They are told by the slopes in the middle of the view.
    """
    middle, reach = SEEN // 2, 8
    across = (view[0, middle, middle + reach] - view[0, middle, middle]).item() / reach
    down = (view[0, middle + reach, middle] - view[0, middle, middle]).item() / reach
    return abs(across) * SEEN / SIDE, down / 1000 * SEEN / SIDE, across < 0


def scaled(low):
    """Return a fault: parts have at least this share of the area."""
    return lambda real: lambda crop, size: real(crop, size, scale=(low, 1.0))


@statement("derived.imagenet-crops", notes="6 ImageNet")
@fault("parts may have 1 % of the area", transforms.RandomResizedCrop, "__init__", scaled(0.01))
@fault("parts have at least half of the area", transforms.RandomResizedCrop, "__init__", scaled(0.5))
@fault(
    "nothing is mirrored",
    transforms.RandomHorizontalFlip,
    "forward",
    lambda real: lambda flip, image: image,
)
@fault(
    "draws go on from the image before",
    image_data.Views,
    "__getitem__",
    lambda real: lambda views, index: (views.view(views.images[index][0]), views.images[index][1]),
)
@fault("images share a draw", image_data.Views, "__init__", then(lambda views: views.seeds.zero_()))
@fault(
    "epochs share their draws",
    image_data,
    "epoch_generator",
    lambda real: lambda seed, epoch, stream: real(seed, 0, stream=stream),
)
@fault(
    "seeds share their draws",
    image_data,
    "epoch_generator",
    lambda real: lambda seed, epoch, stream: real(0, epoch, stream=stream),
)
class TestCrops:
    """In training, RandomResizedCrop cuts a random part of 8 % to 100 % of the area out of each image, and
    RandomHorizontalFlip mirrors about half of the parts. With a random seed for each image and epoch, the
    part does not depend on which images were read before.
    """

    def test_parts_have_8_to_100_per_cent_of_the_area_and_half_of_them_are_mirrored(self):
        views = crops(ramps(300), seed=0, epoch=0)

        parts = [part(view) for view, _ in map(views.__getitem__, range(300))]

        areas = [width * height for width, height, _ in parts]
        assert 0.078 < min(areas) < 0.12  # parts have whole pixels
        assert 0.9 < max(areas) < 1.001
        assert 120 < sum(mirrored for *_, mirrored in parts) < 180

    def test_seed_epoch_and_image_decide_the_part_and_nothing_else(self):
        data = ramps(5)
        before = torch.get_rng_state()

        forth, back = (
            {index: part(crops(data, seed=0, epoch=0)[index][0]) for index in order}
            for order in (range(5), reversed(range(5)))
        )
        others = [part(crops(data, seed=seed, epoch=epoch)[0][0]) for seed, epoch in ((0, 1), (1, 0))]

        assert forth == back
        assert len({*forth.values(), *others}) == 7
        assert torch.equal(torch.get_rng_state(), before)
