"""blitz.cifar10.augmentation: where images move to, which are mirrored, and what decides it."""

import pytest
import torch
from torch.nn.functional import pad

from blitz.cifar10.augmentation import augmented


@pytest.fixture
def images():
    """200 images, longer than high, whose every pixel has another value."""
    return torch.arange(200 * 3 * 5 * 6, dtype=torch.int32).view(200, 3, 5, 6)


def mirrored(images, epoch, *, seed=0):
    """Return for each image whether this epoch mirrors it, and check that it is left as given otherwise."""
    seen = augmented(images, flip=True, seed=seed, epoch=epoch).cpu()
    flips = [torch.equal(image, given.flip(2)) for image, given in zip(seen, images.cpu(), strict=True)]
    kept = [torch.equal(image, given) for image, given in zip(seen, images.cpu(), strict=True)]
    assert [not flip for flip in flips] == kept
    return flips


def test_images_are_left_alone_where_nothing_is_asked_for(images):
    """Without a shift and a flip the very tensor comes back."""
    assert augmented(images, seed=0, epoch=3) is images


def test_a_random_half_is_mirrored_and_the_next_epoch_mirrors_the_other(images, device):
    """Two epochs in a row see each image both ways; which half it is comes from the seed."""
    first = mirrored(images.to(device), 0)

    assert 70 < sum(first) < 130
    assert mirrored(images.to(device), 1) == [not one for one in first]
    assert mirrored(images.to(device), 4) == first
    assert mirrored(images.to(device), 0, seed=1) != first


@pytest.mark.parametrize("shift", [1, 2])
def test_an_image_moves_by_every_number_of_pixels_up_to_the_shift(images, shift, device):
    """Each is a window of itself with a mirrored border, and all (2 shift + 1)² windows come up."""
    padded = pad(images.double(), (shift,) * 4, mode="reflect").to(images.dtype)
    windows = padded.unfold(2, 5, 1).unfold(3, 6, 1)  # (N, 3, 2 shift + 1, 2 shift + 1, 5, 6)

    seen = augmented(images.to(device), shift=shift, seed=0, epoch=0).cpu()

    same = (windows == seen[:, :, None, None]).all(-1).all(-1).all(1)
    assert same.sum((1, 2)).tolist() == [1] * 200
    assert same.any(0).all()


def test_what_an_epoch_sees_depends_on_seed_and_epoch_alone(images):
    """A resumed epoch sees it again, another sees something else."""
    torch.manual_seed(1)
    first = augmented(images, shift=2, seed=0, epoch=0)
    torch.manual_seed(2)

    assert torch.equal(augmented(images, shift=2, seed=0, epoch=0), first)
    assert not torch.equal(augmented(images, shift=2, seed=0, epoch=1), first)
    assert not torch.equal(augmented(images, shift=2, seed=1, epoch=0), first)


def test_augmented_images_lie_in_channels_last_and_the_given_ones_stay(images):
    """The colours of a pixel lie side by side, and nothing is changed in place."""
    before = images.clone()

    seen = augmented(images, shift=1, flip=True, seed=0, epoch=0)

    assert seen.is_contiguous(memory_format=torch.channels_last)
    assert (seen.shape, seen.dtype) == (images.shape, images.dtype)
    assert torch.equal(images, before)
