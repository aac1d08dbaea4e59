"""Section 1 of the notes, 1.2 "Creating a Tensor": like another tensor."""

import numpy as np
import pytest
import torch

from spec.harness import QUALIFIED, broken_by, claim

LIKE = "ones_like and rand_like create a tensor with the dtype and device of another"
NEW = "methods such as new_ones() create a tensor with the dtype and device of another"


class TestLikeFunctions:
    """1.2: ones_like, rand_like."""

    @claim("tensor.like-functions", notes="1.2; notebook tensor", verdict=QUALIFIED, says=LIKE)
    @broken_by(torch, "ones_like", lambda real: lambda x: real(x, dtype=torch.float32))
    @broken_by(torch, "rand_like", lambda real: lambda x: real(x, device="cpu"))
    @broken_by(torch, "zeros_like", lambda real: lambda x: real(x.T))
    def test_like_functions_take_dtype_device_and_shape(self, device):
        """They take dtype and device from the other tensor, and its shape, too."""
        for place in (device, torch.device("meta")):
            x = torch.empty(2, 3, dtype=torch.float64, device=place)

            for made in (torch.zeros_like(x), torch.ones_like(x), torch.rand_like(x)):
                assert (made.dtype, made.device, made.shape) == (torch.float64, place, (2, 3))

    @claim("tensor.like-functions-values", notes="1.2; notebook tensor")
    @broken_by(torch, "ones_like", lambda real: lambda x: x.clone())
    @broken_by(torch, "ones_like", lambda real: lambda x: x.fill_(1))
    @broken_by(torch, "rand_like", lambda real: lambda x: 2 * real(x) - 1)
    @broken_by(torch, "rand_like", lambda real: lambda x: real(x[:1]).expand_as(x))
    def test_like_functions_take_no_values(self, device):
        """Their values are ones, or drawn from [0, 1); the other tensor's are neither taken nor changed."""
        x = torch.full((1000,), 7.0, device=device)

        ones, numbers = torch.ones_like(x), torch.rand_like(x)

        assert ones.unique().tolist() == [1]
        assert numbers.cpu().min() >= 0
        assert numbers.cpu().max() < 1
        assert len(numbers.unique()) > 990  # two may be equal by chance
        assert x.unique().tolist() == [7]

    @claim("tensor.like-functions-strides", notes="1.2", verdict=QUALIFIED, says=LIKE)
    @broken_by(torch, "ones_like", lambda real: lambda x: real(x.contiguous()))
    @broken_by(torch, "ones_like", lambda real: lambda x: x.new_empty_strided(x.shape, x.stride()))
    @broken_by(torch, "zeros_like", lambda real: lambda x: real(x) if x.dim() == 4 else real(x.contiguous()))
    @broken_by(torch, "rand_like", lambda real: lambda x: torch.rand(x.shape).to(x))
    def test_like_functions_keep_a_dense_layout(self, device):
        """A permuted or channels_last tensor passes on its strides; a sliced or expanded one does not."""
        permuted = torch.zeros(2, 3, 4, device=device).permute(2, 0, 1)
        images = torch.zeros(2, 3, 4, 5, device=device).to(memory_format=torch.channels_last)
        sliced = torch.zeros(4, 6, device=device)[:, ::2]
        expanded = torch.zeros(3, 1, device=device).expand(3, 4)

        for make in (torch.zeros_like, torch.ones_like, torch.rand_like):
            strides = [make(x).stride() for x in (permuted, images, sliced, expanded)]
            assert strides == [(1, 12, 4), (60, 1, 15, 3), (3, 1), (4, 1)]

    @claim("tensor.like-functions-gradient", notes="1.2", verdict=QUALIFIED, says=LIKE)
    @broken_by(torch, "ones_like", lambda real: lambda x: real(x).requires_grad_(x.requires_grad))
    @broken_by(torch, "rand_like", lambda real: lambda x: 0 * x + real(x))
    def test_like_functions_do_not_take_requires_grad(self, device):
        """What is made like a tensor that requires a gradient requires none."""
        x = torch.zeros(2, device=device, requires_grad=True)

        assert not torch.ones_like(x).requires_grad
        assert not torch.rand_like(x).requires_grad

    @claim("tensor.like-functions-override", notes="notebook tensor")
    @broken_by(torch, "ones_like", lambda real: lambda x, **options: real(x))
    @broken_by(torch, "rand_like", lambda real: lambda x, *, dtype, **options: real(x.to(dtype)))
    def test_dtype_and_device_can_be_given_instead(self, device):
        """dtype= and device= replace what the other tensor has."""
        x = torch.zeros(2, 3, dtype=torch.int64, device=device)

        for make in (torch.ones_like, torch.rand_like):
            made = make(x, dtype=torch.float64, device="meta")

            assert (made.dtype, made.device.type, made.shape) == (torch.float64, "meta", (2, 3))

    @claim("tensor.like-functions-integers", notes="notebook tensor", verdict=QUALIFIED, says=LIKE)
    @broken_by(torch, "rand_like", lambda real: lambda x, dtype=torch.float32: real(x, dtype=dtype))
    @broken_by(torch, "rand_like", lambda real: lambda x, **options: real(x, **options).floor())
    @broken_by(
        torch,
        "rand_like",
        lambda real: lambda x, **options: real(x.float() if x.dtype == torch.uint8 else x, **options),
    )
    def test_rand_like_an_integer_tensor_needs_a_dtype(self):
        """rand_like of an integer tensor is a RuntimeError, so the notebook overrides the dtype."""
        for name in ("uint8", "int8", "int16", "int32", "int64"):
            x = torch.tensor([[1, 2], [3, 4]], dtype=getattr(torch, name))

            with pytest.raises(RuntimeError, match=r"not implemented for '(Byte|Char|Short|Int|Long)'"):
                torch.rand_like(x)
            assert 0 < torch.rand_like(x, dtype=torch.float32).cpu().min() < 1

    @claim("tensor.like-functions-only-tensors", notes="1.2", verdict=QUALIFIED, says=LIKE)
    @broken_by(torch, "ones_like", lambda real: lambda x: real(torch.as_tensor(x)))
    @broken_by(torch, "rand_like", lambda real: lambda x: real(torch.as_tensor(x)))
    def test_like_functions_refuse_what_is_no_tensor(self):
        """Unlike NumPy's, they take no list and no array: TypeError."""
        for data in ([1.0, 2.0], np.array([1.0, 2.0])):
            with pytest.raises(TypeError, match="must be Tensor, not"):
                torch.ones_like(data)
            with pytest.raises(TypeError, match="must be Tensor, not"):
                torch.rand_like(data)


class TestNewMethods:
    """1.2: x.new_ones."""

    @claim("tensor.new-ones", notes="1.2", verdict=QUALIFIED, says=NEW)
    @broken_by(torch.Tensor, "new_ones", lambda real: lambda x, *size: torch.ones(*size, device=x.device))
    @broken_by(torch.Tensor, "new_zeros", lambda real: lambda x, *size: torch.zeros(*size, dtype=x.dtype))
    @broken_by(torch.Tensor, "new_full", lambda real: lambda x, *rest: torch.full_like(x, 7))
    def test_new_methods_take_dtype_and_device_but_not_the_shape(self, device):
        """The dtype and the device come from x; the shape is the one asked for."""
        for place in (device, torch.device("meta")):
            x = torch.empty(2, 3, dtype=torch.float64, device=place)

            for made in (x.new_zeros(4), x.new_ones(4), x.new_full((4,), 7), x.new_empty(4)):
                assert (made.dtype, made.device, made.shape) == (torch.float64, place, (4,))

    @claim("tensor.new-ones-size", notes="1.2", verdict=QUALIFIED, says=NEW)
    @broken_by(torch.Tensor, "new_ones", lambda real: lambda x, *size: real(x, *(size or x.shape)))
    @broken_by(torch.Tensor, "new_ones", lambda real: lambda x, *size: torch.ones(*size).to(x) * x.max())
    def test_new_ones_needs_a_size(self):
        """new_ones() without a size is a TypeError; new_ones(3) is three ones, whatever x holds."""
        x = torch.tensor([5, 6])

        assert x.new_ones(3).tolist() == [1, 1, 1]
        with pytest.raises(TypeError, match="new_ones"):
            x.new_ones()

    @claim("tensor.new-ones-options", notes="1.2", verdict=QUALIFIED, says=NEW)
    @broken_by(
        torch.Tensor,
        "new_ones",
        lambda real: lambda x, size, **options: real(x, size, **{"requires_grad": x.requires_grad} | options),
    )
    @broken_by(torch.Tensor, "new_ones", lambda real: lambda x, size, **options: real(x, size))
    def test_new_ones_does_not_take_requires_grad(self, device):
        """requires_grad stays off even if x has it; it and the dtype can be asked for."""
        x = torch.zeros(2, device=device, requires_grad=True)

        asked = x.detach().new_ones(3, dtype=torch.float64, requires_grad=True)

        assert not x.new_ones(3).requires_grad
        assert (asked.requires_grad, asked.dtype) == (True, torch.float64)

    @claim("tensor.new-ones-no-random", notes="1.2", verdict=QUALIFIED, says=NEW)
    @broken_by(torch.Tensor, "__dir__", lambda real: lambda x: [*real(x), "new_rand"])
    @broken_by(torch.Tensor, "__dir__", lambda real: lambda x: [n for n in real(x) if n != "new_full"])
    def test_no_new_method_draws_random_numbers(self):
        """There are new_zeros, new_ones, new_full, new_empty and new_tensor, but no new_rand or new_randn."""
        methods = {name for name in dir(torch.ones(1)) if name.startswith("new_")}

        assert methods >= {"new_zeros", "new_ones", "new_full", "new_empty", "new_tensor"}
        assert not [name for name in methods if "rand" in name]

    @claim("tensor.new-ones-new-tensor", notes="1.2", verdict=QUALIFIED, says=NEW)
    @broken_by(torch.Tensor, "new_tensor", lambda real: lambda x, data: torch.tensor(data))
    @broken_by(torch.Tensor, "new_tensor", lambda real: lambda x, data: torch.tensor(data).round().to(x))
    def test_new_tensor_of_integers_cuts_fractions_off(self):
        """new_tensor() keeps the dtype of x at the cost of the data: 1.75 becomes 1, and -1.75 becomes -1."""
        assert torch.tensor([1]).new_tensor([1.75, -1.75]).tolist() == [1, -1]
