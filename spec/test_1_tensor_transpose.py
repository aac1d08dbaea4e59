"""Section 1.4 of the notes, "resize": transpose, and the attribute T of the notebook."""

from itertools import product
from math import prod

import numpy as np
import pytest
import torch

from spec.harness import QUALIFIED, broken_by, claim

NOTEBOOK = {"notes": "notebook tensor", "verdict": QUALIFIED, "says": "tensor.T transposes a tensor"}


# Faults


def reversing(real):
    """Reverse all axes."""
    return lambda x, *axes: x.permute(*range(x.dim())[::-1])


def attribute(make):
    """Return a fault: the attribute becomes `make` of the tensor and of what the attribute really is."""
    return lambda real: property(lambda x: make(x, real.__get__(x)))


class TestTranspose:
    """(4) transpose()."""

    @claim("tensor.transpose", notes="1.4 (4)")
    @broken_by(torch.Tensor, "transpose", lambda real: lambda x, i, j: x.mT)
    @broken_by(torch.Tensor, "transpose", reversing)
    @broken_by(torch.Tensor, "transpose", lambda real: lambda x, i, j: x.movedim(i, j))
    @broken_by(torch.Tensor, "transpose", lambda real: lambda x, i, j: real(x, i, max(j, 0)))
    def test_transpose_swaps_two_axes(self, device):
        """transpose(i, j) swaps any two axes, counted from either end, as NumPy's swapaxes does."""
        x = torch.arange(24, device=device).reshape(2, 3, 4)

        for i, j in product(range(-3, 3), repeat=2):
            assert x.transpose(i, j).tolist() == x.cpu().numpy().swapaxes(i, j).tolist()

    @claim("tensor.transpose-not-reshape", notes="1.4 (4)")
    @broken_by(torch.Tensor, "transpose", lambda real: lambda x, i, j: x.reshape(3, 2))
    @broken_by(torch.Tensor, "transpose", lambda real: lambda x, i, j: real(x, i, j).flip(0))
    @broken_by(torch.Tensor, "reshape", lambda real: lambda x, *shape: x.t())
    def test_transpose_is_no_reshape(self, device):
        """Of 2x3 elements, transpose(0, 1) makes the columns rows, and reshape(3, 2) keeps the order."""
        x = torch.tensor([[1, 2, 3], [4, 5, 6]], device=device)

        assert x.transpose(0, 1).tolist() == [[1, 4], [2, 5], [3, 6]]
        assert x.reshape(3, 2).tolist() == [[1, 2], [3, 4], [5, 6]]

    @claim("tensor.transpose-view", notes="1.4 (4)")
    @broken_by(torch.Tensor, "transpose", lambda real: lambda x, i, j: real(x, i, j).contiguous())
    @broken_by(torch.Tensor, "transpose", lambda real: lambda x, i, j: real(x, i, j).clone())
    def test_transpose_is_a_view_with_two_strides_swapped(self, device):
        """transpose() moves no element: it is a view with two strides swapped, and mostly not contiguous."""
        x = torch.zeros(2, 3, device=device)

        transposed = x.transpose(0, 1)
        transposed[2, 0] = 7

        assert x.tolist() == [[0, 0, 7], [0, 0, 0]]
        assert (x.stride(), transposed.stride()) == ((3, 1), (1, 3))
        assert not transposed.is_contiguous()

    @claim("tensor.transpose-row", notes="1.4 (4)")
    @broken_by(
        torch.Tensor, "is_contiguous", lambda real: lambda x: x.stride() == torch.empty(x.shape).stride()
    )
    @broken_by(torch.Tensor, "is_contiguous", lambda real: lambda x: real(x) or 1 in x.shape)
    @broken_by(torch.Tensor, "transpose", lambda real: lambda x, i, j: real(x, i, j).contiguous())
    def test_row_stays_contiguous_when_transposed(self, device):
        """A row stays contiguous as a column, for moving an axis of size 1 leaves the elements in order."""
        assert torch.zeros(1, 3, device=device).transpose(0, 1).is_contiguous()
        assert torch.zeros(2, 1, 3, device=device).transpose(0, 1).is_contiguous()
        assert not torch.zeros(1, 2, 3, device=device).transpose(0, 2).is_contiguous()

    @claim("tensor.transpose-twice", notes="1.4 (4)")
    @broken_by(torch.Tensor, "transpose", lambda real: lambda x, i, j: real(x, i, j).contiguous())
    @broken_by(torch.Tensor, "transpose", lambda real: lambda x, i, j: x.permute(1, 2, 0))
    def test_transposing_twice_restores_the_tensor(self, device):
        """transpose(0, 2), done twice, gives the tensor back: shape, strides, values, and the memory."""
        x = torch.arange(24, device=device).reshape(2, 3, 4)

        twice = x.transpose(0, 2).transpose(0, 2)

        assert twice.tolist() == x.tolist()
        assert twice.stride() == x.stride()
        assert twice.data_ptr() == x.data_ptr()

    @claim("tensor.transpose-refused", notes="1.4 (4)")
    @broken_by(torch.Tensor, "transpose", lambda real: lambda x, i=0, j=1, *rest: real(x, i, j))
    @broken_by(torch.Tensor, "transpose", lambda real: lambda x, i, j: real(x, min(i, 2), min(j, 2)))
    @broken_by(torch.Tensor, "transpose", lambda real: lambda x, i, j: real(x, max(i, -3), max(j, -3)))
    def test_transpose_takes_two_axes_that_there_are(self, device):
        """transpose() of other than two axes is a TypeError, of one that is not there an IndexError."""
        x = torch.zeros(2, 3, 4, device=device)

        for axes in ((), (0,), (2, 1, 0)):
            with pytest.raises(TypeError):
                x.transpose(*axes)
        for axes in ((0, 3), (-4, 0)):
            with pytest.raises(IndexError, match=r"expected to be in range of \[-3, 2\]"):
                x.transpose(*axes)

    @claim("tensor.transpose-permute", notes="1.4 (4)")
    @broken_by(torch.Tensor, "permute", lambda real: lambda x, *order: real(x, *np.argsort(order)))
    @broken_by(torch.Tensor, "permute", lambda real: lambda x, *order: real(x, *range(x.dim())[::-1]))
    @broken_by(torch.Tensor, "transpose", lambda real: lambda x, i, j: x.mT)
    def test_permute_takes_the_order_of_all_axes(self, device):
        """NumPy's transpose is permute, of all axes in their new order; of none, it is permute(2, 1, 0)."""
        x = torch.arange(24, device=device).reshape(2, 3, 4)
        array = x.cpu().numpy()

        assert x.permute(1, 2, 0).tolist() == array.transpose(1, 2, 0).tolist()
        assert x.permute(2, 1, 0).tolist() == array.transpose().tolist() == x.transpose(0, 2).tolist()


class TestAttributeT:
    """x.T, with which the notebook multiplies."""

    @claim("tensor.transpose-attribute", **NOTEBOOK)
    @broken_by(torch.Tensor, "T", attribute(lambda x, transposed: x))
    @broken_by(torch.Tensor, "T", attribute(lambda x, transposed: transposed.flip(0)))
    @broken_by(torch.Tensor, "T", attribute(lambda x, transposed: transposed.clone()))
    def test_t_of_a_matrix_is_its_transpose(self, device):
        """T of a tensor of two axes is transpose(0, 1): rows become columns, in a view of the same memory."""
        x = torch.tensor([[1, 2, 3], [4, 5, 6]], device=device)

        assert x.T.tolist() == [[1, 4], [2, 5], [3, 6]]
        assert x.T.data_ptr() == x.data_ptr()

    @claim("tensor.transpose-attribute-axes", **NOTEBOOK, since="1.11")
    @broken_by(torch.Tensor, "T", lambda real: property(reversing(real)))
    @broken_by(torch.Tensor, "T", attribute(lambda x, turned: turned.mT))
    @broken_by(torch.Tensor, "T", attribute(lambda x, turned: turned[..., None]))
    def test_t_of_other_tensors_reverses_all_axes_and_warns(self, device, repeated_warnings):
        """T of one axis, or of three and more, reverses them all, as in NumPy, and warns as deprecated."""
        for shape in ((2, 3, 4), (3,)):
            x = torch.arange(prod(shape), device=device).reshape(shape)

            with pytest.warns(UserWarning, match="is deprecated and it will throw an error in a future"):
                turned = x.T

            assert turned.tolist() == x.cpu().numpy().T.tolist()

    @claim("tensor.transpose-attribute-scalar", **NOTEBOOK, since="2.0")
    @broken_by(torch.Tensor, "T", lambda real: property(lambda x: x))
    @broken_by(torch.Tensor, "T", attribute(lambda x, same: same[None]))
    @broken_by(torch.Tensor, "T", attribute(lambda x, same: same.clone()))
    def test_t_of_a_scalar_tensor_leaves_it_and_warns(self, device, repeated_warnings):
        """T of a tensor of no axes is that tensor, in a view, and warns as deprecated in words of its own."""
        x = torch.tensor(5, device=device)

        with pytest.warns(UserWarning, match="Tensor.T is deprecated on 0-D tensors"):
            same = x.T

        assert same.tolist() == 5
        assert same.data_ptr() == x.data_ptr()

    @claim("tensor.transpose-attribute-last-two", **NOTEBOOK, since="1.11")
    @broken_by(torch.Tensor, "mT", lambda real: property(reversing(real)))
    @broken_by(torch.Tensor, "mT", attribute(lambda x, swapped: swapped.flip(0)))
    @broken_by(torch.Tensor, "mT", lambda real: property(lambda x: real.__get__(x) if x.dim() > 1 else x))
    def test_mt_transposes_each_matrix_of_a_batch(self, device):
        """x.mT swaps the last two axes, so transposes each matrix of a batch; one axis is a RuntimeError."""
        x = torch.arange(24, device=device).reshape(2, 3, 4)

        assert x.mT.tolist() == [matrix.T.tolist() for matrix in x]
        with pytest.raises(RuntimeError, match="only supported on matrices or batches of matrices"):
            _ = torch.zeros(3, device=device).mT
