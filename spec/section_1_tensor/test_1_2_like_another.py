"""1.2 of the notes: creating a tensor like another tensor."""

import pytest
import torch
from torch import Tensor

from spec.harness import QUALIFIED, fault, statement

LIKE = ["zeros_like", "ones_like", "rand_like"]


def keeping_gradient(real):
    """Make what requires a gradient if the other tensor does."""
    return lambda x, *size, **options: real(x, *size, **options).requires_grad_(x.requires_grad)


@statement(
    "tensor.like-functions",
    notes="1.2; notebook tensor",
    verdict=QUALIFIED,
    says="ones_like and rand_like create a tensor with the dtype and device of another tensor",
)
@fault(
    "zeros_like stays on the CPU",
    torch,
    "zeros_like",
    lambda real: lambda x: torch.zeros(x.shape).to(x.dtype),
)
@fault("ones_like takes requires_grad", torch, "ones_like", keeping_gradient)
@fault("rand_like begins at -1", torch, "rand_like", lambda real: lambda x: 2 * real(x) - 1)
@fault("ones_like forgets the strides", torch, "ones_like", lambda real: lambda x: real(x.contiguous()))
@fault("ones_like ignores its options", torch, "ones_like", lambda real: lambda x, **options: real(x))
@fault("rand_like makes floats", torch, "rand_like", lambda real: lambda x: real(x, dtype=torch.float32))
class TestLikeFunctions:
    """`zeros_like(x)`, `ones_like(x)` and `rand_like(x)` make a tensor with the shape, dtype and device of a
    tensor `x`. The new tensor requires no gradient, even if `x` does. `rand_like(x)` raises a RuntimeError if
    `x` holds integers.
    """

    @pytest.mark.parametrize("name", LIKE)
    def test_dtype_device_and_shape_are_taken_but_not_requires_grad(self, name, device):
        for place in (device, torch.device("meta")):
            x = torch.empty(2, 3, dtype=torch.float64, device=place, requires_grad=True)

            made = getattr(torch, name)(x)

            assert (made.dtype, made.device, made.shape) == (torch.float64, place, (2, 3))
            assert not made.requires_grad

    def test_values_are_neither_taken_nor_changed(self, device):
        x = torch.full((1000,), 7.0, device=device)

        ones, numbers = torch.ones_like(x), torch.rand_like(x)

        assert ones.unique().tolist() == [1]
        assert numbers.cpu().min() >= 0
        assert numbers.cpu().max() < 1
        assert len(numbers.unique()) > 990  # two may be equal by chance
        assert x.unique().tolist() == [7]

    @pytest.mark.parametrize("name", LIKE)
    def test_strides_are_taken_if_they_leave_no_gaps(self, name, device):
        x = torch.zeros(2, 3, 4, device=device)

        assert getattr(torch, name)(x.permute(2, 0, 1)).stride() == (1, 12, 4)
        assert getattr(torch, name)(x[:, :, ::2]).stride() == (6, 2, 1)

    @pytest.mark.parametrize("name", ["ones_like", "rand_like"])
    def test_dtype_and_device_can_be_given_instead(self, name, device):
        x = torch.zeros(2, 3, dtype=torch.int64, device=device)

        made = getattr(torch, name)(x, dtype=torch.float64, device="meta")

        assert (made.dtype, made.device.type, made.shape) == (torch.float64, "meta", (2, 3))

    def test_rand_like_of_integers_is_refused(self):
        with pytest.raises(RuntimeError, match="not implemented for"):
            torch.rand_like(torch.tensor([1, 2]))


@statement(
    "tensor.new-ones",
    notes="1.2",
    verdict=QUALIFIED,
    says="methods such as new_ones() create a tensor with the dtype and device of another tensor",
)
@fault("new_ones makes float32", Tensor, "new_ones", lambda real: lambda x, *size: torch.ones(*size))
@fault("new_full takes the shape", Tensor, "new_full", lambda real: lambda x, size, n: torch.full_like(x, n))
@fault("new_zeros takes requires_grad", Tensor, "new_zeros", keeping_gradient)
@fault(
    "new_ones needs no size", Tensor, "new_ones", lambda real: lambda x, *size: real(x, *(size or x.shape))
)
@fault("there is a new_rand", Tensor, "__dir__", lambda real: lambda x: [*real(x), "new_rand"])
@fault("new_tensor infers the dtype", Tensor, "new_tensor", lambda real: lambda x, data: torch.tensor(data))
class TestNewOnes:
    """Methods such as `x.new_ones(size)` make a tensor of a given size, with the dtype and device of a tensor
    `x`. The new tensor requires no gradient, even if `x` does. No `new_` method draws random numbers.
    """

    def test_dtype_and_device_are_taken_but_neither_shape_nor_requires_grad(self, device):
        for place in (device, torch.device("meta")):
            x = torch.empty(2, 3, dtype=torch.float64, device=place, requires_grad=True)

            for made in (x.new_zeros(4), x.new_ones(4), x.new_full((4,), 7), x.new_empty(4)):
                assert (made.dtype, made.device, made.shape) == (torch.float64, place, (4,))
                assert not made.requires_grad

    def test_new_ones_needs_a_size(self):
        x = torch.tensor([5, 6])

        assert x.new_ones(3).tolist() == [1, 1, 1]
        with pytest.raises(TypeError, match="new_ones"):
            x.new_ones()

    def test_no_new_method_draws_random_numbers(self):
        methods = {name for name in dir(torch.ones(1)) if name.startswith("new_")}

        assert methods >= {"new_zeros", "new_ones", "new_full", "new_empty", "new_tensor"}
        assert not [name for name in methods if "rand" in name]

    def test_new_tensor_of_integers_cuts_fractions_off(self):
        assert torch.tensor([1]).new_tensor([1.75, -1.75]).tolist() == [1, -1]
