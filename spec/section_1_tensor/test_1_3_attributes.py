"""1.3 of the notes: the attributes shape, dtype and device."""

import numpy as np
import pytest
import torch

from spec.harness import fault, since, statement


def shape_made_by(make):
    """Return a replacement for Tensor.shape that gives `make` of a tensor."""
    return lambda real: property(make)


@statement("tensor.shape-and-size", notes="1.3; notebook tensor")
@fault("size is a list", torch.Tensor, "size", lambda real: lambda x: list(real(x)))
@fault("size leaves out axes of size 1", torch.Tensor, "size", lambda real: lambda x: real(x.squeeze()))
@fault("shape is reversed", torch.Tensor, "shape", shape_made_by(lambda x: torch.Size([*x.size()][::-1])))
@fault("shape is a plain tuple", torch.Tensor, "shape", shape_made_by(lambda x: tuple(x.size())))
@fault("shape is that of the transpose", torch.Tensor, "shape", shape_made_by(lambda x: x.T.size()))
@fault("shape is a list", torch.Tensor, "shape", shape_made_by(lambda x: list(x.size())))
@fault("shape is that of NumPy", torch.Tensor, "shape", shape_made_by(lambda x: np.zeros(x.size()).shape))
@fault("size takes any axis", torch.Tensor, "size", lambda real: lambda x, axis: real(x, axis % x.dim()))
@fault(
    "size of an axis is a tensor",
    torch.Tensor,
    "size",
    lambda real: lambda x, axis: torch.tensor(real(x, axis)),
)
@fault(
    "size ignores the sign of an axis", torch.Tensor, "size", lambda real: lambda x, axis: x.shape[abs(axis)]
)
@fault(
    "size takes any negative axis", torch.Tensor, "size", lambda real: lambda x, axis: real(x, max(axis, -3))
)
@fault(
    "shape can be set",
    torch.Tensor,
    "shape",
    lambda real: property(lambda x: x.size(), lambda x, shape: x.resize_(shape)),
)
@fault("shape is a method", torch.Tensor, "shape", lambda real: property(lambda x: x.size))
@fault("size is the number of elements", torch.Tensor, "size", lambda real: property(lambda x: x.numel()))
@fault("numel is the length", torch.Tensor, "numel", lambda real: lambda x: len(x))
@fault("tensor of a number has an axis", torch, "tensor", lambda real: lambda number: real([number]))
@fault("numel adds up the shape", torch.Tensor, "numel", lambda real: lambda x: sum(x.shape))
class TestShapeAndSize:
    """x.shape and x.size() are the same torch.Size, which is a tuple of the number of elements along each
    axis. x.size(axis) is one of them, and x.numel() is the number of all elements.
    """

    def test_shape_is_the_size_of_each_axis(self, device):
        x = torch.zeros(3, 1, 4, device=device)

        assert x.shape == x.size() == (3, 1, 4)
        assert type(x.shape) is type(x.size()) is torch.Size

    def test_shape_prints_as_torch_size(self):
        assert str(torch.rand(3, 4).shape) == "torch.Size([3, 4])"

    def test_size_is_a_tuple(self):
        shape = torch.zeros(3, 4).shape

        assert isinstance(shape, tuple)
        assert {(3, 4): "found"}.get(shape) == "found"
        rows, columns = shape
        assert (rows, columns) == (3, 4)

    def test_parts_of_a_size_and_longer_ones_are_sizes(self):
        shape = torch.zeros(2, 3, 4).shape
        longer = shape + (5,)  # noqa: RUF005 - the sum is the point

        for made, expected in ((shape[1:], (3, 4)), (longer, (2, 3, 4, 5))):
            assert made == expected
            assert type(made) is torch.Size

    @since("2.8")
    def test_tuple_plus_size_is_a_size(self):
        longer = (1,) + torch.zeros(2, 3).shape  # noqa: RUF005 - the sum is the point

        assert longer == (1, 2, 3)
        assert type(longer) is torch.Size

    def test_size_of_one_axis_is_an_int(self, device):
        x = torch.zeros(3, 5, 4, device=device)

        assert [x.size(axis) for axis in (0, 1, 2, -1, -2)] == [3, 5, 4, 4, 5]
        assert type(x.size(0)) is int
        for axis in (3, -4):
            with pytest.raises(IndexError, match="Dimension out of range"):
                x.size(axis)

    def test_shape_cannot_be_set_and_is_no_method(self):
        x = torch.zeros(2, 3)

        with pytest.raises(AttributeError, match="not writable"):
            x.shape = (3, 2)
        with pytest.raises(TypeError, match="not callable"):
            x.shape()

    def test_number_of_elements_is_numel(self, device):
        numbers = np.zeros((3, 4))
        x = torch.from_numpy(numbers).to(device)

        assert callable(x.size)
        assert x.numel() == x.shape.numel() == numbers.size == 12

    def test_single_number_has_an_empty_shape(self, device):
        x = torch.tensor(7).to(device)

        assert str(x.shape) == "torch.Size([])"
        assert x.numel() == 1


@statement("tensor.dtype-and-device-attributes", notes="1.3; notebook tensor")
@fault("device has an index", torch.Tensor, "device", lambda real: property(lambda x: torch.device("cpu:0")))
@fault("dtype is always float64", torch.Tensor, "dtype", lambda real: property(lambda x: torch.float64))
@fault("rand lies on meta", torch, "rand", lambda real: lambda *size: real(*size, device="meta"))
@fault("dtype is always float32", torch.Tensor, "dtype", lambda real: property(lambda x: torch.float32))
@fault("device is always cpu", torch.Tensor, "device", lambda real: property(lambda x: torch.device("cpu")))
@fault("zeros ignores its options", torch, "zeros", lambda real: lambda size, **options: real(size))
@fault("dtype can be set", torch.Tensor, "dtype", lambda real: property(real.__get__, lambda x, dtype: None))
@fault(
    "device can be set", torch.Tensor, "device", lambda real: property(real.__get__, lambda x, device: None)
)
@fault("device is text", torch.Tensor, "device", lambda real: property(lambda x: str(real.__get__(x))))
@fault(
    "torch.device adds an index",
    torch,
    "device",
    lambda real: lambda name: real(name if ":" in name else f"{name}:0"),
)
@fault("torch.device drops the index", torch, "device", lambda real: lambda name: real(name.split(":")[0]))
class TestDtypeAndDeviceAttributes:
    """x.dtype and x.device tell the type of the elements and where they are: torch.float32 and cpu for
    rand(3, 4). They cannot be set, and a device does not equal its name.
    """

    def test_rand_is_float32_on_the_cpu(self):
        x = torch.rand(3, 4)

        assert (x.dtype, x.device) == (torch.float32, torch.device("cpu"))
        assert (str(x.dtype), str(x.device)) == ("torch.float32", "cpu")

    def test_dtype_and_device_are_those_asked_for(self, device):
        for place in (device, torch.device("meta")):
            x = torch.zeros(2, dtype=torch.int16, device=place)

            assert (x.dtype, x.device) == (torch.int16, place)
            assert (x.to(torch.float64).dtype, x.to("meta").device.type) == (torch.float64, "meta")

    def test_dtype_and_device_cannot_be_set(self):
        x = torch.zeros(2)

        with pytest.raises(AttributeError, match="not writable"):
            x.dtype = torch.int64
        with pytest.raises(AttributeError, match="not writable"):
            x.device = torch.device("meta")

    def test_device_does_not_equal_its_name(self):
        x = torch.zeros(2)

        assert x.device != "cpu"
        assert x.device == torch.device("cpu")
        assert x.device.type == "cpu"

    def test_device_without_index_differs_from_the_first(self):
        assert torch.device("cuda").index is None
        assert torch.device("cuda:0").index == 0
        assert torch.device("cuda") != torch.device("cuda:0")
