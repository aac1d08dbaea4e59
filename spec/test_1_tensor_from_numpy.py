"""Section 1 of the notes, 1.2 "Creating a Tensor": from_numpy, and the memory it shares (1.5)."""

import warnings

import numpy as np
import pytest
import torch

from spec.harness import QUALIFIED, broken_by, claim

CONVERTS = "from_numpy converts ndarray data to a Tensor"
CLASSIC = (
    *("bool", "uint8", "int8", "int16", "int32", "int64"),
    *("float16", "float32", "float64", "complex64", "complex128"),
)


def make_layouts():
    """Return an array of each layout: without axes, empty, in order, transposed, with gaps, permuted."""
    grid, block = np.arange(24).reshape(4, 6), np.arange(24).reshape(2, 3, 4)
    return [
        np.array(7),
        np.zeros((0, 3), int),
        grid,
        grid.T.copy().T,
        grid[1::2, ::3],
        block.transpose(2, 0, 1),
    ]


def read_only(values):
    """Return an array of `values` that NumPy refuses to change."""
    numbers = np.array(values)
    numbers.flags.writeable = False
    return numbers


def converted(numbers):
    """Return dtype and values of the tensor that from_numpy makes of an array, or how it refuses."""
    try:
        x = torch.from_numpy(numbers)
    except TypeError:
        return "TypeError"
    return str(x.dtype), x.tolist()


class TestConversion:
    """What from_numpy takes, and what comes of it."""

    @claim("tensor.from-numpy", notes="1.2", verdict=QUALIFIED, says=CONVERTS)
    @broken_by(torch, "from_numpy", lambda real: lambda numbers: real(np.ascontiguousarray(numbers)))
    @broken_by(torch, "from_numpy", lambda real: lambda numbers: real(np.atleast_1d(numbers)))
    @broken_by(torch, "from_numpy", lambda real: lambda numbers: real(numbers.T))
    def test_from_numpy_keeps_shape_strides_and_values(self):
        """Shape, strides and values are the array's, also without axes, empty, transposed, or with gaps."""
        for numbers in make_layouts():
            x = torch.from_numpy(numbers)

            assert x.shape == numbers.shape
            assert [step * x.element_size() for step in x.stride()] == list(numbers.strides)
            assert x.tolist() == numbers.tolist()

    @claim("tensor.from-numpy-only-arrays", notes="1.2", verdict=QUALIFIED, says=CONVERTS)
    @broken_by(torch, "from_numpy", lambda real: lambda data: real(np.asarray(data)))
    @broken_by(torch, "from_numpy", lambda real: torch.as_tensor)
    def test_from_numpy_takes_arrays_only(self):
        """Lists, tensors, and NumPy's scalars, which an array's own elements are, are a TypeError."""
        for data in ([1.0], torch.ones(1), np.ones(1)[0]):
            with pytest.raises(TypeError, match=r"expected np\.ndarray"):
                torch.from_numpy(data)

    @claim("tensor.from-numpy-refused-layouts", notes="1.2", verdict=QUALIFIED, says=CONVERTS)
    @broken_by(
        torch,
        "from_numpy",
        lambda real: lambda numbers: real(numbers.copy() if numbers.base is not None else numbers),
    )
    @broken_by(
        torch,
        "from_numpy",
        lambda real: lambda numbers: real(numbers.astype(numbers.dtype.newbyteorder("="))),
    )
    @broken_by(torch, "from_numpy", lambda real: lambda numbers: real(np.abs(numbers)))
    @broken_by(torch, "from_numpy", lambda real: lambda x: real(x.copy() if x.ndim > 1 else x))
    def test_from_numpy_refuses_memory_that_no_tensor_can_describe(self):
        """A reversed array, one in foreign byte order, and a field of packed records are ValueErrors."""
        records = np.zeros(3, dtype=[("flag", "int8"), ("number", "int32")])

        for backwards in (np.arange(3)[::-1], np.eye(3)[:, ::-1]):
            with pytest.raises(ValueError, match="stride in the given numpy array is negative"):
                torch.from_numpy(backwards)
        with pytest.raises(ValueError, match="byte order different from the native"):
            torch.from_numpy(np.arange(3).astype(np.dtype("int32").newbyteorder()))
        with pytest.raises(ValueError, match="strides not a multiple of the element byte size"):
            torch.from_numpy(records["number"])

    @claim("tensor.from-numpy-refused-dtypes", notes="1.2", verdict=QUALIFIED, says=CONVERTS)
    @broken_by(torch, "from_numpy", lambda real: lambda numbers: real(numbers.astype("float64")))
    @broken_by(
        torch,
        "from_numpy",
        lambda real: lambda numbers: real(numbers.view("int64") if numbers.dtype.kind == "M" else numbers),
    )
    def test_from_numpy_refuses_dtypes_that_no_tensor_has(self):
        """Python objects, text, bytes, dates and long doubles are a TypeError."""
        for dtype in ("object", "str", "bytes", "datetime64[D]", "longdouble"):
            with pytest.raises(TypeError, match=r"can't convert np\.ndarray of type"):
                torch.from_numpy(np.ones(2, int).astype(dtype))

    @claim("tensor.from-numpy-unsigned", notes="1.2", verdict=QUALIFIED, says=CONVERTS, since="2.3")
    @broken_by(torch, "from_numpy", lambda real: lambda numbers: real(numbers.astype("int64")))
    @broken_by(
        torch, "from_numpy", lambda real: lambda numbers: real(numbers.view(numbers.dtype.name.lstrip("u")))
    )
    def test_from_numpy_takes_wide_unsigned_integers(self):
        """Arrays of uint16, uint32 and uint64 become tensors of the same dtype, with all their range."""
        for name in ("uint16", "uint32", "uint64"):
            largest = np.iinfo(name).max

            assert converted(np.array([1, largest], name)) == (f"torch.{name}", [1, largest])

    @claim("tensor.from-numpy-no-gradient", notes="1.2")
    @broken_by(torch, "from_numpy", lambda real: lambda numbers: real(numbers).requires_grad_())
    @broken_by(torch, "from_numpy", lambda real: lambda numbers: real(numbers).to("meta"))
    def test_from_numpy_makes_a_cpu_tensor_without_gradient(self):
        """What from_numpy makes is on the CPU and requires no gradient."""
        x = torch.from_numpy(np.ones(3))

        assert (x.device.type, x.requires_grad) == ("cpu", False)

    @claim("tensor.from-numpy-cannot-grow", notes="1.2", verdict=QUALIFIED, says=CONVERTS)
    @broken_by(torch, "from_numpy", lambda real: lambda numbers: real(numbers).clone())
    @broken_by(torch.Tensor, "resize_", lambda real: lambda x, size: real(x.clone(), size))
    def test_tensor_from_numpy_cannot_grow(self):
        """resize_() can make the tensor smaller but not larger than its array: RuntimeError."""
        x = torch.from_numpy(np.arange(3))

        with pytest.raises(RuntimeError, match="resize storage that is not resizable"):
            x.resize_(4)
        assert x.resize_(2).tolist() == [0, 1]


class TestReadOnly:
    """An array that NumPy does not let anyone change."""

    @claim("tensor.from-numpy-read-only", notes="1.2", verdict=QUALIFIED, says=CONVERTS)
    @broken_by(torch, "from_numpy", lambda real: lambda numbers: real(numbers.copy()))
    @broken_by(torch, "from_numpy", lambda real: lambda numbers: real(numbers).clone())
    def test_read_only_array_is_changed_through_its_tensor(self, repeated_warnings):
        """A read-only array is taken with a UserWarning, and what is written to the tensor changes it."""
        numbers = read_only([1.0, 2.0])

        with pytest.warns(UserWarning, match="not writable"):
            torch.from_numpy(numbers).mul_(10)

        assert numbers.tolist() == [10, 20]

    @claim("tensor.from-numpy-read-only-once", notes="1.2", verdict=QUALIFIED, says=CONVERTS)
    @broken_by(
        torch,
        "from_numpy",
        lambda real: (
            lambda numbers: (torch.set_warn_always(True), real(numbers), torch.set_warn_always(False))[1]
        ),
    )
    def test_read_only_array_is_warned_of_once_in_a_process(self):
        """PyTorch warns of the first read-only array of a process only."""
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            made = [torch.from_numpy(read_only([1.0, 2.0])) for _ in range(3)]

        assert len(made) == 3
        assert len(seen) <= 1  # none, if an earlier test was the first


class TestDtype:
    """The notebook's 2x2 array of ints."""

    @claim(
        "tensor.from-numpy-dtype",
        notes="notebook tensor, output",
        verdict=QUALIFIED,
        says="the tensor of a 2x2 array of ints prints with dtype=torch.int32",
    )
    @broken_by(torch, "from_numpy", lambda real: lambda numbers: real(numbers).long())
    @broken_by(torch, "from_numpy", lambda real: lambda numbers: real(numbers).int())
    def test_dtype_int32_is_that_of_the_array(self):
        """int32 prints only if the array is int32, as NumPy 1 makes it on Windows; int64 prints no dtype."""
        ints = [[1, 2], [3, 4]]

        assert repr(torch.from_numpy(np.array(ints, "int32"))).endswith("dtype=torch.int32)")
        assert repr(torch.from_numpy(np.array(ints, "int64"))) == "tensor([[1, 2],\n        [3, 4]])"

    @claim("tensor.from-numpy-dtype-kept", notes="1.2; notebook tensor")
    @broken_by(
        torch, "from_numpy", lambda real: lambda numbers: real(numbers.astype(np.result_type(numbers, "f4")))
    )
    @broken_by(
        torch,
        "from_numpy",
        lambda real: lambda numbers: real(numbers.astype("int64") if numbers.dtype.kind == "i" else numbers),
    )
    def test_from_numpy_keeps_the_dtype(self):
        """The dtypes bool, uint8, int8 to int64, float16 to float64, complex64 and complex128 are kept."""
        kept = [str(torch.from_numpy(np.ones(2, name)).dtype) for name in CLASSIC]

        assert kept == [f"torch.{name}" for name in CLASSIC]


class TestSharedMemory:
    """1.5: ndarray and Tensor occupy the same storage."""

    @claim("tensor.from-numpy-shares-memory", notes="1.5, 1.2")
    @broken_by(torch, "from_numpy", lambda real: lambda numbers: real(numbers.copy()))
    @broken_by(torch, "from_numpy", lambda real: torch.tensor)
    def test_from_numpy_shares_memory_with_its_array(self):
        """A change to the array shows in the tensor that from_numpy made of it, and the other way round."""
        numbers = np.ones(3)
        x = torch.from_numpy(numbers)

        numbers += 1
        x.mul_(10)

        assert x.tolist() == [20, 20, 20]
        assert numbers.tolist() == [20, 20, 20]

    @claim("tensor.from-numpy-shares-memory-notebook", notes="1.5; notebook tensor, output")
    @broken_by(torch, "from_numpy", lambda real: lambda numbers: real(numbers.copy()))
    @broken_by(torch, "from_numpy", lambda real: lambda numbers: real(numbers.astype("float32", copy=False)))
    def test_notebook_prints_five_twos(self):
        """After np.add(n, 1, out=n) for five ones, the tensor prints five `2.` and dtype=torch.float64."""
        n = np.ones(5)
        t = torch.from_numpy(n)

        np.add(n, 1, out=n)

        assert str(t) == "tensor([2., 2., 2., 2., 2.], dtype=torch.float64)"

    @claim("tensor.from-numpy-shares-memory-strided", notes="1.5")
    @broken_by(
        torch,
        "from_numpy",
        lambda real: lambda numbers: real(numbers.copy() if numbers.ndim < 1 else numbers),
    )
    @broken_by(torch, "from_numpy", lambda real: lambda numbers: real(np.require(numbers, requirements="C")))
    def test_memory_is_shared_by_arrays_of_any_layout(self):
        """It is the same memory, from the same address on, whatever the layout of the array."""
        for numbers in filter(np.size, make_layouts()):
            x = torch.from_numpy(numbers).fill_(-1)

            assert (numbers == -1).all()
            assert x.data_ptr() == numbers.ctypes.data

    @claim("tensor.from-numpy-shares-memory-in-place-only", notes="1.5")
    @broken_by(torch, "from_numpy", lambda real: lambda numbers: real(numbers.copy()))
    def test_new_array_under_the_old_name_shares_nothing(self):
        """`numbers += 1` shows in the tensor; `numbers = numbers + 1` makes another array, and does not."""
        numbers = np.array([1, 2])
        x = torch.from_numpy(numbers)

        numbers += 1
        numbers = numbers + 1

        assert numbers.tolist() == [3, 4]
        assert x.tolist() == [2, 3]

    @claim("tensor.from-numpy-shares-memory-gradient", notes="1.5")
    @broken_by(torch.Tensor, "requires_grad_", lambda real: lambda x: real(x.clone()))
    @broken_by(torch, "from_numpy", lambda real: lambda numbers: real(numbers.copy()))
    def test_memory_stays_shared_when_a_gradient_is_required(self):
        """requires_grad_() leaves the memory shared; autograd does not notice a change of the array."""
        numbers = np.ones(3)
        x = torch.from_numpy(numbers).requires_grad_()

        numbers += 1

        assert x.tolist() == [2, 2, 2]
        assert x._version == 0
