"""blitz/cifar10/augmentation.py: where images move to, which are mirrored, and what decides it."""

import pytest
import torch
from torch.nn.functional import pad

from blitz.cifar10.augmentation import augmented


def make_images(length=200, side=6):
    """Return images whose every pixel has another value."""
    return torch.arange(length * 3 * side * side, dtype=torch.int32).view(length, 3, side, side)


def mirrored(images, epoch, seed=0):
    """Return for each image whether this epoch mirrors it."""
    seen = augmented(images, flip=True, seed=seed, epoch=epoch)
    return [torch.equal(image, given.flip(2)) for image, given in zip(seen.cpu(), images.cpu(), strict=True)]


def test_images_are_left_alone_where_nothing_is_asked_for():
    """Without a shift and a flip the very tensor comes back."""
    images = make_images(2)

    assert augmented(images, seed=0, epoch=3) is images


def test_a_random_half_is_mirrored_and_the_others_are_not(device):
    """About half of 200 images are mirrored from left to right, and the rest is as given."""
    images = make_images().to(device)

    seen = augmented(images, flip=True, seed=0, epoch=0)

    as_given = [torch.equal(*pair) for pair in zip(seen.cpu(), images.cpu(), strict=True)]
    assert [not one for one in as_given] == mirrored(images, 0)
    assert 70 < sum(as_given) < 130


def test_what_one_epoch_mirrors_the_next_does_not():
    """Two epochs in a row see each image both ways, and every other epoch the same way."""
    images = make_images()

    assert mirrored(images, 1) == [not one for one in mirrored(images, 0)]
    assert mirrored(images, 4) == mirrored(images, 0)


def test_another_seed_mirrors_others():
    """Which half it is comes from the seed."""
    images = make_images()

    assert mirrored(images, 0, seed=1) != mirrored(images, 0, seed=0)


@pytest.mark.parametrize("shift", [1, 2])
def test_an_image_moves_by_every_number_of_pixels_up_to_the_shift(shift, device):
    """Each is a window of itself with a mirrored border, and all (2 shift + 1)² windows come up."""
    images = make_images()
    padded = pad(images.double(), (shift,) * 4, mode="reflect").to(images.dtype)

    seen = augmented(images.to(device), shift=shift, seed=0, epoch=0).cpu()

    places = set()
    for image, wide in zip(seen, padded, strict=True):
        windows = wide.unfold(1, 6, 1).unfold(2, 6, 1)  # (3, 2 shift + 1, 2 shift + 1, 6, 6)
        same = (windows == image[:, None, None]).all(-1).all(-1).all(0)
        assert same.sum() == 1
        places.add(tuple(same.nonzero()[0].tolist()))
    assert len(places) == (2 * shift + 1) ** 2


def test_an_image_of_two_sides_moves_along_both():
    """Height and width need not be the same."""
    images = torch.arange(2 * 3 * 4 * 6).view(2, 3, 4, 6)

    assert augmented(images, shift=1, flip=True, seed=0, epoch=0).shape == images.shape


def test_epochs_move_images_otherwise_and_the_same_epoch_the_same_way():
    """What an epoch sees depends on seed and epoch alone, so that a resumed one sees it again."""
    images = make_images()
    torch.manual_seed(1)
    first = augmented(images, shift=2, seed=0, epoch=0)
    torch.manual_seed(2)

    assert torch.equal(augmented(images, shift=2, seed=0, epoch=0), first)
    assert not torch.equal(augmented(images, shift=2, seed=0, epoch=1), first)
    assert not torch.equal(augmented(images, shift=2, seed=1, epoch=0), first)


def test_augmented_images_lie_in_channels_last_and_the_given_ones_stay():
    """The colours of a pixel lie side by side, and nothing is changed in place."""
    images = make_images(4)
    before = images.clone()

    seen = augmented(images, shift=1, flip=True, seed=0, epoch=0)

    assert seen.is_contiguous(memory_format=torch.channels_last)
    assert seen.dtype == images.dtype
    assert torch.equal(images, before)
