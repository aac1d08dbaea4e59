"""Section 1.4 of the notes, operations: sums, products element by element, and matrix products."""

import numpy as np
import pytest
import torch
from torch import Tensor

from spec.faults import as_it_lies
from spec.harness import fault, statement

SUMS = {  # a sum with [1, 2], its dtype and its values
    "int64 and float16": (lambda x: x + x.half(), torch.float16, [2, 4]),
    "uint8 and int8": (lambda x: x.to(torch.uint8) + x.to(torch.int8), torch.int16, [2, 4]),
    "int64 and a number": (lambda x: x + 0.5, torch.float32, [1.5, 2.5]),
    "float16 and a number": (lambda x: x.half() + 0.5, torch.float16, [1.5, 2.5]),
    "two booleans": (lambda x: (x > 1) + (x > 0), torch.bool, [True, True]),
}
PRODUCTS = {
    "two vectors": ((3,), (3,)),
    "matrix and vector": ((2, 3), (3,)),
    "vector and matrix": ((2,), (2, 3)),
    "batches that broadcast": ((5, 1, 2, 3), (2, 3, 1)),
    "sums of nothing": ((2, 0), (0, 3)),
}
NO_PRODUCTS = {
    "inner sizes that differ": ((2, 3), torch.float32, r"cannot be multiplied \(2x3 and 2x3\)"),
    "a scalar": ((), torch.float32, "need to be at least 1D"),
    "two dtypes": ((3, 2), torch.float64, "same dtype|expected scalar type"),
}


def in_order_of_memory(real):
    """Read the values as they lie in memory."""
    return lambda x, y: real(as_it_lies(x), as_it_lies(y))


@statement("tensor.add-and-plus", notes="1.4")
@fault("add overlooks strides", torch, "add", in_order_of_memory)
@fault("add ignores alpha", Tensor, "add", lambda real: lambda x, y, alpha=1: real(x, y))
@fault("plus cuts a row", Tensor, "__add__", lambda real: lambda x, y: real(x, y[: x.shape[-1]]))
@fault("plus keeps the first dtype", Tensor, "__add__", lambda real: lambda x, y: real(x, y).to(x.dtype))
class TestAddAndPlus:
    """The sums `x + y`, `x.add(y)` and `torch.add(x, y)` are equal to the last bit. An axis of size 1 is
    stretched to the size that the other tensor has along this axis (broadcasting). The sum has a dtype that
    fits both `x` and `y`.
    """

    def test_plus_and_add_are_one_rounded_sum(self, device):
        x, y = torch.tensor([[0.1, 0.2], [1e8, 1.0], [-3.0, 0.7]], device=device).T
        expected = (x.cpu().numpy() + y.cpu().numpy()).tolist()

        assert (x + y).tolist() == expected
        assert x.add(y).tolist() == expected
        assert torch.add(x, y).tolist() == expected

    def test_alpha_scales_the_second_tensor(self, device):
        x, y = torch.tensor([[1, 2], [30, 40]], device=device)

        assert x.add(y, alpha=3).tolist() == [91, 122]
        assert torch.add(x, y, alpha=3).tolist() == [91, 122]

    def test_axes_of_size_one_are_stretched_and_others_have_to_match(self, device):
        column = torch.tensor([[10], [20], [30]], device=device)
        row = torch.tensor([1, 2, 3, 4], device=device)

        assert (column + row).tolist() == [[11, 12, 13, 14], [21, 22, 23, 24], [31, 32, 33, 34]]
        assert (column[:1] + row[:1]).tolist() == [[11]]
        with pytest.raises(RuntimeError, match="must match the size of tensor b"):
            torch.zeros(3, 2, device=device) + torch.zeros(3, device=device)

    @pytest.mark.parametrize(("add", "dtype", "values"), SUMS.values(), ids=SUMS)
    def test_sum_has_a_dtype_that_fits_both_sides(self, add, dtype, values, device):
        total = add(torch.tensor([1, 2], device=device))

        assert total.dtype == dtype
        assert total.tolist() == values


@statement("tensor.mul-is-elementwise", notes="1.4; notebook tensor")
@fault("star is the matrix product", Tensor, "__mul__", lambda real: Tensor.__matmul__)
@fault("mul overlooks strides", torch, "mul", in_order_of_memory)
class TestMulIsElementwise:
    """The expressions `x * y`, `x.mul(y)` and `torch.mul(x, y)` multiply `x` and `y` element by element."""

    def test_star_and_mul_are_one_product(self, device):
        x = torch.tensor([[1.0, 2.0], [3.0, 4.0]], device=device)
        y = torch.tensor([[5.0, 7.0], [6.0, 8.0]], device=device).T

        assert (x * y).tolist() == [[5, 12], [21, 32]]
        assert x.mul(y).tolist() == [[5, 12], [21, 32]]
        assert torch.mul(x, y).tolist() == [[5, 12], [21, 32]]


@statement("tensor.matmul-is-matrix-product", notes="1.4; notebook tensor")
@fault("at sign multiplies element by element", Tensor, "__matmul__", lambda real: Tensor.__mul__)
@fault("matmul overlooks strides", torch, "matmul", in_order_of_memory)
@fault("at sign drops axes of size 1", Tensor, "__matmul__", lambda real: lambda x, y: real(x, y).squeeze())
@fault("at sign adds floats", Tensor, "__matmul__", lambda real: lambda x, y: real(x.float(), y.float()))
class TestMatmulIsMatrixProduct:
    """The expressions `x @ y`, `x.matmul(y)` and `torch.matmul(x, y)` compute the matrix product. The
    operator `@` multiplies vectors and batches of matrices as in NumPy. It raises a RuntimeError if the sizes
    or the dtypes do not match.
    """

    def test_at_sign_and_matmul_multiply_rows_by_columns(self, device):
        x = torch.tensor([[1.0, 2.0], [3.0, 4.0]], device=device)
        y = torch.tensor([[5.0, 7.0], [6.0, 8.0]], device=device).T

        assert (x @ y).tolist() == [[1 * 5 + 2 * 7, 1 * 6 + 2 * 8], [3 * 5 + 4 * 7, 3 * 6 + 4 * 8]]
        assert x.matmul(y).tolist() == [[19, 22], [43, 50]]
        assert torch.matmul(x, y).tolist() == [[19, 22], [43, 50]]

    @pytest.mark.parametrize("shapes", PRODUCTS.values(), ids=PRODUCTS)
    def test_vectors_and_batches_are_multiplied_as_in_numpy(self, shapes, device):
        x, y = (np.arange(np.prod(shape), dtype=float).reshape(shape) + shape[0] for shape in shapes)

        product = torch.tensor(x, device=device) @ torch.tensor(y, device=device)

        assert product.shape == (x @ y).shape
        assert product.tolist() == (x @ y).tolist()

    def test_integers_are_multiplied_exactly_on_the_cpu(self):
        x = torch.tensor([[2**24 + 1, 1]])  # more than the 24 bits of a float32

        product = x @ torch.tensor([[1], [2]])

        assert product.dtype == torch.int64
        assert product.tolist() == [[2**24 + 3]]

    @pytest.mark.parametrize(("shape", "dtype", "why"), NO_PRODUCTS.values(), ids=NO_PRODUCTS)
    def test_sizes_axes_and_dtypes_have_to_match(self, shape, dtype, why, device):
        with pytest.raises(RuntimeError, match=why):
            torch.ones(2, 3, device=device) @ torch.ones(shape, dtype=dtype, device=device)
