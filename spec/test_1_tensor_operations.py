"""Section 1.4 of the notes, operations: what NumPy's names mean, and operations on a GPU."""

import time
from itertools import product

import numpy as np
import pytest
import torch

from spec.faults import as_it_lies
from spec.harness import QUALIFIED, broken_by, claim
from spec.harness.accelerator.devices import accelerator

AS_NUMPY = "the operations of tensors resemble NumPy's"
ON_A_GPU = "tensors can run on a GPU, which is typically faster"


def answering(name, replace):
    """Return a fault of tensors: they answer to `name` with the method `replace`."""
    return lambda real: lambda x, asked: real(x, replace if asked == name else asked)


class TestNamesOfNumPy:
    """What the names that tensors share with NumPy's arrays mean."""

    @claim("tensor.numpy-like-api", notes="1.4", verdict=QUALIFIED, says=AS_NUMPY)
    @broken_by(torch.Tensor, "sum", lambda real: lambda x, axis: real(x, 1 - axis))
    @broken_by(torch.Tensor, "mean", lambda real: lambda x, axis: real(x))
    @broken_by(torch.Tensor, "argmax", lambda real: lambda x, axis: x.argmin(axis))
    @broken_by(torch.Tensor, "cumsum", lambda real: lambda x, axis: real(x, 0))
    @broken_by(torch.Tensor, "any", lambda real: lambda x, axis: real(x, axis) | True)
    @broken_by(
        torch.Tensor,
        "sum",
        lambda real: lambda x, axis: real(as_it_lies(x), axis),
    )
    @broken_by(torch.Tensor, "all", lambda real: lambda x, axis: x.any(axis))
    def test_reductions_take_an_axis_as_in_numpy(self, device):
        """sum, mean, prod, cumsum, argmax, argmin, any and all take axis= and give what they do in NumPy."""
        x = torch.tensor([[3.0, 1.0], [0.0, -7.0], [6.0, -3.0]], device=device).T
        names = ("sum", "mean", "prod", "cumsum", "argmax", "argmin", "any", "all")

        for name, axis in product(names, (0, 1)):
            values = x > 0 if name in ("any", "all") else x
            expected = getattr(values.cpu().numpy(), name)(axis=axis)
            assert getattr(values, name)(axis=axis).tolist() == expected.tolist()

    @claim("tensor.numpy-like-api-size", notes="1.4", verdict=QUALIFIED, says=AS_NUMPY)
    @broken_by(torch.Tensor, "size", lambda real: lambda x: x.numel())
    @broken_by(torch.Tensor, "numel", lambda real: lambda x: len(x))
    def test_size_is_the_shape_and_numel_the_count(self):
        """x.size() is the shape, and x.numel() what NumPy's array.size is, the number of values."""
        x = torch.zeros(2, 3)

        assert x.size() == (2, 3)
        assert x.numel() == x.numpy().size == 6

    @claim("tensor.numpy-like-api-max", notes="1.4", verdict=QUALIFIED, says=AS_NUMPY)
    @broken_by(
        torch.Tensor, "max", lambda real: lambda x, axis: (real(x, axis).indices, real(x, axis).values)
    )
    @broken_by(torch.Tensor, "max", lambda real: lambda x, axis: real(x, 1 - axis))
    @broken_by(torch.Tensor, "max", lambda real: lambda x, axis: tuple(x.min(axis)))
    @broken_by(torch.Tensor, "amax", lambda real: lambda x, axis: x.max(axis).indices)
    def test_max_along_an_axis_gives_positions_too(self, device):
        """max(axis) gives values and positions; amax(axis) gives the values alone, as NumPy's max does."""
        x = torch.tensor([[1, 9, 3], [7, 2, 5]], device=device)

        values, positions = x.max(1)

        assert values.tolist() == [9, 7]
        assert positions.tolist() == [1, 0]
        assert x.amax(1).tolist() == x.cpu().numpy().max(1).tolist() == [9, 7]

    @claim("tensor.numpy-like-api-std", notes="1.4", verdict=QUALIFIED, says=AS_NUMPY)
    @broken_by(torch.Tensor, "std", lambda real: lambda x, unbiased=False: real(x, unbiased=unbiased))
    @broken_by(torch.Tensor, "var", lambda real: lambda x, unbiased=False: real(x, unbiased=unbiased))
    @broken_by(torch.Tensor, "var", lambda real: lambda x, unbiased=True: real(x))
    @broken_by(torch.Tensor, "std", lambda real: lambda x, unbiased=True: real(x))
    def test_std_and_var_divide_by_one_less(self, device):
        """std() and var() divide by n - 1, where NumPy's divide by n as they do with unbiased=False."""
        x = torch.tensor([1.0, 2.0, 6.0], dtype=torch.float64, device=device)  # 14 is the sum of squares

        assert x.var().item() == 14 / 2
        assert x.std().item() == pytest.approx((14 / 2) ** 0.5)
        assert x.var(unbiased=False).item() == pytest.approx(14 / 3)
        assert x.std(unbiased=False).item() == pytest.approx((14 / 3) ** 0.5)
        assert x.cpu().numpy().var() == pytest.approx(14 / 3)
        assert x.cpu().numpy().std() == pytest.approx((14 / 3) ** 0.5)

    @claim("tensor.numpy-like-api-repeat", notes="1.4", verdict=QUALIFIED, says=AS_NUMPY)
    @broken_by(torch.Tensor, "repeat", lambda real: lambda x, n: x.repeat_interleave(n))
    @broken_by(torch.Tensor, "repeat_interleave", lambda real: lambda x, n: x.repeat(n))
    def test_repeat_tiles_and_repeat_interleave_repeats(self, device):
        """repeat(n) lays the whole tensor n times, NumPy's tile; NumPy's repeat is repeat_interleave."""
        x = torch.tensor([1, 2, 3], device=device)

        assert x.repeat(2).tolist() == np.tile([1, 2, 3], 2).tolist() == [1, 2, 3, 1, 2, 3]
        assert x.repeat_interleave(2).tolist() == np.repeat([1, 2, 3], 2).tolist() == [1, 1, 2, 2, 3, 3]

    @claim("tensor.numpy-like-api-transpose", notes="1.4", verdict=QUALIFIED, says=AS_NUMPY)
    @broken_by(torch.Tensor, "transpose", lambda real: lambda x, *axes: x.permute(*(axes or (2, 1, 0))))
    @broken_by(torch.Tensor, "permute", lambda real: lambda x, *axes: real(x, 0, 2, 1))
    def test_transpose_swaps_two_axes(self, device):
        """transpose() takes two axes and swaps them; all axes at once, as NumPy's does, permute takes."""
        x = torch.arange(24, device=device).reshape(2, 3, 4)

        with pytest.raises(TypeError):
            x.transpose()
        with pytest.raises(TypeError):
            x.transpose(2, 0, 1)
        assert x.permute(2, 0, 1).tolist() == x.cpu().numpy().transpose(2, 0, 1).tolist()

    @claim("tensor.numpy-like-api-squeeze", notes="1.4", verdict=QUALIFIED, says=AS_NUMPY)
    @broken_by(torch.Tensor, "squeeze", lambda real: lambda x, axis: x[:1] if x.shape[axis] > 1 else x[0])
    @broken_by(torch.Tensor, "squeeze", lambda real: lambda x, axis: x)
    def test_squeeze_of_a_longer_axis_does_nothing(self):
        """squeeze(axis) leaves an axis longer than one as it is, where NumPy raises a ValueError."""
        assert torch.zeros(1, 3).squeeze(0).shape == (3,)
        assert torch.zeros(2, 3).squeeze(0).shape == (2, 3)
        with pytest.raises(ValueError, match="cannot select an axis to squeeze"):
            np.zeros((2, 3)).squeeze(0)

    @claim("tensor.numpy-like-api-missing", notes="1.4", verdict=QUALIFIED, says=AS_NUMPY)
    @broken_by(torch.Tensor, "__getattribute__", answering("astype", "to"))
    @broken_by(torch.Tensor, "__getattribute__", answering("copy", "clone"))
    @broken_by(torch.Tensor, "to", lambda real: lambda x, dtype: x)
    @broken_by(torch.Tensor, "clone", lambda real: lambda x: x)
    def test_astype_and_copy_are_called_to_and_clone(self):
        """Tensors have neither astype nor copy: they are to(dtype) and clone()."""
        x = torch.tensor([1, 2])

        assert not hasattr(x, "astype")
        assert not hasattr(x, "copy")
        assert x.to(torch.float64).dtype == torch.float64
        assert x.clone().data_ptr() != x.data_ptr()


class TestOperationsOnAGpu:
    """tensor.to('cuda'), if torch.cuda.is_available()."""

    @claim("tensor.gpu-use", notes="notebook tensor", verdict=QUALIFIED, says=ON_A_GPU)
    @broken_by(torch.Tensor, "to", lambda real: lambda x, target: x)
    @broken_by(torch.Tensor, "to", lambda real: lambda x, target: real(x, "meta"))
    def test_move_to_cuda_succeeds_or_raises(self):
        """to('cuda') gives a tensor there if torch.cuda.is_available(), and else raises: it never stays."""
        tensor = torch.ones(2)

        if torch.cuda.is_available():
            assert tensor.to("cuda").device.type == "cuda"
        else:
            with pytest.raises((RuntimeError, AssertionError), match=r"CUDA|NVIDIA"):
                tensor.to("cuda")  # an AssertionError where PyTorch was built without CUDA

    @claim("tensor.gpu-use-one-device", notes="notebook tensor", verdict=QUALIFIED, says=ON_A_GPU)
    @broken_by(torch.Tensor, "__add__", lambda real: lambda x, y: real(x.to(y.device), y))
    @broken_by(torch.Tensor, "__mul__", lambda real: lambda x, y: real(x.to(y.device), y))
    @broken_by(torch, "cat", lambda real: lambda tensors: real([x.to("meta") for x in tensors]))
    def test_operation_on_tensors_of_two_devices_is_refused(self):
        """An operation on tensors of the CPU and of another device (meta here) is a RuntimeError."""
        here, elsewhere = torch.ones(3), torch.ones(3, device="meta")

        with pytest.raises(RuntimeError, match="device"):
            here + elsewhere
        with pytest.raises(RuntimeError, match="device"):
            here * elsewhere
        with pytest.raises(RuntimeError, match="device"):
            torch.cat([here, elsewhere])

    @claim("tensor.gpu-use-scalar", notes="notebook tensor", verdict=QUALIFIED, says=ON_A_GPU)
    @broken_by(torch.Tensor, "__mul__", lambda real: lambda x, y: real(x, 2))
    @broken_by(torch.Tensor, "__mul__", lambda real: lambda x, y: real(x.to("meta"), y.sum()))
    def test_scalar_tensor_of_the_cpu_takes_part_anywhere(self):
        """A tensor of no axes on the CPU takes part on another device (meta here), as a number does."""
        product = torch.tensor(2.0) * torch.ones(3, device="meta")

        assert product.device.type == "meta"
        assert product.shape == (3,)

    @pytest.mark.gpu
    @claim("tensor.gpu-use-result", notes="notebook tensor", verdict=QUALIFIED, says=ON_A_GPU)
    @broken_by(torch.Tensor, "__mul__", lambda real: lambda x, y: real(x, 3))
    @broken_by(torch.Tensor, "__matmul__", lambda real: lambda x, y: real(x.cpu(), y.cpu()))
    def test_result_is_on_the_device_of_its_operands(self):
        """What is worked out on an accelerator is there, and takes a CPU's scalar tensor, but no other."""
        x = torch.tensor([[1.0, 2.0], [3.0, 4.0]], device=accelerator())

        product = x @ (x * torch.tensor(2.0))

        assert product.device == accelerator()
        assert product.tolist() == [[14, 20], [30, 44]]
        with pytest.raises(RuntimeError, match="device"):
            x + torch.ones(2, 2)

    @pytest.mark.gpu
    @pytest.mark.timed
    @claim("tensor.gpu-use-speed", notes="notebook tensor", verdict=QUALIFIED, says=ON_A_GPU)
    @broken_by(torch, "mm", lambda real: lambda x, y: (x.is_cpu or time.sleep(1), real(x, y))[1])
    def test_large_product_is_faster_on_an_accelerator(self, measured):
        """A product of 2048x2048 matrices takes an accelerator less time than it takes one CPU core."""
        seconds = {"cpu": seconds_a_product("cpu"), "accelerator": seconds_a_product(accelerator())}

        measured["cpu_over_accelerator"] = seconds["cpu"] / seconds["accelerator"]
        assert measured["cpu_over_accelerator"] > 1


def seconds_a_product(place, rounds=3):
    """Return the least seconds that a product of two matrices takes on the device `place`."""
    x, seconds = torch.rand(2048, 2048, device=place), []
    for _ in range(rounds + 1):  # the first one warms up
        begin = time.perf_counter()
        float(torch.mm(x, x)[0, 0])  # waits for the device
        seconds.append(time.perf_counter() - begin)
    return min(seconds[1:])
