"""Section 1.4 of the notes, "resize": squeeze and unsqueeze, which take out and put in axes of size 1."""

from math import prod

import numpy as np
import pytest
import torch

from spec.harness import broken_by, claim

SQUEEZED = {(2, 1, 3, 1): (2, 3), (1, 1): (), (0, 1, 2): (0, 2), (2, 3): (2, 3), (): ()}


def shape_without(x, dims):
    """Return the shape that squeeze(dims) leaves; None where it takes one axis only, before PyTorch 2.0."""
    try:
        return x.squeeze(dims).shape
    except TypeError:
        return None


# Faults: other ways to take an axis out or put one in


def taking_one(position):
    """Return a fault of squeeze(): of the axes of size 1 only the first goes (0), or the last (-1)."""

    def replace(real):
        def squeeze(x, *dims):
            ones = [axis for axis in range(x.dim()) if x.shape[axis] == 1]
            return real(x, ones[position]) if ones else x

        return squeeze

    return replace


def every_axis(real):
    """Take out all axes of size 1, whichever was asked for."""
    return lambda x, *dims: real(x)


def from_the_front(real):
    """Count from the front what is to be counted from the end."""
    return lambda x, dim: real(x, abs(dim))


def up_to_the_last(real):
    """Take an axis behind the last one for the last one."""
    return lambda x, dim: real(x, min(dim, 2))


def from_the_first_on(real):
    """Take an axis before the first one for the first one."""
    return lambda x, dim: real(x, max(dim, -3))


class TestSqueeze:
    """(2) squeeze()."""

    @claim("tensor.squeeze", notes="1.4 (2)")
    @broken_by(torch.Tensor, "squeeze", taking_one(0))
    @broken_by(torch.Tensor, "squeeze", taking_one(-1))
    @broken_by(torch.Tensor, "squeeze", lambda real: lambda x: real(x).flip(-1) if x.dim() > 2 else real(x))
    @broken_by(torch.Tensor, "squeeze", lambda real: lambda x: real(x) if x.numel() > 1 else x)
    def test_squeeze_takes_out_all_axes_of_size_one(self, device):
        """squeeze() takes out all axes of size 1, be it every axis, and none of another size, 0 included."""
        for shape, squeezed in SQUEEZED.items():
            x = torch.arange(prod(shape), device=device).reshape(shape)

            assert x.squeeze().shape == squeezed
            assert x.squeeze().tolist() == x.cpu().numpy().squeeze().tolist()

    @claim("tensor.squeeze-axis", notes="1.4 (2)")
    @broken_by(torch.Tensor, "squeeze", every_axis)
    @broken_by(torch.Tensor, "squeeze", from_the_front)
    @broken_by(torch.Tensor, "squeeze", lambda real: lambda x, dim: x.select(dim, 0))
    def test_squeeze_of_one_axis_leaves_the_others(self, device):
        """squeeze(dim) takes out this axis alone, counted from either end, and only if its size is 1."""
        x = torch.zeros(2, 1, 3, 1, device=device)

        assert x.squeeze(1).shape == (2, 3, 1)
        assert x.squeeze(-1).shape == (2, 1, 3)
        assert x.squeeze(0).shape == (2, 1, 3, 1)

    @claim("tensor.squeeze-axes", notes="1.4 (2)", since="2.0")
    @broken_by(torch.Tensor, "squeeze", every_axis)
    @broken_by(torch.Tensor, "squeeze", lambda real: lambda x, dims: real(x, dims[0]))
    @broken_by(torch.Tensor, "squeeze", lambda real: lambda x, dims: real(real(x, dims[0]), dims[1]))
    def test_squeeze_of_several_axes_counts_them_before_any_is_gone(self, device):
        """squeeze((1, 2)) takes out the axes 1 and 2 of the tensor as it was, again only those of size 1."""
        x = torch.zeros(2, 1, 1, 3, 1, device=device)

        assert shape_without(x, (1, 2)) == (2, 3, 1)
        assert shape_without(x, (0, 1)) == (2, 1, 3, 1)

    @claim("tensor.squeeze-view", notes="1.4 (2)")
    @broken_by(torch.Tensor, "squeeze", lambda real: lambda x, *dims: real(x, *dims).clone())
    @broken_by(torch.Tensor, "squeeze", lambda real: lambda x, *dims: x.clone() if dims else real(x))
    @broken_by(
        torch.Tensor,
        "squeeze",
        lambda real: lambda x, *dims: x.view(3).clone() if 1 in dims else real(x, *dims),
    )
    def test_squeezed_tensor_is_a_view(self, device):
        """What squeeze() gives is a view: a value written there is in the tensor, also if no axis went."""
        x = torch.zeros(3, 1, device=device)

        x.squeeze()[1] = 7
        x.squeeze(1)[2] = 9
        x.squeeze(0)[0] = 5

        assert x.tolist() == [[5], [7], [9]]

    @claim("tensor.squeeze-batch-of-one", notes="1.4 (2)")
    @broken_by(torch.Tensor, "squeeze", lambda real: lambda x, *dims: real(x, *(dims or range(1, x.dim()))))
    @broken_by(torch.Tensor, "squeeze", every_axis)
    def test_batch_of_one_loses_its_batch_axis(self, device):
        """squeeze() takes the batch axis of a single image, too; squeeze(dim) for what is meant leaves it."""
        scores = {n: torch.zeros(n, 16, 1, device=device) for n in (4, 1)}

        assert torch.zeros(1, 3, 32, 32, device=device).squeeze().shape == (3, 32, 32)
        assert [tuple(batch.squeeze().shape) for batch in scores.values()] == [(4, 16), (16,)]
        assert [tuple(batch.squeeze(2).shape) for batch in scores.values()] == [(4, 16), (1, 16)]

    @claim("tensor.squeeze-refused", notes="1.4 (2)")
    @broken_by(torch.Tensor, "squeeze", up_to_the_last)
    @broken_by(torch.Tensor, "squeeze", from_the_first_on)
    @broken_by(torch.Tensor, "squeeze", lambda real: lambda x, dim: real(x, dim % x.dim()))
    def test_axis_that_there_is_not_is_refused(self):
        """Of three axes, squeeze(dim) takes dim from -3 to 2; another one is an IndexError, as in NumPy."""
        x = torch.zeros(1, 1, 1)

        for dim in (3, -4):
            with pytest.raises(IndexError, match=r"expected to be in range of \[-3, 2\]"):
                x.squeeze(dim)
            with pytest.raises(IndexError):
                x.numpy().squeeze(dim)


class TestUnsqueeze:
    """(3) unsqueeze()."""

    @claim("tensor.unsqueeze", notes="1.4 (3)")
    @broken_by(torch.Tensor, "unsqueeze", lambda real: lambda x, dim: real(x, 0))
    @broken_by(torch.Tensor, "unsqueeze", lambda real: lambda x, dim: real(x, dim % 2 if dim < 0 else dim))
    @broken_by(torch.Tensor, "unsqueeze", lambda real: lambda x, dim: real(x, dim)[None])
    @broken_by(torch.Tensor, "unsqueeze", lambda real: lambda x, dim: real(x.flip(0), dim))
    def test_unsqueeze_puts_in_an_axis_of_size_one(self, device):
        """unsqueeze(dim) puts in one axis of size 1, which is axis dim of the result, from either end."""
        x = torch.arange(6, device=device).reshape(2, 3)

        for dim, shape in {0: (1, 2, 3), 1: (2, 1, 3), 2: (2, 3, 1)}.items():
            assert x.unsqueeze(dim).shape == x.unsqueeze(dim - 3).shape == shape
            assert x.unsqueeze(dim).tolist() == np.expand_dims(x.cpu().numpy(), dim).tolist()

    @claim("tensor.unsqueeze-none", notes="1.4 (3)")
    @broken_by(torch.Tensor, "unsqueeze", lambda real: lambda x, dim: real(x, 0))
    @broken_by(torch.Tensor, "unsqueeze", lambda real: lambda x, dim: real(x, dim).clone())
    @broken_by(torch.Tensor, "__getitem__", lambda real: lambda x, index: real(x, index).mT)
    def test_none_in_an_index_does_the_same(self, device):
        """x[None], x[:, None] and x[..., None] are unsqueeze(0), (1) and (-1): same axes, same memory."""
        x = torch.arange(6, device=device).reshape(2, 3)

        for dim, indexed in {0: x[None], 1: x[:, None], -1: x[..., None]}.items():
            assert x.unsqueeze(dim).tolist() == indexed.tolist()
            assert x.unsqueeze(dim).data_ptr() == indexed.data_ptr()

    @claim("tensor.unsqueeze-view", notes="1.4 (3)")
    @broken_by(torch.Tensor, "unsqueeze", lambda real: lambda x, dim: real(x, dim).clone())
    @broken_by(torch.Tensor, "unsqueeze", lambda real: lambda x, dim: real(x.contiguous(), dim))
    def test_unsqueezed_tensor_is_a_view(self, device):
        """What unsqueeze() gives is a view, of a transposed tensor, too: writing there changes the tensor."""
        x = torch.zeros(2, 3, device=device)

        x.unsqueeze(1)[0, 0, 2] = 5
        x.t().unsqueeze(0)[0, 1, 1] = 7

        assert x.tolist() == [[0, 0, 5], [0, 7, 0]]

    @claim("tensor.unsqueeze-refused", notes="1.4 (3)")
    @broken_by(torch.Tensor, "unsqueeze", lambda real: lambda x, dim=0: real(x, dim))
    @broken_by(torch.Tensor, "unsqueeze", up_to_the_last)
    @broken_by(torch.Tensor, "unsqueeze", from_the_first_on)
    def test_unsqueeze_wants_a_place_that_there_is(self, device):
        """unsqueeze() without dim is a TypeError; with two axes, dim outside -3 to 2 is an IndexError."""
        x = torch.zeros(2, 3, device=device)

        with pytest.raises(TypeError):
            x.unsqueeze()
        for dim in (3, -4):
            with pytest.raises(IndexError, match=r"expected to be in range of \[-3, 2\]"):
                x.unsqueeze(dim)

    @claim("tensor.unsqueeze-scalar", notes="1.4 (3)")
    @broken_by(torch.Tensor, "unsqueeze", lambda real: lambda x, dim: real(x, dim) if x.dim() else x)
    @broken_by(torch.Tensor, "unsqueeze", lambda real: lambda x, dim: real(x, 0))
    @broken_by(torch.Tensor, "unsqueeze", lambda real: lambda x, dim: real(x, dim).clone())
    def test_scalar_tensor_becomes_a_vector_of_one(self, device):
        """A tensor of no axes gets its first one by unsqueeze(0) or (-1), and there is no other place."""
        x = torch.tensor(5, device=device)

        assert x.unsqueeze(0).tolist() == x.unsqueeze(-1).tolist() == [5]
        assert x.unsqueeze(-1).data_ptr() == x.data_ptr()
        with pytest.raises(IndexError, match=r"expected to be in range of \[-1, 0\]"):
            x.unsqueeze(1)

    @claim("tensor.unsqueeze-undone", notes="1.4 (2) and (3)")
    @broken_by(torch.Tensor, "squeeze", every_axis)
    @broken_by(torch.Tensor, "squeeze", taking_one(0))
    @broken_by(torch.Tensor, "unsqueeze", lambda real: lambda x, dim: real(x, 0))
    def test_squeeze_of_the_same_axis_undoes_unsqueeze(self, device):
        """squeeze(dim) undoes unsqueeze(dim); squeeze() takes out the axes of size 1 that were there, too."""
        x = torch.zeros(2, 1, 3, device=device)

        for dim in range(-4, 4):
            assert x.unsqueeze(dim).squeeze(dim).shape == x.shape
        assert x.unsqueeze(0).squeeze().shape == (2, 3)
