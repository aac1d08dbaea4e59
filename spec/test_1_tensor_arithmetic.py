"""Section 1.4 of the notes, operations: sums, products element by element, and matrix products."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis.extra.numpy import mutually_broadcastable_shapes

from spec.faults import as_it_lies
from spec.harness import broken_by, claim

# For each pair of dtypes, that of their sum.
SUMS = {
    (torch.int64, torch.float16): torch.float16,
    (torch.uint8, torch.int8): torch.int16,
    (torch.int32, torch.int64): torch.int64,
    (torch.bool, torch.uint8): torch.uint8,
    (torch.float16, torch.bfloat16): torch.float32,
}


def counting(shape, start):
    """Return an array of consecutive numbers, no two alike, that any float adds and multiplies exactly."""
    return np.arange(start, start + np.prod(shape, dtype=int), dtype=np.float64).reshape(shape)


def first_value_only(real):
    """Fault: of the second tensor only the first value is broadcast."""
    return lambda x, y: real(x, y.reshape(-1)[:1])


def in_order_of_memory(real):
    """Fault: the values are read as they lie in memory."""
    return lambda x, y: real(as_it_lies(x), as_it_lies(y))


def turned(matrix):
    """Return a square matrix transposed, anything else as it is."""
    return matrix.mT if matrix.ndim > 1 and matrix.shape[-1] == matrix.shape[-2] else matrix


class TestAddition:
    """add() or +."""

    @claim("tensor.add-and-plus", notes="1.4")
    @broken_by(torch.Tensor, "__add__", lambda real: lambda x, y: real(x, y) * (1 + 2**-23))
    @broken_by(torch.Tensor, "add", lambda real: lambda x, y: x.sub(y))
    @broken_by(torch, "add", lambda real: lambda x, y: real(x.half(), y).float())
    @broken_by(torch, "add", in_order_of_memory)
    def test_plus_and_add_are_one_rounded_sum(self, device):
        """The sums x + y, x.add(y) and torch.add(x, y) are the same to the bit: rounded once, as in NumPy."""
        x, y = torch.tensor([[0.1, 0.2], [1e8, 1.0], [-3.0, 0.7]], device=device).T
        expected = (x.cpu().numpy() + y.cpu().numpy()).tolist()

        assert (x + y).tolist() == expected
        assert x.add(y).tolist() == expected
        assert torch.add(x, y).tolist() == expected
        assert (x + 0.5).tolist() == (x.cpu().numpy() + np.float32(0.5)).tolist()

    @claim("tensor.add-and-plus-broadcasts", notes="1.4")
    @broken_by(torch.Tensor, "__add__", first_value_only)
    @broken_by(torch.Tensor, "__add__", lambda real: lambda x, y: real(x, y).squeeze())
    @given(shapes=mutually_broadcastable_shapes(num_shapes=2, max_dims=3, max_side=3))
    def test_sum_broadcasts_as_in_numpy(self, device, shapes):
        """Axes of length one, and axes that are missing in front, are stretched as NumPy stretches them."""
        x, y = (counting(shape, start) for shape, start in zip(shapes.input_shapes, (0, 100), strict=True))

        found = torch.tensor(x, device=device) + torch.tensor(y, device=device)

        torch.testing.assert_close(found.cpu(), torch.tensor(x + y), rtol=0, atol=0)

    @claim("tensor.add-and-plus-broadcasts-from-the-right", notes="1.4")
    @broken_by(
        torch.Tensor, "__add__", lambda real: lambda x, y: real(x, y[:, None] if len(x) == len(y) else y)
    )
    @broken_by(torch.Tensor, "__add__", lambda real: lambda x, y: real(x, y[: x.shape[-1]]))
    def test_shapes_are_matched_from_the_last_axis(self, device):
        """(3, 1) plus (4,) is (3, 4), but (3, 2) plus (3,) is a RuntimeError: the last axes must match."""
        assert (torch.zeros(3, 1, device=device) + torch.zeros(4, device=device)).shape == (3, 4)
        with pytest.raises(RuntimeError, match="must match the size of tensor b"):
            torch.zeros(3, 2, device=device) + torch.zeros(3, device=device)

    @claim("tensor.add-and-plus-promotes", notes="1.4")
    @broken_by(torch.Tensor, "__add__", lambda real: lambda x, y: real(x, y.to(x.dtype)))
    @broken_by(torch.Tensor, "__add__", lambda real: lambda x, y: real(x, y).to(y.dtype))
    def test_sum_has_a_dtype_that_both_fit_into(self, device):
        """Of two dtypes the wider kind wins: int64 + float16 is float16, uint8 + int8 is int16."""
        for (one, other), dtype in SUMS.items():
            x, y = torch.ones(2, dtype=one, device=device), torch.ones(2, dtype=other, device=device)

            assert (x + y).dtype == (y + x).dtype == dtype

    @claim("tensor.add-and-plus-numbers", notes="1.4")
    @broken_by(torch.Tensor, "__add__", lambda real: lambda x, y: real(x, torch.tensor([y]).to(x.device)))
    @broken_by(torch.Tensor, "__add__", lambda real: lambda x, y: real(x, int(y)))
    def test_number_changes_the_kind_but_not_the_width(self, device):
        """A float or a tensor without axes makes floats of integers, but of float16 nothing wider."""
        whole = torch.tensor([1, 2], device=device)
        half = torch.tensor([1, 2], dtype=torch.float16, device=device)

        for number in (0.5, torch.tensor(0.5, dtype=torch.float64, device=device)):
            assert (half + number).dtype == torch.float16
            assert (whole + float(number)).dtype == torch.float32
            assert (whole + number).tolist() == (half + number).tolist() == [1.5, 2.5]

    @claim("tensor.add-and-plus-alpha", notes="1.4")
    @broken_by(torch.Tensor, "add", lambda real: lambda x, y, alpha: real(x, y))
    @broken_by(torch.Tensor, "add", lambda real: lambda x, y, alpha: real(y, x, alpha=alpha))
    @broken_by(torch, "add", lambda real: lambda x, y, alpha: real(x, y) * alpha)
    def test_alpha_scales_the_second_operand(self, device):
        """add(y, alpha=3), which + has no word for, is x + 3y."""
        x, y = torch.tensor([[1, 2], [30, 40]], device=device)

        assert x.add(y, alpha=3).tolist() == [91, 122]
        assert torch.add(x, y, alpha=3).tolist() == [91, 122]

    @claim("tensor.add-and-plus-booleans", notes="1.4")
    @broken_by(torch.Tensor, "__add__", lambda real: lambda x, y: x ^ y)
    @broken_by(torch.Tensor, "__add__", lambda real: lambda x, y: real(x.int(), y))
    def test_sum_of_booleans_is_or(self, device):
        """True + True is True: of two tensors of booleans + is the logical or."""
        x = torch.tensor([True, True, False, False], device=device)
        y = torch.tensor([True, False, True, False], device=device)

        assert (x + y).dtype == torch.bool
        assert (x + y).tolist() == [True, True, True, False]

    @claim("tensor.add-and-plus-lists", notes="1.4")
    @broken_by(torch.Tensor, "__add__", lambda real: lambda x, y: real(x, torch.as_tensor(y)))
    @broken_by(torch.Tensor, "add", lambda real: lambda x, y: real(x, torch.as_tensor(y)))
    def test_list_is_not_added(self):
        """A list is not made a tensor: adding one is a TypeError."""
        with pytest.raises(TypeError):
            torch.ones(2) + [1, 2]  # noqa: RUF005 - no list is joined
        with pytest.raises(TypeError):
            torch.ones(2).add([1, 2])


class TestProduct:
    """mul() or *."""

    @claim("tensor.mul-is-elementwise", notes="1.4")
    @broken_by(torch.Tensor, "__mul__", lambda real: torch.Tensor.__matmul__)
    @broken_by(torch.Tensor, "mul", lambda real: lambda x, y: real(x, y.mT))
    @broken_by(torch, "mul", lambda real: torch.matmul)
    @broken_by(torch, "mul", in_order_of_memory)
    def test_star_and_mul_multiply_element_by_element(self, device):
        """Each of x * y, x.mul(y) and torch.mul(x, y) multiplies every element by the one in its place."""
        x = torch.tensor([[1.0, 2.0], [3.0, 4.0]], device=device)
        y = torch.tensor([[5.0, 7.0], [6.0, 8.0]], device=device).T

        assert (x * y).tolist() == [[5, 12], [21, 32]]
        assert x.mul(y).tolist() == [[5, 12], [21, 32]]
        assert torch.mul(x, y).tolist() == [[5, 12], [21, 32]]

    @claim("tensor.mul-is-elementwise-notebook", notes="notebook tensor")
    @broken_by(torch.Tensor, "__mul__", lambda real: torch.Tensor.__matmul__)
    @broken_by(torch.Tensor, "__mul__", lambda real: lambda x, y: real(x, y) + x)
    def test_zeros_and_ones_times_themselves_are_themselves(self, device):
        """The notebook's rows 1, 0, 1, 1, multiplied by themselves, stay as they are."""
        x = torch.ones(4, 4, device=device)
        x[:, 1] = 0

        assert (x * x).tolist() == [[1, 0, 1, 1]] * 4

    @claim("tensor.mul-is-elementwise-shapes", notes="1.4")
    @broken_by(torch.Tensor, "__mul__", first_value_only)
    @broken_by(
        torch.Tensor, "__mul__", lambda real: lambda x, y: x @ y if x.shape[-1] == len(y) else real(x, y)
    )
    def test_product_broadcasts_and_takes_no_other_shapes(self, device):
        """A column (2, 1) times a row (3,) is (2, 3); (2, 3) times (3, 2) is a RuntimeError."""
        column, row = torch.tensor([[1], [10]], device=device), torch.tensor([1, 2, 3], device=device)

        assert (column * row).tolist() == [[1, 2, 3], [10, 20, 30]]
        with pytest.raises(RuntimeError, match="must match the size of tensor b"):
            torch.ones(2, 3, device=device) * torch.ones(3, 2, device=device)


class TestMatrixProduct:
    """matmul() or @."""

    @claim("tensor.matmul-is-matrix-product", notes="1.4")
    @broken_by(torch.Tensor, "__matmul__", lambda real: lambda x, y: real(x, turned(y)))
    @broken_by(torch.Tensor, "__matmul__", lambda real: lambda x, y: torch.atleast_1d(real(x, y)))
    @broken_by(torch.Tensor, "__matmul__", lambda real: lambda x, y: real(x, y).squeeze())
    @broken_by(torch.Tensor, "__matmul__", lambda real: lambda x, y: real(x, y[:1] if y.ndim > 2 else y))
    @given(
        shapes=mutually_broadcastable_shapes(
            signature=np.matmul.signature, max_dims=2, min_side=0, max_side=3
        )
    )
    def test_at_sign_is_the_matrix_product_of_numpy(self, device, shapes):
        """@ is NumPy's @: matrices and vectors on either side, in batches whose axes are broadcast."""
        x, y = (counting(shape, start) for shape, start in zip(shapes.input_shapes, (1, 100), strict=True))

        found = torch.tensor(x, device=device) @ torch.tensor(y, device=device)

        torch.testing.assert_close(found.cpu(), torch.tensor(x @ y), rtol=0, atol=0)

    @claim("tensor.matmul-is-matrix-product-names", notes="1.4")
    @broken_by(torch.Tensor, "__matmul__", lambda real: torch.Tensor.__mul__)
    @broken_by(torch.Tensor, "matmul", lambda real: lambda x, y: real(y, x))
    @broken_by(torch, "matmul", lambda real: lambda x, y: real(x, y.mT))
    @broken_by(torch, "matmul", in_order_of_memory)
    def test_at_sign_and_matmul_multiply_rows_by_columns(self, device):
        """Each of x @ y, x.matmul(y) and torch.matmul(x, y) sums each row of x times each column of y."""
        x = torch.tensor([[1.0, 2.0], [3.0, 4.0]], device=device)
        y = torch.tensor([[5.0, 7.0], [6.0, 8.0]], device=device).T

        assert (x @ y).tolist() == [[1 * 5 + 2 * 7, 1 * 6 + 2 * 8], [3 * 5 + 4 * 7, 3 * 6 + 4 * 8]]
        assert x.matmul(y).tolist() == [[19, 22], [43, 50]]
        assert torch.matmul(x, y).tolist() == [[19, 22], [43, 50]]

    @claim("tensor.matmul-is-matrix-product-notebook", notes="notebook tensor")
    @broken_by(torch.Tensor, "__matmul__", lambda real: torch.Tensor.__mul__)
    @broken_by(torch.Tensor, "__matmul__", lambda real: lambda x, y: real(x, y.mT))
    def test_notebook_matrix_times_its_transpose_is_threes(self, device):
        """The notebook's rows 1, 0, 1, 1, times their transpose, give 4x4 threes."""
        x = torch.ones(4, 4, device=device)
        x[:, 1] = 0

        assert (x @ x.T).tolist() == [[3, 3, 3, 3]] * 4

    @claim("tensor.matmul-is-matrix-product-integers", notes="1.4")
    @broken_by(torch.Tensor, "__matmul__", lambda real: lambda x, y: real(x.float(), y.float()))
    @broken_by(torch.Tensor, "__matmul__", lambda real: lambda x, y: real(x.float(), y.float()).long())
    def test_product_of_integers_is_exact(self):
        """On the CPU integers have matrix products, too, exact beyond the 24 bits of a float32."""
        x, y = torch.tensor([[2**24 + 1, 1]]), torch.tensor([[1], [2]])

        assert (x @ y).dtype == torch.int64
        assert (x @ y).tolist() == [[2**24 + 3]]

    @claim("tensor.matmul-is-matrix-product-empty", notes="1.4")
    @broken_by(torch.Tensor, "__matmul__", lambda real: lambda x, y: real(x, y) + 1)
    @broken_by(torch.Tensor, "__matmul__", lambda real: lambda x, y: x.new_zeros(0, 0))
    def test_product_over_nothing_is_zeros(self, device):
        """(2, 0) @ (0, 3) is (2, 3) zeros: each entry is a sum of nothing."""
        product = torch.ones(2, 0, device=device) @ torch.ones(0, 3, device=device)

        assert product.tolist() == [[0, 0, 0], [0, 0, 0]]

    @claim("tensor.matmul-is-matrix-product-sizes", notes="1.4")
    @broken_by(
        torch.Tensor, "__matmul__", lambda real: lambda x, y: real(x, y.T if x.shape == y.shape else y)
    )
    @broken_by(torch.Tensor, "__matmul__", lambda real: lambda x, y: real(x, y) if y.ndim else x * y)
    def test_product_needs_equal_inner_sizes_and_axes(self, device):
        """(2, 3) @ (2, 3) is a RuntimeError, and so is a tensor without axes on either side."""
        x, scalar = torch.ones(2, 3, device=device), torch.tensor(2.0, device=device)

        with pytest.raises(RuntimeError, match=r"cannot be multiplied \(2x3 and 2x3\)"):
            x @ x
        with pytest.raises(RuntimeError, match="need to be at least 1D"):
            x @ scalar
        with pytest.raises(RuntimeError, match="need to be at least 1D"):
            scalar @ x

    @claim("tensor.matmul-is-matrix-product-dtypes", notes="1.4")
    @broken_by(torch.Tensor, "__matmul__", lambda real: lambda x, y: real(x, y.to(x.dtype)))
    @broken_by(torch.Tensor, "__mul__", lambda real: lambda x, y: real(x, y.to(x.dtype)))
    def test_product_of_two_dtypes_is_refused(self, device):
        """@ of float32 and float64 is a RuntimeError, where * of the two gives float64."""
        x, y = torch.ones(2, 2, device=device), torch.ones(2, 2, dtype=torch.float64, device=device)

        assert (x * y).dtype == torch.float64
        with pytest.raises(RuntimeError, match=r"same dtype|expected scalar type"):
            x @ y
