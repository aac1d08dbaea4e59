"""Section 1 of the notes, 1.2 "Creating a Tensor": tensor(data)."""

from array import array
from fractions import Fraction

import numpy as np
import pytest
import torch

from spec.counters import allocated_bytes
from spec.harness import QUALIFIED, broken_by, claim

FROM_DATA = "tensor(data) turns array-like data (lists, ndarrays and others) into a Tensor"


def accepting(kind, convert):
    """Return a replacement for a function of data that takes `kind`, too, as what `convert` makes of it."""
    return lambda real: lambda data: real(convert(data) if isinstance(data, kind) else data)


class TestFromData:
    """1.2: tensor(data)."""

    @claim("tensor.tensor-accepts-sequences-and-arrays", notes="1.2", verdict=QUALIFIED, says=FROM_DATA)
    @broken_by(torch, "tensor", accepting(tuple, lambda data: data[::-1]))
    @broken_by(torch, "tensor", accepting(range, lambda data: [data.start, data.stop]))
    @broken_by(torch, "tensor", accepting(array, lambda data: data.tobytes()[0]))
    @broken_by(torch, "tensor", accepting(np.ndarray, lambda data: data.T))
    @broken_by(torch, "tensor", accepting(np.ndarray, lambda data: data.ravel("K").reshape(data.shape)))
    def test_tensor_takes_sequences_and_arrays(self):
        """Nested lists and tuples, ranges, arrays of the standard library and of NumPy become tensors."""
        arrays = np.array([[1, 2], [3, 4]]), np.array([[1, 3], [2, 4]]).T
        rows = ([[1, 2], [3, 4]], ((1, 2), (3, 4)), [range(1, 3), range(3, 5)], *arrays)
        numbers = ([1, 2], (1, 2), range(1, 3), array("i", [1, 2]), [np.int8(1), torch.tensor([2])])

        assert [torch.tensor(data).tolist() for data in rows] == [[[1, 2], [3, 4]]] * len(rows)
        assert [torch.tensor(data).tolist() for data in numbers] == [[1, 2]] * len(numbers)

    @claim(
        "tensor.tensor-accepts-sequences-and-arrays-numbers", notes="1.2", verdict=QUALIFIED, says=FROM_DATA
    )
    @broken_by(torch, "tensor", accepting(float, lambda data: [data]))
    @broken_by(torch, "tensor", accepting(np.ndarray, lambda data: data.reshape(-1)))
    @broken_by(torch, "tensor", accepting(np.float16, lambda data: int(data)))
    @broken_by(torch, "tensor", accepting(bool, lambda data: [data]))
    @broken_by(torch, "tensor", accepting(complex, abs))
    def test_tensor_takes_single_numbers(self):
        """A number of Python or NumPy, or an array without axes, becomes a tensor without axes."""
        for data in (True, 7, 2.5, 1 + 2j, np.int8(-3), np.float16(2.5), np.array(2.5)):
            x = torch.tensor(data)

            assert x.shape == ()
            assert x.item() == data

    @claim(
        "tensor.tensor-accepts-sequences-and-arrays-lists-of-arrays",
        notes="1.2",
        verdict=QUALIFIED,
        says=FROM_DATA,
    )
    @broken_by(torch, "tensor", lambda real: lambda data: real(np.array(data)))
    @broken_by(torch, "tensor", lambda real: lambda data: real(data).T)
    def test_list_of_arrays_is_taken_with_a_warning(self, repeated_warnings):
        """A list of arrays becomes their rows, and a UserWarning says that this is slow: join them first."""
        arrays = [np.array([1, 2]), np.array([3, 4])]

        with pytest.warns(UserWarning, match="a list of numpy.ndarrays is extremely slow"):
            x = torch.tensor(arrays)

        assert x.tolist() == [[1, 2], [3, 4]]

    @claim(
        "tensor.tensor-accepts-sequences-and-arrays-no-collections",
        notes="1.2",
        verdict=QUALIFIED,
        says=FROM_DATA,
    )
    @broken_by(torch, "tensor", accepting(set, sorted))
    @broken_by(torch, "tensor", accepting(dict, lambda data: list(data.values())))
    @broken_by(torch, "tensor", accepting(type(n for n in ""), list))
    @broken_by(torch, "tensor", accepting(Fraction, float))
    @broken_by(torch, "tensor", accepting(type(None), lambda data: []))
    def test_tensor_refuses_what_is_no_sequence_and_no_number(self):
        """Sets, dicts, generators, fractions and None are a RuntimeError."""
        for data in ({1, 2}, {0: 1}, (n for n in [1, 2]), Fraction(1, 2), None):
            with pytest.raises(RuntimeError, match=f"Could not infer dtype of {type(data).__name__}"):
                torch.tensor(data)

    @claim(
        "tensor.tensor-accepts-sequences-and-arrays-no-text", notes="1.2", verdict=QUALIFIED, says=FROM_DATA
    )
    @broken_by(torch, "tensor", accepting(str, float))
    @broken_by(torch, "tensor", accepting(bytes, list))
    @broken_by(torch, "tensor", accepting(np.ndarray, lambda data: data.astype(float)))
    def test_tensor_refuses_text_and_arrays_of_objects(self):
        """Text, bytes and arrays of Python objects are a TypeError, even if they spell numbers."""
        for data in ("12", b"12"):
            with pytest.raises(TypeError, match=f"invalid data type '{type(data).__name__}'"):
                torch.tensor(data)
        with pytest.raises(TypeError, match=r"can't convert np.ndarray of type numpy\.object_"):
            torch.tensor(np.array([1, 2], dtype=object))

    @claim(
        "tensor.tensor-accepts-sequences-and-arrays-no-negative-strides",
        notes="1.2",
        verdict=QUALIFIED,
        says=FROM_DATA,
    )
    @broken_by(torch, "tensor", accepting(np.ndarray, np.copy))
    @broken_by(torch, "tensor", lambda real: lambda data: real(sorted(data)))
    def test_tensor_refuses_a_reversed_array(self):
        """An array that runs backwards is a ValueError, although tensor() copies; its copy is taken."""
        backwards = np.arange(3)[::-1]

        with pytest.raises(ValueError, match="stride in the given numpy array is negative"):
            torch.tensor(backwards)
        assert torch.tensor(backwards.copy()).tolist() == [2, 1, 0]

    @claim(
        "tensor.tensor-accepts-sequences-and-arrays-tensors", notes="1.2", verdict=QUALIFIED, says=FROM_DATA
    )
    @broken_by(torch, "tensor", lambda real: lambda x: x.detach().clone())
    @broken_by(torch, "tensor", lambda real: lambda x: real(x) is None or x.detach())
    def test_tensor_of_a_tensor_copies_and_warns(self):
        """A tensor is taken, too, and copied; a UserWarning recommends clone() and detach() in its place."""
        x = torch.ones(3)

        with pytest.warns(UserWarning, match=r"use sourceTensor\.(clone\(\)\.detach|detach\(\)\.clone)\(\)"):
            copy = torch.tensor(x)
        x.fill_(7)

        assert copy.tolist() == [1, 1, 1]


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


class TestInferredDtype:
    """1.2: the dtype that tensor(data) picks."""

    @claim("tensor.tensor-infers-dtype", notes="notebook tensor")
    @broken_by(torch, "tensor", lambda real: lambda data: real(data).real.float())
    @broken_by(torch, "tensor", lambda real: lambda data: real(data).to(real(data[:1]).dtype))
    @broken_by(torch, "tensor", lambda real: lambda data: real(np.array(data)))
    def test_most_general_number_of_a_list_decides(self):
        """It is the first of bool, int64, float32, complex64 that suits all numbers; [] is float32."""
        found = {name: torch.tensor(data).dtype for name, (data, dtype) in KINDS.items()}

        assert found == {name: dtype for name, (data, dtype) in KINDS.items()}

    @claim("tensor.tensor-infers-dtype-default", notes="notebook tensor")
    @broken_by(
        torch,
        "tensor",
        lambda real: lambda data: real(data) if data == [2j] else real(data, dtype=torch.float32),
    )
    @broken_by(
        torch,
        "tensor",
        lambda real: lambda data: real(data) if data == [1.5] else real(data, dtype=torch.complex64),
    )
    @broken_by(torch, "set_default_dtype", lambda real: lambda dtype: None)
    def test_floats_take_the_default_dtype(self):
        """After set_default_dtype(float64), floats make float64, and complex numbers complex128."""
        before = torch.get_default_dtype()
        torch.set_default_dtype(torch.float64)
        try:
            found = torch.tensor([1.5]).dtype, torch.tensor([2j]).dtype
        finally:
            torch.set_default_dtype(before)

        assert found == (torch.float64, torch.complex128)

    @claim("tensor.tensor-infers-dtype-numpy", notes="notebook tensor")
    @broken_by(torch, "tensor", lambda real: lambda data: real(data.tolist()))
    @broken_by(torch, "tensor", accepting(np.ndarray, lambda data: data.astype(np.result_type(data, "f4"))))
    @broken_by(torch, "tensor", accepting(np.generic, lambda data: data.item()))
    @broken_by(torch, "tensor", accepting(list, lambda data: [number.item() for number in data]))
    def test_arrays_and_numpy_scalars_keep_their_dtype(self):
        """Numbers that come from NumPy keep their dtype: float64 does not become float32, nor int8 int64."""
        for name in ("uint8", "int8", "int32", "float16", "float32", "float64", "complex128"):
            numbers = np.ones(2, name)

            assert torch.tensor(numbers).dtype == getattr(torch, name)
            assert torch.tensor(numbers[0]).dtype == getattr(torch, name)
            assert torch.tensor([*numbers]).dtype == getattr(torch, name)

    @claim("tensor.tensor-infers-dtype-rounds", notes="notebook tensor")
    @broken_by(torch, "tensor", lambda real: lambda data: real(data, dtype=torch.float64))
    @broken_by(torch, "tensor", lambda real: lambda data: real(data, dtype=torch.float16))
    def test_float_is_rounded_to_float32(self):
        """A Python float loses digits on its way in: 0.1 comes out as 0.10000000149011612."""
        assert torch.tensor(0.1).item() == 0.10000000149011612
        assert torch.tensor(0.1).item() == float(np.float32(0.1))

    @claim("tensor.tensor-infers-dtype-capital-t", notes="notebook tensor")
    @broken_by(torch, "Tensor", lambda real: torch.tensor)
    @broken_by(torch, "Tensor", lambda real: lambda data: real(data if isinstance(data, list) else [data]))
    def test_capital_tensor_infers_nothing(self):
        """torch.Tensor is another function: [1, 2] becomes float32, and 2 is a size, not a value."""
        assert torch.Tensor([1, 2]).dtype == torch.float32
        assert torch.Tensor(2).shape == (2,)


class TestCopies:
    """1.2: tensor(data) copies; as_tensor(data) does so only if it must."""

    @claim("tensor.tensor-copies", notes="1.2")
    @broken_by(torch, "tensor", lambda real: torch.as_tensor)
    @broken_by(torch, "tensor", lambda real: torch.from_numpy)
    def test_tensor_shares_no_memory_with_its_array(self):
        """A change to the array does not show in the tensor made by tensor(), nor the other way round."""
        numbers = np.ones(3)
        x = torch.tensor(numbers)

        numbers += 1
        x.mul_(10)

        assert numbers.tolist() == [2, 2, 2]
        assert x.tolist() == [10, 10, 10]

    @claim("tensor.tensor-copies-as-tensor", notes="1.2")
    @broken_by(torch, "as_tensor", lambda real: lambda data, **options: real(data, **options).clone())
    @broken_by(torch, "as_tensor", lambda real: torch.tensor)
    def test_as_tensor_shares_the_memory_of_an_array(self):
        """as_tensor() of an array shares its memory, unless another dtype is asked for."""
        numbers = np.ones(3)
        shared, converted = torch.as_tensor(numbers), torch.as_tensor(numbers, dtype=torch.float32)

        numbers += 1

        assert shared.tolist() == [2, 2, 2]
        assert converted.tolist() == [1, 1, 1]

    @claim("tensor.tensor-copies-as-tensor-same", notes="1.2")
    @broken_by(torch, "as_tensor", lambda real: lambda x: x.detach())
    @broken_by(torch, "as_tensor", lambda real: lambda x: x.view(x.shape))
    def test_as_tensor_returns_a_tensor_itself(self, device):
        """as_tensor() of a tensor is that very tensor."""
        x = torch.ones(3, device=device)

        assert torch.as_tensor(x) is x

    @claim("tensor.from-numpy-costs-nothing", notes="1.2, 1.5")
    @broken_by(torch, "from_numpy", lambda real: torch.tensor)
    @broken_by(torch, "from_numpy", lambda real: lambda numbers: real(numbers.copy()))
    @broken_by(torch, "tensor", lambda real: torch.as_tensor)
    @broken_by(torch, "tensor", lambda real: lambda numbers: real(numbers, dtype=torch.float32))
    def test_from_numpy_takes_no_memory_and_tensor_that_of_the_array(self):
        """Of an array of 8,000 bytes, tensor() allocates 8,000 bytes for the data and from_numpy() none."""
        numbers = np.ones(1000)

        assert allocated_bytes(lambda: torch.tensor(numbers)) == 8000
        assert allocated_bytes(lambda: torch.from_numpy(numbers)) == 0
        assert (
            torch.from_numpy(numbers).data_ptr() == numbers.ctypes.data
        )  # a copy made by NumPy would not count
