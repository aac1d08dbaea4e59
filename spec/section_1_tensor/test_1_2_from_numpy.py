"""1.2 and 1.5 of the notes: from_numpy, and the memory that it shares."""

import warnings

import numpy as np
import pytest
import torch

from spec.harness import QUALIFIED, fault, since, statement

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


def warning_each_time(real):
    """Return a from_numpy that warns each time."""

    def from_numpy(numbers):
        once = not torch.is_warn_always_enabled()
        torch.set_warn_always(True)
        try:
            return real(numbers)
        finally:
            torch.set_warn_always(not once)

    return from_numpy


@statement("tensor.from-numpy", notes="1.2", verdict=QUALIFIED, says=CONVERTS)
@fault(
    "the array is made contiguous",
    torch,
    "from_numpy",
    lambda real: lambda numbers: real(np.ascontiguousarray(numbers)),
)
@fault(
    "an array without axes gets one",
    torch,
    "from_numpy",
    lambda real: lambda numbers: real(np.atleast_1d(numbers)),
)
@fault("the array is transposed", torch, "from_numpy", lambda real: lambda numbers: real(numbers.T))
@fault(
    "anything is taken for an array", torch, "from_numpy", lambda real: lambda data: real(np.asarray(data))
)
@fault("from_numpy is as_tensor", torch, "from_numpy", lambda real: torch.as_tensor)
@fault(
    "views are copied",
    torch,
    "from_numpy",
    lambda real: lambda numbers: real(numbers.copy() if numbers.base is not None else numbers),
)
@fault(
    "the byte order is changed",
    torch,
    "from_numpy",
    lambda real: lambda numbers: real(numbers.astype(numbers.dtype.newbyteorder("="))),
)
@fault("signs are lost", torch, "from_numpy", lambda real: lambda numbers: real(np.abs(numbers)))
@fault(
    "arrays of several axes are copied",
    torch,
    "from_numpy",
    lambda real: lambda x: real(x.copy() if x.ndim > 1 else x),
)
@fault(
    "all becomes float64", torch, "from_numpy", lambda real: lambda numbers: real(numbers.astype("float64"))
)
@fault(
    "dates become numbers",
    torch,
    "from_numpy",
    lambda real: lambda numbers: real(numbers.view("int64") if numbers.dtype.kind == "M" else numbers),
)
@fault("all becomes int64", torch, "from_numpy", lambda real: lambda numbers: real(numbers.astype("int64")))
@fault(
    "wide unsigned integers get a sign",
    torch,
    "from_numpy",
    lambda real: lambda numbers: real(numbers.view(numbers.dtype.name.lstrip("u"))),
)
@fault(
    "the tensor requires a gradient",
    torch,
    "from_numpy",
    lambda real: lambda numbers: real(numbers).requires_grad_(),
)
@fault("the tensor lies on meta", torch, "from_numpy", lambda real: lambda numbers: real(numbers).to("meta"))
@fault("the tensor is a copy", torch, "from_numpy", lambda real: lambda numbers: real(numbers).clone())
@fault("resize_ works on a copy", torch.Tensor, "resize_", lambda real: lambda x, size: real(x.clone(), size))
@fault("the warning comes each time", torch, "from_numpy", warning_each_time)
class TestFromNumpy:
    """from_numpy makes a CPU tensor of an array, with its shape, strides and values. It takes arrays only, of
    numbers, in memory that a tensor can describe.
    """

    def test_from_numpy_keeps_shape_strides_and_values(self):
        for numbers in make_layouts():
            x = torch.from_numpy(numbers)

            assert x.shape == numbers.shape
            assert [step * x.element_size() for step in x.stride()] == list(numbers.strides)
            assert x.tolist() == numbers.tolist()

    def test_from_numpy_takes_arrays_only(self):
        for data in ([1.0], torch.ones(1), np.ones(1)[0]):
            with pytest.raises(TypeError, match=r"expected np\.ndarray"):
                torch.from_numpy(data)

    def test_from_numpy_refuses_memory_that_no_tensor_can_describe(self):
        records = np.zeros(3, dtype=[("flag", "int8"), ("number", "int32")])

        for backwards in (np.arange(3)[::-1], np.eye(3)[:, ::-1]):
            with pytest.raises(ValueError, match="stride in the given numpy array is negative"):
                torch.from_numpy(backwards)
        with pytest.raises(ValueError, match="byte order different from the native"):
            torch.from_numpy(np.arange(3).astype(np.dtype("int32").newbyteorder()))
        with pytest.raises(ValueError, match="strides not a multiple of the element byte size"):
            torch.from_numpy(records["number"])

    def test_from_numpy_refuses_dtypes_that_no_tensor_has(self):
        for dtype in ("object", "str", "bytes", "datetime64[D]", "longdouble"):
            with pytest.raises(TypeError, match=r"can't convert np\.ndarray of type"):
                torch.from_numpy(np.ones(2, int).astype(dtype))

    @since("2.3")
    def test_from_numpy_takes_wide_unsigned_integers(self):
        for name in ("uint16", "uint32", "uint64"):
            largest = np.iinfo(name).max

            assert converted(np.array([1, largest], name)) == (f"torch.{name}", [1, largest])

    def test_from_numpy_makes_a_cpu_tensor_without_gradient(self):
        x = torch.from_numpy(np.ones(3))

        assert (x.device.type, x.requires_grad) == ("cpu", False)

    def test_tensor_from_numpy_cannot_grow(self):
        x = torch.from_numpy(np.arange(3))

        with pytest.raises(RuntimeError, match="resize storage that is not resizable"):
            x.resize_(4)
        assert x.resize_(2).tolist() == [0, 1]

    def test_read_only_array_is_changed_through_its_tensor(self, repeated_warnings):
        numbers = read_only([1.0, 2.0])

        with pytest.warns(UserWarning, match="not writable"):
            torch.from_numpy(numbers).mul_(10)

        assert numbers.tolist() == [10, 20]

    def test_read_only_array_is_warned_of_once_in_a_process(self):
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            made = [torch.from_numpy(read_only([1.0, 2.0])) for _ in range(3)]

        assert len(made) == 3
        assert len(seen) <= 1  # none, if an earlier test was the first


@statement(
    "tensor.from-numpy-dtype",
    notes="notebook tensor",
    verdict=QUALIFIED,
    says="the tensor of a 2x2 array of ints prints with dtype=torch.int32",
)
@fault("all becomes int64", torch, "from_numpy", lambda real: lambda numbers: real(numbers).long())
@fault("all becomes int32", torch, "from_numpy", lambda real: lambda numbers: real(numbers).int())
@fault(
    "small dtypes become larger ones",
    torch,
    "from_numpy",
    lambda real: lambda numbers: real(numbers.astype(np.result_type(numbers, "f4"))),
)
@fault(
    "integers become int64",
    torch,
    "from_numpy",
    lambda real: lambda numbers: real(numbers.astype("int64") if numbers.dtype.kind == "i" else numbers),
)
class TestFromNumpyDtype:
    """The tensor has the dtype of its array. NumPy makes int64 of Python integers, so no dtype is printed;
    int32 is printed where NumPy 1 makes it, on Windows.
    """

    def test_dtype_int32_is_that_of_the_array(self):
        ints = [[1, 2], [3, 4]]

        assert repr(torch.from_numpy(np.array(ints, "int32"))).endswith("dtype=torch.int32)")
        assert repr(torch.from_numpy(np.array(ints, "int64"))) == "tensor([[1, 2],\n        [3, 4]])"

    def test_from_numpy_keeps_the_dtype(self):
        kept = [str(torch.from_numpy(np.ones(2, name)).dtype) for name in CLASSIC]

        assert kept == [f"torch.{name}" for name in CLASSIC]


@statement("tensor.from-numpy-shares-memory", notes="1.5; 1.2; notebook tensor")
@fault("the array is copied", torch, "from_numpy", lambda real: lambda numbers: real(numbers.copy()))
@fault("from_numpy is tensor", torch, "from_numpy", lambda real: torch.tensor)
@fault(
    "all becomes float32",
    torch,
    "from_numpy",
    lambda real: lambda numbers: real(numbers.astype("float32", copy=False)),
)
@fault(
    "an array without axes is copied",
    torch,
    "from_numpy",
    lambda real: lambda numbers: real(numbers.copy() if numbers.ndim < 1 else numbers),
)
@fault(
    "what is not contiguous is copied",
    torch,
    "from_numpy",
    lambda real: lambda numbers: real(np.require(numbers, requirements="C")),
)
@fault("requires_grad_ copies", torch.Tensor, "requires_grad_", lambda real: lambda x: real(x.clone()))
class TestFromNumpySharesMemory:
    """An array and the tensor that from_numpy made of it are one memory: an in-place change to either shows
    in the other.
    """

    def test_from_numpy_shares_memory_with_its_array(self):
        numbers = np.ones(3)
        x = torch.from_numpy(numbers)

        numbers += 1
        x.mul_(10)

        assert x.tolist() == [20, 20, 20]
        assert numbers.tolist() == [20, 20, 20]

    def test_notebook_prints_five_twos(self):
        n = np.ones(5)
        t = torch.from_numpy(n)

        np.add(n, 1, out=n)

        assert str(t) == "tensor([2., 2., 2., 2., 2.], dtype=torch.float64)"

    def test_memory_is_shared_by_arrays_of_any_layout(self):
        for numbers in filter(np.size, make_layouts()):
            x = torch.from_numpy(numbers).fill_(-1)

            assert (numbers == -1).all()
            assert x.data_ptr() == numbers.ctypes.data

    def test_new_array_under_the_old_name_shares_nothing(self):
        numbers = np.array([1, 2])
        x = torch.from_numpy(numbers)

        numbers += 1
        numbers = numbers + 1

        assert numbers.tolist() == [3, 4]
        assert x.tolist() == [2, 3]

    def test_memory_stays_shared_when_a_gradient_is_required(self):
        numbers = np.ones(3)
        x = torch.from_numpy(numbers).requires_grad_()

        numbers += 1

        assert x.tolist() == [2, 2, 2]
        assert x._version == 0
