"""Section 1.4 of the notes, operations: what NumPy's names mean, and operations on a GPU."""

import time

import pytest
import torch
from torch import Tensor

from spec.faults import as_it_lies
from spec.harness import QUALIFIED, each_row, fault, statement
from spec.harness.accelerator.devices import accelerator

REDUCTIONS = ("sum", "mean", "prod", "cumsum", "argmax", "argmin", "any", "all")
OTHERWISE = {  # of [[1, 2, 6]]: a call, what a tensor and an array give, and the tensor's word for the latter
    "max": (lambda x: x.max(1), [6, 2], [6], lambda x: x.amax(1)),
    "var": (lambda x: x.var(), 14 / 2, 14 / 3, lambda x: x.var(unbiased=False)),
    "std": (lambda x: x.std(), (14 / 2) ** 0.5, (14 / 3) ** 0.5, lambda x: x.std(unbiased=False)),
    "repeat": (
        lambda x: x[0].repeat(2),
        [1, 2, 6, 1, 2, 6],
        [1, 1, 2, 2, 6, 6],
        lambda x: x[0].repeat_interleave(2),
    ),
}


def numbers(found):
    """Return the numbers in a tensor or an array, or those in a tuple of tensors, one behind the other."""
    return [n for each in found for n in each.tolist()] if isinstance(found, tuple) else found.tolist()


def seconds_a_product(place, rounds=3):
    """Return the least seconds that a product of two matrices takes on the device `place`."""
    x, seconds = torch.rand(2048, 2048, device=place), []
    for _ in range(rounds + 1):  # the first one warms up
        begin = time.perf_counter()
        float(torch.mm(x, x)[0, 0])  # waits for the device
        seconds.append(time.perf_counter() - begin)
    return min(seconds[1:])


@statement(
    "tensor.numpy-like-api",
    notes="1.4; notebook tensor",
    verdict=QUALIFIED,
    says="the operations on tensors resemble the operations of NumPy",
)
@fault("sum overlooks strides", Tensor, "sum", lambda real: lambda x, axis: real(as_it_lies(x), axis))
@fault("max gives values alone, as in NumPy", Tensor, "max", lambda real: lambda x, axis: x.amax(axis))
@fault("var divides by n", Tensor, "var", lambda real: lambda x, unbiased=False: real(x, unbiased=unbiased))
@fault("std divides by n", Tensor, "std", lambda real: lambda x, unbiased=False: real(x, unbiased=unbiased))
@fault("clone is the tensor itself", Tensor, "clone", lambda real: lambda x: x)
@fault("repeat repeats each value", Tensor, "repeat", lambda real: Tensor.repeat_interleave)
class TestNumpyLikeApi:
    """Many tensor methods, such as `sum(axis=0)`, return the same result as in NumPy. The methods `max`,
    `var`, `std` and `repeat` return something else than in NumPy. The methods `astype` and `copy` of NumPy
    are called `to` and `clone`.
    """

    @pytest.mark.parametrize("axis", [0, 1])
    @pytest.mark.parametrize("name", REDUCTIONS)
    def test_reduction_along_an_axis_gives_what_it_gives_in_numpy(self, name, axis, device):
        x = torch.tensor([[3.0, 1.0], [0.0, -7.0], [6.0, -3.0]], device=device).T
        values = x > 0 if name in ("any", "all") else x

        reduced = getattr(values, name)(axis=axis)

        assert reduced.tolist() == getattr(values.cpu().numpy(), name)(axis=axis).tolist()

    @each_row
    @pytest.mark.parametrize(("call", "ours", "theirs", "same"), OTHERWISE.values(), ids=OTHERWISE)
    def test_name_means_something_else(self, call, ours, theirs, same, device):
        x = torch.tensor([[1.0, 2.0, 6.0]], dtype=torch.float64, device=device)

        assert numbers(call(x)) == pytest.approx(ours)
        assert numbers(call(x.cpu().numpy())) == pytest.approx(theirs)
        assert numbers(same(x)) == pytest.approx(theirs)

    def test_astype_and_copy_are_called_to_and_clone(self):
        x = torch.tensor([[1, 2, 3], [4, 5, 6]])

        assert not hasattr(x, "astype")
        assert x.to(torch.float64).dtype == torch.float64
        assert not hasattr(x, "copy")
        assert x.clone().data_ptr() != x.data_ptr()


@statement(
    "tensor.gpu-use",
    notes="notebook tensor",
    verdict=QUALIFIED,
    says="tensors can run on a GPU, which is typically faster",
)
@fault("to stays where it is", Tensor, "to", lambda real: lambda x, target: x)
@fault("plus moves its first tensor", Tensor, "__add__", lambda real: lambda x, y: real(x.to(y.device), y))
@fault("a product stays with its first factor", Tensor, "__mul__", lambda real: lambda x, y: real(x, 2))
@fault("at sign runs on the CPU", Tensor, "__matmul__", lambda real: lambda x, y: real(x.cpu(), y.cpu()))
@fault("accelerators wait", torch, "mm", lambda real: lambda x, y: (x.is_cpu or time.sleep(1), real(x, y))[1])
class TestGpuUse:
    """`x.to("cuda")` returns the tensor `x` on a GPU, or raises an error if there is no GPU. An operation on
    tensors of two devices usually raises a RuntimeError. A GPU multiplies large matrices faster than one core
    of a CPU.
    """

    def test_move_to_cuda_succeeds_or_raises(self):
        tensor = torch.ones(2)

        if torch.cuda.is_available():
            assert tensor.to("cuda").device.type == "cuda"
        else:
            with pytest.raises((RuntimeError, AssertionError), match=r"CUDA|NVIDIA"):
                tensor.to("cuda")  # an AssertionError where PyTorch was built without CUDA

    def test_tensors_of_two_devices_are_refused_unless_one_is_a_scalar(self):
        here, elsewhere = torch.ones(3), torch.ones(3, device="meta")

        for operation in (lambda x, y: x + y, lambda x, y: x * y, lambda x, y: torch.cat([x, y])):
            with pytest.raises(RuntimeError, match="device"):
                operation(here, elsewhere)
        product = torch.tensor(2.0) * elsewhere
        assert product.device.type == "meta"
        assert product.shape == (3,)

    @pytest.mark.gpu
    def test_result_is_on_the_device_of_its_operands(self):
        x = torch.tensor([[1.0, 2.0], [3.0, 4.0]], device=accelerator())

        product = x @ (x * torch.tensor(2.0))

        assert product.device == accelerator()
        assert product.tolist() == [[14, 20], [30, 44]]
        with pytest.raises(RuntimeError, match="device"):
            x + torch.ones(2, 2)

    @pytest.mark.gpu
    @pytest.mark.timed
    def test_large_product_is_faster_on_an_accelerator(self, measured):
        seconds = {"cpu": seconds_a_product("cpu"), "accelerator": seconds_a_product(accelerator())}

        measured["cpu_over_accelerator"] = seconds["cpu"] / seconds["accelerator"]
        assert measured["cpu_over_accelerator"] > 1
