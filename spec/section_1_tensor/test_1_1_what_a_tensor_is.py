"""1.1 of the notes: what a tensor is."""

from itertools import zip_longest

import pytest
import torch

from spec.harness import QUALIFIED, fault, statement

LIKE_AN_ARRAY = "a Tensor behaves in use much like a Python list or a NumPy array"


def padded(rows):
    """Return ragged rows as columns of one length, filled up with zeros."""
    return list(zip_longest(*rows, fillvalue=0))


@statement(
    "tensor.is-multidimensional-array", notes="1.1; notebook tensor", verdict=QUALIFIED, says=LIKE_AN_ARRAY
)
@fault("tolist flattens", torch.Tensor, "tolist", lambda real: lambda x: real(x.flatten()))
@fault("len counts all elements", torch.Tensor, "__len__", lambda real: lambda x: x.numel())
@fault("a loop runs over the last axis", torch.Tensor, "__iter__", lambda real: lambda x: iter(x.unbind(-1)))
@fault(
    "ndim leaves out axes of size 1", torch.Tensor, "ndim", lambda real: property(lambda x: x.squeeze().dim())
)
@fault(
    "tensor pads ragged rows",
    torch,
    "tensor",
    lambda real: lambda x: real(padded(x) if {len(row) for row in x} == {1, 2} else x),
)
@fault(
    "tensor takes text for 0",
    torch,
    "tensor",
    lambda real: lambda x: real([[0 if n == "3" else n for n in row] for row in x]),
)
@fault(
    "tensor takes None for 0",
    torch,
    "tensor",
    lambda real: lambda x: real([[0 if n is None else n for n in row] for row in x]),
)
@fault("tensor cuts long rows", torch, "tensor", lambda real: lambda x: real([row[: len(x[0])] for row in x]))
@fault(
    "tensor makes integers of floats",
    torch,
    "tensor",
    lambda real: lambda x, device: real([int(n) for n in x]),
)
@fault(
    "tolist makes integers of whole floats",
    torch.Tensor,
    "tolist",
    lambda real: lambda x: [int(n) if n == int(n) else n for n in real(x)],
)
@fault("an assignment rounds", torch.Tensor, "__setitem__", lambda real: lambda x, i, n: real(x, i, round(n)))
@fault("+ joins", torch.Tensor, "__add__", lambda real: lambda x, y: torch.cat([x, y]))
@fault("2 * repeats", torch.Tensor, "__rmul__", lambda real: lambda x, n: x.repeat(n))
@fault("what has elements is true", torch.Tensor, "__bool__", lambda real: lambda x: x.numel() > 0)
@fault(
    "what has no elements is false",
    torch.Tensor,
    "__bool__",
    lambda real: lambda x: x.numel() > 0 and real(x),
)
@fault(
    "what is true throughout is true",
    torch.Tensor,
    "__bool__",
    lambda real: lambda x: real(x.all() if x.numel() else x),
)
@fault("what is negative is false", torch.Tensor, "__bool__", lambda real: lambda x: real(x) and int(x) > 0)
@fault(
    "two elements are false if the first is",
    torch.Tensor,
    "__bool__",
    lambda real: lambda x: real(x) if x.numel() != 2 or x[0] else False,
)
@fault("a loop over a number gives it", torch.Tensor, "__iter__", lambda real: lambda x: iter([x]))
@fault("tensor of a number has an axis", torch, "tensor", lambda real: lambda number: real([number]))
class TestIsMultidimensionalArray:
    """In use, a tensor is much like a NumPy array: it has axes, a length, rows and values. Unlike a list, it
    is rectangular and of one dtype, its operators compute element by element, and only a single element
    has a truth value.
    """

    def test_tensor_of_a_nested_list_has_its_axes_length_rows_and_values(self, device):
        nested = [[[1, 2, 3]], [[4, 5, 6]]]

        x = torch.tensor(nested, device=device)

        assert x.ndim == 3
        assert len(x) == 2
        assert [row.tolist() for row in x] == nested
        assert x.tolist() == nested

    def test_tensor_refuses_ragged_rows_and_what_is_no_number(self):
        with pytest.raises(ValueError, match=r"expected sequence of length 2 at dim 1 \(got 1\)"):
            torch.tensor([[1, 2], [3]])
        with pytest.raises(ValueError, match=r"expected sequence of length 1 at dim 1 \(got 2\)"):
            torch.tensor([[1], [2, 3]])
        with pytest.raises(ValueError, match="too many dimensions 'str'"):
            torch.tensor([["3"]])
        with pytest.raises(RuntimeError, match="Could not infer dtype of NoneType"):
            torch.tensor([[1, None]])

    def test_all_numbers_have_one_dtype(self, device):
        floats = torch.tensor([True, 2, 2.5], device=device)
        whole = torch.tensor([1, 2], device=device)

        whole[0] = 7.75

        assert [repr(number) for number in floats.tolist()] == ["1.0", "2.0", "2.5"]
        assert [repr(number) for number in whole.tolist()] == ["7", "2"]

    def test_plus_and_times_compute_where_those_of_lists_join(self, device):
        x, y = torch.tensor([1, 2, 3], device=device), torch.tensor([10, 20, 30], device=device)

        assert (x + y).tolist() == [11, 22, 33]
        assert (2 * x).tolist() == [2, 4, 6]

    @pytest.mark.asks_the_device
    def test_only_one_element_has_a_truth_value(self, device):
        truths = [bool(torch.tensor(data, device=device)) for data in ([0], [[3]], 0.5, -1, -0.0, True)]

        assert truths == [False, True, True, True, False, True]
        for several in (torch.ones(2, device=device), torch.zeros(2, device=device)):
            with pytest.raises(RuntimeError, match="more than one value is ambiguous"):
                bool(several)
        with pytest.raises(RuntimeError, match="no values is ambiguous"):
            bool(torch.ones(0, device=device))

    def test_single_number_has_no_length_and_no_rows(self):
        x = torch.tensor(7)

        with pytest.raises(TypeError, match=r"len\(\) of a 0-d tensor"):
            len(x)
        with pytest.raises(TypeError, match="iteration over a 0-d tensor"):
            iter(x)
