"""What a training sees of its images: each moved by a few pixels and mirrored, otherwise in each epoch."""

import numpy as np
import torch
from torch import Tensor

from blitz.randomness import epoch_generator


def augmented(images: Tensor, *, shift: int = 0, flip: bool = False, seed: int, epoch: int) -> Tensor:
    """Return the images as this epoch sees them, by seed and epoch alone.

    With `flip` a random half is mirrored in epoch 0, and the other half in the next, in turn: two epochs see
    each image both ways, where independent draws would show half of them the same way twice (alternating
    flips, arXiv 2404.00498).

    Args:
        images: (N, 3, H, W), of any type, on any device; both sides longer than `shift`.
        shift: how many pixels an image moves at most, up or down, and to either side; what comes in at the
            border is the image, mirrored there.
        flip: whether images are mirrored from left to right.
        seed: decides the draws, together with the epoch.
        epoch: counted from 0.

    Returns:
        A tensor of the same shape, type and device, in channels_last where anything was done to it.

    >>> images = torch.arange(4).expand(1, 3, 4, 4)
    >>> first, second = (augmented(images, flip=True, seed=0, epoch=epoch) for epoch in (0, 1))
    >>> sorted([first[0, 0, 0].tolist(), second[0, 0, 0].tolist()])
    [[0, 1, 2, 3], [3, 2, 1, 0]]
    """
    if not (shift or flip):
        return images
    pixels = images.permute(0, 2, 3, 1)  # (N, H, W, 3): what one image moves lies side by side
    height, width = images.shape[2:]
    if flip:
        first = torch.rand(len(images), generator=epoch_generator(seed, 0, stream=1)) < 0.5
        mirrored = (first ^ (epoch % 2 == 1)).to(images.device)
        pixels = torch.where(mirrored[:, None, None, None], pixels.flip(2), pixels)
    if shift:
        rows, columns = (
            torch.from_numpy(np.pad(np.arange(size), shift, mode="reflect")).to(images.device)
            for size in (height, width)
        )
        padded = pixels[:, rows][:, :, columns]  # (N, H + 2 shift, W + 2 shift, 3)
        windows = padded.unfold(1, height, 1).unfold(2, width, 1).permute(0, 1, 2, 4, 5, 3)  # a view
        draw = torch.randint(
            0, 2 * shift + 1, (2, len(images)), generator=epoch_generator(seed, epoch, stream=2)
        )
        down, right = draw.to(images.device)
        pixels = windows[torch.arange(len(images), device=images.device), down, right]
    return pixels.permute(0, 3, 1, 2)
