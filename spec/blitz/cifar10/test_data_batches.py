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


class TestNormalize:
    """uint8 images to float32 in [-1, 1]."""

    def test_all_256_values_are_bitwise_those_of_torchvision(self):
        """Every value of a pixel becomes the float that ToTensor and Normalize give, to the last bit."""
        values = torch.arange(3 * 1024).remainder(256).to(torch.uint8).view(3, 32, 32)
        transform = Compose([ToTensor(), Normalize((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))])

        expected = transform(Image.fromarray(values.permute(1, 2, 0).numpy()))

        assert torch.equal(normalize(values), expected)
        assert torch.equal(normalize(values[None])[0], expected)

    def test_images_themselves_stay_as_they_are(self, split):
        """The arithmetic in place is on a copy."""
        before = split.images.clone()

        normalize(split.images)

        assert torch.equal(split.images, before)

    def test_float_images_are_refused(self):
        """Images that are floats already are not scaled a second time."""
        with pytest.raises(
            ValueError, match=r"expected images uint8 \(\.\.\., 3, 32, 32\), got torch.float32"
        ):
            normalize(torch.zeros(3, 32, 32))

    def test_another_shape_is_refused(self):
        """Channel-last images, as PIL and Matplotlib have them, are refused."""
        with pytest.raises(ValueError, match=r"got torch.uint8 \(32, 32, 3\)"):
            normalize(torch.zeros(32, 32, 3, dtype=torch.uint8))


class TestBatches:
    """Batches by index."""

    def test_batches_come_in_the_order_given(self, split):
        """The indices say which images make each batch, and how often."""
        order = torch.tensor([3, 1, 1, 9])

        labels = [labels.tolist() for _, labels in batches(split, 2, order=order)]

        assert labels == [[3, 1], [1, 9]]

    def test_inputs_belong_to_their_labels(self, split):
        """Image and label of an index come together."""
        (inputs, _), *_ = batches(split, 4, order=torch.tensor([7, 2, 5, 0]))

        assert torch.equal(inputs, normalize(split.images)[[7, 2, 5, 0]])

    def test_default_order_is_as_they_stand(self, split):
        """Without an order every image comes once, in its place."""
        labels = [label for _, labels in batches(split, 3) for label in labels.tolist()]

        assert labels == list(range(10))

    def test_last_batch_is_smaller_when_sizes_do_not_divide(self, split):
        """Ten images in batches of four are 4, 4 and 2."""
        assert [len(inputs) for inputs, _ in batches(split, 4)] == [4, 4, 2]
        assert [len(inputs) for inputs, _ in batches(split, 1)] == [1] * 10

    def test_empty_order_gives_no_batch(self, split):
        """No index, no batch: not one of size zero, whose mean loss would be nan."""
        order = torch.empty(0, dtype=torch.int64)

        assert list(batches(split, 4, order=order)) == []

    def test_device_receives_the_batches(self, split):
        """Inputs and labels are on the device asked for."""
        inputs, labels = next(batches(split, 4, device="meta", order=torch.arange(8)))

        assert inputs.device.type == labels.device.type == "meta"

    def test_images_stay_where_they_are_by_default(self, split):
        """Without a device the labels come to where the images are."""
        inputs, labels = next(batches(Split(split.images.to("meta"), split.labels), 4))

        assert inputs.device.type == labels.device.type == "meta"

    def test_batch_size_of_zero_is_refused_at_once(self, split):
        """The error comes with the call, not with the first batch."""
        with pytest.raises(ValueError, match=r"expected a batch size of at least 1, got 0"):
            batches(split, 0)

    def test_missing_labels_are_refused(self, split):
        """Ten images with nine labels are no split."""
        with pytest.raises(ValueError, match=r"expected one label per image, got 10 and 9"):
            batches(Split(split.images, split.labels[:9]), 4)


class TestLoader:
    """The tutorial's way: a DataLoader over PIL images."""

    def test_loader_gives_exactly_what_batches_gives(self, split):
        """Two worker processes, PIL and torchvision's transforms give the same bits, in the same batches."""
        ours = list(batches(split, 4))
        theirs = list(loader(split, shuffle=False))

        assert len(ours) == len(theirs)
        for (inputs, labels), (expected_inputs, expected_labels) in zip(ours, theirs, strict=True):
            assert torch.equal(inputs, expected_inputs)
            assert torch.equal(labels, expected_labels)

    def test_defaults_are_those_of_the_tutorial(self, split):
        """Batches of four, shuffled, by two workers."""
        trainloader = loader(split)

        assert trainloader.batch_size == 4
        assert trainloader.num_workers == 2
        assert isinstance(trainloader.sampler, torch.utils.data.RandomSampler)

    def test_shuffling_gives_every_image_once(self, split):
        """A shuffled epoch has every image once, in an order of its own."""
        torch.manual_seed(0)

        labels = torch.cat([labels for _, labels in loader(split, num_workers=0)]).tolist()

        assert labels != list(range(10))
        assert sorted(labels) == list(range(10))

    def test_transform_receives_the_pil_image(self, split):
        """Any transform of a PIL image can stand in for the tutorial's."""
        images = Images(split, transform=lambda image: (image.mode, image.size))

        assert images[3] == (("RGB", (32, 32)), 3)

    def test_loader_takes_any_transform(self, split):
        """What the transform makes of each image is what the batches hold."""
        top_left = loader(split, shuffle=False, num_workers=0, transform=lambda image: image.getpixel((0, 0)))

        (red, green, blue), _ = next(iter(top_left))

        assert torch.equal(torch.stack([red, green, blue], dim=1), split.images[:4, :, 0, 0].long())
