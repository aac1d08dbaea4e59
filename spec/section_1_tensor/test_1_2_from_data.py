"""1.2 of the notes: creating a tensor from data, by tensor(data)."""

import warnings
from array import array
from fractions import Fraction

import numpy as np
import pytest
import torch

from spec.harness import QUALIFIED, fault, statement

ROWS = [[1, 2], [3, 4]]
TAKEN = {
    "nested lists": (ROWS, ROWS),
    "nested tuples": (((1, 2), (3, 4)), ROWS),
    "a range": (range(1, 3), [1, 2]),
    "an array of the standard library": (array("i", [1, 2]), [1, 2]),
    "an array of NumPy": (np.array(ROWS), ROWS),
    "single numbers of NumPy and PyTorch": ([np.int8(1), torch.tensor([2])], [1, 2]),
    "a bool": (True, True),
    "a float": (2.5, 2.5),
    "a complex number": (1 + 2j, 1 + 2j),
    "a float of NumPy": (np.float16(2.5), 2.5),
    "an array without axes": (np.array(2.5), 2.5),
}
REFUSED = {
    "a set": ({1, 2}, RuntimeError, "Could not infer dtype of set"),
    "a dict": ({0: 1}, RuntimeError, "Could not infer dtype of dict"),
    "a generator": ((n for n in [1, 2]), RuntimeError, "Could not infer dtype of generator"),
    "None": (None, RuntimeError, "Could not infer dtype of NoneType"),
    "a fraction": (Fraction(1, 2), RuntimeError, "Could not infer dtype of Fraction"),
    "text": ("12", TypeError, "invalid data type 'str'"),
    "bytes": (b"12", TypeError, "invalid data type 'bytes'"),
    "an array of objects": (np.array([1, 2], dtype=object), TypeError, "can't convert"),
    "a reversed array": (np.arange(3)[::-1], ValueError, "stride in the given numpy array is negative"),
}
DTYPES = {
    "nothing": ([], torch.float32),
    "bools": ([False, True], torch.bool),
    "ints": ([1, 2], torch.int64),
    "floats": ([1.0, 2.0], torch.float32),
    "complex numbers": ([1j, 2j], torch.complex64),
    "bools and ints": ([True, 2], torch.int64),
    "ints and floats": ([1, 2.5], torch.float32),
    "an array of float64": (np.ones(2), torch.float64),
    "a number of float64": (np.float64(1), torch.float64),
}


def taking(kind, convert):
    """Return a replacement for tensor() that takes `kind` as what `convert` makes of it."""
    return lambda real: lambda data: real(convert(data) if isinstance(data, kind) else data)


@statement(
    "tensor.tensor-accepts-sequences-and-arrays",
    notes="1.2; notebook tensor",
    verdict=QUALIFIED,
    says="tensor(data) turns array-like data (lists, ndarrays and others) into a Tensor",
)
@fault("tuples are taken backwards", torch, "tensor", taking(tuple, lambda data: data[::-1]))
@fault("arrays are transposed", torch, "tensor", taking(np.ndarray, np.transpose))
@fault("a single number gets an axis", torch, "tensor", taking((bool, int, float), lambda data: [data]))
@fault("a set is sorted", torch, "tensor", taking(set, sorted))
@fault("text is a number", torch, "tensor", taking(str, float))
@fault("a list of arrays is one array first", torch, "tensor", taking(list, np.array))
class TestTensorAcceptsSequencesAndArrays:
    """`torch.tensor()` accepts numbers, nested sequences of numbers, and arrays. It raises an error for sets,
    dicts, generators, text, and reversed arrays such as `array[::-1]`.
    """

    @pytest.mark.parametrize(("data", "expected"), TAKEN.values(), ids=TAKEN)
    def test_numbers_sequences_and_arrays_are_taken(self, data, expected):
        assert torch.tensor(data).tolist() == expected

    @pytest.mark.parametrize(("data", "error", "why"), REFUSED.values(), ids=REFUSED)
    def test_other_data_is_refused(self, data, error, why):
        with pytest.raises(error, match=why):
            torch.tensor(data)

    def test_list_of_arrays_is_taken_with_a_warning(self, repeated_warnings):
        arrays = [np.array([1, 2]), np.array([3, 4])]

        with pytest.warns(UserWarning, match="a list of numpy.ndarrays is extremely slow"):
            x = torch.tensor(arrays)

        assert x.tolist() == [[1, 2], [3, 4]]


@statement("tensor.tensor-infers-dtype", notes="notebook tensor")
@fault("all numbers become floats", torch, "tensor", lambda real: lambda data: real(data).real.float())
@fault("the first decides", torch, "tensor", lambda real: lambda data: real(data).to(real(data[:1]).dtype))
@fault("an array is taken for a list", torch, "tensor", taking(np.ndarray, np.ndarray.tolist))
@fault("NumPy decides", torch, "tensor", taking(list, np.array))
@fault("Tensor is tensor", torch, "Tensor", lambda real: torch.tensor)
class TestTensorInfersDtype:
    """`torch.tensor()` stores Python numbers with the first of the dtypes bool, int64, float32 and complex64
    that suits all numbers. An empty list becomes a float32 tensor. NumPy arrays and NumPy numbers keep their
    dtype.
    """

    @pytest.mark.parametrize(("data", "dtype"), DTYPES.values(), ids=DTYPES)
    def test_dtype_is_inferred_from_the_data(self, data, dtype):
        assert torch.tensor(data).dtype == dtype

    def test_capital_tensor_infers_nothing(self):
        assert torch.Tensor([1, 2]).dtype == torch.float32
        assert torch.Tensor(2).shape == (2,)


@statement("tensor.tensor-copies", notes="1.2; 1.5")
@fault("tensor is as_tensor", torch, "tensor", lambda real: torch.as_tensor)
@fault("tensor is detach", torch, "tensor", lambda real: lambda x: real(x) is None or x.detach())
@fault("as_tensor is tensor", torch, "as_tensor", lambda real: torch.tensor)
@fault("as_tensor makes a view of a tensor", torch, "as_tensor", lambda real: lambda x: x.view(x.shape))
class TestTensorCopies:
    """`torch.tensor()` copies a NumPy array, so a later change to the array does not show in the tensor. A
    read-only array causes no warning. `torch.as_tensor()` shares the memory of the array, unless the array
    has to be converted to another dtype.
    """

    def test_tensor_shares_no_memory_with_its_array(self):
        numbers = np.ones(3)
        x = torch.tensor(numbers)

        numbers += 1
        x.mul_(10)

        assert numbers.tolist() == [2, 2, 2]
        assert x.tolist() == [10, 10, 10]

    def test_tensor_of_a_read_only_array_copies_without_a_warning(self, repeated_warnings):
        numbers = np.ones(3)
        numbers.flags.writeable = False

        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            x = torch.tensor(numbers)
        x.mul_(10)

        assert (numbers.tolist(), x.tolist()) == ([1, 1, 1], [10, 10, 10])
        assert not warned

    def test_tensor_of_a_tensor_copies_and_warns(self):
        x = torch.ones(3)

        with pytest.warns(UserWarning, match=r"use sourceTensor\.(clone\(\)\.detach|detach\(\)\.clone)\(\)"):
            copy = torch.tensor(x)
        x.fill_(7)

        assert copy.tolist() == [1, 1, 1]

    def test_as_tensor_shares_the_memory_of_an_array_unless_it_converts(self):
        numbers = np.ones(3)
        shared, converted = torch.as_tensor(numbers), torch.as_tensor(numbers, dtype=torch.float32)

        numbers += 1

        assert shared.tolist() == [2, 2, 2]
        assert converted.tolist() == [1, 1, 1]

    def test_as_tensor_returns_a_tensor_itself(self, device):
        x = torch.ones(3, device=device)

        assert torch.as_tensor(x) is x
