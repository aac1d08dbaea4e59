"""1.2 of the notes: creating a tensor like another tensor."""

import numpy as np
import pytest
import torch

from spec.harness import QUALIFIED, fault, statement

LIKE = "ones_like and rand_like create a tensor with the dtype and device of another"
NEW = "methods such as new_ones() create a tensor with the dtype and device of another"


@statement("tensor.like-functions", notes="1.2; notebook tensor", verdict=QUALIFIED, says=LIKE)
@fault("ones_like makes float32", torch, "ones_like", lambda real: lambda x: real(x, dtype=torch.float32))
@fault("rand_like stays on the CPU", torch, "rand_like", lambda real: lambda x: real(x, device="cpu"))
@fault("zeros_like transposes", torch, "zeros_like", lambda real: lambda x: real(x.T))
@fault("ones_like copies", torch, "ones_like", lambda real: lambda x: x.clone())
@fault("ones_like changes the other tensor", torch, "ones_like", lambda real: lambda x: x.fill_(1))
@fault("rand_like begins at -1", torch, "rand_like", lambda real: lambda x: 2 * real(x) - 1)
@fault("rand_like repeats a row", torch, "rand_like", lambda real: lambda x: real(x[:1]).expand_as(x))
@fault("ones_like forgets the strides", torch, "ones_like", lambda real: lambda x: real(x.contiguous()))
@fault(
    "ones_like keeps gaps",
    torch,
    "ones_like",
    lambda real: lambda x: x.new_empty_strided(x.shape, x.stride()),
)
@fault(
    "zeros_like forgets the strides of matrices",
    torch,
    "zeros_like",
    lambda real: lambda x: real(x) if x.dim() == 4 else real(x.contiguous()),
)
@fault(
    "ones_like takes requires_grad",
    torch,
    "ones_like",
    lambda real: lambda x: real(x).requires_grad_(x.requires_grad),
)
@fault(
    "rand_like is computed from the other tensor", torch, "rand_like", lambda real: lambda x: 0 * x + real(x)
)
@fault("ones_like ignores its options", torch, "ones_like", lambda real: lambda x, **options: real(x))
@fault(
    "rand_like ignores the device",
    torch,
    "rand_like",
    lambda real: lambda x, *, dtype, **options: real(x.to(dtype)),
)
@fault(
    "rand_like of integers is float32",
    torch,
    "rand_like",
    lambda real: lambda x, dtype=torch.float32: real(x, dtype=dtype),
)
@fault("rand_like rounds", torch, "rand_like", lambda real: lambda x, **options: real(x, **options).floor())
@fault(
    "rand_like of uint8 is float32",
    torch,
    "rand_like",
    lambda real: lambda x, **options: real(x.float() if x.dtype == torch.uint8 else x, **options),
)
@fault("ones_like takes a list", torch, "ones_like", lambda real: lambda x: real(torch.as_tensor(x)))
@fault("rand_like takes a list", torch, "rand_like", lambda real: lambda x: real(torch.as_tensor(x)))
class TestLikeFunctions:
    """ones_like, zeros_like and rand_like take dtype, device, shape and dense strides from another tensor,
    unless they are given. They take neither its values nor requires_grad, and rand_like of integers needs
    a dtype.
    """

    def test_like_functions_take_dtype_device_and_shape(self, device):
        for place in (device, torch.device("meta")):
            x = torch.empty(2, 3, dtype=torch.float64, device=place)

            for made in (torch.zeros_like(x), torch.ones_like(x), torch.rand_like(x)):
                assert (made.dtype, made.device, made.shape) == (torch.float64, place, (2, 3))

    def test_like_functions_take_no_values(self, device):
        x = torch.full((1000,), 7.0, device=device)

        ones, numbers = torch.ones_like(x), torch.rand_like(x)

        assert ones.unique().tolist() == [1]
        assert numbers.cpu().min() >= 0
        assert numbers.cpu().max() < 1
        assert len(numbers.unique()) > 990  # two may be equal by chance
        assert x.unique().tolist() == [7]

    def test_like_functions_keep_a_dense_layout(self, device):
        permuted = torch.zeros(2, 3, 4, device=device).permute(2, 0, 1)
        images = torch.zeros(2, 3, 4, 5, device=device).to(memory_format=torch.channels_last)
        sliced = torch.zeros(4, 6, device=device)[:, ::2]
        expanded = torch.zeros(3, 1, device=device).expand(3, 4)

        for make in (torch.zeros_like, torch.ones_like, torch.rand_like):
            strides = [make(x).stride() for x in (permuted, images, sliced, expanded)]
            assert strides == [(1, 12, 4), (60, 1, 15, 3), (3, 1), (4, 1)]

    def test_like_functions_do_not_take_requires_grad(self, device):
        x = torch.zeros(2, device=device, requires_grad=True)

        assert not torch.ones_like(x).requires_grad
        assert not torch.rand_like(x).requires_grad

    def test_dtype_and_device_can_be_given_instead(self, device):
        x = torch.zeros(2, 3, dtype=torch.int64, device=device)

        for make in (torch.ones_like, torch.rand_like):
            made = make(x, dtype=torch.float64, device="meta")

            assert (made.dtype, made.device.type, made.shape) == (torch.float64, "meta", (2, 3))

    def test_rand_like_an_integer_tensor_needs_a_dtype(self):
        for name in ("uint8", "int8", "int16", "int32", "int64"):
            x = torch.tensor([[1, 2], [3, 4]], dtype=getattr(torch, name))

            with pytest.raises(RuntimeError, match=r"not implemented for '(Byte|Char|Short|Int|Long)'"):
                torch.rand_like(x)
            assert 0 < torch.rand_like(x, dtype=torch.float32).cpu().min() < 1

    def test_like_functions_refuse_what_is_no_tensor(self):
        for data in ([1.0, 2.0], np.array([1.0, 2.0])):
            with pytest.raises(TypeError, match="must be Tensor, not"):
                torch.ones_like(data)
            with pytest.raises(TypeError, match="must be Tensor, not"):
                torch.rand_like(data)


@statement("tensor.new-ones", notes="1.2", verdict=QUALIFIED, says=NEW)
@fault(
    "new_ones makes float32",
    torch.Tensor,
    "new_ones",
    lambda real: lambda x, *size: torch.ones(*size, device=x.device),
)
@fault(
    "new_zeros stays on the CPU",
    torch.Tensor,
    "new_zeros",
    lambda real: lambda x, *size: torch.zeros(*size, dtype=x.dtype),
)
@fault(
    "new_full takes the shape", torch.Tensor, "new_full", lambda real: lambda x, *rest: torch.full_like(x, 7)
)
@fault(
    "new_ones takes the shape by default",
    torch.Tensor,
    "new_ones",
    lambda real: lambda x, *size: real(x, *(size or x.shape)),
)
@fault(
    "new_ones takes the largest value",
    torch.Tensor,
    "new_ones",
    lambda real: lambda x, *size: torch.ones(*size).to(x) * x.max(),
)
@fault(
    "new_ones takes requires_grad",
    torch.Tensor,
    "new_ones",
    lambda real: lambda x, size, **options: real(x, size, **{"requires_grad": x.requires_grad} | options),
)
@fault(
    "new_ones ignores its options",
    torch.Tensor,
    "new_ones",
    lambda real: lambda x, size, **options: real(x, size),
)
@fault("there is a new_rand", torch.Tensor, "__dir__", lambda real: lambda x: [*real(x), "new_rand"])
@fault(
    "there is no new_full",
    torch.Tensor,
    "__dir__",
    lambda real: lambda x: [n for n in real(x) if n != "new_full"],
)
@fault(
    "new_tensor infers the dtype", torch.Tensor, "new_tensor", lambda real: lambda x, data: torch.tensor(data)
)
@fault(
    "new_tensor rounds",
    torch.Tensor,
    "new_tensor",
    lambda real: lambda x, data: torch.tensor(data).round().to(x),
)
class TestNewOnes:
    """The methods new_ones, new_zeros, new_full, new_empty and new_tensor take dtype and device from a
    tensor, but neither its shape nor requires_grad. None of them draws random numbers.
    """

    def test_new_methods_take_dtype_and_device_but_not_the_shape(self, device):
        for place in (device, torch.device("meta")):
            x = torch.empty(2, 3, dtype=torch.float64, device=place)

            for made in (x.new_zeros(4), x.new_ones(4), x.new_full((4,), 7), x.new_empty(4)):
                assert (made.dtype, made.device, made.shape) == (torch.float64, place, (4,))

    def test_new_ones_needs_a_size(self):
        x = torch.tensor([5, 6])

        assert x.new_ones(3).tolist() == [1, 1, 1]
        with pytest.raises(TypeError, match="new_ones"):
            x.new_ones()

    def test_new_ones_does_not_take_requires_grad(self, device):
        x = torch.zeros(2, device=device, requires_grad=True)

        asked = x.detach().new_ones(3, dtype=torch.float64, requires_grad=True)

        assert not x.new_ones(3).requires_grad
        assert (asked.requires_grad, asked.dtype) == (True, torch.float64)

    def test_no_new_method_draws_random_numbers(self):
        methods = {name for name in dir(torch.ones(1)) if name.startswith("new_")}

        assert methods >= {"new_zeros", "new_ones", "new_full", "new_empty", "new_tensor"}
        assert not [name for name in methods if "rand" in name]

    def test_new_tensor_of_integers_cuts_fractions_off(self):
        assert torch.tensor([1]).new_tensor([1.75, -1.75]).tolist() == [1, -1]
