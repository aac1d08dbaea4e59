"""Pictures of any size and format, as a net for CIFAR-10 sees them."""

import os
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from blitz.errors import DataError, why


def read_photo(path: str | Path) -> Tensor:
    """Return the square in the middle of an image, scaled to uint8 (3, 32, 32).

    It is turned as its EXIF data says. What is transparent becomes white, 16 bits become 8, and of an
    animation the first frame counts.

    Raises:
        DataError: there is no such file, or it is no image that Pillow can decode.
    """
    try:
        with Image.open(path) as file:
            image = _rgb(ImageOps.exif_transpose(file))
    except IsADirectoryError:
        raise DataError(f"expected images in the folder {path}, found none") from None
    except Exception as error:  # what Pillow raises depends on the format and on the damage
        raise DataError(f"cannot read {path}: {why(error)}") from error
    # as torchvision's Resize and CenterCrop: averaged over all pixels, not picked
    image = ImageOps.fit(image, (32, 32), Image.Resampling.BILINEAR)
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def images_in(path: Path) -> list[Path]:
    """Return the images in a folder, by name and without the hidden ones; of any other path, itself."""
    if not path.is_dir():
        return [path]
    known = Image.registered_extensions()
    names = sorted(name for name in os.listdir(path) if not name.startswith("."))
    return [path / name for name in names if Path(name).suffix.lower() in known] or [path]


def _rgb(image: Image.Image) -> Image.Image:
    """Return what one sees of an image on white; Pillow's own conversion would clip more than 8 bits."""
    if image.mode.startswith(("I", "F")):
        pixels = np.asarray(image)
        if image.mode == "F" or pixels.max() > 65535 or pixels.min() < 0:
            raise ValueError("nothing says which of its values is white")
        image = Image.fromarray((pixels >> 8).astype(np.uint8))
    if not image.has_transparency_data:
        return image.convert("RGB")
    image = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
