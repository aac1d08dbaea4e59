"""Section 1.4 (4) of the notes: transpose, and the attribute T of the notebook."""

from math import prod

import pytest
import torch
from torch import Tensor

from spec.harness import QUALIFIED, fault, since, statement

WARNED = {  # the shape of a tensor, and what its T warns of
    "a vector": pytest.param((3,), "it will throw an error in a future", marks=since("1.11")),
    "three axes": pytest.param((2, 3, 4), "it will throw an error in a future", marks=since("1.11")),
    "a scalar": pytest.param((), "Tensor.T is deprecated on 0-D tensors", marks=since("2.0")),
}


@statement("tensor.transpose", notes="1.4 (4)")
@fault("transpose swaps the last two axes", Tensor, "transpose", lambda real: lambda x, i, j: x.mT)
@fault("transpose moves one axis", Tensor, "transpose", lambda real: lambda x, i, j: x.movedim(i, j))
@fault("transpose copies", Tensor, "transpose", lambda real: lambda x, i, j: real(x, i, j).contiguous())
class TestTranspose:
    """`transpose(i, j)` swaps the axes `i` and `j` of a tensor. The result is a view, so no element is moved
    in memory. The method `permute` reorders all axes, as `transpose` does in NumPy.
    """

    @pytest.mark.parametrize("axes", [(0, 1), (0, 2), (2, 1), (0, -1), (-3, -2)], ids=str)
    def test_two_axes_are_swapped_in_a_view(self, axes, device):
        x = torch.arange(24, device=device).reshape(2, 3, 4)

        swapped = x.transpose(*axes)

        assert swapped.tolist() == x.cpu().numpy().swapaxes(*axes).tolist()
        assert swapped.data_ptr() == x.data_ptr()
        assert not swapped.is_contiguous()

    def test_transpose_takes_two_axes_and_permute_takes_all(self, device):
        x = torch.arange(24, device=device).reshape(2, 3, 4)

        for axes in ((), (1, 2, 0)):
            with pytest.raises(TypeError):
                x.transpose(*axes)
        for axes in ((0, 3), (-4, 0)):
            with pytest.raises(IndexError, match=r"expected to be in range of \[-3, 2\]"):
                x.transpose(*axes)
        assert x.permute(1, 2, 0).tolist() == x.cpu().numpy().transpose(1, 2, 0).tolist()


@statement(
    "tensor.transpose-attribute",
    notes="notebook tensor",
    verdict=QUALIFIED,
    says="tensor.T transposes a tensor",
)
@fault("T copies", Tensor, "T", lambda real: property(lambda x: real.__get__(x).clone()))
@fault("T is mT", Tensor, "T", lambda real: Tensor.mT)
@fault("mT reverses all axes", Tensor, "mT", lambda real: property(lambda x: x.permute(2, 1, 0)))
class TestTransposeAttribute:
    """`x.T` is the transpose of a matrix `x`, as a view. If `x` is no matrix, `x.T` reverses the order of all
    axes and warns that this use is deprecated. `x.mT` transposes each matrix of a batch.
    """

    def test_t_of_a_matrix_is_its_transpose(self, device):
        x = torch.tensor([[1, 2, 3], [4, 5, 6]], device=device)

        assert x.T.tolist() == [[1, 4], [2, 5], [3, 6]]
        assert x.T.data_ptr() == x.data_ptr()

    @pytest.mark.parametrize(("shape", "warning"), WARNED.values(), ids=WARNED)
    def test_t_of_other_tensors_reverses_all_axes_and_warns(self, shape, warning, device, repeated_warnings):
        x = torch.arange(prod(shape), device=device).reshape(shape)

        with pytest.warns(UserWarning, match=warning):
            turned = x.T

        assert turned.tolist() == x.cpu().numpy().T.tolist()
        assert turned.data_ptr() == x.data_ptr()

    @since("1.11")
    def test_mt_transposes_each_matrix_of_a_batch(self, device):
        x = torch.arange(24, device=device).reshape(2, 3, 4)

        assert x.mT.tolist() == [matrix.T.tolist() for matrix in x]
        with pytest.raises(RuntimeError, match="only supported on matrices or batches of matrices"):
            _ = torch.zeros(3, device=device).mT
