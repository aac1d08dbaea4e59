"""1.2 of the notes: creating a tensor from data, by tensor(data)."""

from array import array
from fractions import Fraction

import numpy as np
import pytest
import torch

from spec.counters import allocated_bytes
from spec.harness import QUALIFIED, fault, statement

FROM_DATA = "tensor(data) turns array-like data (lists, ndarrays and others) into a Tensor"


def accepting(kind, convert):
    """Return a replacement for a function of data that takes `kind`, too, as what `convert` makes of it."""
    return lambda real: lambda data: real(convert(data) if isinstance(data, kind) else data)


KINDS = {
    "nothing": ([], torch.float32),
    "bools": ([False, True], torch.bool),
    "ints": ([1, 2], torch.int64),
    "floats": ([1.0, 2.0], torch.float32),
    "complex numbers": ([1j, 2j], torch.complex64),
    "bools and ints": ([True, 2], torch.int64),
    "ints and floats": ([1, 2.5], torch.float32),
    "complex numbers and floats": ([2j, 1.5], torch.complex64),
}


@statement(
    "tensor.tensor-accepts-sequences-and-arrays",
    notes="1.2; notebook tensor",
    verdict=QUALIFIED,
    says=FROM_DATA,
)
@fault("tuples are taken backwards", torch, "tensor", accepting(tuple, lambda data: data[::-1]))
@fault("a range is its two ends", torch, "tensor", accepting(range, lambda data: [data.start, data.stop]))
@fault(
    "an array of the standard library is its first byte",
    torch,
    "tensor",
    accepting(array, lambda data: data.tobytes()[0]),
)
@fault("an array is transposed", torch, "tensor", accepting(np.ndarray, lambda data: data.T))
@fault(
    "an array is read in the order of its memory",
    torch,
    "tensor",
    accepting(np.ndarray, lambda data: data.ravel("K").reshape(data.shape)),
)
@fault("a float gets an axis", torch, "tensor", accepting(float, lambda data: [data]))
@fault(
    "an array without axes gets one", torch, "tensor", accepting(np.ndarray, lambda data: data.reshape(-1))
)
@fault("a NumPy float becomes an integer", torch, "tensor", accepting(np.float16, lambda data: int(data)))
@fault("a bool gets an axis", torch, "tensor", accepting(bool, lambda data: [data]))
@fault("a complex number becomes its size", torch, "tensor", accepting(complex, abs))
@fault("a set is sorted", torch, "tensor", accepting(set, sorted))
@fault("a dict is its values", torch, "tensor", accepting(dict, lambda data: list(data.values())))
@fault("a generator is a list", torch, "tensor", accepting(type(n for n in ""), list))
@fault("a fraction is a float", torch, "tensor", accepting(Fraction, float))
@fault("None is an empty list", torch, "tensor", accepting(type(None), lambda data: []))
@fault("text is a number", torch, "tensor", accepting(str, float))
@fault("bytes are numbers", torch, "tensor", accepting(bytes, list))
@fault(
    "an array of objects is converted",
    torch,
    "tensor",
    accepting(np.ndarray, lambda data: data.astype(float)),
)
@fault("an array is copied first", torch, "tensor", accepting(np.ndarray, np.copy))
@fault("an array is sorted", torch, "tensor", lambda real: lambda data: real(sorted(data)))
@fault(
    "a list of arrays is joined without a warning",
    torch,
    "tensor",
    lambda real: lambda data: real(np.array(data)),
)
@fault("a list of arrays is transposed", torch, "tensor", lambda real: lambda data: real(data).T)
@fault("a tensor is copied without a warning", torch, "tensor", lambda real: lambda x: x.detach().clone())
@fault("a tensor is not copied", torch, "tensor", lambda real: lambda x: real(x) is None or x.detach())
class TestTensorAcceptsSequencesAndArrays:
    """tensor() takes numbers, nested sequences of numbers, and arrays. It refuses sets, dicts, generators,
    text, arrays of objects, and arrays that run backwards.
    """

    def test_tensor_takes_sequences_and_arrays(self):
        arrays = np.array([[1, 2], [3, 4]]), np.array([[1, 3], [2, 4]]).T
        rows = ([[1, 2], [3, 4]], ((1, 2), (3, 4)), [range(1, 3), range(3, 5)], *arrays)
        numbers = ([1, 2], (1, 2), range(1, 3), array("i", [1, 2]), [np.int8(1), torch.tensor([2])])

        assert [torch.tensor(data).tolist() for data in rows] == [[[1, 2], [3, 4]]] * len(rows)
        assert [torch.tensor(data).tolist() for data in numbers] == [[1, 2]] * len(numbers)

    def test_tensor_takes_single_numbers(self):
        for data in (True, 7, 2.5, 1 + 2j, np.int8(-3), np.float16(2.5), np.array(2.5)):
            x = torch.tensor(data)

            assert x.shape == ()
            assert x.item() == data

    def test_tensor_refuses_what_is_no_sequence_and_no_number(self):
        for data in ({1, 2}, {0: 1}, (n for n in [1, 2]), Fraction(1, 2), None):
            with pytest.raises(RuntimeError, match=f"Could not infer dtype of {type(data).__name__}"):
                torch.tensor(data)

    def test_tensor_refuses_text_and_arrays_of_objects(self):
        for data in ("12", b"12"):
            with pytest.raises(TypeError, match=f"invalid data type '{type(data).__name__}'"):
                torch.tensor(data)
        with pytest.raises(TypeError, match=r"can't convert np.ndarray of type numpy\.object_"):
            torch.tensor(np.array([1, 2], dtype=object))

    def test_tensor_refuses_a_reversed_array(self):
        backwards = np.arange(3)[::-1]

        with pytest.raises(ValueError, match="stride in the given numpy array is negative"):
            torch.tensor(backwards)
        assert torch.tensor(backwards.copy()).tolist() == [2, 1, 0]

    def test_list_of_arrays_is_taken_with_a_warning(self, repeated_warnings):
        arrays = [np.array([1, 2]), np.array([3, 4])]

        with pytest.warns(UserWarning, match="a list of numpy.ndarrays is extremely slow"):
            x = torch.tensor(arrays)

        assert x.tolist() == [[1, 2], [3, 4]]

    def test_tensor_of_a_tensor_copies_and_warns(self):
        x = torch.ones(3)

        with pytest.warns(UserWarning, match=r"use sourceTensor\.(clone\(\)\.detach|detach\(\)\.clone)\(\)"):
            copy = torch.tensor(x)
        x.fill_(7)

        assert copy.tolist() == [1, 1, 1]


@statement("tensor.tensor-infers-dtype", notes="notebook tensor")
@fault("all numbers become floats", torch, "tensor", lambda real: lambda data: real(data).real.float())
@fault(
    "the first number decides", torch, "tensor", lambda real: lambda data: real(data).to(real(data[:1]).dtype)
)
@fault("NumPy decides", torch, "tensor", lambda real: lambda data: real(np.array(data)))
@fault(
    "floats ignore the default dtype",
    torch,
    "tensor",
    lambda real: lambda data: real(data) if data == [2j] else real(data, dtype=torch.float32),
)
@fault(
    "complex numbers ignore the default dtype",
    torch,
    "tensor",
    lambda real: lambda data: real(data) if data == [1.5] else real(data, dtype=torch.complex64),
)
@fault("set_default_dtype does nothing", torch, "set_default_dtype", lambda real: lambda dtype: None)
@fault("an array is taken for a list", torch, "tensor", lambda real: lambda data: real(data.tolist()))
@fault(
    "a small dtype becomes a larger one",
    torch,
    "tensor",
    accepting(np.ndarray, lambda data: data.astype(np.result_type(data, "f4"))),
)
@fault(
    "a number of NumPy is taken for one of Python",
    torch,
    "tensor",
    accepting(np.generic, lambda data: data.item()),
)
@fault(
    "a list of numbers of NumPy is taken for Pythons",
    torch,
    "tensor",
    accepting(list, lambda data: [number.item() for number in data]),
)
@fault("floats become float64", torch, "tensor", lambda real: lambda data: real(data, dtype=torch.float64))
@fault("floats become float16", torch, "tensor", lambda real: lambda data: real(data, dtype=torch.float16))
@fault("Tensor is tensor", torch, "Tensor", lambda real: torch.tensor)
@fault(
    "Tensor(2) holds a 2",
    torch,
    "Tensor",
    lambda real: lambda data: real(data if isinstance(data, list) else [data]),
)
class TestTensorInfersDtype:
    """tensor() takes the first of bool, int64, float32 and complex64 that suits all numbers of Python. Arrays
    and numbers of NumPy keep their dtype.
    """

    def test_most_general_number_of_a_list_decides(self):
        found = {name: torch.tensor(data).dtype for name, (data, dtype) in KINDS.items()}

        assert found == {name: dtype for name, (data, dtype) in KINDS.items()}

    def test_floats_take_the_default_dtype(self):
        before = torch.get_default_dtype()
        torch.set_default_dtype(torch.float64)
        try:
            found = torch.tensor([1.5]).dtype, torch.tensor([2j]).dtype
        finally:
            torch.set_default_dtype(before)

        assert found == (torch.float64, torch.complex128)

    def test_arrays_and_numpy_scalars_keep_their_dtype(self):
        for name in ("uint8", "int8", "int32", "float16", "float32", "float64", "complex128"):
            numbers = np.ones(2, name)

            assert torch.tensor(numbers).dtype == getattr(torch, name)
            assert torch.tensor(numbers[0]).dtype == getattr(torch, name)
            assert torch.tensor([*numbers]).dtype == getattr(torch, name)

    def test_float_is_rounded_to_float32(self):
        assert torch.tensor(0.1).item() == 0.10000000149011612
        assert torch.tensor(0.1).item() == float(np.float32(0.1))

    def test_capital_tensor_infers_nothing(self):
        assert torch.Tensor([1, 2]).dtype == torch.float32
        assert torch.Tensor(2).shape == (2,)


@statement("tensor.tensor-copies", notes="1.2")
@fault("tensor is as_tensor", torch, "tensor", lambda real: torch.as_tensor)
@fault("tensor is from_numpy", torch, "tensor", lambda real: torch.from_numpy)
@fault(
    "as_tensor copies", torch, "as_tensor", lambda real: lambda data, **options: real(data, **options).clone()
)
@fault("as_tensor detaches a tensor", torch, "as_tensor", lambda real: lambda x: x.detach())
@fault("as_tensor makes a view of a tensor", torch, "as_tensor", lambda real: lambda x: x.view(x.shape))
@fault("from_numpy is tensor", torch, "from_numpy", lambda real: torch.tensor)
@fault("from_numpy copies", torch, "from_numpy", lambda real: lambda numbers: real(numbers.copy()))
@fault(
    "tensor makes float32", torch, "tensor", lambda real: lambda numbers: real(numbers, dtype=torch.float32)
)
class TestTensorCopies:
    """tensor() copies an array: a change to one does not show in the other. as_tensor() and from_numpy()
    share the memory of the array instead, and take none of their own.
    """

    def test_tensor_shares_no_memory_with_its_array(self):
        numbers = np.ones(3)
        x = torch.tensor(numbers)

        numbers += 1
        x.mul_(10)

        assert numbers.tolist() == [2, 2, 2]
        assert x.tolist() == [10, 10, 10]

    def test_as_tensor_shares_the_memory_of_an_array(self):
        numbers = np.ones(3)
        shared, converted = torch.as_tensor(numbers), torch.as_tensor(numbers, dtype=torch.float32)

        numbers += 1

        assert shared.tolist() == [2, 2, 2]
        assert converted.tolist() == [1, 1, 1]

    def test_as_tensor_returns_a_tensor_itself(self, device):
        x = torch.ones(3, device=device)

        assert torch.as_tensor(x) is x

    def test_from_numpy_takes_no_memory_and_tensor_that_of_the_array(self):
        numbers = np.ones(1000)

        assert allocated_bytes(lambda: torch.tensor(numbers)) == 8000
        assert allocated_bytes(lambda: torch.from_numpy(numbers)) == 0
        assert (
            torch.from_numpy(numbers).data_ptr() == numbers.ctypes.data
        )  # a copy made by NumPy would not count
