"""Section 1 of the notes, 1.3 "Attributes": shape, dtype, device."""

import numpy as np
import pytest
import torch

from spec.harness import broken_by, claim


def shape_made_by(make):
    """Return a replacement for Tensor.shape that gives `make` of a tensor."""
    return lambda real: property(make)


class TestShape:
    """x.shape and x.size()."""

    @claim("tensor.shape-and-size", notes="1.3")
    @broken_by(torch.Tensor, "size", lambda real: lambda x: list(real(x)))
    @broken_by(torch.Tensor, "size", lambda real: lambda x: real(x.squeeze()))
    @broken_by(torch.Tensor, "shape", shape_made_by(lambda x: torch.Size([*x.size()][::-1])))
    @broken_by(torch.Tensor, "shape", shape_made_by(lambda x: tuple(x.size())))
    def test_shape_is_the_size_of_each_axis(self, device):
        """x.shape and x.size() are the same torch.Size: the number of elements along each axis."""
        x = torch.zeros(3, 1, 4, device=device)

        assert x.shape == x.size() == (3, 1, 4)
        assert type(x.shape) is type(x.size()) is torch.Size

    @claim("tensor.shape-and-size-printed", notes="1.3; notebook tensor, output")
    @broken_by(torch.Tensor, "shape", shape_made_by(lambda x: tuple(x.size())))
    @broken_by(torch.Tensor, "shape", shape_made_by(lambda x: x.T.size()))
    def test_shape_prints_as_torch_size(self):
        """The shape of rand(3, 4) prints as torch.Size([3, 4])."""
        assert str(torch.rand(3, 4).shape) == "torch.Size([3, 4])"

    @claim("tensor.shape-and-size-tuple", notes="1.3")
    @broken_by(torch.Tensor, "shape", shape_made_by(lambda x: list(x.size())))
    @broken_by(torch.Tensor, "shape", shape_made_by(lambda x: torch.Size([*x.size()][::-1])))
    def test_size_is_a_tuple(self):
        """A torch.Size is a tuple: it compares with one, unpacks, and finds its place in a dictionary."""
        shape = torch.zeros(3, 4).shape

        assert isinstance(shape, tuple)
        assert {(3, 4): "found"}.get(shape) == "found"
        rows, columns = shape
        assert (rows, columns) == (3, 4)

    @claim("tensor.shape-and-size-slices", notes="1.3")
    @broken_by(torch.Tensor, "shape", shape_made_by(lambda x: tuple(x.size())))
    @broken_by(torch.Tensor, "shape", shape_made_by(lambda x: np.zeros(x.size()).shape))
    def test_parts_of_a_size_and_longer_ones_are_sizes(self):
        """A slice of a torch.Size, and a torch.Size + a tuple, are a torch.Size again."""
        shape = torch.zeros(2, 3, 4).shape
        longer = shape + (5,)  # noqa: RUF005 - the sum is the claim

        for made, expected in ((shape[1:], (3, 4)), (longer, (2, 3, 4, 5))):
            assert made == expected
            assert type(made) is torch.Size

    @claim("tensor.shape-and-size-tuple-first", notes="1.3", since="2.8")
    @broken_by(torch.Tensor, "shape", shape_made_by(lambda x: tuple(x.size())))
    @broken_by(torch.Tensor, "shape", shape_made_by(lambda x: torch.Size([*x.size()][::-1])))
    def test_tuple_plus_size_is_a_size(self):
        """A tuple + a torch.Size is a torch.Size, too."""
        longer = (1,) + torch.zeros(2, 3).shape  # noqa: RUF005 - the sum is the claim

        assert longer == (1, 2, 3)
        assert type(longer) is torch.Size

    @claim("tensor.shape-and-size-one-axis", notes="1.3")
    @broken_by(torch.Tensor, "size", lambda real: lambda x, axis: real(x, axis % x.dim()))
    @broken_by(torch.Tensor, "size", lambda real: lambda x, axis: torch.tensor(real(x, axis)))
    @broken_by(torch.Tensor, "size", lambda real: lambda x, axis: x.shape[abs(axis)])
    @broken_by(torch.Tensor, "size", lambda real: lambda x, axis: real(x, max(axis, -3)))
    def test_size_of_one_axis_is_an_int(self, device):
        """size(axis) is an int; a negative axis counts from the end, and one too many is an IndexError."""
        x = torch.zeros(3, 5, 4, device=device)

        assert [x.size(axis) for axis in (0, 1, 2, -1, -2)] == [3, 5, 4, 4, 5]
        assert type(x.size(0)) is int
        for axis in (3, -4):
            with pytest.raises(IndexError, match="Dimension out of range"):
                x.size(axis)

    @claim("tensor.shape-and-size-read-only", notes="1.3")
    @broken_by(
        torch.Tensor, "shape", lambda real: property(lambda x: x.size(), lambda x, shape: x.resize_(shape))
    )
    @broken_by(torch.Tensor, "shape", lambda real: property(lambda x: x.size))
    def test_shape_cannot_be_set_and_is_no_method(self):
        """Unlike NumPy's, shape cannot be assigned to (AttributeError); nor is it a method (TypeError)."""
        x = torch.zeros(2, 3)

        with pytest.raises(AttributeError, match="not writable"):
            x.shape = (3, 2)
        with pytest.raises(TypeError, match="not callable"):
            x.shape()

    @claim("tensor.shape-and-size-count", notes="1.3")
    @broken_by(torch.Tensor, "size", lambda real: property(lambda x: x.numel()))
    @broken_by(torch.Tensor, "numel", lambda real: lambda x: len(x))
    def test_number_of_elements_is_numel(self, device):
        """NumPy's size is the number of elements; torch's is a method, and numel() counts."""
        numbers = np.zeros((3, 4))
        x = torch.from_numpy(numbers).to(device)

        assert callable(x.size)
        assert x.numel() == x.shape.numel() == numbers.size == 12

    @claim("tensor.shape-and-size-scalar", notes="1.3")
    @broken_by(torch, "tensor", lambda real: lambda number: real([number]))
    @broken_by(torch.Tensor, "numel", lambda real: lambda x: sum(x.shape))
    def test_single_number_has_an_empty_shape(self, device):
        """A tensor without axes has the shape torch.Size([]) and one element."""
        x = torch.tensor(7).to(device)

        assert str(x.shape) == "torch.Size([])"
        assert x.numel() == 1


class TestDtypeAndDevice:
    """x.dtype and x.device."""

    @claim("tensor.dtype-and-device-attributes", notes="1.3; notebook tensor, output")
    @broken_by(torch.Tensor, "device", lambda real: property(lambda x: torch.device("cpu:0")))
    @broken_by(torch.Tensor, "dtype", lambda real: property(lambda x: torch.float64))
    @broken_by(torch, "rand", lambda real: lambda *size: real(*size, device="meta"))
    def test_rand_is_float32_on_the_cpu(self):
        """rand(3, 4) has the dtype torch.float32 and the device cpu, and they print so."""
        x = torch.rand(3, 4)

        assert (x.dtype, x.device) == (torch.float32, torch.device("cpu"))
        assert (str(x.dtype), str(x.device)) == ("torch.float32", "cpu")

    @claim("tensor.dtype-and-device-attributes-follow", notes="1.3")
    @broken_by(torch.Tensor, "dtype", lambda real: property(lambda x: torch.float32))
    @broken_by(torch.Tensor, "device", lambda real: property(lambda x: torch.device("cpu")))
    @broken_by(torch, "zeros", lambda real: lambda size, **options: real(size))
    def test_dtype_and_device_are_those_asked_for(self, device):
        """A tensor tells the dtype and the device that it was made with, or that to() gave it."""
        for place in (device, torch.device("meta")):
            x = torch.zeros(2, dtype=torch.int16, device=place)

            assert (x.dtype, x.device) == (torch.int16, place)
            assert (x.to(torch.float64).dtype, x.to("meta").device.type) == (torch.float64, "meta")

    @claim("tensor.dtype-and-device-attributes-read-only", notes="1.3")
    @broken_by(torch.Tensor, "dtype", lambda real: property(real.__get__, lambda x, dtype: None))
    @broken_by(torch.Tensor, "device", lambda real: property(real.__get__, lambda x, device: None))
    def test_dtype_and_device_cannot_be_set(self):
        """An assignment to dtype or device is an AttributeError; to() makes another tensor."""
        x = torch.zeros(2)

        with pytest.raises(AttributeError, match="not writable"):
            x.dtype = torch.int64
        with pytest.raises(AttributeError, match="not writable"):
            x.device = torch.device("meta")

    @claim("tensor.dtype-and-device-attributes-no-text", notes="1.3")
    @broken_by(torch.Tensor, "device", lambda real: property(lambda x: str(real.__get__(x))))
    @broken_by(torch.Tensor, "device", lambda real: property(lambda x: torch.device("cpu:0")))
    def test_device_does_not_equal_its_name(self):
        """x.device == "cpu" is never true: compare with torch.device("cpu"), or compare x.device.type."""
        x = torch.zeros(2)

        assert x.device != "cpu"
        assert x.device == torch.device("cpu")
        assert x.device.type == "cpu"

    @claim("tensor.dtype-and-device-attributes-index", notes="1.3")
    @broken_by(torch, "device", lambda real: lambda name: real(name if ":" in name else f"{name}:0"))
    @broken_by(torch, "device", lambda real: lambda name: real(name.split(":")[0]))
    def test_device_without_index_differs_from_the_first(self):
        """torch.device("cuda") names no index, so it does not equal torch.device("cuda:0")."""
        assert torch.device("cuda").index is None
        assert torch.device("cuda:0").index == 0
        assert torch.device("cuda") != torch.device("cuda:0")
