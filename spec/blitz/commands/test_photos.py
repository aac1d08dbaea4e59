"""blitz/commands/photos.py: pictures of any size and format, as a net for CIFAR-10 sees them."""

import numpy as np
import pytest
from PIL import Image
from torchvision.transforms import v2

from blitz.commands.photos import images_in, read_photo
from blitz.errors import DataError

RED, WHITE, GREY = [255, 0, 0], [255, 255, 255], [128, 128, 128]


def noise(*shape, seed=0):
    """Return random bytes."""
    return np.random.RandomState(seed).randint(0, 256, shape, dtype=np.uint8)


def colours(image):
    """Return the colours of the four corners, from the upper left one along the rows."""
    return [image[:, y, x].tolist() for y in (0, -1) for x in (0, -1)]


@pytest.mark.parametrize("size", [(60, 90), (7, 5)], ids=["larger", "smaller"])
def test_middle_square_is_scaled_as_torchvision_does(tmp_path, size):
    """The other order, scaling before cutting, gives the same up to rounding and half a pixel's place."""
    smooth = Image.fromarray(noise(4, 4, 3)).resize(size, Image.Resampling.BICUBIC)
    smooth.save(tmp_path / "photo.png")

    image = read_photo(tmp_path / "photo.png")

    expected = v2.Compose([v2.Resize(32), v2.CenterCrop(32), v2.PILToTensor()])(smooth)
    assert (image.float() - expected.float()).abs().mean() < 4


def paint(mode, colour):
    """Return an image of one colour."""
    return Image.new(mode, (50, 40), colour)


def transparent_palette():
    """Return an image of a palette's red, which stands for nothing."""
    image = paint("P", 1)
    image.putpalette([0, 0, 0, *RED])
    image.info["transparency"] = 1
    return image


PAINTED = {
    "RGB": (paint("RGB", (255, 0, 0)), "png", RED),
    "transparent": (paint("RGBA", (255, 0, 0, 0)), "png", WHITE),
    "half transparent": (paint("RGBA", (0, 0, 0, 127)), "png", GREY),
    "transparent palette": (transparent_palette(), "png", WHITE),
    "grey": (paint("L", 128), "png", GREY),
    "black and white": (paint("1", 1), "png", WHITE),
    "16 bits": (Image.fromarray(np.full((40, 50), 128 << 8, np.uint16)), "png", GREY),
    "CMYK": (paint("CMYK", (0, 255, 255, 0)), "tiff", RED),
}


@pytest.mark.parametrize(("picture", "suffix", "colour"), PAINTED.values(), ids=PAINTED)
def test_colours_are_those_that_one_sees_on_white(tmp_path, picture, suffix, colour):
    """Whatever the image's mode."""
    picture.save(tmp_path / f"photo.{suffix}")

    assert colours(read_photo(tmp_path / f"photo.{suffix}")) == [colour] * 4


def test_photo_is_turned_as_its_camera_says(tmp_path):
    """Orientation 6: the sensor's left side is up."""
    pixels = np.zeros((32, 32, 3), np.uint8)
    pixels[:, :16] = 255
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels).save(tmp_path / "photo.png", exif=exif)

    assert colours(read_photo(tmp_path / "photo.png")) == [WHITE, WHITE, [0, 0, 0], [0, 0, 0]]


def write_cut(path):
    """Write the first half of a JPEG."""
    Image.fromarray(noise(64, 64, 3)).save(path, "jpeg")
    path.write_bytes(path.read_bytes()[:1000])


UNREADABLE = {
    "empty folder": (lambda path: path.mkdir(), "^expected images in the folder {path}, found none$"),
    "half an image": (write_cut, "^cannot read {path}: .*truncated"),
    "floats": (lambda path: paint("F", 0.5).save(path, "tiff"), "nothing says which of its values is white"),
    "32 bits": (lambda path: paint("I", 1 << 20).save(path, "tiff"), "nothing says which of its values is"),
}


@pytest.mark.parametrize(("write", "message"), UNREADABLE.values(), ids=UNREADABLE)
def test_what_is_no_image_is_a_sentence(tmp_path, write, message):
    """It names the file."""
    path = tmp_path / "photo"
    write(path)

    with pytest.raises(DataError, match=message.format(path=path)):
        read_photo(path)


def test_folder_stands_for_its_images(tmp_path):
    """By name, without what is hidden and what has no image's suffix; a file stands for itself."""
    for name in ("b.JPG", "a.png", "._a.png", "notes.txt"):
        (tmp_path / name).touch()

    assert images_in(tmp_path) == [tmp_path / "a.png", tmp_path / "b.JPG"]
    assert images_in(tmp_path / "notes.txt") == [tmp_path / "notes.txt"]
