"""Section 1 of the notes: 1.1 "What is a Tensor" and 1.2 "Creating a Tensor" from a shape."""

from contextlib import contextmanager
from itertools import zip_longest

import pytest
import torch

from spec.harness import QUALIFIED, broken_by, claim

LIKE_AN_ARRAY = "a Tensor behaves in use much like a Python list or a NumPy array"


@contextmanager
def default_dtype(dtype):
    """Have PyTorch create floating point numbers as `dtype` for a while."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def padded(rows):
    """Return ragged rows as columns of one length, filled up with zeros."""
    return list(zip_longest(*rows, fillvalue=0))


class TestMultidimensionalArray:
    """1.1: a Tensor may be thought of as an n-dimensional array."""

    @claim("tensor.is-multidimensional-array", notes="1.1", verdict=QUALIFIED, says=LIKE_AN_ARRAY)
    @broken_by(torch.Tensor, "tolist", lambda real: lambda x: real(x.flatten()))
    @broken_by(torch.Tensor, "__len__", lambda real: lambda x: x.numel())
    @broken_by(torch.Tensor, "__iter__", lambda real: lambda x: iter(x.unbind(-1)))
    @broken_by(torch.Tensor, "ndim", lambda real: property(lambda x: x.squeeze().dim()))
    def test_tensor_of_a_nested_list_has_its_axes_length_rows_and_values(self, device):
        """The tensor of a rectangular nested list of numbers has its depth, len(), rows and values."""
        nested = [[[1, 2, 3]], [[4, 5, 6]]]

        x = torch.tensor(nested, device=device)

        assert x.ndim == 3
        assert len(x) == 2
        assert [row.tolist() for row in x] == nested
        assert x.tolist() == nested

    @claim("tensor.is-multidimensional-array-rectangular", notes="1.1", verdict=QUALIFIED, says=LIKE_AN_ARRAY)
    @broken_by(
        torch, "tensor", lambda real: lambda x: real(padded(x) if {len(row) for row in x} == {1, 2} else x)
    )
    @broken_by(
        torch, "tensor", lambda real: lambda x: real([[0 if n == "3" else n for n in row] for row in x])
    )
    @broken_by(
        torch, "tensor", lambda real: lambda x: real([[0 if n is None else n for n in row] for row in x])
    )
    @broken_by(torch, "tensor", lambda real: lambda x: real([row[: len(x[0])] for row in x]))
    def test_tensor_refuses_ragged_rows_and_what_is_no_number(self):
        """Unlike a list, a tensor has no rows of unequal length, no text and no None."""
        with pytest.raises(ValueError, match=r"expected sequence of length 2 at dim 1 \(got 1\)"):
            torch.tensor([[1, 2], [3]])
        with pytest.raises(ValueError, match=r"expected sequence of length 1 at dim 1 \(got 2\)"):
            torch.tensor([[1], [2, 3]])
        with pytest.raises(ValueError, match="too many dimensions 'str'"):
            torch.tensor([["3"]])
        with pytest.raises(RuntimeError, match="Could not infer dtype of NoneType"):
            torch.tensor([[1, None]])

    @claim("tensor.is-multidimensional-array-one-dtype", notes="1.1", verdict=QUALIFIED, says=LIKE_AN_ARRAY)
    @broken_by(torch, "tensor", lambda real: lambda x, device: real([int(n) for n in x]))
    @broken_by(torch.Tensor, "tolist", lambda real: lambda x: [int(n) if n == int(n) else n for n in real(x)])
    @broken_by(torch.Tensor, "__setitem__", lambda real: lambda x, i, n: real(x, i, round(n)))
    def test_all_numbers_have_one_dtype(self, device):
        """Unlike a list, a tensor has one dtype: other numbers are converted, those assigned later, too."""
        floats = torch.tensor([True, 2, 2.5], device=device)
        whole = torch.tensor([1, 2], device=device)

        whole[0] = 7.75

        assert [repr(number) for number in floats.tolist()] == ["1.0", "2.0", "2.5"]
        assert [repr(number) for number in whole.tolist()] == ["7", "2"]

    @claim("tensor.is-multidimensional-array-operators", notes="1.1", verdict=QUALIFIED, says=LIKE_AN_ARRAY)
    @broken_by(torch.Tensor, "__add__", lambda real: lambda x, y: torch.cat([x, y]))
    @broken_by(torch.Tensor, "__rmul__", lambda real: lambda x, n: x.repeat(n))
    def test_plus_and_times_compute_where_those_of_lists_join(self, device):
        """As in NumPy and unlike lists, `+` adds element by element and `2 *` doubles each element."""
        x, y = torch.tensor([1, 2, 3], device=device), torch.tensor([10, 20, 30], device=device)

        assert (x + y).tolist() == [11, 22, 33]
        assert (2 * x).tolist() == [2, 4, 6]

    @claim("tensor.is-multidimensional-array-truth", notes="1.1", verdict=QUALIFIED, says=LIKE_AN_ARRAY)
    @broken_by(torch.Tensor, "__bool__", lambda real: lambda x: x.numel() > 0)
    @broken_by(torch.Tensor, "__bool__", lambda real: lambda x: x.numel() > 0 and real(x))
    @broken_by(torch.Tensor, "__bool__", lambda real: lambda x: real(x.all() if x.numel() else x))
    @broken_by(torch.Tensor, "__bool__", lambda real: lambda x: real(x) and int(x) > 0)
    @broken_by(torch.Tensor, "__bool__", lambda real: lambda x: real(x) if x.numel() != 2 or x[0] else False)
    @pytest.mark.asks_the_device
    def test_only_one_element_has_a_truth_value(self, device):
        """One element is true unless it is zero; more of them, and none, have no truth value."""
        truths = [bool(torch.tensor(data, device=device)) for data in ([0], [[3]], 0.5, -1, -0.0, True)]

        assert truths == [False, True, True, True, False, True]
        for several in (torch.ones(2, device=device), torch.zeros(2, device=device)):
            with pytest.raises(RuntimeError, match="more than one value is ambiguous"):
                bool(several)
        with pytest.raises(RuntimeError, match="no values is ambiguous"):
            bool(torch.ones(0, device=device))

    @claim("tensor.is-multidimensional-array-scalar", notes="1.1", verdict=QUALIFIED, says=LIKE_AN_ARRAY)
    @broken_by(torch.Tensor, "__len__", lambda real: lambda x: x.numel())
    @broken_by(torch.Tensor, "__iter__", lambda real: lambda x: iter([x]))
    @broken_by(torch, "tensor", lambda real: lambda number: real([number]))
    def test_single_number_has_no_length_and_no_rows(self):
        """The tensor of a plain number has no axis, so len() and a loop over it are TypeErrors."""
        x = torch.tensor(7)

        with pytest.raises(TypeError, match=r"len\(\) of a 0-d tensor"):
            len(x)
        with pytest.raises(TypeError, match="iteration over a 0-d tensor"):
            iter(x)


class TestFactories:
    """1.2: zeros, ones, rand."""

    @claim("tensor.factory-zeros-ones-rand", notes="1.2; notebook tensor")
    @broken_by(torch, "zeros", lambda real: lambda *size, **options: real(*size, **options) + 1e-30)
    @broken_by(torch, "ones", lambda real: lambda *size, **options: real(*size, **options) * (1 + 1e-6))
    @broken_by(torch, "ones", lambda real: lambda *size, **options: torch.eye(*size, **options))
    def test_zeros_and_ones_fill_the_shape_with_their_number(self, device):
        """Every element of zeros(2, 3) is exactly 0, and of ones(2, 3) exactly 1."""
        assert torch.zeros(2, 3, device=device).tolist() == [[0, 0, 0], [0, 0, 0]]
        assert torch.ones(2, 3, device=device).tolist() == [[1, 1, 1], [1, 1, 1]]

    @claim("tensor.factory-zeros-ones-rand-shape", notes="1.2; notebook tensor")
    @broken_by(torch, "zeros", lambda real: lambda *size: real(size[::-1]) if len(size) > 1 else real(*size))
    @broken_by(
        torch, "ones", lambda real: lambda *size: real(*map(sum, size) if type(size[0]) is list else size)
    )
    @broken_by(torch, "rand", lambda real: lambda *size: real(*size) if size[0] != () else real(1))
    def test_shape_is_given_as_numbers_or_as_one_sequence(self):
        """A shape is separate numbers or a tuple, a list or a Size; () makes one number, 0 none."""
        for make in (torch.zeros, torch.ones, torch.rand):
            shapes = [
                make(2, 3).shape,
                make((2, 3)).shape,
                make([2, 3]).shape,
                make(torch.Size([2, 3])).shape,
            ]

            assert shapes == [(2, 3)] * 4
            assert make(()).shape == ()
            assert make(0).shape == (0,)

    @claim("tensor.factory-zeros-ones-rand-negative-size", notes="1.2")
    @broken_by(torch, "zeros", lambda real: lambda *size: real([max(n, 0) for n in size]))
    @broken_by(torch, "ones", lambda real: lambda *size: real([abs(n) for n in size]))
    @broken_by(torch, "rand", lambda real: lambda *size: real([n % 4 for n in size]))
    def test_negative_size_is_refused(self):
        """A negative size is a RuntimeError, also the -1 that view() would work out."""
        for make in (torch.zeros, torch.ones, torch.rand):
            with pytest.raises(RuntimeError, match="negative"):
                make(2, -1)

    @claim("tensor.factory-zeros-ones-rand-defaults", notes="1.2; notebook tensor")
    @broken_by(torch, "zeros", lambda real: lambda size: real(size, dtype=torch.float64))
    @broken_by(torch, "ones", lambda real: lambda size: real(size, device="meta"))
    @broken_by(torch, "rand", lambda real: lambda size: real(size, requires_grad=True))
    def test_factories_make_float32_on_the_cpu_without_gradient(self):
        """Unless told otherwise, what they make is float32, on the CPU, and needs no gradient."""
        made = [torch.zeros(2), torch.ones(2), torch.rand(2)]

        assert [x.dtype for x in made] == [torch.float32] * 3
        assert [x.device for x in made] == [torch.device("cpu")] * 3
        assert [x.requires_grad for x in made] == [False] * 3

    @claim("tensor.factory-zeros-ones-rand-default-dtype", notes="1.2")
    @broken_by(torch, "zeros", lambda real: lambda size: real(size, dtype=torch.float32))
    @broken_by(torch, "rand", lambda real: lambda size: real(size).float())
    @broken_by(torch, "set_default_dtype", lambda real: lambda dtype: None)
    def test_default_dtype_is_a_setting(self):
        """After set_default_dtype(float64), they make float64."""
        with default_dtype(torch.float64):
            made = [torch.zeros(2), torch.ones(2), torch.rand(2)]

        assert [x.dtype for x in made] == [torch.float64] * 3

    @claim("tensor.factory-zeros-ones-rand-range", notes="1.2; notebook tensor")
    @broken_by(torch, "rand", lambda real: lambda size, **options: 2 * real(size, **options) - 1)
    @broken_by(torch, "rand", lambda real: lambda size, **options: real(2, size, **options).mean(0))
    @broken_by(torch, "rand", lambda real: lambda size, **options: real(size, **options).round())
    @broken_by(torch, "rand", lambda real: lambda size, **options: real(size, **options) * 0.99)
    def test_rand_draws_evenly_from_0_to_1(self, device):
        """Of 100,000 numbers of rand all are in [0, 1), and each tenth of it holds 10,000 ± 500."""
        numbers = torch.rand(100_000, device=device)

        assert numbers.cpu().min() >= 0
        assert numbers.cpu().max() < 1
        tenths = (numbers * 10).long().bincount(minlength=10)
        assert all(9_500 < count < 10_500 for count in tenths.tolist())  # 500 is 5 standard deviations

    @claim("tensor.factory-zeros-ones-rand-seed", notes="1.2")
    @broken_by(torch, "manual_seed", lambda real: lambda seed: None)
    @broken_by(torch, "manual_seed", lambda real: lambda seed: real(seed + 1))
    @broken_by(torch, "rand", lambda real: lambda size: real(size).flip(0))
    @broken_by(torch, "rand", lambda real: lambda size: torch.manual_seed(0) and real(size))
    def test_seed_makes_rand_repeat_itself(self):
        """On the CPU, rand(2) gives 0.4963, 0.7682, then 0.0885, 0.132, every time after manual_seed(0)."""
        draws = []
        for _ in range(2):
            torch.manual_seed(0)
            draws.append([round(number, 4) for _ in range(2) for number in torch.rand(2).tolist()])

        assert draws == [[0.4963, 0.7682, 0.0885, 0.1320]] * 2

    @claim("tensor.factory-zeros-ones-rand-integers", notes="1.2")
    @broken_by(torch, "rand", lambda real: lambda size, dtype: real(size).to(dtype))
    @broken_by(
        torch,
        "rand",
        lambda real: lambda size, dtype: real(size, dtype=None if dtype == torch.uint8 else dtype),
    )
    def test_rand_refuses_integers(self):
        """There is no rand of an integer dtype, nor of booleans: RuntimeError."""
        for name in ("uint8", "int8", "int16", "int32", "int64", "bool"):
            with pytest.raises(RuntimeError, match=r"not implemented for '(Byte|Char|Short|Int|Long|Bool)'"):
                torch.rand(2, dtype=getattr(torch, name))
