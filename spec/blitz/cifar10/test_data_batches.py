"""blitz.cifar10.data: normalised batches by index, and the tutorial's way through a DataLoader."""

import pytest
import torch
from PIL import Image
from torchvision.transforms import Compose, Normalize, ToTensor

from blitz.cifar10.data import Images, Split, batches, loader, normalize
from spec.blitz.data_folders import pixels


@pytest.fixture
def split():
    """Ten images of noise, labelled 0 to 9."""
    return Split(torch.from_numpy(pixels(count=10, seed=0)), torch.arange(10))


REFUSED = {
    "floats, which may be scaled already": (torch.zeros(3, 32, 32), r"torch\.float32 \(3, 32, 32\)"),
    "channels last": (torch.zeros(32, 32, 3, dtype=torch.uint8), r"torch\.uint8 \(32, 32, 3\)"),
}


class TestNormalize:
    """uint8 images to float32 in [-1, 1]."""

    def test_all_256_values_are_bitwise_those_of_torchvision(self):
        """Every value of a pixel becomes the float that ToTensor and Normalize give, to the last bit."""
        values = torch.arange(3 * 1024).remainder(256).to(torch.uint8).view(3, 32, 32)
        before = values.clone()
        transform = Compose([ToTensor(), Normalize((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))])

        expected = transform(Image.fromarray(values.permute(1, 2, 0).numpy()))

        assert torch.equal(normalize(values), expected)
        assert torch.equal(normalize(values[None])[0], expected)
        assert torch.equal(values, before)

    @pytest.mark.parametrize(("images", "got"), REFUSED.values(), ids=REFUSED)
    def test_images_of_another_type_or_shape_are_refused(self, images, got):
        """Such as PIL and Matplotlib have them."""
        with pytest.raises(ValueError, match=rf"^expected images uint8 \(\.\.\., 3, 32, 32\), got {got}$"):
            normalize(images)


class TestBatches:
    """Batches by index."""

    @pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
    def test_batches_come_in_the_order_given_and_lie_as_the_images_do(self, split, layout):
        """The indices say which images make each batch, and how often; each comes with its label."""
        images = split.images.to(memory_format=layout)
        order = torch.tensor([3, 1, 1, 9, 0])

        given = list(batches(Split(images, split.labels), 2, order=order))

        assert [labels.tolist() for _, labels in given] == [[3, 1], [1, 9], [0]]
        assert torch.equal(torch.cat([inputs for inputs, _ in given]), normalize(split.images)[order])
        assert given[0][0].is_contiguous(memory_format=layout)

    def test_every_other_image_lies_as_a_net_expects_it(self, split):
        """Images of which others were left out are no channels_last images."""
        some = Split(split.images[::2], split.labels[::2])

        inputs, labels = next(batches(some, 5))

        assert torch.equal(inputs, normalize(split.images)[::2])
        assert labels.tolist() == [0, 2, 4, 6, 8]
        assert inputs.is_contiguous()

    def test_empty_order_gives_no_batch(self, split):
        """No index, no batch: not one of size zero, whose mean loss would be nan."""
        assert list(batches(split, 4, order=torch.empty(0, dtype=torch.int64))) == []

    @pytest.mark.parametrize(("images", "asked"), [("cpu", "meta"), ("meta", None)])
    def test_device_receives_the_batches(self, split, images, asked):
        """Inputs and labels are on the device asked for, by default on that of the images."""
        inputs, labels = next(batches(Split(split.images.to(images), split.labels), 4, device=asked))

        assert inputs.device.type == labels.device.type == "meta"

    @pytest.mark.parametrize(
        ("size", "labels", "sentence"),
        [(0, 10, "expected a batch size of at least 1, got 0"), (4, 9, "one label per image, got 10 and 9")],
    )
    def test_what_makes_no_batches_is_refused(self, split, size, labels, sentence):
        """A batch size of zero, and ten images with nine labels."""
        with pytest.raises(ValueError, match=sentence):
            next(batches(Split(split.images, split.labels[:labels]), size))


class TestLoader:
    """The tutorial's way: a DataLoader over PIL images."""

    def test_loader_gives_exactly_what_batches_gives(self, split):
        """Two worker processes, PIL and torchvision's transforms give the same bits, in the same batches.

        Every image comes once, in its place, and the last batch is smaller.
        """
        trainloader = loader(split, shuffle=False)

        for (inputs, labels), (expected, numbers) in zip(trainloader, batches(split, 4), strict=True):
            assert torch.equal(inputs, expected)
            assert torch.equal(labels, numbers)

    def test_defaults_are_those_of_the_tutorial(self, split):
        """Batches of four, shuffled, by two workers."""
        trainloader = loader(split)

        assert (trainloader.batch_size, trainloader.num_workers) == (4, 2)
        assert isinstance(trainloader.sampler, torch.utils.data.RandomSampler)

    def test_transform_receives_the_pil_image(self, split):
        """Any transform of a PIL image can stand in for the tutorial's."""
        top_left = loader(split, shuffle=False, num_workers=0, transform=lambda image: image.getpixel((0, 0)))

        (red, green, blue), _ = next(iter(top_left))

        assert torch.equal(torch.stack([red, green, blue], dim=1), split.images[:4, :, 0, 0].long())
        assert Images(split, lambda image: (image.mode, image.size))[3] == (("RGB", (32, 32)), 3)
