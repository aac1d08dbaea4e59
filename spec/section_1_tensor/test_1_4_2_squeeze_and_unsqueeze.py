"""Section 1.4 (2) and (3) of the notes: squeeze and unsqueeze, which take out and put in axes of size 1."""

from math import prod

import numpy as np
import pytest
import torch
from torch import Tensor

from spec.harness import fault, since, statement

SQUEEZED = {  # a shape, the axes that squeeze() is given, and the shape that it leaves
    "all axes of size 1": ((2, 1, 3, 1), (), (2, 3)),
    "none of size 0": ((0, 1, 2), (), (0, 2)),
    "the batch axis of a single image": ((1, 3, 32, 32), (), (3, 32, 32)),
    "one axis alone": ((3, 1), (1,), (3,)),
    "one axis from the end": ((2, 1, 3, 1), (-1,), (2, 1, 3)),
    "no axis of another size": ((2, 1, 3), (0,), (2, 1, 3)),
    "two axes": pytest.param((2, 1, 1, 3, 1), ((1, 2),), (2, 3, 1), marks=since("2.0")),
}
PLACES = {  # what stands for unsqueeze(dim) in an index
    "at the front": (0, lambda x: x[None]),
    "in the middle": (1, lambda x: x[:, None]),
    "at the end, counted from there": (-1, lambda x: x[..., None]),
}


def only_the_first(real):
    """Take out the first axis of size 1 only."""
    return lambda x, *dims: real(x, *(dims or [axis for axis, size in enumerate(x.shape) if size == 1][:1]))


def within_three_axes(real):
    """Take an axis that there is not for the last one or the first one of three."""
    return lambda x, dim: real(x, max(-3, min(dim, 2)))


@statement("tensor.squeeze", notes="1.4 (2)")
@fault("squeeze takes only the first axis", Tensor, "squeeze", only_the_first)
@fault("squeeze takes axes that were not named", Tensor, "squeeze", lambda real: lambda x, *dims: real(x))
@fault("squeeze copies", Tensor, "squeeze", lambda real: lambda x, *dims: real(x, *dims).clone())
class TestSqueeze:
    """`squeeze()` removes all axes of size 1, even the batch axis of a batch of one image. `squeeze(dim)`
    removes only the axis `dim`, if its size is 1. The result is a view of the same memory.
    """

    @pytest.mark.parametrize(("shape", "dims", "squeezed"), SQUEEZED.values(), ids=SQUEEZED)
    def test_axes_of_size_one_go_and_the_elements_stay(self, shape, dims, squeezed, device):
        x = torch.arange(prod(shape), device=device).reshape(shape)

        found = x.squeeze(*dims)

        assert found.shape == squeezed
        assert found.data_ptr() == x.data_ptr()
        assert found.flatten().tolist() == list(range(prod(shape)))


@statement("tensor.unsqueeze", notes="1.4 (3)")
@fault("unsqueeze always adds the first axis", Tensor, "unsqueeze", lambda real: lambda x, dim: real(x, 0))
@fault("unsqueeze copies", Tensor, "unsqueeze", lambda real: lambda x, dim: real(x.contiguous(), dim))
@fault("unsqueeze takes any place", Tensor, "unsqueeze", within_three_axes)
class TestUnsqueeze:
    """`unsqueeze(dim)` inserts an axis of size 1, which becomes axis `dim` of the result. The result is a
    view of the same memory, just like the result of indexing with `None`.
    """

    @pytest.mark.parametrize(("dim", "indexed"), PLACES.values(), ids=PLACES)
    def test_axis_of_size_one_is_put_in(self, dim, indexed, device):
        x = torch.arange(6, device=device).reshape(3, 2).T

        found = x.unsqueeze(dim)

        assert found.tolist() == indexed(x).tolist() == np.expand_dims(x.cpu().numpy(), dim).tolist()
        assert found.data_ptr() == x.data_ptr()

    def test_place_has_to_be_named_and_to_be_there(self, device):
        x = torch.zeros(2, 3, device=device)

        assert x[0, 0].unsqueeze(0).shape == (1,)
        with pytest.raises(TypeError):
            x.unsqueeze()
        for dim in (3, -4):
            with pytest.raises(IndexError, match=r"expected to be in range of \[-3, 2\]"):
                x.unsqueeze(dim)
