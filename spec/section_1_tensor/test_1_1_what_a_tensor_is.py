"""1.1 of the notes: what a tensor is."""

import pytest
import torch
from torch import Tensor

from spec.harness import QUALIFIED, fault, statement

REFUSED = {  # what lists allow
    "rows of two lengths": (lambda: torch.tensor([[1], [2, 3]]), ValueError, "expected sequence of length 1"),
    "the length of a single number": (lambda: len(torch.tensor(7)), TypeError, "0-d tensor"),
    "a loop over a single number": (lambda: iter(torch.tensor(7)), TypeError, "0-d tensor"),
}


@statement(
    "tensor.is-multidimensional-array",
    notes="1.1; notebook tensor",
    verdict=QUALIFIED,
    says="in use, a Tensor behaves much like a Python list or a NumPy array",
)
@fault("tolist flattens", Tensor, "tolist", lambda real: lambda x: real(x.flatten()))
@fault("a loop runs over the last axis", Tensor, "__iter__", lambda real: lambda x: iter(x.unbind(-1)))
@fault("len counts all elements", Tensor, "__len__", lambda real: lambda x: x.numel())
@fault("tensor cuts long rows", torch, "tensor", lambda real: lambda rows: real([row[:1] for row in rows]))
@fault("an assignment rounds", Tensor, "__setitem__", lambda real: lambda x, i, n: real(x, i, round(n)))
@fault("+ joins", Tensor, "__add__", lambda real: lambda x, y: torch.cat([x, y]))
@fault("what has elements is true", Tensor, "__bool__", lambda real: lambda x: x.numel() > 0)
class TestIsMultidimensionalArray:
    """A tensor is used much like a NumPy array. Unlike a list, a tensor is a rectangular grid of elements of
    one dtype, and `+` adds element by element. `bool(x)` works only if the tensor `x` has exactly one
    element.
    """

    def test_tensor_of_a_nested_list_has_its_axes_length_rows_and_values(self, device):
        nested = [[[1, 2, 3]], [[4, 5, 6]]]

        x = torch.tensor(nested, device=device)

        assert x.ndim == 3
        assert len(x) == 2
        assert [row.tolist() for row in x] == nested
        assert x.tolist() == nested

    @pytest.mark.parametrize(("use", "error", "why"), REFUSED.values(), ids=REFUSED)
    def test_what_makes_no_grid_of_numbers_is_refused(self, use, error, why):
        with pytest.raises(error, match=why):
            use()

    def test_all_numbers_have_one_dtype(self, device):
        floats = torch.tensor([True, 2, 2.5], device=device)
        whole = torch.tensor([1, 2], device=device)

        whole[0] = 7.75

        assert repr(floats.tolist()) == "[1.0, 2.0, 2.5]"
        assert repr(whole.tolist()) == "[7, 2]"

    def test_plus_and_times_compute_where_those_of_lists_join(self, device):
        x, y = torch.tensor([1, 2, 3], device=device), torch.tensor([10, 20, 30], device=device)

        assert (x + y).tolist() == [11, 22, 33]
        assert (2 * x).tolist() == [2, 4, 6]

    @pytest.mark.asks_the_device
    def test_only_a_single_element_has_a_truth_value(self, device):
        truths = [bool(torch.tensor(data, device=device)) for data in ([0], [[3]], 0.5, -1, -0.0, True)]

        assert truths == [False, True, True, True, False, True]
        for several in ([1, 1], [0, 0]):
            with pytest.raises(RuntimeError, match="more than one value is ambiguous"):
                bool(torch.tensor(several, device=device))
        with pytest.raises(RuntimeError, match="no values is ambiguous"):
            bool(torch.tensor([], device=device))
