"""1.2 and 1.5 of the notes: from_numpy, and the memory that it shares."""

import numpy as np
import pytest
import torch
from torch import Tensor

from spec.harness import QUALIFIED, fault, since, statement

LAYOUTS = {  # of an array (2, 3, 4)
    "in order": lambda block: block,
    "transposed": lambda block: block.transpose(2, 0, 1),
    "with gaps": lambda block: block[1:, :, ::3],
    "without axes": lambda block: block[1, 2, 3, ...],
    "empty": lambda block: block[:0],
}
REFUSED = {
    "a list": ([1.0], TypeError, r"expected np\.ndarray"),
    "a tensor": (torch.ones(1), TypeError, r"expected np\.ndarray"),
    "an element of an array": (np.ones(1)[0], TypeError, r"expected np\.ndarray"),
    "a matrix with reversed rows": (np.eye(3)[:, ::-1], ValueError, "stride .* is negative"),
    "foreign byte order": (np.ones(2).astype(np.dtype("f8").newbyteorder()), ValueError, "byte order"),
    "objects": (np.array([1, 2], "object"), TypeError, r"can't convert np\.ndarray of type"),
    "text": (np.array(["1", "2"]), TypeError, r"can't convert np\.ndarray of type"),
    "dates": (np.array([1, 2], "datetime64[D]"), TypeError, r"can't convert np\.ndarray of type"),
}
CLASSIC = ["bool", "uint8", "int8", "int16", "int32", "int64"]
CLASSIC += ["float16", "float32", "float64", "complex64", "complex128"]
WIDE = [pytest.param(name, marks=since("2.3")) for name in ("uint16", "uint32", "uint64")]


def given(convert):
    """Return a replacement for from_numpy that takes what `convert` makes of its array."""
    return lambda real: lambda array: real(convert(array))


@statement(
    "tensor.from-numpy",
    notes="1.2",
    verdict=QUALIFIED,
    says="from_numpy converts the data of a NumPy array to a Tensor",
)
@fault("the array is made contiguous", torch, "from_numpy", given(np.ascontiguousarray))
@fault("the array is transposed", torch, "from_numpy", given(np.transpose))
@fault("anything is taken for an array", torch, "from_numpy", given(np.asarray))
@fault("the array is copied", torch, "from_numpy", given(np.copy))
class TestFromNumpy:
    """`torch.from_numpy()` returns a tensor that uses the memory of a NumPy array. The tensor has the shape
    and the values of the array. `torch.from_numpy()` raises an error for a list, an array of text, or a
    reversed array such as `array[:, ::-1]`.
    """

    @pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
    def test_tensor_has_the_shape_strides_and_memory_of_its_array(self, layout):
        array = layout(np.arange(24).reshape(2, 3, 4))

        x = torch.from_numpy(array)

        assert x.shape == array.shape
        assert [8 * step for step in x.stride()] == list(array.strides)
        assert x.tolist() == array.tolist()
        x.fill_(-1)
        assert (array == -1).all()

    @pytest.mark.parametrize(("data", "error", "why"), REFUSED.values(), ids=REFUSED)
    def test_what_no_tensor_can_describe_is_refused(self, data, error, why):
        with pytest.raises(error, match=why):
            torch.from_numpy(data)

    def test_read_only_array_is_changed_through_its_tensor(self, repeated_warnings):
        array = np.array([1.0, 2.0])
        array.flags.writeable = False

        with pytest.warns(UserWarning, match="not writable"):
            torch.from_numpy(array).mul_(10)

        assert array.tolist() == [10, 20]


@statement(
    "tensor.from-numpy-dtype",
    notes="notebook tensor",
    verdict=QUALIFIED,
    says="a tensor made from a 2x2 array of ints is printed with dtype=torch.int32",
)
@fault("integers become int64", torch, "from_numpy", lambda real: lambda array: real(array).long())
@fault("integers become int32", torch, "from_numpy", lambda real: lambda array: real(array).int())
class TestFromNumpyDtype:
    """`torch.from_numpy()` returns a tensor with the dtype of the given array. PyTorch prints
    `dtype=torch.int32` for an int32 array, but no dtype for an int64 array.
    """

    def test_int32_is_printed_of_an_array_of_int32_only(self):
        ints = [[1, 2], [3, 4]]

        assert repr(torch.from_numpy(np.array(ints, "int32"))).endswith("dtype=torch.int32)")
        assert repr(torch.from_numpy(np.array(ints, "int64"))) == "tensor([[1, 2],\n        [3, 4]])"

    @pytest.mark.parametrize("name", [*CLASSIC, *WIDE])
    def test_tensor_has_the_dtype_of_its_array(self, name):
        assert str(torch.from_numpy(np.ones(2, name)).dtype) == f"torch.{name}"


@statement("tensor.from-numpy-shares-memory", notes="1.5; 1.2; notebook tensor")
@fault("the array is copied", torch, "from_numpy", given(np.copy))
@fault("requires_grad_ copies", Tensor, "requires_grad_", lambda real: lambda x: real(x.clone()))
class TestFromNumpySharesMemory:
    """A tensor made by `torch.from_numpy(array)` shares its memory with the array. An in-place change to the
    tensor or to the array shows in both. The memory stays shared when the tensor is made to require a
    gradient.
    """

    def test_change_in_place_shows_on_the_other_side(self):
        n = np.ones(5)
        t = torch.from_numpy(n)

        np.add(n, 1, out=n)

        assert str(t) == "tensor([2., 2., 2., 2., 2.], dtype=torch.float64)"
        t.mul_(10)
        assert n.tolist() == [20, 20, 20, 20, 20]

    def test_memory_stays_shared_when_a_gradient_is_required(self):
        array = np.ones(3)
        x = torch.from_numpy(array).requires_grad_()

        array += 1

        assert x.tolist() == [2, 2, 2]
