"""1.3 of the notes: the attributes shape, dtype and device."""

import pytest
import torch
from torch import Size, Tensor

from spec.harness import fault, statement


def always(value):
    """Return a replacement for an attribute that has the same value on all tensors."""
    return lambda real: property(lambda x: value)


def settable(real):
    """Let an attribute be set, to no effect."""
    return property(real.__get__, lambda x, value: None)


@statement("tensor.shape-and-size", notes="1.3; notebook tensor")
@fault("shape is a plain tuple", Tensor, "shape", lambda real: property(lambda x: tuple(x.size())))
@fault("size leaves out axes of size 1", Tensor, "size", lambda real: lambda x: real(x.squeeze()))
@fault("size takes any axis", Tensor, "size", lambda real: lambda x, axis: real(x, axis % x.dim()))
@fault("size is the number of elements", Tensor, "size", lambda real: property(lambda x: x.numel()))
@fault("numel adds up the shape", Tensor, "numel", lambda real: lambda x: sum(x.shape))
class TestShapeAndSize:
    """`x.shape` and `x.size()` are equal tuples with the size of each axis of a tensor `x`. `x.size(axis)`
    returns the size of one axis. `x.numel()` returns the number of all elements.
    """

    def test_shape_is_the_size_of_each_axis(self, device):
        x = torch.zeros(3, 1, 4, device=device)

        assert x.shape == x.size() == (3, 1, 4)
        assert type(x.shape) is type(x.size()) is Size
        assert isinstance(x.shape, tuple)

    def test_size_of_one_axis_is_an_int(self, device):
        x = torch.zeros(3, 5, 4, device=device)

        assert [x.size(axis) for axis in (0, 1, 2, -1, -2)] == [3, 5, 4, 4, 5]
        assert type(x.size(0)) is int
        for axis in (3, -4):
            with pytest.raises(IndexError, match="Dimension out of range"):
                x.size(axis)

    def test_number_of_elements_is_numel_and_not_size_as_in_numpy(self, device):
        x = torch.zeros(3, 4, device=device)

        assert callable(x.size)
        assert x.numel() == x.numpy(force=True).size == 12
        assert x[0, 0].shape == ()
        assert x[0, 0].numel() == 1


@statement("tensor.dtype-and-device-attributes", notes="1.3; notebook tensor")
@fault("dtype is always float32", Tensor, "dtype", always(torch.float32))
@fault("device is always cpu", Tensor, "device", always(torch.device("cpu")))
@fault("the CPU has an index", Tensor, "device", always(torch.device("cpu:0")))
@fault("device can be set", Tensor, "device", settable)
@fault("device is text", Tensor, "device", lambda real: property(lambda x: str(real.__get__(x))))
class TestDtypeAndDeviceAttributes:
    """A tensor `x` stores elements of the type `x.dtype` on the device `x.device`. The attributes `shape`,
    `dtype` and `device` cannot be set. A device does not equal its name, so `x.device == "cpu"` is False.
    """

    def test_attributes_of_rand_print_as_in_the_notebook(self):
        x = torch.rand(3, 4)

        assert f"{x.shape} {x.dtype} {x.device}" == "torch.Size([3, 4]) torch.float32 cpu"

    def test_dtype_and_device_are_those_asked_for(self, device):
        for place in (device, torch.device("meta")):
            x = torch.zeros(2, dtype=torch.int16, device=place)

            assert (x.dtype, x.device) == (torch.int16, place)
            assert (x.to(torch.float64).dtype, x.to("meta").device.type) == (torch.float64, "meta")

    @pytest.mark.parametrize("attribute", ["shape", "dtype", "device"])
    def test_attribute_cannot_be_set(self, attribute):
        x = torch.zeros(2)

        with pytest.raises(AttributeError, match="not writable"):
            setattr(x, attribute, getattr(torch.zeros(3, dtype=torch.int64, device="meta"), attribute))

    def test_device_equals_neither_its_name_nor_one_with_an_index(self):
        x = torch.zeros(2)

        assert x.device != "cpu"
        assert x.device == torch.device("cpu")
        assert torch.device("cuda") != torch.device("cuda:0")
